"""Velocity Verlet on a fixed lattice: reversible to the bit, volume preserving, for any force."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from ase import units

from .lattice import snap
from .momenta import kinetic_energy
from .potential import Array, Evaluation, Potential


@dataclass(frozen=True)
class Limits:
    """Name what a trajectory may not visit; each is a fixed predicate of one visited point.

    The reversed trajectory visits the same points, so rejecting a trajectory that visits a forbidden one keeps detailed
    balance. For the energy change the reverse starts from the other end; hence the bound is on the spread of the energy
    over the whole trajectory, which is the same both ways.

    :param min_distance: closest approach of two atoms in Å, images included; None: no bound.
    :param max_energy_change: largest spread of H on the proposal surface along the trajectory in eV; None: no bound.
    """

    min_distance: float | None = None
    max_energy_change: float | None = None


@dataclass(frozen=True)
class Trajectory:
    """Hold the ends of a trajectory and how it went.

    :param positions: (N, 3) in Å at the end; at the start if it diverged.
    :param momenta: (N, 3) in ASE's unit at the end; at the start if it diverged.
    :param first: evaluation at the start.
    :param last: evaluation at the end; at the start if it diverged.
    :param drift: max |H - H_start| on the proposal surface in eV.
    :param divergent: whether a forbidden point was visited, or a number was not finite.
    :param reason: why, in words; empty if all is well.
    """

    positions: Array
    momenta: Array
    first: Evaluation
    last: Evaluation
    drift: float
    divergent: bool
    reason: str


def shortest_distance(positions: Array, cell: Array, images: Array) -> float:
    """Return the shortest distance between two atoms, periodic images included, in Å.

    :param positions: (N, 3) in Å.
    :param cell: (3, 3) in Å.
    :param images: (M, 3) integer lattice translations that are looked at, the zero one first.
    """
    inverse = np.linalg.inv(cell)
    difference = positions[:, None, :] - positions[None, :, :]
    fraction = difference @ inverse
    fraction -= np.rint(fraction)
    vectors = (fraction[None] + images[:, None, None, :]) @ cell
    square = np.einsum("mijk,mijk->mij", vectors, vectors)
    index = np.arange(len(positions))
    square[0, index, index] = np.inf
    return float(math.sqrt(square.min()))


def neighbour_images() -> Array:
    """Return the 27 lattice translations around the home cell, the zero one first."""
    shifts = sorted(itertools.product((-1, 0, 1), repeat=3), key=lambda shift: sum(map(abs, shift)))
    return np.array(shifts, dtype=np.float64)


def integrate(
    positions: Array,
    momenta: Array,
    cell: Array,
    masses: Array,
    potential: Potential,
    *,
    timestep: float,
    n_steps: int,
    limits: Limits | None = None,
) -> Trajectory:
    """Integrate Hamilton's equations by velocity Verlet, with increments rounded to the lattice.

    p += F dt/2; r += dt p/m; p += F dt/2, each increment rounded to a multiple of the spacing: every sub-step is then a
    bijection of the lattice with an exact inverse, so that volume and reversibility hold to the bit: Levesque and
    Verlet, J. Stat. Phys. 72, 519 (1993). Positions and momenta are snapped to the lattice first.

    :param positions: (N, 3) in Å; not wrapped, before or after.
    :param momenta: (N, 3) in ASE's unit.
    :param cell: (3, 3) in Å.
    :param masses: (N,) in amu.
    :param potential: the surface; must be a pure function of the positions.
    :param timestep: in fs.
    :param n_steps: number of steps, at least 1.
    :param limits: what may not be visited.
    :raises ValueError: for a time step or a number of steps that is not positive.
    """
    if not timestep > 0:
        raise ValueError(f"the time step must be positive, not {timestep} fs")
    if n_steps < 1:
        raise ValueError(f"a trajectory has at least 1 step, not {n_steps}")
    dt = timestep * units.fs
    limits = limits or Limits()
    watch = _Watch(limits, cell)
    r = start = snap(positions)
    p = start_momenta = snap(momenta)
    first = evaluation = potential.evaluate(r, cell)
    reason = watch.visit(r, evaluation, kinetic_energy(p, masses))
    for _ in range(n_steps):
        if reason:
            break
        p = p + snap(0.5 * dt * evaluation.forces)
        r = r + snap(dt * p / masses[:, None])
        if not np.isfinite(r).all():
            reason = "a position is not finite"
            break
        evaluation = potential.evaluate(r, cell)
        p = p + snap(0.5 * dt * evaluation.forces)
        reason = watch.visit(r, evaluation, kinetic_energy(p, masses))
    if reason:
        return Trajectory(start, start_momenta, first, first, watch.drift, True, reason)
    return Trajectory(r, p, first, evaluation, watch.drift, False, "")


class _Watch:
    """Look at every visited point.

    :param limits: what may not be visited.
    :param cell: (3, 3) in Å.
    """

    def __init__(self, limits: Limits, cell: Array):
        self.limits = limits
        self.cell = cell
        self.images = neighbour_images()
        self.start: float | None = None
        self.low = math.inf
        self.high = -math.inf
        self.drift = 0.0

    def visit(self, positions: Array, evaluation: Evaluation, kinetic: float) -> str:
        """Return what is wrong with a point; empty if nothing.

        :param positions: (N, 3) in Å.
        :param evaluation: of the proposal surface.
        :param kinetic: in eV.
        """
        total = evaluation.energy + kinetic
        if not (math.isfinite(total) and np.isfinite(evaluation.forces).all()):
            return "an energy or a force of the proposal model is not finite"
        self.start = total if self.start is None else self.start
        self.drift = max(self.drift, abs(total - self.start))
        self.low, self.high = min(self.low, total), max(self.high, total)
        bound = self.limits.max_energy_change
        if bound is not None and self.high - self.low > bound:
            return f"the energy of the proposal model spread over more than {bound} eV"
        closest = self.limits.min_distance
        if closest is not None and shortest_distance(positions, self.cell, self.images) < closest:
            return f"two atoms came closer than {closest} Å"
        return ""
