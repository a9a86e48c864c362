"""The potential as a port: anything that gives energy, forces and perhaps a stress."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """Hold what a potential says of one structure.

    :param energy: total energy in eV.
    :param forces: (N, 3) in eV/Å.
    :param stress: (3, 3) in eV/Å³, sign of ASE; None where there is none.
    """

    energy: float
    forces: Array
    stress: Array | None = None


class Potential(Protocol):
    """Give energy, forces and stress of a fixed composition; a pure function of its arguments."""

    def evaluate(self, positions: Array, cell: Array) -> Evaluation:
        """Evaluate one structure.

        :param positions: (N, 3) in Å.
        :param cell: (3, 3) in Å, rows are lattice vectors.
        """
        ...
