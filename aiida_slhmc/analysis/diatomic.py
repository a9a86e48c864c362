"""The bond of a diatomic molecule: its law at a temperature follows exactly from the energy along the bond."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.units import kB
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import cumulative_trapezoid, trapezoid
from scipy.interpolate import CubicSpline
from scipy.stats import wasserstein_distance

from .distributions import independent_floor

#: Points of the quadrature.
POINTS = 20_001
#: Largest density at the ends of the range, relative to the highest: what lies beyond is left out.
NEGLIGIBLE = 1e-6


@dataclass(frozen=True)
class BondLaw:
    """Hold the law of a bond length, p(r) proportional to r² exp(-U(r)/kT).

    A molecule turns freely, hence r²: the measure of three-dimensional space.

    :param lengths: (G,) bond lengths in Å, evenly spaced, ascending.
    :param density: (G,) in 1/Å; its integral is 1.
    :param cumulative: (G,) from 0 to 1.
    """

    lengths: NDArray[np.float64]
    density: NDArray[np.float64]
    cumulative: NDArray[np.float64]

    def cdf(self, lengths: ArrayLike) -> NDArray[np.float64]:
        """Return the probability of a bond no longer than each length.

        :param lengths: in Å, any shape.
        """
        return np.interp(np.asarray(lengths, dtype=np.float64), self.lengths, self.cumulative, left=0.0, right=1.0)

    def average(self, lengths: ArrayLike, values: ArrayLike) -> float:
        """Return the mean of a quantity that is known along the bond.

        :param lengths: (n,) in Å, ascending, over the range of the law.
        :param values: (n,) in any unit.
        """
        return float(trapezoid(CubicSpline(lengths, values)(self.lengths) * self.density, self.lengths))

    @property
    def mean(self) -> float:
        """Return the mean bond length in Å."""
        return float(trapezoid(self.lengths * self.density, self.lengths))

    @property
    def sd(self) -> float:
        """Return the standard deviation in Å."""
        return float(np.sqrt(trapezoid((self.lengths - self.mean) ** 2 * self.density, self.lengths)))

    def wasserstein(self, sample: ArrayLike) -> float:
        """Return the Wasserstein-1 distance between a sample and the law, in Å.

        :param sample: bond lengths in Å, any shape, at least one.
        """
        return float(wasserstein_distance(np.ravel(sample), self.lengths, None, self.density))

    def distance(self, other: BondLaw) -> float:
        """Return the Wasserstein-1 distance to another law, in Å.

        :param other: on any grid.
        """
        return float(wasserstein_distance(self.lengths, other.lengths, self.density, other.density))

    def floor(self, size: float) -> float:
        """Return the mean Wasserstein-1 distance between the law and an independent sample of it, in Å.

        :param size: (effective) number of values.
        """
        spread = trapezoid(np.sqrt(self.cumulative * (1.0 - self.cumulative)), self.lengths)
        return independent_floor(float(spread), size, np.inf)


def bond_law(lengths: ArrayLike, energies: ArrayLike, temperature: float) -> BondLaw:
    """Return the classical law of a bond length from energies along the bond, by a spline and quadrature.

    :param lengths: (n,) in Å, ascending, n >= 4; at both ends the law must have died out.
    :param energies: (n,) in eV; a constant has no influence.
    :param temperature: in K.
    :raises ValueError: if a shape is wrong, or the range is too narrow for the temperature.
    """
    knots, values = np.asarray(lengths, dtype=np.float64), np.asarray(energies, dtype=np.float64)
    if knots.ndim != 1 or knots.shape != values.shape or len(knots) < 4 or not (np.diff(knots) > 0).all():
        raise ValueError(f"{values.size} energies at {knots.size} lengths make no curve: give four or more, ascending")
    grid = np.linspace(knots[0], knots[-1], POINTS)
    curve = CubicSpline(knots, values)(grid)
    weight = grid**2 * np.exp(-(curve - curve.min()) / (kB * temperature))
    for end in (0, -1):
        if weight[end] > NEGLIGIBLE * weight.max():
            raise ValueError(
                f"at {temperature:g} K the bond still reaches {grid[end]:.3f} Å, the end of the curve: extend it."
            )
    density = weight / trapezoid(weight, grid)
    cumulative = cumulative_trapezoid(density, grid, initial=0.0)
    return BondLaw(grid, density, cumulative / cumulative[-1])
