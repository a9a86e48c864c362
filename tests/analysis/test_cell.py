"""Cell metrics: the closed forms, and fluctuations whose covariance matters."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_slhmc.analysis.cell import CellSeries, cell_metrics, cell_series, diagonal_volume_spread, formula_units
from aiida_slhmc.workflows.runfile import rutile


def test_the_papers_propagation_of_errors() -> None:
    volume, spread = diagonal_volume_spread((9.2, 9.2, 5.92), (0.01, 0.01, 0.008))
    assert volume == pytest.approx(501.0688)
    assert spread == pytest.approx(1.025552, abs=1e-6)
    assert volume / 16 == pytest.approx(31.31680)
    assert spread / 16 == pytest.approx(0.06410, abs=1e-5)


def test_volume_of_a_formula_unit() -> None:
    atoms = rutile(4.5937, 2.9587, 0.30478).repeat((2, 2, 2))
    assert formula_units(atoms.numbers) == 16
    series = cell_series(atoms.cell[:][None], atoms.numbers, (2, 2, 2))
    assert series.lengths[0] == pytest.approx([4.5937, 4.5937, 2.9587])
    assert series.angles[0] == pytest.approx([90.0, 90.0, 90.0])
    assert series.volumes[0] == pytest.approx(4.5937**2 * 2.9587 / 2)
    assert series.volumes[0] == pytest.approx(31.2174, abs=1e-4)
    with pytest.raises(ValueError, match="multiples above zero"):
        cell_series(atoms.cell[:][None], atoms.numbers, (2, 0, 2))


def test_what_lengths_have_in_common_is_kept() -> None:
    rng = np.random.default_rng(0)
    numbers = rutile().numbers
    common = 0.003 * rng.normal(size=4000)
    breathing = np.exp(common)[:, None, None] * np.diag([4.6, 4.6, 2.96])
    together = cell_metrics([cell_series(breathing, numbers)])
    # All three lengths move together: the volume moves by 3 ln, three times in quadrature makes sqrt(3).
    relative = together["volume"]["sd"] / together["volume"]["value"]
    assert relative == pytest.approx(3 * 0.003, rel=0.03)
    diagonal = together["volume_sd_diagonal"] / together["volume"]["value"]
    assert relative / diagonal == pytest.approx(np.sqrt(3), rel=0.01)
    covariance = np.array(together["covariance"])
    correlation = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert correlation == pytest.approx(np.ones((4, 4)), abs=1e-3)

    apart = np.zeros((4000, 3, 3))
    for index, length in enumerate((4.6, 4.6, 2.96)):
        apart[:, index, index] = length * np.exp(0.003 * rng.normal(size=4000))
    independent = cell_metrics([cell_series(apart, numbers)])
    assert independent["volume"]["sd"] / independent["volume_sd_diagonal"] == pytest.approx(1.0, rel=0.03)


def test_the_error_of_the_volume_knows_its_correlation() -> None:
    rng = np.random.default_rng(1)
    phi, series = 0.9, [rng.normal()]
    for noise in np.sqrt(1 - 0.9**2) * rng.normal(size=7999):
        series.append(phi * series[-1] + noise)
    volumes = 31.2 + 0.2 * np.array(series)
    lengths = np.tile((2 * volumes) ** (1 / 3), (3, 1)).T
    metrics = cell_metrics([CellSeries(lengths, np.full((8000, 3), 90.0), volumes)])
    assert metrics["volume"]["tau"] == pytest.approx(19.0, rel=0.25)
    assert metrics["volume"]["error"] == pytest.approx(0.2 * np.sqrt(19 / 8000), rel=0.2)
