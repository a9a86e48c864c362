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
class BreathingCrystal:
    """Bind every atom to a site that moves with the cell, and the volume to a volume.

    U = offset + sum_i k_i |r_i - s_i h|²/2 + B (V - V0)²/2V0. The springs integrate to V^-N, which cancels the weight
    V^N of a volume: at pressure P the volume is Gaussian with mean V0 (1 - P/B) and variance V0 kT/B, exactly but for
    the cut at V = 0, and the energy of the springs follows Gamma(3N/2, kT).

    :param sites: (N, 3), fractional.
    :param spring_constant: in eV/Å², one for all or (N,).
    :param bulk_modulus: B in eV/Å³.
    :param volume: V0 in Å³.
    :param offset: in eV.
    """

    sites: Array
    spring_constant: float | Array
    bulk_modulus: float
    volume: float
    offset: float = 0.0

    def evaluate(self, positions: Array, cell: Array) -> Evaluation:
        """Evaluate one structure.

        :param positions: (N, 3) in Å.
        :param cell: (3, 3) in Å.
        """
        displacement = positions - self.sites @ cell
        forces = -np.asarray(self.spring_constant, dtype=np.float64).reshape(-1, 1) * displacement
        volume = float(np.linalg.det(cell))
        excess = volume - self.volume
        energy = self.offset - 0.5 * float((forces * displacement).sum())
        energy += 0.5 * self.bulk_modulus * excess**2 / self.volume
        # Displacements stretch with the cell, as the volume does.
        stress = -displacement.T @ forces / volume + self.bulk_modulus * excess / self.volume * np.eye(3)
        return Evaluation(energy, forces, np.asarray(stress))


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
