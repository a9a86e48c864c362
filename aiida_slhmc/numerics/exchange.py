"""Replica exchange: chains at neighbouring temperatures or pressures swap their states.

Swendsen and Wang, Phys. Rev. Lett. 57, 2607 (1986); Hukushima and Nemoto, J. Phys. Soc. Jpn. 65, 1604 (1996); with
pressures Okabe et al., Chem. Phys. Lett. 335, 435 (2001). A swap needs the target's energies of the two states, which
are known: it costs no label.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import units
from numpy.typing import NDArray

from . import cells, hmc
from .cycles import Recorder, State, decide
from .potential import Array, Potential
from .randomness import Purpose, generator


@dataclass(frozen=True)
class SwapDecision:
    """Hold all that is needed to audit one swap.

    :param accepted: the outcome.
    :param log_ratio: log of the ratio of the joint weights after and before.
    :param log_probability: log of the swap probability, min(0, log_ratio).
    :param probability: of the swap.
    :param log_uniform: log of the uniform number that decided.
    """

    accepted: bool
    log_ratio: float
    log_probability: float
    probability: float
    log_uniform: float


def decide_swap(
    beta_i: float,
    beta_j: float,
    energy_i: float,
    energy_j: float,
    pressure_i: float,
    pressure_j: float,
    volume_i: float,
    volume_j: float,
    log_uniform: float,
) -> SwapDecision:
    """Swap the states of rungs i and j with probability min(1, exp[(b_i-b_j)(U_i-U_j) + (b_iP_i-b_jP_j)(V_i-V_j)]).

    The ratio of the joint weights exp(-b(U + P V)) after and before; powers of the volume cancel if both rungs have the
    same.

    :param beta_i: 1/kT of rung i in 1/eV.
    :param beta_j: 1/kT of rung j in 1/eV.
    :param energy_i: the target's energy in eV of the state that rung i holds.
    :param energy_j: likewise rung j.
    :param pressure_i: of rung i in eV/Å³; 0 without a barostat.
    :param pressure_j: of rung j in eV/Å³.
    :param volume_i: in Å³ of the state that rung i holds.
    :param volume_j: likewise rung j.
    :param log_uniform: log of a uniform number of (0, 1).
    :raises ValueError: for a 1/kT that is not positive, or a state without a finite energy and volume.
    """
    if not (beta_i > 0 and beta_j > 0):
        raise ValueError(f"1/kT of a rung must be positive, not {min(beta_i, beta_j)}/eV")
    if not all(map(math.isfinite, (energy_i, energy_j, volume_i, volume_j))):
        raise ValueError("a state that is to be swapped has no finite energy or volume")
    log_ratio = (beta_i - beta_j) * (energy_i - energy_j)
    log_ratio += (beta_i * pressure_i - beta_j * pressure_j) * (volume_i - volume_j)
    log_probability = min(0.0, log_ratio)
    return SwapDecision(
        log_uniform <= log_probability, log_ratio, log_probability, math.exp(log_probability), log_uniform
    )


def attempt_after(cycle: int, every: int) -> int | None:
    """Return the number of the attempt to swap that follows a cycle; None if none does.

    :param cycle: number of the cycle, from 0.
    :param every: cycles between attempts; 0: there are none.
    """
    return (cycle + 1) // every - 1 if every > 0 and (cycle + 1) % every == 0 else None


def pairs(n_rungs: int, attempt: int) -> list[tuple[int, int]]:
    """Return the neighbours that try to swap in one attempt: (0, 1), (2, 3), ... and (1, 2), (3, 4), ... in turn.

    The schedule is fixed, which leaves every rung's ensemble unchanged and lets states drift along the ladder (Okabe et
    al., 2001). A ladder of two rungs has one pair, which tries every time.

    :param n_rungs: number of rungs.
    :param attempt: number of the attempt, from 0.
    """
    first = attempt % 2 if n_rungs > 2 else 0
    return [(lower, lower + 1) for lower in range(first, n_rungs - 1, 2)]


def draw_log_uniform(seed: int, pair: int, cycle: int) -> float:
    """Return the log of the uniform number that decides a swap.

    :param seed: root seed of the run.
    :param pair: number of the lower rung.
    :param cycle: number of the cycle before the swap.
    """
    return math.log1p(-generator(seed, pair, cycle, Purpose.EXCHANGE).random())


@dataclass(frozen=True)
class Swap:
    """Hold one attempt of one pair.

    :param cycle: number of the cycle that it follows.
    :param lower: number of the lower rung; the other is the next.
    :param decision: what came of it.
    """

    cycle: int
    lower: int
    decision: SwapDecision


@dataclass(frozen=True)
class LadderRecord:
    """Hold a run of all rungs.

    The state of a rung after a cycle is what it holds *after* the swap, where one follows the cycle: it belongs to the
    ensemble of the rung, and the next cycle starts there. Endpoints, deltas and ``accepted`` of a rung's record are
    those of its own trajectory, before the swap.

    :param rungs: the record of each rung.
    :param replicas: (C, R), which of the starting states, carried along by moves, is on a rung after a cycle.
    :param swaps: all attempts, in order.
    """

    rungs: tuple[hmc.ChainRecord, ...]
    replicas: NDArray[np.int64]
    swaps: tuple[Swap, ...]

    def swap_rates(self) -> Array:
        """Return the mean swap probability of each pair of neighbours, (R - 1,); NaN where none was tried."""
        rates = np.full(len(self.rungs) - 1, np.nan)
        for lower in range(len(rates)):
            tried = [swap.decision.probability for swap in self.swaps if swap.lower == lower]
            if tried:
                rates[lower] = np.mean(tried)
        return rates


def run_ladder(
    starts: Sequence[tuple[Array, Array]],
    masses: Array,
    target: Potential,
    proposal_potential: Potential,
    rungs: Sequence[hmc.Settings],
    *,
    n_cycles: int,
    every: int,
    seed: int,
    first_cycle: int = 0,
) -> LadderRecord:
    """Run chains at several temperatures or pressures that swap states every few cycles.

    A cycle of a rung is one of :func:`aiida_slhmc.numerics.hmc.run_chain`, with the rung's number as that of the chain.
    Each swap leaves the product of the rungs' ensembles unchanged. A run in two parts, the second from the last states
    of the first with ``first_cycle`` set, is the run in one; only the replicas are counted anew.

    :param starts: positions (N, 3) and cell (3, 3) in Å of each rung.
    :param masses: (N,) in amu.
    :param target: surface whose ensembles are sampled.
    :param proposal_potential: surface that the trajectories run on.
    :param rungs: settings of each rung, neighbours in order.
    :param n_cycles: number of cycles.
    :param every: cycles between attempts to swap; 0: none.
    :param seed: root seed.
    :param first_cycle: number of the first cycle.
    :raises ValueError: if rungs differ in more than temperature, pressure and how they move, or a start has no finite
        energy.
    """
    check_ladder(rungs, [cell for _, cell in starts])
    states = []
    for settings, start in zip(rungs, starts, strict=True):
        point = hmc.place(*start, settings)
        states.append(State(*point, target.evaluate(*point)))
    recorders = [Recorder() for _ in rungs]
    replicas, swaps = list(range(len(rungs))), []
    history = np.empty((n_cycles, len(rungs)), dtype=np.int64)
    for cycle in range(first_cycle, first_cycle + n_cycles):
        moves = []
        for rung, settings in enumerate(rungs):
            state = states[rung]
            move = hmc.propose(
                state.positions, state.cell, masses, proposal_potential, settings, seed=seed, chain=rung, cycle=cycle
            )
            end = None if move.divergent else target.evaluate(move.positions, move.cell)
            states[rung], decision = decide(state, move, end, settings, seed=seed, chain=rung, cycle=cycle)
            moves.append((move, end, decision))
        attempt = attempt_after(cycle, every)
        for i, j in pairs(len(rungs), attempt) if attempt is not None else []:
            one, other = states[i], states[j]
            swap = decide_swap(
                1.0 / (units.kB * rungs[i].temperature),
                1.0 / (units.kB * rungs[j].temperature),
                one.evaluation.energy,
                other.evaluation.energy,
                _pressure(rungs[i]),
                _pressure(rungs[j]),
                float(np.linalg.det(one.cell)),
                float(np.linalg.det(other.cell)),
                draw_log_uniform(seed, i, cycle),
            )
            swaps.append(Swap(cycle, i, swap))
            if swap.accepted:
                # The whole state goes: positions, cell and label. Momenta are drawn anew in the next cycle.
                states[i], states[j] = other, one
                replicas[i], replicas[j] = replicas[j], replicas[i]
        for recorder, state, made in zip(recorders, states, moves, strict=True):
            recorder.add(state, *made)
        history[cycle - first_cycle] = replicas
    return LadderRecord(tuple(recorder.record() for recorder in recorders), history, tuple(swaps))


def _pressure(settings: hmc.Settings) -> float:
    """Return the pressure in eV/Å³."""
    return settings.barostat.pressure * units.GPa if settings.barostat is not None else 0.0


def check_ladder(rungs: Sequence[hmc.Settings], starts: Sequence[Array]) -> None:
    """Check that the states of any two rungs may be swapped.

    Temperature and pressure are in the swap's probability; time step, length and the cell's mass are in no ensemble.
    All else must be equal: what may not be visited, the treatment of the centre of mass, the kind of cell and the power
    of the volume; without a barostat also the cell, with a cell of fixed shape its shape.

    :param rungs: settings of each rung.
    :param starts: cell (3, 3) in Å of each rung.
    :raises ValueError: with what differs.
    """
    if len(rungs) != len(starts):
        raise ValueError(f"a ladder of {len(rungs)} rungs needs as many starts, not {len(starts)}")
    if not rungs:
        raise ValueError("a ladder has at least one rung")
    if len({_ensemble(settings) for settings in rungs}) > 1:
        raise ValueError(
            "rungs may differ in temperature, pressure, time step, length and mass of the cell; these differ in more"
        )
    if rungs[0].barostat is None:
        shapes = [np.asarray(cell) for cell in starts]
    elif rungs[0].barostat.cell == "isotropic":
        shapes = [cells.Isotropic(np.asarray(cell)).shape for cell in starts]
    else:
        return
    if not all(np.array_equal(shape, shapes[0]) for shape in shapes):
        raise ValueError("rungs whose cells do not change shape must start with the same one")


def _ensemble(settings: hmc.Settings) -> tuple[object, ...]:
    """Return what must be equal between rungs."""
    box, limits = settings.barostat, settings.limits
    return (
        settings.centre_of_mass,
        None if box is None else (box.cell, box.power(settings.centre_of_mass)),
        # The other limits reject trajectories, and leave the ensemble whole.
        None if limits is None or limits.min_distance is None else (limits.min_distance, limits.pbc),
    )
