"""The report on uncertainties, from assessments whose errors are drawn."""

import numpy as np
import pytest

from aiida_slhmc.analysis.assessments import Assessment, calibrate, score
from aiida_slhmc.calculations.uncertainty import ESTIMATORS, halves
from aiida_slhmc.report import style
from aiida_slhmc.report.uncertainty import draw, reliability, table_rows

FRAMES, ATOMS = 40, 6


@pytest.fixture
def drawn(rng):
    """Return assessments of four estimators, labels and scores."""
    labels = {"energies": np.zeros(FRAMES), "forces": np.zeros((FRAMES, ATOMS, 3))}
    found = {}
    for name, factor in zip(ESTIMATORS, (2.0, 0.5, 1.0, 30.0), strict=True):
        frame, atom = 0.01 * np.exp(rng.normal(size=FRAMES)), 0.1 * np.exp(rng.normal(size=(FRAMES, ATOMS)))
        energies, forces = (
            factor * frame * rng.normal(size=FRAMES),
            factor * atom[..., None] * rng.normal(size=(FRAMES, ATOMS, 3)),
        )
        found[name] = Assessment(energies, forces, frame, atom, name in ESTIMATORS[:2])
    scales = {name: calibrate(one, **labels) for name, one in found.items()}
    thresholds = {"energy": 0.02, "force": 0.3}
    return (
        found,
        labels,
        {name: score(one, **labels, scales=scales[name], thresholds=thresholds) for name, one in found.items()},
    )


def test_a_row_an_estimator_and_quantity(drawn):
    rows = table_rows(drawn[2])
    assert [(row["estimator"], row["quantity"]) for row in rows[:3]] == [
        ("committee", "force"), ("committee", "energy"), ("posterior", "force")
    ]  # fmt: skip
    assert rows[0]["z_raw"] == pytest.approx(2.0, rel=0.1)
    assert rows[0]["factor"] == pytest.approx(rows[0]["z_raw"], rel=1e-6)
    # A distance has no scale of its own.
    assert [row["z_raw"] is None for row in rows] == [False] * 4 + [True] * 4
    assert rows[0]["threshold"] == pytest.approx(300.0)


def test_the_figure_has_six_panels(drawn, tmp_path):
    found, labels, scores = drawn
    with style.styled():
        paths = style.save(draw(scores, found, labels), tmp_path, "uncertainty")
    assert all(path.stat().st_size > 10_000 for path in paths)


def test_bins_hold_equally_many_errors():
    announced, made, spread = reliability(np.full(40, 2.0), np.arange(1.0, 41.0))
    assert len(announced) == 10
    np.testing.assert_allclose(made, 2.0)
    np.testing.assert_allclose(spread, 0.0)
    assert announced[0] == pytest.approx(np.sqrt(np.mean(np.arange(1.0, 5.0) ** 2)))
    # Few errors make few bins.
    assert len(reliability(np.ones(5), np.ones(5))[0]) == 1


@pytest.mark.parametrize(("count", "share", "cut"), [(10, 0.5, 5), (10, 0.01, 1), (4, 0.99, 3)])
def test_both_halves_hold_a_frame(count, share, cut):
    first, rest = halves(count, share)
    assert (first, rest) == (slice(0, cut), slice(cut, count))
