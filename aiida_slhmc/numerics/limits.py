"""Limits: what a trajectory may not visit, worded so that the reversed trajectory gives the same answer."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from . import lattice
from .potential import Array, Evaluation


@dataclass(frozen=True)
class Limits:
    """Name what a trajectory may not visit.

    The bounds are functions of the *set* of visited points, starting point and endpoint included, and a reversed
    trajectory visits the same set. So a trajectory is rejected exactly if its reverse would be, and the map "endpoint,
    if the trajectory stays within the limits, else start" is still its own inverse up to the sign of the momenta:
    detailed balance holds (Neal, Handbook of Markov Chain Monte Carlo, ch. 5, 2011).

    - ``min_distance`` looks at single points, starts included: a chain that starts closer never moves. Endpoints are
      visited points, so the sampled ensemble is the target's *restricted* to larger distances.
    - ``max_energy_change`` bounds max H - min H over the trajectory and leaves the target's ensemble whole. A bound on
      |H - H(start)| would not do: the reversed trajectory compares with the other end, and may pass where this one
      fails.

    - ``max_volume_change`` bounds max V / min V over the trajectory of a moving cell, likewise without a restriction of
      the ensemble: a collapsing cell has ever more neighbours, and would not come back in time.

    :param min_distance: closest approach of two atoms in Å, periodic images included; None: no bound.
    :param max_energy_change: largest spread of H on the proposal surface along the trajectory in eV; None: no bound.
    :param max_volume_change: largest ratio of two volumes along the trajectory; None: no bound.
    :param pbc: along which lattice vectors there are images; a vector of length zero has none anyway.
    """

    min_distance: float | None = None
    max_energy_change: float | None = None
    max_volume_change: float | None = None
    pbc: tuple[bool, bool, bool] = (True, True, True)


class Distances:
    """Look for pairs of atoms that are too close, periodic images and an atom's own images included.

    With f the fractional separation folded into [-1/2, 1/2], an image shifted by n has a length of at least |f + n| h,
    h the spacing of lattice planes; so that only |n| <= cutoff/h + 1/2 can come below the cutoff. Small and skewed
    cells get the images they need, large ones the home cell alone.

    :param cell: (3, 3) in Å, rows are lattice vectors; rows of zeros are not periodic.
    :param pbc: (3,), along which lattice vectors there are images.
    :param cutoff: in Å.
    """

    def __init__(self, cell: Array, pbc: tuple[bool, bool, bool], cutoff: float):
        self.cutoff = cutoff
        rows = np.asarray(cell, dtype=np.float64)
        periodic = np.array(pbc, dtype=bool) & (np.linalg.norm(rows, axis=1) > 0)
        # The pseudo-inverse of the periodic rows alone gives fractions along them, whatever the others are.
        self.vectors = np.where(periodic[:, None], rows, 0.0)
        self.inverse = np.linalg.pinv(self.vectors)
        reach = np.floor(cutoff * np.linalg.norm(self.inverse, axis=0) + 0.5).astype(int)
        shifts = itertools.product(*(range(-n, n + 1) for n in np.where(periodic, reach, 0)))
        # The home cell first: an atom is no neighbour of itself there.
        self.images = np.array(sorted(shifts, key=lambda shift: sum(map(abs, shift))), dtype=np.float64) @ self.vectors

    def shortest(self, positions: Array) -> float:
        """Return the shortest distance in Å; if it exceeds the cutoff, a number above the cutoff.

        :param positions: (N, 3) in Å.
        """
        difference = positions[:, None, :] - positions[None, :, :]
        difference -= np.rint(difference @ self.inverse) @ self.vectors
        vectors = difference[None] + self.images[:, None, None, :]
        square = np.einsum("mijk,mijk->mij", vectors, vectors)
        index = np.arange(len(positions))
        square[0, index, index] = np.inf
        return float(math.sqrt(square.min()))


class Watch:
    """Look at every visited point of one trajectory.

    :param limits: what may not be visited.
    """

    def __init__(self, limits: Limits):
        self.limits = limits
        self.distances: Distances | None = None
        self.cell: Array | None = None
        self.start = math.nan
        self.low = math.inf
        self.high = -math.inf
        self.smallest = math.inf
        self.largest = 0.0
        #: max |H - H(start)| so far in eV: for information, nothing is decided on it.
        self.drift = 0.0

    def moved(self, positions: Array, momenta: Array, cell: Array) -> str:
        """Return what is wrong with a point before its energy is asked for; empty if nothing.

        :param positions: (N, 3) in Å.
        :param momenta: (N, 3) in ASE's unit, in the middle of a step.
        :param cell: (3, 3) in Å.
        """
        if not (lattice.inside(positions) and lattice.inside(momenta)):
            return "a position or a momentum left the range of exact arithmetic"
        if cell is not self.cell:
            problem = self._new_cell(cell)
            if problem:
                return problem
        if self.distances is not None and self.distances.shortest(positions) < self.distances.cutoff:
            return f"two atoms came closer than {self.distances.cutoff} Å"
        return ""

    def _new_cell(self, cell: Array) -> str:
        self.cell = cell
        bound, closest = self.limits.max_volume_change, self.limits.min_distance
        if bound is not None:
            volume = abs(float(np.linalg.det(cell)))
            self.smallest, self.largest = min(self.smallest, volume), max(self.largest, volume)
            if not self.largest <= bound * self.smallest:
                return f"the volume changed by more than a factor of {bound}"
        self.distances = None if closest is None else Distances(cell, self.limits.pbc, closest)
        return ""

    def finite(self, evaluation: Evaluation) -> str:
        """Return what is wrong with an evaluation by itself; empty if nothing.

        :param evaluation: of the proposal surface (eV, eV/Å, eV/Å³).
        """
        stress = evaluation.stress
        good = math.isfinite(evaluation.energy) and np.isfinite(evaluation.forces).all()
        if not good or (stress is not None and not np.isfinite(stress).all()):
            return "an energy, a force or a stress of the proposal model is not finite"
        return ""

    def visited(self, evaluation: Evaluation, momenta: Array, kinetic: float) -> str:
        """Return what is wrong with a point at the end of a step; empty if nothing.

        :param evaluation: of the proposal surface (eV, eV/Å, eV/Å³).
        :param momenta: (N, 3) in ASE's unit.
        :param kinetic: in eV; what the Hamiltonian holds beside the potential energy.
        """
        problem = self.finite(evaluation)
        if problem:
            return problem
        total = evaluation.energy + kinetic
        if not (math.isfinite(total) and lattice.inside(momenta)):
            return "a position or a momentum left the range of exact arithmetic"
        if math.isnan(self.start):
            self.start = total
        self.drift = max(self.drift, abs(total - self.start))
        self.low, self.high = min(self.low, total), max(self.high, total)
        bound = self.limits.max_energy_change
        if bound is not None and self.high - self.low > bound:
            return f"the energy of the proposal model spread over more than {bound} eV"
        return ""
