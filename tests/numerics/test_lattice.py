from __future__ import annotations

import numpy as np
import pytest

from aiida_slhmc.numerics.lattice import RANGE, SPACING, inside, snap


@pytest.fixture
def points() -> np.ndarray:
    return snap(np.random.default_rng(1).uniform(-1000.0, 1000.0, size=20_000))


def test_snap_moves_by_at_most_half_a_spacing() -> None:
    values = np.random.default_rng(0).uniform(-1000.0, 1000.0, size=20_000)
    assert np.abs(snap(values) - values).max() <= SPACING / 2
    assert np.array_equal(snap(values) / SPACING, np.rint(snap(values) / SPACING))


def test_snap_is_idempotent_and_odd(points: np.ndarray) -> None:
    assert np.array_equal(snap(points), points)
    # Ties included: reversed momenta have to give reversed increments.
    values = np.concatenate([points + SPACING / 2, points + SPACING / 3])
    assert np.array_equal(snap(-values), -snap(values))


def test_storage_with_14_digits_is_undone(points: np.ndarray) -> None:
    stored = np.array([float(f"{point:.14g}") for point in points])
    assert np.any(stored != points)
    assert np.array_equal(snap(stored), points)


def test_sums_are_exact_within_the_range() -> None:
    rng = np.random.default_rng(2)
    x, step = snap(rng.uniform(-RANGE, RANGE, 20_000)), snap(rng.uniform(-RANGE, RANGE, 20_000))
    assert np.array_equal((x + step) - step, x)


def test_inside() -> None:
    assert inside(np.array([0.0, -RANGE + 1, RANGE - 1]))
    for value in (RANGE, -RANGE, np.inf, np.nan):
        assert not inside(np.array([0.0, value]))
