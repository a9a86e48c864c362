from __future__ import annotations

import numpy as np
import pytest
from ase import units
from scipy import stats

from aiida_slhmc.numerics.momenta import draw, kinetic_energy

MASSES = np.array([15.999, 47.867, 15.999, 15.999])
KT = 300.0 * units.kB


@pytest.mark.parametrize(("treatment", "freedoms"), [("keep", 12), ("remove", 9)])
def test_kinetic_energy_follows_the_gamma_law(treatment: str, freedoms: int) -> None:
    rng = np.random.default_rng(4)
    energies = [kinetic_energy(draw(MASSES, 300.0, rng, treatment), MASSES) for _ in range(4000)]
    assert stats.kstest(energies, stats.gamma(freedoms / 2, scale=KT).cdf).pvalue > 1e-4
    # The test can tell the two choices apart.
    assert stats.kstest(energies, stats.gamma((21 - freedoms) / 2, scale=KT).cdf).pvalue < 1e-12


def test_every_component_has_variance_m_kt() -> None:
    rng = np.random.default_rng(5)
    momenta = np.array([draw(MASSES, 300.0, rng) for _ in range(20_000)])
    scaled = momenta / np.sqrt(MASSES * KT)[:, None]
    assert np.abs(scaled.mean(axis=0)).max() < 4 / np.sqrt(20_000)
    assert np.abs(scaled.var(axis=0) - 1).max() < 4 * np.sqrt(2 / 20_000)


def test_removed_momentum_is_gone_and_kept_is_not() -> None:
    assert np.abs(draw(MASSES, 300.0, np.random.default_rng(6), "remove").sum(axis=0)).max() < 1e-14
    assert np.abs(draw(MASSES, 300.0, np.random.default_rng(6), "keep").sum(axis=0)).max() > 0.1


def test_removal_is_the_conditional_law() -> None:
    # Given no total momentum, cov(p_i, p_j) = kT (m_i delta_ij - m_i m_j / M); a rescaled draw would miss it.
    rng = np.random.default_rng(7)
    first = np.array([draw(MASSES, 300.0, rng, "remove")[:, 0] for _ in range(20_000)])
    expected = KT * (np.diag(MASSES) - np.outer(MASSES, MASSES) / MASSES.sum())
    assert np.cov(first.T) == pytest.approx(expected, abs=6 * KT * MASSES.max() / np.sqrt(20_000))


def test_kinetic_energy_by_hand() -> None:
    assert kinetic_energy(np.array([[3.0, 0.0, 4.0], [0.0, 2.0, 0.0]]), np.array([2.0, 8.0])) == pytest.approx(6.5)


def test_another_treatment_is_refused() -> None:
    with pytest.raises(ValueError, match="centre of mass"):
        draw(MASSES, 300.0, np.random.default_rng(0), "fix")
