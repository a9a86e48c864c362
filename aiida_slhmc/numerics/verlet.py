"""Velocity Verlet on a fixed lattice: reversible to the bit, volume preserving, for any force."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import units

from .driving import Driven, run
from .lattice import snap
from .limits import Limits, Watch
from .momenta import kinetic_energy
from .potential import Array, Evaluation, Potential

#: What a cell that does not move has.
NO_MOMENTA = np.zeros(0)


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
    :param cell: (3, 3) in Å at the end.
    :param cell_momenta: (k,) of a moving cell at the end, in ASE's unit; empty for a fixed one.
    """

    positions: Array
    momenta: Array
    first: Evaluation
    last: Evaluation
    drift: float
    divergent: bool
    reason: str
    cell: Array
    cell_momenta: Array


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
    """Integrate Hamilton's equations: :func:`trajectory` on one potential.

    :param positions: (N, 3) in Å; not wrapped, before or after.
    :param momenta: (N, 3) in ASE's unit.
    :param cell: (3, 3) in Å.
    :param masses: (N,) in amu.
    :param potential: the surface; must be a pure function of its arguments (no neighbour list with a memory).
    :param timestep: in fs.
    :param n_steps: number of steps, at least 1.
    :param limits: what may not be visited.
    :returns: the end of the trajectory; the start, marked divergent, if it left the limits or a number was not finite.
    :raises ValueError: for a time step or a number of steps that is not positive, or a start that is not finite.
    """
    path = trajectory(positions, momenta, cell, masses, timestep=timestep, n_steps=n_steps, limits=limits)
    return run(path, potential)


def trajectory(
    positions: Array,
    momenta: Array,
    cell: Array,
    masses: Array,
    *,
    timestep: float,
    n_steps: int,
    limits: Limits | None = None,
) -> Driven[Trajectory]:
    """Integrate Hamilton's equations by velocity Verlet, with increments rounded to the lattice.

    p += F dt/2; r += dt p/m; p += F dt/2 (Swope et al., J. Chem. Phys. 76, 637, 1982), each increment rounded to a
    multiple of the spacing: every sub-step is then a bijection of the lattice with an exact inverse, so that volume and
    reversibility hold to the bit: Levesque and Verlet, J. Stat. Phys. 72, 519 (1993). Positions and momenta are snapped
    to the lattice first. One evaluation a step: the force at the end of a step is that at the start of the next.

    :param positions: (N, 3) in Å; not wrapped, before or after.
    :param momenta: (N, 3) in ASE's unit.
    :param cell: (3, 3) in Å.
    :param masses: (N,) in amu.
    :param timestep: in fs.
    :param n_steps: number of steps, at least 1.
    :param limits: what may not be visited.
    :returns: the end of the trajectory; the start, marked divergent, if it left the limits or a number was not finite.
    :raises ValueError: for a time step or a number of steps that is not positive, or a start that is not finite.
    """
    if not timestep > 0:
        raise ValueError(f"the time step must be positive, not {timestep} fs")
    if n_steps < 1:
        raise ValueError(f"a trajectory has at least 1 step, not {n_steps}")
    if not (np.isfinite(positions).all() and np.isfinite(momenta).all()):
        raise ValueError("a position or a momentum is not finite at the start")
    dt = timestep * units.fs
    step_per_momentum = dt / masses[:, None]
    watch = Watch(limits or Limits())
    r = start = snap(positions)
    p = start_momenta = snap(momenta)
    first = last = yield r, cell
    # The start is a visited point too: the reversed trajectory would end there.
    reason = watch.moved(r, p, cell) or watch.visited(first, p, kinetic_energy(p, masses))
    steps = 0
    while not reason and steps < n_steps:
        p = p + snap(0.5 * dt * last.forces)
        r = r + snap(step_per_momentum * p)
        # Before the model sees the point: models need not survive atoms on top of each other.
        reason = watch.moved(r, p, cell)
        if not reason:
            last = yield r, cell
            p = p + snap(0.5 * dt * last.forces)
            reason = watch.visited(last, p, kinetic_energy(p, masses))
        steps += 1
    if reason:
        return Trajectory(start, start_momenta, first, first, watch.drift, True, reason, cell, NO_MOMENTA)
    return Trajectory(r, p, first, last, watch.drift, False, "", cell, NO_MOMENTA)
