"""The law of a bond against closed forms."""

import numpy as np
import pytest
from ase.units import kB

from aiida_slhmc.analysis.diatomic import bond_law

TEMPERATURE = 500.0
LENGTH, SPRING = 1.1, 150.0
SIGMA = np.sqrt(kB * TEMPERATURE / SPRING)


def harmonic(length=LENGTH, points=61):
    lengths = np.linspace(length - 0.15, length + 0.15, points)
    return lengths, 0.5 * SPRING * (lengths - length) ** 2 - 3000.0


def test_a_harmonic_bond_has_the_moments_of_a_gaussian_times_the_square():
    """With r = a + s x the mean of r^m r² over that of r² are moments of a Gaussian."""
    law = bond_law(*harmonic(), TEMPERATURE)
    a, s = LENGTH, SIGMA
    norm = a**2 + s**2
    mean = (a**3 + 3 * a * s**2) / norm
    square = (a**4 + 6 * a**2 * s**2 + 3 * s**4) / norm
    assert law.mean == pytest.approx(mean, abs=1e-9)
    assert law.mean - a == pytest.approx(2 * s**2 / a, rel=1e-3)
    assert law.sd == pytest.approx(np.sqrt(square - mean**2), rel=1e-6)
    assert law.average(law.lengths[::100], law.lengths[::100] ** 2) == pytest.approx(square, rel=1e-8)
    assert law.cdf([0.1, law.mean, 9.0]) == pytest.approx([0.0, 0.5, 1.0], abs=2e-3)


def test_a_constant_energy_changes_nothing():
    lengths, energies = harmonic()
    one, two = bond_law(lengths, energies, TEMPERATURE), bond_law(lengths, energies + 40.0, TEMPERATURE)
    np.testing.assert_allclose(one.density, two.density, rtol=1e-6)


def test_distances_between_laws_and_to_samples():
    law = bond_law(*harmonic(), TEMPERATURE)
    shifted = bond_law(*harmonic(LENGTH + 0.07), TEMPERATURE)
    assert law.distance(shifted) == pytest.approx(shifted.mean - law.mean, abs=1e-6)
    assert law.distance(law) == 0.0
    # The quantiles of the law, then a single value.
    quantiles = np.interp((np.arange(4000) + 0.5) / 4000, law.cumulative, law.lengths)
    assert law.wasserstein(quantiles) < 2e-5
    assert law.wasserstein(quantiles + 0.02) == pytest.approx(0.02, abs=2e-5)
    assert law.wasserstein([0.5]) == pytest.approx(law.mean - 0.5, abs=1e-6)


def test_the_floor_is_what_independent_samples_show(rng):
    law = bond_law(*harmonic(), TEMPERATURE)
    drawn = np.interp(rng.random((400, 50)), law.cumulative, law.lengths)
    seen = np.array([law.wasserstein(sample) for sample in drawn])
    # The formula takes the error of the distribution function as Gaussian: right within 2 % for 50 values.
    assert law.floor(50) == pytest.approx(seen.mean(), abs=4 * seen.std() / 20 + 0.02 * seen.mean())
    assert law.floor(50) == pytest.approx(np.sqrt(2 / np.pi / 50) * 1.6147 * law.sd, rel=0.01)


@pytest.mark.parametrize(
    ("lengths", "energies", "says"),
    [
        ([1.0, 1.1, 1.2], [0.0, 0.0, 0.0], "make no curve"),
        ([1.0, 1.1, 1.05, 1.2], [0.0] * 4, "ascending"),
        (np.linspace(1.09, 1.3, 20), 75.0 * (np.linspace(1.09, 1.3, 20) - 1.1) ** 2, "still reaches 1.090 Å"),
    ],
)
def test_what_is_no_curve_or_too_short_is_refused(lengths, energies, says):
    with pytest.raises(ValueError, match=says):
        bond_law(lengths, energies, TEMPERATURE)
