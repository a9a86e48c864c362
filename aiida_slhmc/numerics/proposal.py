"""Proposals of hybrid Monte Carlo: fresh momenta, a trajectory on the model's surface, its endpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from ase import units

from . import npt, verlet
from .cells import Barostat, law_of
from .driving import Driven, run
from .lattice import snap
from .length import Law, draw_length
from .limits import Limits
from .momenta import CentreOfMass, draw, kinetic_energy
from .potential import Array, Potential
from .randomness import Purpose, generator

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
    :param barostat: pressure and moving cell; None: the cell is fixed.
    """

    temperature: float
    timestep: float
    length: int
    length_law: Law = "uniform"
    centre_of_mass: CentreOfMass = "keep"
    limits: Limits | None = None
    barostat: Barostat | None = None


@dataclass(frozen=True)
class CellTerms:
    """Hold what the cell adds to the Hamiltonian at one end of a trajectory; zeros where the cell is fixed.

    :param kinetic: Pi²/2W in eV.
    :param pressure_volume: P V in eV.
    :param log_volume: -c kT ln V in eV, V in Å³.
    """

    kinetic: float = 0.0
    pressure_volume: float = 0.0
    log_volume: float = 0.0

    @property
    def total(self) -> float:
        """Return the sum in eV."""
        return self.kinetic + self.pressure_volume + self.log_volume


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
    :param cell_start: what the cell adds to the Hamiltonian at the start.
    :param cell_end: likewise at the end.
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
    cell_start: CellTerms
    cell_end: CellTerms


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
    that is independent of the state; velocity Verlet, or at constant pressure its form with a moving cell. With the
    sign of the momenta turned, the map is its own inverse and preserves volume, whatever the proposal surface.

    :param positions: (N, 3) in Å.
    :param cell: (3, 3) in Å.
    :param masses: (N,) in amu.
    :param potential: proposal surface; may be wrong, since the target decides.
    :param settings: of the kernel.
    :param seed: root seed of the run.
    :param chain: number of the chain.
    :param cycle: number of the cycle.
    :returns: the endpoint, or the snapped start if the trajectory diverged.
    :raises ValueError: if the centre-of-mass momentum is removed but the surface does not conserve it; at constant
        pressure, if the cell is not of the barostat's kind, or the surface gives no stress.
    """
    return run(proposing(positions, cell, masses, settings, seed=seed, chain=chain, cycle=cycle), potential)


def proposing(
    positions: Array, cell: Array, masses: Array, settings: Settings, *, seed: int, chain: int, cycle: int
) -> Driven[Proposal]:
    """Propose a state, asking for evaluations as they are needed: :func:`propose` for several states in step.

    :param positions: (N, 3) in Å.
    :param cell: (3, 3) in Å.
    :param masses: (N,) in amu.
    :param settings: of the kernel.
    :param seed: root seed of the run.
    :param chain: number of the chain.
    :param cycle: number of the cycle.
    :raises ValueError: as :func:`propose`.
    """
    rng = generator(seed, chain, cycle, Purpose.MOMENTA)
    momenta = draw(masses, settings.temperature, rng, settings.centre_of_mass)
    n_steps = draw_length(settings.length, settings.length_law, generator(seed, chain, cycle, Purpose.LENGTH))
    cell = np.array(cell, dtype=np.float64)
    first, last = CellTerms(), CellTerms()
    if settings.barostat is None:
        momenta = snap(momenta)
        path = yield from verlet.trajectory(
            positions, momenta, cell, masses,
            timestep=settings.timestep, n_steps=n_steps, limits=settings.limits,
        )  # fmt: skip
    else:
        barostat = settings.barostat
        power = barostat.power(settings.centre_of_mass)
        cell_momenta = _draw_cell_momenta(cell, settings, rng)
        # The start, its momenta included, as the trajectory sees it: on the lattice of the scaled coordinates.
        positions, h = npt.project(positions, cell, barostat)
        momenta = npt.unscaled(snap(momenta @ h.T), h)
        first = CellTerms(*npt.cell_terms(h, cell_momenta, barostat, settings.temperature, power))
        path = yield from npt.trajectory(
            positions, momenta, h, cell_momenta, masses, barostat,
            temperature=settings.temperature, power=power,
            timestep=settings.timestep, n_steps=n_steps, limits=settings.limits,
        )  # fmt: skip
        last = CellTerms(*npt.cell_terms(path.cell, path.cell_momenta, barostat, settings.temperature, power))
    bad = path.divergent
    if settings.centre_of_mass == "remove" and not bad:
        _check_total_momentum(path.momenta, masses, settings.temperature)
    return Proposal(
        positions=path.positions,
        cell=path.cell,
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
        cell_start=first,
        cell_end=CellTerms(math.nan, math.nan, math.nan) if bad else last,
    )


def _draw_cell_momenta(cell: Array, settings: Settings, rng: np.random.Generator) -> Array:
    """Draw the momenta of the cell's coordinates: Gaussian with variance W kT, on the lattice.

    :param cell: (3, 3) in Å.
    :param settings: of the kernel, with a barostat.
    :param rng: where the numbers come from, after the atoms' momenta.
    """
    assert settings.barostat is not None
    size = len(law_of(settings.barostat.cell, cell).coordinates(cell))
    mass = settings.barostat.mass * units.fs**2
    return snap(rng.standard_normal(size) * math.sqrt(mass * units.kB * settings.temperature))


def place(positions: Array, cell: Array, settings: Settings) -> tuple[Array, Array]:
    """Return the structure that a trajectory really starts from: the nearest on the lattice of exact arithmetic.

    :param positions: (N, 3) in Å.
    :param cell: (3, 3) in Å.
    :param settings: of the kernel.
    :returns: positions (N, 3) and cell (3, 3) in Å.
    :raises ValueError: if the cell is not of the barostat's kind.
    """
    if settings.barostat is None:
        return snap(positions), np.array(cell, dtype=np.float64)
    return npt.project(positions, cell, settings.barostat)


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
