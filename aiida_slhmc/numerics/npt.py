"""A trajectory at constant pressure: scaled coordinates, a cell with a mass, on the same lattice as velocity Verlet.

With s = r h⁻¹, pi = p hᵀ and xi the coordinates of the cell h (Andersen, J. Chem. Phys. 72, 2384, 1980; Parrinello and
Rahman, J. Appl. Phys. 52, 7182, 1981)

    H = sum |pi h⁻ᵀ|²/2m + U(s h) + P V - c kT ln V + sum Pi²/2W.

It is Hamiltonian in canonical variables: the splitting below is symplectic, and the Metropolis test on H needs no
separate Jacobian.
"""

from __future__ import annotations

import math

import numpy as np
from ase import units

from . import lattice
from .cells import Barostat, CellLaw, law_of
from .driving import Driven
from .lattice import snap
from .limits import Limits, Watch
from .momenta import kinetic_energy
from .potential import Array, Evaluation
from .verlet import Trajectory


def fractions(vectors: Array, cell: Array) -> Array:
    """Return vectors in units of the lattice vectors, r h⁻¹, (N, 3).

    :param vectors: (N, 3).
    :param cell: (3, 3), rows are lattice vectors.
    """
    return np.asarray(np.linalg.solve(cell.T, vectors.T).T, dtype=np.float64)


def scaled(positions: Array, cell: Array) -> Array:
    """Return fractional coordinates (N, 3) on the lattice of exact arithmetic.

    :param positions: (N, 3) in Å.
    :param cell: (3, 3) in Å.
    """
    return snap(fractions(positions, cell))


def unscaled(scaled_momenta: Array, cell: Array) -> Array:
    """Return the momenta p = pi h⁻ᵀ, (N, 3) in ASE's unit.

    :param scaled_momenta: pi = p hᵀ, (N, 3).
    :param cell: (3, 3) in Å.
    """
    return np.asarray(np.linalg.solve(cell, scaled_momenta.T).T, dtype=np.float64)


def project(positions: Array, cell: Array, barostat: Barostat) -> tuple[Array, Array]:
    """Return the structure that trajectories start from: the nearest whose coordinates lie on the lattice.

    :param positions: (N, 3) in Å.
    :param cell: (3, 3) in Å.
    :param barostat: kind of cell.
    :returns: positions (N, 3) and cell (3, 3) in Å, off by about 1e-10 Å; of a projected structure, itself to the bit.
    :raises ValueError: if the cell is not of the kind.
    """
    law = law_of(barostat.cell, cell)
    h = law.cell(law.coordinates(np.asarray(cell, dtype=np.float64)))
    return np.asarray(scaled(positions, cell) @ h), h


def cell_terms(
    cell: Array, cell_momenta: Array, barostat: Barostat, temperature: float, power: float
) -> tuple[float, float, float]:
    """Return what the cell adds to the Hamiltonian.

    :param cell: (3, 3) in Å.
    :param cell_momenta: (k,) in ASE's unit.
    :param barostat: pressure and mass.
    :param temperature: in K.
    :param power: c of -c kT ln V.
    :returns: kinetic energy of the cell, P V, and -c kT ln V, all in eV.
    """
    volume = float(np.linalg.det(cell))
    kinetic = 0.5 * float(cell_momenta @ cell_momenta) / (barostat.mass * units.fs**2)
    return kinetic, barostat.pressure * units.GPa * volume, -power * units.kB * temperature * math.log(volume)


def force_on_cell(law: CellLaw, coordinates: Array, cell: Array, tensor: Array) -> Array:
    """Return the force (k,) that a tensor of energies exerts on the coordinates of the cell: (h⁻ᵀ T) : dh/dxi.

    :param law: of the cell.
    :param coordinates: (k,) of the cell.
    :param cell: (3, 3) in Å.
    :param tensor: (3, 3) in eV: the kinetic tensor sum p p/m, or -V stress - P V + c kT.
    """
    return np.asarray(np.einsum("ab,kab->k", np.linalg.solve(cell.T, tensor), law.tangent(coordinates)))


def trajectory(
    positions: Array,
    momenta: Array,
    cell: Array,
    cell_momenta: Array,
    masses: Array,
    barostat: Barostat,
    *,
    temperature: float,
    power: float,
    timestep: float,
    n_steps: int,
    limits: Limits | None = None,
) -> Driven[Trajectory]:
    """Integrate Hamilton's equations at constant pressure, increments rounded to the lattice.

    A step is B(dt/2) A(dt/2) C(dt) A(dt/2) B(dt/2): B lets forces and stress act on the momenta, A moves the scaled
    coordinates and lets the atoms' motion push the cell, C moves the cell. Each part changes some variables by an
    amount that depends on the others alone, so that rounded to the lattice it is still a bijection with an exact
    inverse, and the step is symmetric: reversed momenta lead back to the bit. One evaluation a step.

    :param positions: (N, 3) in Å; not wrapped.
    :param momenta: (N, 3) in ASE's unit.
    :param cell: (3, 3) in Å, of the barostat's kind.
    :param cell_momenta: (k,) in ASE's unit.
    :param masses: (N,) in amu.
    :param barostat: pressure, kind of cell, mass.
    :param temperature: in K, of the term -c kT ln V.
    :param power: c of that term.
    :param timestep: in fs.
    :param n_steps: number of steps, at least 1.
    :param limits: what may not be visited.
    :returns: the end; the start, marked divergent, if it left the limits or a number was not finite.
    :raises ValueError: for a bad number, a cell that is not of the kind, or a surface without a stress.
    """
    if not timestep > 0:
        raise ValueError(f"the time step must be positive, not {timestep} fs")
    if n_steps < 1:
        raise ValueError(f"a trajectory has at least 1 step, not {n_steps}")
    if not all(np.isfinite(value).all() for value in (positions, momenta, cell, cell_momenta)):
        raise ValueError("a position, a momentum or the cell is not finite at the start")
    dt = timestep * units.fs
    mass = barostat.mass * units.fs**2
    pressure = barostat.pressure * units.GPa
    heat = power * units.kB * temperature
    law = law_of(barostat.cell, cell)
    watch = Watch(limits or Limits())
    xi, s = law.coordinates(np.asarray(cell, dtype=np.float64)), scaled(positions, cell)
    pi, xi_momenta = snap(momenta @ cell.T), snap(cell_momenta)
    h = law.cell(xi)
    r, p = s @ h, unscaled(pi, h)

    def pushed(answer: Evaluation, t: float) -> tuple[Array, Array]:
        """Return the increments of part B."""
        if answer.stress is None:
            raise ValueError("a proposal at constant pressure needs a surface with a stress; this one has none")
        volume = float(np.linalg.det(h))
        tensor = -volume * answer.stress - (pressure * volume - heat) * np.eye(3)
        return snap(t * answer.forces @ h.T), snap(t * force_on_cell(law, xi, h, tensor))

    def drifted(t: float) -> tuple[Array, Array]:
        """Return the increments of part A."""
        velocities = p / masses[:, None]
        return (
            snap(t * fractions(velocities, h)),
            snap(t * force_on_cell(law, xi, h, p.T @ velocities)),
        )

    def beside() -> float:
        """Return what is not potential energy in H."""
        return kinetic_energy(p, masses) + sum(cell_terms(h, xi_momenta, barostat, temperature, power))

    def outside() -> str:
        exact = all(lattice.inside(value) for value in (s, pi, xi, xi_momenta))
        return "" if exact else "a position, a momentum or the cell left the range of exact arithmetic"

    start = (r, p, h, xi_momenta)
    first = last = yield r, h
    reason = outside() or watch.moved(r, p, h) or watch.visited(first, p, beside())
    steps = 0
    while not reason and steps < n_steps:
        steps += 1
        kick, pull = pushed(last, 0.5 * dt)
        pi, xi_momenta = pi + kick, xi_momenta + pull
        p = unscaled(pi, h)
        shift, pull = drifted(0.5 * dt)
        s, xi_momenta = s + shift, xi_momenta + pull
        xi = xi + snap(dt * xi_momenta / mass)
        if not law.proper(xi):
            reason = "the cell lost its volume, or its logarithm a sensible range"
            break
        h = law.cell(xi)
        p = unscaled(pi, h)
        shift, pull = drifted(0.5 * dt)
        s, xi_momenta = s + shift, xi_momenta + pull
        r = s @ h
        # Before the model sees the point: models need not survive atoms on top of each other, or a collapsed cell.
        reason = watch.moved(r, p, h)
        if reason:
            break
        last = yield r, h
        reason = watch.finite(last)
        if reason:
            break
        kick, pull = pushed(last, 0.5 * dt)
        pi, xi_momenta = pi + kick, xi_momenta + pull
        p = unscaled(pi, h)
        reason = outside() or watch.visited(last, p, beside())
    if reason:
        return Trajectory(start[0], start[1], first, first, watch.drift, True, reason, start[2], start[3])
    return Trajectory(r, p, first, last, watch.drift, False, "", h, xi_momenta)
