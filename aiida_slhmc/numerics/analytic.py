"""Potentials with known ensembles, for tests and for the analytic target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .potential import Array, Evaluation


@dataclass(frozen=True)
class EinsteinCrystal:
    """Bind every atom to its site by a spring: U = offset + sum_i k_i |r_i - s_i|²/2.

    At temperature T the energy above the offset follows Gamma(3N/2, kT).

    :param sites: (N, 3) in Å.
    :param spring_constant: in eV/Å², one for all or (N,).
    :param offset: in eV.
    """

    sites: Array
    spring_constant: float | Array
    offset: float = 0.0

    def evaluate(self, positions: Array, cell: Array) -> Evaluation:
        """Evaluate one structure.

        :param positions: (N, 3) in Å.
        :param cell: (3, 3) in Å; the springs do not see it.
        """
        displacement = positions - self.sites
        # (1, 1) for one spring constant, (N, 1) for one an atom.
        forces = -np.asarray(self.spring_constant, dtype=np.float64).reshape(-1, 1) * displacement
        return Evaluation(self.offset - 0.5 * float((forces * displacement).sum()), forces)


@dataclass(frozen=True)
class AnharmonicCrystal:
    """Add a quartic term and a coupling of neighbours in the list to springs: chaotic, and bound.

    U = sum_i [k |x_i|²/2 + q |x_i|⁴/4] + g sum_i |x_i - x_{i+1}|⁴/4 with x_i = r_i - s_i.

    :param sites: (N, 3) in Å.
    :param spring_constant: k in eV/Å².
    :param quartic: q in eV/Å⁴.
    :param coupling: g in eV/Å⁴.
    """

    sites: Array
    spring_constant: float
    quartic: float
    coupling: float

    def evaluate(self, positions: Array, cell: Array) -> Evaluation:
        """Evaluate one structure.

        :param positions: (N, 3) in Å.
        :param cell: (3, 3) in Å; not used.
        """
        x = positions - self.sites
        square = np.sum(x**2, axis=1)
        difference = x - np.roll(x, -1, axis=0)
        separation = np.sum(difference**2, axis=1)
        energy = 0.5 * self.spring_constant * square.sum() + 0.25 * self.quartic * (square**2).sum()
        energy += 0.25 * self.coupling * (separation**2).sum()
        pull = self.coupling * separation[:, None] * difference
        forces = -(self.spring_constant + self.quartic * square)[:, None] * x - pull + np.roll(pull, 1, axis=0)
        return Evaluation(float(energy), forces)
