"""One cycle in parts, for drivers that do more than run cycle after cycle: a state, the decision on a move, the record.

The parts put together in order are :func:`aiida_slhmc.numerics.hmc.run_chain`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import metropolis
from .metropolis import Decision
from .potential import Array, Evaluation
from .proposal import Proposal, Settings
from .randomness import Purpose, generator


@dataclass(frozen=True)
class ChainRecord:
    """Hold a chain: the state after every cycle, repeats included, and every endpoint.

    An average over the ensemble runs over the *states*, repeats included; over the endpoints that were accepted, it is
    biased (they are training data, not samples).

    :param positions: (C, N, 3) in Å, states.
    :param cells: (C, 3, 3) in Å, of the states.
    :param evaluations: the target at the state after every cycle, repeats included.
    :param energies: (C,) target energies of the states in eV.
    :param endpoints: (C, N, 3) in Å.
    :param endpoint_cells: (C, 3, 3) in Å.
    :param endpoint_energies: (C,) target energies of the endpoints in eV; NaN for a divergent one.
    :param kinetic_starts: (C,) kinetic energies of the momenta that were drawn, in eV.
    :param deltas: (C,) in eV; infinity for a divergent trajectory.
    :param probabilities: (C,) of acceptance.
    :param accepted: (C,) whether the state changed.
    :param lengths: (C,) steps.
    :param divergent: (C,) whether the trajectory was rejected unseen.
    """

    positions: Array
    cells: Array
    evaluations: list[Evaluation]
    energies: Array
    endpoints: Array
    endpoint_cells: Array
    endpoint_energies: Array
    kinetic_starts: Array
    deltas: Array
    probabilities: Array
    accepted: Array
    lengths: Array
    divergent: Array


@dataclass(frozen=True)
class State:
    """Hold a state of a chain and the target's answer to it.

    :param positions: (N, 3) in Å, as :func:`aiida_slhmc.numerics.proposal.place` leaves them.
    :param cell: (3, 3) in Å.
    :param evaluation: the target there (eV, eV/Å, eV/Å³).
    """

    positions: Array
    cell: Array
    evaluation: Evaluation


def draw_log_uniform(seed: int, chain: int, cycle: int) -> float:
    """Return the log of the uniform number that decides a cycle.

    :param seed: root seed of the run.
    :param chain: number of the chain.
    :param cycle: number of the cycle.
    """
    # 1 - random() lies in (0, 1]: its logarithm is finite.
    return math.log1p(-generator(seed, chain, cycle, Purpose.ACCEPTANCE).random())


def decide(
    state: State,
    move: Proposal,
    end: Evaluation | None,
    settings: Settings,
    *,
    seed: int,
    chain: int,
    cycle: int,
) -> tuple[State, Decision]:
    """Decide on a move.

    :param state: that the move starts from.
    :param move: the proposal.
    :param end: the target at the endpoint; None for a divergent move.
    :param settings: of the kernel.
    :param seed: root seed of the run.
    :param chain: number of the chain.
    :param cycle: number of the cycle.
    :returns: the state after the cycle, and the decision.
    :raises ValueError: if the state has no finite energy.
    """
    decision = metropolis.decide(
        potential_start=state.evaluation.energy,
        potential_end=math.inf if end is None else end.energy,
        kinetic_start=move.kinetic_start,
        kinetic_end=move.kinetic_end,
        cell_start=move.cell_start.total,
        cell_end=move.cell_end.total,
        temperature=settings.temperature,
        log_uniform=draw_log_uniform(seed, chain, cycle),
    )
    if decision.accepted and end is not None:
        state = State(move.positions, move.cell, end)
    return state, decision


class Recorder:
    """Collect cycles into a :class:`aiida_slhmc.numerics.ChainRecord`."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Any]] = {name: [] for name in ChainRecord.__dataclass_fields__}

    def add(self, state: State, move: Proposal, end: Evaluation | None, decision: Decision) -> None:
        """Add a cycle.

        :param state: after the cycle.
        :param move: the proposal of the cycle.
        :param end: the target at its endpoint; None for a divergent move.
        :param decision: on it.
        """
        for name, value in (
            ("positions", state.positions),
            ("cells", state.cell),
            ("evaluations", state.evaluation),
            ("energies", state.evaluation.energy),
            ("endpoints", move.positions),
            ("endpoint_cells", move.cell),
            ("endpoint_energies", math.nan if end is None else end.energy),
            ("kinetic_starts", move.kinetic_start),
            ("deltas", decision.delta),
            ("probabilities", decision.probability),
            ("accepted", decision.accepted),
            ("lengths", move.n_steps),
            ("divergent", move.divergent),
        ):
            self.rows[name].append(value)

    def record(self) -> ChainRecord:
        """Return the record of all cycles so far."""
        arrays = {name: np.array(values) for name, values in self.rows.items() if name != "evaluations"}
        return ChainRecord(evaluations=list(self.rows["evaluations"]), **arrays)
