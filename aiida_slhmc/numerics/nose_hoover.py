"""Massive Nosé-Hoover chains: dynamics at constant temperature, with a chain of its own on every component.

Martyna, Klein and Tuckerman, J. Chem. Phys. 97, 2635 (1992); the splitting is that of Martyna, Tuckerman, Tobias and
Klein, Mol. Phys. 87, 1117 (1996). Massive chains break the conservation of the total momentum: all 3N components are
thermostatted, and the temperature is that of 3N degrees of freedom. A step of finite length leaves an error of the
order of its square in the sampled ensemble; what has none is hybrid Monte Carlo (:mod:`.hmc`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import units

from .momenta import draw, kinetic_energy
from .potential import Array, Evaluation, Potential

_CUBE_ROOT = 2.0 ** (1.0 / 3.0)
#: Suzuki's and Yoshida's weights of fourth order (Yoshida, Phys. Lett. A 150, 262, 1990); they add up to 1.
WEIGHTS = (1.0 / (2.0 - _CUBE_ROOT), -_CUBE_ROOT / (2.0 - _CUBE_ROOT), 1.0 / (2.0 - _CUBE_ROOT))


@dataclass(frozen=True)
class Bath:
    """Hold what defines the chains, all of which are alike: every link has the mass Q = kT tau².

    :param temperature: in K.
    :param time: tau in fs; best near the periods of the motion over 2 pi, or somewhat longer.
    :param length: links M of a chain. Of one link, the dynamics of a harmonic degree of freedom is not ergodic.
    :raises ValueError: for a number that is not positive.
    """

    temperature: float
    time: float
    length: int = 4

    def __post_init__(self) -> None:
        for name, value, unit in (("temperature", self.temperature, "K"), ("time", self.time, "fs")):
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"the {name} of a thermostat must be positive, not {value} {unit}")
        if self.length < 1:
            raise ValueError(f"a chain has at least 1 link, not {self.length}")

    @property
    def heat(self) -> float:
        """Return kT in eV."""
        return float(units.kB * self.temperature)

    @property
    def mass(self) -> float:
        """Return Q in ASE's unit, eV times ASE time²."""
        return self.heat * (self.time * units.fs) ** 2


@dataclass(frozen=True)
class Chains:
    """Hold the state of n chains of M links.

    :param positions: (M, n), dimensionless; they act on nothing, but count in what is conserved.
    :param velocities: (M, n) in 1/(ASE time).
    """

    positions: Array
    velocities: Array


def draw_chains(size: int, bath: Bath, rng: np.random.Generator) -> Chains:
    """Return chains in equilibrium: velocities of variance kT/Q, positions 0.

    :param size: n, number of chains.
    :param bath: what defines them.
    :param rng: where the numbers come from.
    """
    velocities = rng.standard_normal((bath.length, size)) / (bath.time * units.fs)
    return Chains(np.zeros_like(velocities), velocities)


def chains_energy(chains: Chains, bath: Bath) -> float:
    """Return what chains add to the conserved quantity, sum Q v²/2 + kT xi, in eV.

    :param chains: their state.
    :param bath: what defines them.
    """
    return float(0.5 * bath.mass * np.sum(chains.velocities**2) + bath.heat * np.sum(chains.positions))


def couple(momenta: Array, masses: Array, chains: Chains, bath: Bath, interval: float) -> tuple[Array, Chains]:
    """Let chains act on the momenta, one chain on each, and nothing else move.

    dp = -v_1 p, dv_1 = (p²/m - kT)/Q - v_2 v_1, dv_j = v_(j-1)² - kT/Q - v_(j+1) v_j, split symmetrically with the
    weights of Suzuki and Yoshida (Martyna et al. 1996). Reversed velocities lead back.

    :param momenta: (n,) in ASE's unit.
    :param masses: (n,) of the degrees of freedom.
    :param chains: their state, (M, n).
    :param bath: what defines them.
    :param interval: in ASE times.
    :returns: momenta and chains after the interval.
    """
    v, xi = chains.velocities.copy(), chains.positions.copy()
    last = bath.length - 1
    rest = 1.0 / (bath.time * units.fs) ** 2
    square = momenta**2 / (masses * bath.mass)
    scale = np.ones_like(momenta)

    def accelerate(link: int, t: float) -> None:
        force = (square if link == 0 else v[link - 1] ** 2) - rest
        if link == last:
            v[link] += 0.5 * t * force
        else:
            damping = np.exp(-0.25 * t * v[link + 1])
            v[link] = (v[link] * damping + 0.5 * t * force) * damping

    for weight in WEIGHTS:
        t = weight * interval
        for link in range(last, -1, -1):
            accelerate(link, t)
        factor = np.exp(-t * v[0])
        scale *= factor
        square = square * factor**2
        xi += t * v
        for link in range(last + 1):
            accelerate(link, t)
    return momenta * scale, Chains(xi, v)


@dataclass(frozen=True)
class Phase:
    """Hold a point of a thermostatted trajectory.

    :param positions: (N, 3) in Å; not wrapped.
    :param cell: (3, 3) in Å.
    :param momenta: (N, 3) in ASE's unit.
    :param cell_momenta: (k,) in eV times ASE time; empty for a fixed cell.
    :param chains: of the 3N components and of the k degrees of freedom of the cell, (M, 3N + k).
    :param evaluation: of the surface at this point.
    """

    positions: Array
    cell: Array
    momenta: Array
    cell_momenta: Array
    chains: Chains
    evaluation: Evaluation


def start(
    positions: Array, cell: Array, masses: Array, potential: Potential, bath: Bath, rng: np.random.Generator
) -> Phase:
    """Return a start: momenta and the chains' velocities drawn from their laws in equilibrium.

    :param positions: (N, 3) in Å.
    :param cell: (3, 3) in Å.
    :param masses: (N,) in amu.
    :param potential: the surface.
    :param bath: the thermostat.
    :param rng: where the numbers come from: 3N for the momenta, then M times 3N for the chains.
    """
    momenta = draw(masses, bath.temperature, rng)
    chains = draw_chains(momenta.size, bath, rng)
    return Phase(positions, cell, momenta, np.zeros(0), chains, potential.evaluate(positions, cell))


def step(phase: Phase, masses: Array, potential: Potential, bath: Bath, timestep: float) -> Phase:
    """Return the point one step on: chains(dt/2), velocity Verlet (dt), chains(dt/2); one evaluation.

    :param phase: a point.
    :param masses: (N,) in amu.
    :param potential: the surface.
    :param bath: the thermostat.
    :param timestep: in fs.
    """
    dt = timestep * units.fs
    shape, flat = phase.momenta.shape, np.repeat(masses, 3)
    momenta, chains = couple(phase.momenta.ravel(), flat, phase.chains, bath, 0.5 * dt)
    p = momenta.reshape(shape) + 0.5 * dt * phase.evaluation.forces
    positions = phase.positions + dt * p / masses[:, None]
    evaluation = potential.evaluate(positions, phase.cell)
    p = p + 0.5 * dt * evaluation.forces
    momenta, chains = couple(p.ravel(), flat, chains, bath, 0.5 * dt)
    return Phase(positions, phase.cell, momenta.reshape(shape), phase.cell_momenta, chains, evaluation)


def conserved(phase: Phase, masses: Array, bath: Bath) -> float:
    """Return the conserved quantity K + U + sum (Q v²/2 + kT xi) in eV; it moves with the time step's square alone.

    :param phase: a point.
    :param masses: (N,) in amu.
    :param bath: the thermostat.
    """
    return kinetic_energy(phase.momenta, masses) + phase.evaluation.energy + chains_energy(phase.chains, bath)
