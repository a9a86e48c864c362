from __future__ import annotations

import math

import numpy as np
import pytest

from aiida_slhmc.numerics.priority import draw, probabilities


@pytest.mark.parametrize("n", [6, 10, 20, 50])
@pytest.mark.parametrize("newest", [0, 1, 3, 4, 6])
def test_every_datum_counts_the_same_in_expectation(n: int, newest: int) -> None:
    """A draw hits datum k with probability q and then weighs 1/(n q): its share of the mean is 1/n, exactly."""
    chance = probabilities(n, 5, newest)
    assert chance.sum() == pytest.approx(1.0, abs=1e-14)
    assert (chance > 0).all()
    for seed in range(50):
        indices, weights = draw(n, 5, np.random.default_rng(seed), newest)
        np.testing.assert_allclose(weights * chance[indices], 1.0 / n, rtol=1e-14)


@pytest.mark.parametrize("n", [6, 10, 20, 50])
def test_sampled_shares(n: int) -> None:
    """60 000 batches of 5: the mean weight of each datum over the batch is 1/n within 4.5 standard errors."""
    rng, batches = np.random.default_rng(n), 60_000
    totals, squares, hits = np.zeros(n), np.zeros(n), np.zeros(n)
    for _ in range(batches):
        indices, weights = draw(n, 5, rng)
        share = np.bincount(indices, weights / 5, minlength=n)
        totals += share
        squares += share**2
        hits += np.bincount(indices, minlength=n)
    mean = totals / batches
    error = np.sqrt((squares / batches - mean**2) / batches)
    assert (np.abs(mean - 1.0 / n) < 4.5 * error).all()
    # The newest is expected once per batch.
    assert abs(hits[-1] / batches - 1.0) < 4.5 * math.sqrt(0.8 / batches)


@pytest.mark.parametrize("n", [6, 50])
def test_the_published_weights_would_be_caught(n: int) -> None:
    """The program of the paper weighs a newest datum hit with chance (L+1)/(n+L) as if by L/(n+L): it counts 1 + 1/L.

    It divides by the number of distinct draws besides, which is left out here.
    """
    repeats = math.ceil(n / 4)
    chance, weight = (repeats + 1) / (n + repeats), (n + repeats) / (n * repeats)
    assert chance * weight * n == pytest.approx(1 + 1 / repeats)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_data_are_a_batch_as_they_are(n: int) -> None:
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    indices, weights = draw(n, 5, rng)
    assert indices.tolist() == list(range(n))
    assert weights.tolist() == [1.0] * n
    assert rng.bit_generator.state == before


def test_same_seed_same_batch() -> None:
    first, second = (draw(30, 5, np.random.default_rng(8))[0].tolist() for _ in range(2))
    assert first == second


def test_the_newest_never_take_the_whole_batch() -> None:
    chance = probabilities(10, 4, newest=8)
    assert 4 * chance[-8:].sum() == pytest.approx(3.0)
    assert 4 * chance[:2].sum() == pytest.approx(1.0)


@pytest.mark.parametrize(("n", "batch", "newest"), [(0, 5, 0), (6, 1, 1), (6, 5, 7), (6, 5, -1)])
def test_what_makes_no_batch_is_refused(n: int, batch: int, newest: int) -> None:
    with pytest.raises(ValueError, match="cannot be drawn"):
        draw(n, batch, np.random.default_rng(0), newest)
