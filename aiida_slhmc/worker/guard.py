"""Stop a run of molecular dynamics at a point that no model should be asked about."""

from __future__ import annotations

import math

import numpy as np

from aiida_slhmc.numerics.limits import Distances
from aiida_slhmc.numerics.potential import Array, Evaluation, Potential

from .errors import TaskError


class Guarded:
    """Evaluate a potential, but only where the point and its answer make sense.

    The look at the point comes first: neighbour lists of NaN, of atoms on top of each other or of a collapsed cell may
    take for ever.

    :param potential: the potential.
    :param min_distance: closest approach of two atoms in Å, periodic images included; None: no bound.
    :param max_volume_change: largest ratio of a volume to the first one, either way; None: no bound.
    :param pbc: (3,).
    """

    def __init__(
        self,
        potential: Potential,
        min_distance: float | None,
        max_volume_change: float | None,
        pbc: tuple[bool, bool, bool],
    ):
        self.potential = potential
        self.min_distance, self.max_volume_change, self.pbc = min_distance, max_volume_change, pbc
        #: Step that is being made, for the message.
        self.step = 0
        self._cell: Array | None = None
        self._distances: Distances | None = None
        self._first_volume = math.nan

    def evaluate(self, positions: Array, cell: Array) -> Evaluation:
        """Evaluate one structure.

        :param positions: (N, 3) in Å.
        :param cell: (3, 3) in Å.
        :raises TaskError: ``not_finite`` if a number is not finite, ``absurd`` if atoms are too close or the volume has
            changed too much; names the step.
        """
        if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
            raise self.stop("not_finite", "a position or the cell is not finite")
        if self._cell is None or not np.array_equal(cell, self._cell):
            self._new_cell(cell)
        if self._distances is not None:
            shortest = self._distances.shortest(positions)
            # The negation: a NaN must not pass.
            if not shortest >= self._distances.cutoff:
                raise self.stop(
                    "absurd", f"two atoms are {shortest:.2f} Å apart, closer than min_distance = {self.min_distance} Å"
                )
        answer = self.potential.evaluate(positions, cell)
        stress = answer.stress
        if not (math.isfinite(answer.energy) and np.isfinite(answer.forces).all()):
            raise self.stop("not_finite", "the energy or a force of the surface is not finite")
        if stress is not None and not np.isfinite(stress).all():
            raise self.stop("not_finite", "the stress of the surface is not finite")
        return answer

    def _new_cell(self, cell: Array) -> None:
        self._cell = np.array(cell)
        volume = abs(float(np.linalg.det(cell)))
        if math.isnan(self._first_volume):
            self._first_volume = volume
        bound = self.max_volume_change
        if bound is not None and not self._first_volume / bound <= volume <= self._first_volume * bound:
            raise self.stop(
                "absurd",
                f"the volume went from {self._first_volume:.1f} to {volume:.1f} Å³, by more than a factor of {bound}",
            )
        self._distances = None if self.min_distance is None else Distances(cell, self.pbc, self.min_distance)

    def stop(self, kind: str, what: str) -> TaskError:
        """Return the error that names the step.

        :param kind: of the error.
        :param what: went wrong, in words.
        """
        where = "at the start" if self.step == 0 else f"at step {self.step}"
        advice = (
            "mend the structure"
            if self.step == 0
            else "try a shorter timestep, a start nearer equilibrium, or train the model further"
        )
        return TaskError(kind, f"the dynamics stopped {where}: {what}; {advice}.")
