"""Numbers of the comparison on a bond: samples and surfaces whose answers are known."""

import numpy as np
import pytest

from aiida_slhmc.analysis.diatomic import bond_law
from aiida_slhmc.report.bonds import LENGTHS, model_row, sample_row


def surface(length, spring=190.0):
    return {"energy": 0.5 * spring * (LENGTHS - length) ** 2, "force": -spring * (LENGTHS - length)}


@pytest.fixture
def law():
    return bond_law(LENGTHS, surface(1.07)["energy"], 500.0)


def test_a_sample_of_the_law_is_within_its_errors(law, rng):
    drawn = {chain: np.interp(rng.random(60), law.cumulative, law.lengths) for chain in range(4)}
    row = sample_row(drawn, law)
    assert row["n"] == 240
    assert abs(row["z"]) < 4
    assert row["sd"] == pytest.approx(law.sd, rel=4 / np.sqrt(480))
    assert row["w1"] < 3 * row["floor"]
    assert row["ks_p"] > 1e-4
    assert row["missed"] < 0.1


def test_a_sample_of_another_law_is_not(law):
    row = sample_row({0: np.linspace(1.09, 1.19, 50)}, law)
    assert row["z"] > 8
    assert row["ks_p"] < 1e-6
    assert row["missed"] == pytest.approx(float(law.cdf(1.09)))
    assert row["w1"] == pytest.approx(1.14 - law.mean, abs=2e-3)


def test_the_errors_of_a_shifted_bond(law):
    """The forces of two springs differ by a constant, the energies by a line of that slope."""
    shifted = surface(1.08)
    row = model_row(shifted, surface(1.07), law, bond_law(LENGTHS, shifted["energy"], 500.0))
    assert row["force_rmse"] == pytest.approx(190.0 * 0.01, rel=1e-6)
    assert row["energy_rmse"] == pytest.approx(190.0 * 0.01 * law.sd, rel=1e-6)
    assert row["w1"] == pytest.approx(0.01, rel=1e-3)
