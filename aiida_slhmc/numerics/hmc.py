"""Hybrid Monte Carlo: proposals, and the bare loop that the engine must agree with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from . import metropolis
from .length import Law, draw_length
from .momenta import CentreOfMass, draw, kinetic_energy
from .lattice import snap
from .potential import Array, Evaluation, Potential
from .randomness import Purpose, generator
from .verlet import Limits, integrate


@dataclass(frozen=True)
class Settings:
    """Hold what defines the kernel beside the surfaces.

    :param temperature: in K.
    :param timestep: in fs.
    :param length: proposal length in steps.
    :param length_law: law of the length of one trajectory.
    :param centre_of_mass: ``keep`` or ``remove`` its momentum.
    :param limits: what a trajectory may not visit.
    """

    temperature: float
    timestep: float
    length: int
    length_law: Law = "uniform"
    centre_of_mass: CentreOfMass = "keep"
    limits: Limits | None = None


@dataclass(frozen=True)
class Proposal:
    """Hold one proposal: its endpoint and all that the Metropolis test and an audit need.

    :param positions: (N, 3) in Å; the (snapped) start if the trajectory diverged.
    :param cell: (3, 3) in Å.
    :param potential_start: of the proposal model in eV.
    :param potential_end: of the proposal model in eV; NaN if the trajectory diverged.
    :param kinetic_start: in eV.
    :param kinetic_end: in eV; NaN if the trajectory diverged.
    :param n_steps: drawn number of steps.
    :param drift: max |H - H_start| on the proposal surface in eV.
    :param divergent: whether it is to be rejected unseen.
    :param reason: why.
    :param momenta_start: (N, 3) in ASE's unit.
    :param momenta_end: (N, 3) in ASE's unit.
    """

    positions: Array
    cell: Array
    potential_start: float
    potential_end: float
    kinetic_start: float
    kinetic_end: float
    n_steps: int
    drift: float
    divergent: bool
    reason: str
    momenta_start: Array
    momenta_end: Array


def propose(
    positions: Array,
    cell: Array,
    masses: Array,
    potential: Potential,
    settings: Settings,
    *,
    seed: int,
    chain: int,
    cycle: int,
) -> Proposal:
    """Propose a state: fresh momenta, a trajectory of random length on the proposal surface.

    :param positions: (N, 3) in Å.
    :param cell: (3, 3) in Å.
    :param masses: (N,) in amu.
    :param potential: proposal surface; may be wrong, since the target decides.
    :param settings: of the kernel.
    :param seed: root seed of the run.
    :param chain: number of the chain.
    :param cycle: number of the cycle.
    """
    rng = generator(seed, chain, cycle, Purpose.MOMENTA)
    momenta = snap(draw(masses, settings.temperature, rng, settings.centre_of_mass))
    n_steps = draw_length(settings.length, settings.length_law, generator(seed, chain, cycle, Purpose.LENGTH))
    path = integrate(
        positions, momenta, cell, masses, potential,
        timestep=settings.timestep, n_steps=n_steps, limits=settings.limits,
    )  # fmt: skip
    bad = path.divergent
    return Proposal(
        positions=path.positions,
        cell=np.array(cell, dtype=np.float64),
        potential_start=path.first.energy,
        potential_end=math.nan if bad else path.last.energy,
        kinetic_start=kinetic_energy(momenta, masses),
        kinetic_end=math.nan if bad else kinetic_energy(path.momenta, masses),
        n_steps=n_steps,
        drift=path.drift,
        divergent=bad,
        reason=path.reason,
        momenta_start=momenta,
        momenta_end=path.momenta,
    )


def draw_log_uniform(seed: int, chain: int, cycle: int) -> float:
    """Return the log of the uniform number that decides a cycle.

    :param seed: root seed of the run.
    :param chain: number of the chain.
    :param cycle: number of the cycle.
    """
    # 1 - random() lies in (0, 1]: its logarithm is finite.
    return math.log1p(-generator(seed, chain, cycle, Purpose.ACCEPTANCE).random())


@dataclass(frozen=True)
class ChainRecord:
    """Hold a chain: the state after every cycle, repeats included, and every endpoint.

    :param positions: (C, N, 3) in Å, states.
    :param evaluations: the target at the state after every cycle, repeats included.
    :param energies: (C,) target energies of the states in eV.
    :param endpoints: (C, N, 3) in Å.
    :param endpoint_energies: (C,) target energies of the endpoints in eV; NaN for a divergent one.
    :param deltas: (C,) in eV.
    :param probabilities: (C,).
    :param accepted: (C,).
    :param lengths: (C,) steps.
    :param divergent: (C,).
    """

    positions: Array
    evaluations: list[Evaluation]
    energies: Array
    endpoints: Array
    endpoint_energies: Array
    deltas: Array
    probabilities: Array
    accepted: Array
    lengths: Array
    divergent: Array


def run_chain(
    positions: Array,
    cell: Array,
    masses: Array,
    target: Potential,
    proposal_potential: Potential,
    settings: Settings,
    *,
    n_cycles: int,
    seed: int,
    chain: int = 0,
    first_cycle: int = 0,
) -> ChainRecord:
    """Run the bare loop: propose on one surface, decide on another.

    :param positions: (N, 3) in Å, start.
    :param cell: (3, 3) in Å.
    :param masses: (N,) in amu.
    :param target: surface whose ensemble is sampled.
    :param proposal_potential: surface that the trajectories run on.
    :param settings: of the kernel.
    :param n_cycles: number of cycles.
    :param seed: root seed.
    :param chain: number of the chain.
    :param first_cycle: number of the first cycle.
    """
    state = np.array(positions, dtype=np.float64)
    current = target.evaluate(state, cell)
    rows: dict[str, list] = {name: [] for name in ChainRecord.__dataclass_fields__}
    for cycle in range(first_cycle, first_cycle + n_cycles):
        move = propose(state, cell, masses, proposal_potential, settings, seed=seed, chain=chain, cycle=cycle)
        end = None if move.divergent else target.evaluate(move.positions, cell)
        decision = metropolis.decide(
            potential_start=current.energy,
            potential_end=math.inf if end is None else end.energy,
            kinetic_start=move.kinetic_start,
            kinetic_end=move.kinetic_end,
            temperature=settings.temperature,
            log_uniform=draw_log_uniform(seed, chain, cycle),
        )
        if decision.accepted and end is not None:
            state, current = move.positions, end
        for name, value in (
            ("positions", state),
            ("evaluations", current),
            ("energies", current.energy),
            ("endpoints", move.positions),
            ("endpoint_energies", math.nan if end is None else end.energy),
            ("deltas", decision.delta),
            ("probabilities", decision.probability),
            ("accepted", decision.accepted),
            ("lengths", move.n_steps),
            ("divergent", move.divergent),
        ):
            rows[name].append(value)
    evaluations = rows.pop("evaluations")
    return ChainRecord(evaluations=evaluations, **{name: np.array(values) for name, values in rows.items()})
