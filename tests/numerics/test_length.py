from __future__ import annotations

import math

import numpy as np
import pytest

from aiida_slhmc.numerics.length import adapt_length, draw_length


def draws(length: int, law: str, n: int = 20_000) -> np.ndarray:
    rng = np.random.default_rng(9)
    return np.array([draw_length(length, law, rng) for _ in range(n)])


@pytest.mark.parametrize(("length", "low", "high"), [(1, 1, 1), (2, 1, 3), (9, 5, 13), (10, 5, 15), (100, 50, 150)])
def test_uniform_law_covers_its_range_evenly(length: int, low: int, high: int) -> None:
    values, counts = np.unique(draws(length, "uniform"), return_counts=True)
    assert values.tolist() == list(range(low, high + 1))
    expected = 20_000 / len(values)
    assert np.abs(counts - expected).max() < 5 * math.sqrt(expected)


def test_geometric_law_has_the_mean_and_no_memory() -> None:
    values = draws(10, "geometric")
    assert values.min() == 1
    assert abs(values.mean() - 10) < 4 * math.sqrt(90 / 20_000)
    assert abs((values > 10).mean() - 0.9**10) < 4 * math.sqrt(0.25 / 20_000)


def test_fixed_law_is_fixed() -> None:
    assert set(draws(7, "fixed", 20)) == {7}


@pytest.mark.parametrize(("length", "law", "message"), [(0, "fixed", "at least 1"), (5, "poisson", "no law 'poisson'")])
def test_another_law_is_refused(length: int, law: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_length(length, law, np.random.default_rng(0))


def test_adaptation_table() -> None:
    length, lengths = 10, []
    for mean in (1.0, 0.9, 0.2, 0.7, 0.65, 0.55):
        length = adapt_length(length, mean)
        lengths.append(length)
    assert lengths == [20, 40, 20, 23, 23, 17]


def test_adaptation_keeps_within_its_bounds() -> None:
    assert adapt_length(900, 1.0, maximum=1000) == 1000
    assert adapt_length(1, 0.0) == 1
    assert adapt_length(12, 0.0, minimum=10) == 10
    assert adapt_length(20, 0.8, target=0.8) == 20
    assert adapt_length(20, 0.7, target=0.6, width=0.1) == 40


@pytest.mark.parametrize("mean", [math.nan, -0.1, 1.1])
def test_adaptation_refuses_what_is_no_probability(mean: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        adapt_length(10, mean)
