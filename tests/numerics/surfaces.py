"""Surfaces, units and closed forms that the tests of the numerics share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from ase import units

from aiida_slhmc.numerics.potential import Array, Evaluation, Potential

#: Temperature in K at which kT is 1 eV: with masses of 1 amu and springs of 1 eV/Å² everything is in natural units.
UNIT_TEMPERATURE = 1.0 / units.kB
#: One ASE time unit in fs.
UNIT_TIME = 1.0 / units.fs
#: A cell that no test surface sees.
CELL = 50.0 * np.eye(3)


@dataclass(frozen=True)
class MeanFieldSolid:
    """Bind every atom to its site in a lattice that may move as a whole: U = k sum_i |x_i - <x>|²/2.

    Translation invariant; 3N - 3 modes of one frequency, so U follows Gamma((3N - 3)/2, kT).
    """

    sites: Array
    spring_constant: float

    def evaluate(self, positions: Array, cell: Array) -> Evaluation:
        x = positions - self.sites
        x = x - x.mean(axis=0)
        return Evaluation(0.5 * self.spring_constant * float(np.sum(x**2)), -self.spring_constant * x)


@dataclass
class Counting:
    """Count the evaluations of another surface."""

    surface: MeanFieldSolid
    calls: int = 0

    def evaluate(self, positions: Array, cell: Array) -> Evaluation:
        self.calls += 1
        return self.surface.evaluate(positions, cell)


@dataclass(frozen=True)
class Cliff:
    """Be harmonic up to a distance, and not a number beyond: a model outside what it was trained on."""

    radius: float

    def evaluate(self, positions: Array, cell: Array) -> Evaluation:
        if np.linalg.norm(positions, axis=1).max() > self.radius:
            return Evaluation(math.nan, np.full_like(positions, np.nan))
        return Evaluation(0.5 * float(np.sum(positions**2)), -positions)


def harmonic_acceptance(target: float, model: float, timestep: float, n_steps: int) -> tuple[float, float]:
    """Return the exact mean acceptance probability and the exact mean of delta/kT of one oscillator, kT = m = 1.

    One Verlet step on k_model q²/2 is a matrix A; in coordinates where the target's law is a round Gaussian the
    trajectory is B with singular values s and 1/s, and an integral over angles gives P = (4/pi) atan(1/s) and
    <delta> = (s - 1/s)²/2.
    """
    c = 1.0 - 0.5 * model * timestep**2
    step = np.array([[c, timestep], [-model * timestep + 0.25 * model**2 * timestep**3, c]])
    root = math.sqrt(target)
    b = np.diag([root, 1.0]) @ np.linalg.matrix_power(step, n_steps) @ np.diag([1.0 / root, 1.0])
    s = float(np.linalg.svd(b, compute_uv=False)[0])
    return 4.0 / math.pi * math.atan(1.0 / s), 0.5 * (s - 1.0 / s) ** 2


def thermal(n_chains: int, sites: Array, spring_constant: float, seed: int, kt: float = 1.0) -> Array:
    """Draw positions of an Einstein crystal (or, up to translation, a mean-field solid), one structure a chain."""
    displacements = np.random.default_rng(seed).standard_normal((n_chains, *sites.shape))
    return sites + math.sqrt(kt / spring_constant) * displacements


@dataclass(frozen=True)
class IdealGas:
    """Let atoms not interact, in a cell that may resist changes of shape and push on its walls: U = t V + U_shape.

    U_shape = (k/2) [sum_a y_a² + sum_{a>b} l_ab²] with y_a = ln h_aa less their mean, l = h/V^(1/3) below the diagonal.
    In these coordinates the flat measure of the entries of a lower-triangular h is V dV d²y d³l, that of three ln L
    (dV/V) d²y: the shape is Gaussian and independent of the volume, whose law is that of the ideal gas,
    V^N exp(-(P + t)V/kT).
    """

    stiffness: float = 0.0
    tension: float = 0.0

    def evaluate(self, positions: Array, cell: Array) -> Evaluation:
        volume = float(np.linalg.det(cell))
        y, tilt = log_shape(cell), tilts(cell)
        energy = self.tension * volume + 0.5 * self.stiffness * float(np.sum(y**2) + np.sum(tilt**2))
        # Derivative by the entries of h at fixed volume; the chain rule for h (1 + strain) multiplies by h^T.
        by_entries = self.stiffness * (np.diag(y / np.diagonal(cell)) + tilt / np.cbrt(volume))
        through_volume = self.tension * volume - self.stiffness * float(np.sum(tilt**2)) / 3.0
        stress = (cell.T @ by_entries + through_volume * np.eye(3)) / volume
        return Evaluation(energy, np.zeros_like(positions), stress)


def log_shape(cell: Array) -> Array:
    """Return ln h_aa less their mean, (3,)."""
    logs = np.log(np.diagonal(cell))
    return np.asarray(logs - logs.mean())


def tilts(cell: Array) -> Array:
    """Return what stands below the diagonal of h/V^(1/3), (3, 3)."""
    return np.asarray(np.tril(cell, -1) / np.cbrt(np.linalg.det(cell)))


@dataclass(frozen=True)
class Sum:
    """Add surfaces that have a stress."""

    parts: tuple[Potential, ...]

    def evaluate(self, positions: Array, cell: Array) -> Evaluation:
        answers = [part.evaluate(positions, cell) for part in self.parts]
        stress = sum((answer.stress for answer in answers), np.zeros((3, 3)))
        return Evaluation(
            sum(answer.energy for answer in answers), sum(answer.forces for answer in answers), np.asarray(stress)
        )


@dataclass(frozen=True)
class StressTurned:
    """Give the stress of another surface with the wrong sign."""

    surface: Potential

    def evaluate(self, positions: Array, cell: Array) -> Evaluation:
        answer = self.surface.evaluate(positions, cell)
        assert answer.stress is not None
        return Evaluation(answer.energy, answer.forces, -answer.stress)
