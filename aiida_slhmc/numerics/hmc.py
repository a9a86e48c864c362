"""Hybrid Monte Carlo: proposals, and the bare loop that the engine must agree with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import units

from . import metropolis
from .lattice import snap
from .length import Law, draw_length
from .limits import Limits
from .momenta import CentreOfMass, draw, kinetic_energy
from .potential import Array, Evaluation, Potential
from .randomness import Purpose, generator
from .verlet import integrate

#: Total momentum that a trajectory may gain, in units of its thermal spread sqrt(sum m kT), if it began without. Far
#: above what rounding and single precision leave, far below what a surface that pins the atoms gives in a step.
MOMENTUM_TOLERANCE = 1e-3


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

    Steps 1 to 3 of hybrid Monte Carlo (Duane et al., Phys. Lett. B 195, 216, 1987): p ~ N(0, m kT); a number of steps
    that is independent of the state; velocity Verlet. With the sign of the momenta turned, the map is its own inverse
    and preserves volume, whatever the proposal surface.

    :param positions: (N, 3) in Å.
    :param cell: (3, 3) in Å.
    :param masses: (N,) in amu.
    :param potential: proposal surface; may be wrong, since the target decides.
    :param settings: of the kernel.
    :param seed: root seed of the run.
    :param chain: number of the chain.
    :param cycle: number of the cycle.
    :returns: the endpoint, or the snapped start if the trajectory diverged.
    :raises ValueError: if the centre-of-mass momentum is removed but the surface does not conserve it.
    """
    rng = generator(seed, chain, cycle, Purpose.MOMENTA)
    momenta = snap(draw(masses, settings.temperature, rng, settings.centre_of_mass))
    n_steps = draw_length(settings.length, settings.length_law, generator(seed, chain, cycle, Purpose.LENGTH))
    path = integrate(
        positions, momenta, cell, masses, potential,
        timestep=settings.timestep, n_steps=n_steps, limits=settings.limits,
    )  # fmt: skip
    bad = path.divergent
    if settings.centre_of_mass == "remove" and not bad:
        _check_total_momentum(path.momenta, masses, settings.temperature)
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


def _check_total_momentum(momenta: Array, masses: Array, temperature: float) -> None:
    """Check that a trajectory that began without total momentum ends without.

    Momenta with a sum are never drawn in this ensemble: a trajectory that ends with one has no reverse.

    :param momenta: (N, 3) in ASE's unit.
    :param masses: (N,) in amu.
    :param temperature: in K.
    :raises ValueError: if it gained a momentum.
    """
    gained = float(np.abs(momenta.sum(axis=0)).max())
    if gained > MOMENTUM_TOLERANCE * math.sqrt(masses.sum() * units.kB * temperature):
        raise ValueError(
            "centre_of_mass 'remove' needs a surface that does not change under translation; this one pushes the whole"
            " cell, so that the proposal would not be reversible: use 'keep'"
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

    An average over the ensemble runs over the *states*, repeats included; over the endpoints that were accepted, it is
    biased (they are training data, not samples).

    :param positions: (C, N, 3) in Å, states.
    :param evaluations: the target at the state after every cycle, repeats included.
    :param energies: (C,) target energies of the states in eV.
    :param endpoints: (C, N, 3) in Å.
    :param endpoint_energies: (C,) target energies of the endpoints in eV; NaN for a divergent one.
    :param kinetic_starts: (C,) kinetic energies of the momenta that were drawn, in eV.
    :param deltas: (C,) in eV; infinity for a divergent trajectory.
    :param probabilities: (C,) of acceptance.
    :param accepted: (C,) whether the state changed.
    :param lengths: (C,) steps.
    :param divergent: (C,) whether the trajectory was rejected unseen.
    """

    positions: Array
    evaluations: list[Evaluation]
    energies: Array
    endpoints: Array
    endpoint_energies: Array
    kinetic_starts: Array
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

    Each cycle leaves exp(-U_target/kT) unchanged, whatever the proposal surface: Duane et al., Phys. Lett. B 195, 216
    (1987). A run in two parts, the second from the last state of the first with ``first_cycle`` set, is the run in one.

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
    :raises ValueError: if the start has no finite target energy.
    """
    # The label has to belong to the very point that the trajectories start from.
    state = snap(positions)
    current = target.evaluate(state, cell)
    rows: dict[str, list[Any]] = {name: [] for name in ChainRecord.__dataclass_fields__}
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
            ("kinetic_starts", move.kinetic_start),
            ("deltas", decision.delta),
            ("probabilities", decision.probability),
            ("accepted", decision.accepted),
            ("lengths", move.n_steps),
            ("divergent", move.divergent),
        ):
            rows[name].append(value)
    evaluations = rows.pop("evaluations")
    return ChainRecord(evaluations=evaluations, **{name: np.array(values) for name, values in rows.items()})
