"""Errors of means: the closed forms of block averages, and AR(1) series with a known correlation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aiida_slhmc.analysis import statistics


def ar1(phi: float, n: int, chains: int, seed: int) -> np.ndarray:
    """Return stationary AR(1) series of unit variance, (chains, n); tau = (1 + phi) / (1 - phi)."""
    rng = np.random.default_rng(seed)
    series = np.empty((chains, n))
    series[:, 0] = rng.normal(size=chains)
    noise = rng.normal(size=(chains, n)) * math.sqrt(1 - phi**2)
    for t in range(1, n):
        series[:, t] = phi * series[:, t - 1] + noise[:, t]
    return series


def test_blocks_of_a_ramp_have_their_closed_form() -> None:
    ramp = np.arange(100.0)
    np.testing.assert_allclose(statistics.block_means(ramp, 10), np.arange(4.5, 95, 10))
    assert statistics.block_error_of_mean(ramp, 10) == pytest.approx(9.0829511, abs=1e-7)
    resampled = statistics.block_bootstrap(ramp, np.mean, rng=np.random.default_rng(0), block_length=10, resamples=400)
    assert resampled == pytest.approx(9.0829511, rel=0.15)


def test_an_incomplete_block_is_dropped() -> None:
    assert len(statistics.block_means(np.arange(29.0), 10)) == 2
    with pytest.raises(ValueError, match="no block"):
        statistics.block_means(np.arange(9.0), 10)


def test_block_bootstrap_resamples_whole_blocks() -> None:
    frames = np.arange(40.0).reshape(20, 2)
    seen: list[np.ndarray] = []

    def statistic(sample: np.ndarray) -> float:
        seen.append(sample)
        return float(sample.mean())

    statistics.block_bootstrap(frames, statistic, rng=np.random.default_rng(1), block_length=5, resamples=3)
    for sample in seen:
        assert sample.shape == (20, 2)
        starts = sample.reshape(4, 5, 2)[:, 0, 0]
        assert set(starts) <= {0.0, 10.0, 20.0, 30.0}
        np.testing.assert_allclose(np.diff(sample.reshape(4, 5, 2)[:, :, 0], axis=1), 2.0)


def test_short_blocks_underestimate_and_tau_does_not() -> None:
    # tau = 19, 500 samples: blocks of 10 give 0.62 of the true error (PHYSICS of AR(1)); tau_int gives it all.
    series = ar1(0.9, 500, 300, seed=7)
    truth = series.mean(axis=1).std(ddof=1)
    blocks = np.sqrt(np.mean([statistics.block_error_of_mean(row, 10) ** 2 for row in series]))
    known = np.sqrt(np.mean([statistics.mean_estimate(row).error ** 2 for row in series]))
    assert blocks / truth == pytest.approx(0.62, abs=0.07)
    assert known / truth == pytest.approx(0.95, abs=0.12)


def test_independent_samples_have_the_plain_error() -> None:
    series = np.random.default_rng(2).normal(size=4000)
    estimate = statistics.mean_estimate(series)
    assert estimate.tau == pytest.approx(1.0, abs=0.15)
    assert estimate.error == pytest.approx(1 / math.sqrt(4000), rel=0.1)
    assert estimate.effective_size == pytest.approx(4000, rel=0.15)


def test_anticorrelation_is_not_believed() -> None:
    series = np.tile([1.0, -1.0], 50)
    assert statistics.autocorrelation_time(series) == 1.0
    assert statistics.mean_estimate(series).error == pytest.approx(series.std(ddof=1) / 10)


def test_repeats_of_a_rejecting_chain_cost_effective_samples() -> None:
    # Independence sampler with rejection probability r: autocorrelation r^t, tau = (1 + r) / (1 - r).
    rng = np.random.default_rng(5)
    reject, n = 0.5, 20000
    fresh, keep = rng.normal(size=n), rng.random(n) < reject
    keep[0] = False
    series = fresh[np.maximum.accumulate(np.where(keep, 0, np.arange(n)))]
    assert statistics.mean_estimate(series).tau == pytest.approx(3.0, rel=0.12)


def test_degenerate_series() -> None:
    constant = statistics.mean_estimate(np.full(50, 2.5))
    assert (constant.value, constant.error, constant.tau) == (2.5, 0.0, 1.0)
    single = statistics.mean_estimate([3.0])
    assert single.value == 3.0
    assert math.isnan(single.error)
    for bad in ([], [1.0, np.nan], [[1.0]]):
        with pytest.raises(ValueError, match="series"):
            statistics.mean_estimate(bad)


def test_chains_combine_with_their_sizes() -> None:
    first, second = np.random.default_rng(3).normal(size=(2, 400))
    combined = statistics.mean_of_chains([first, second[:100] + 1.0])
    parts = [statistics.mean_estimate(first), statistics.mean_estimate(second[:100] + 1.0)]
    assert combined.n == 500
    assert combined.value == pytest.approx(0.8 * parts[0].value + 0.2 * parts[1].value)
    assert combined.error == pytest.approx(math.hypot(0.8 * parts[0].error, 0.2 * parts[1].error))
    assert combined.effective_size == pytest.approx(sum(part.effective_size for part in parts))
    with pytest.raises(ValueError, match="no chain"):
        statistics.mean_of_chains([])


def test_circular_blocks_are_contiguous_and_cover_all() -> None:
    indices = statistics.block_indices(12, 17, 5, rng=np.random.default_rng(4), resamples=200)
    assert indices.shape == (200, 17)
    for start in (0, 5, 10):
        assert (np.diff(indices[:, start : start + 5], axis=1) % 12 == 1).all()
    counts = np.bincount(indices.ravel(), minlength=12) / indices.size
    np.testing.assert_allclose(counts, 1 / 12, rtol=0.1)


def test_block_length_follows_the_correlation() -> None:
    assert statistics.block_length_for(1.0, 500) == 1
    assert statistics.block_length_for(5.0, 500) == 20
    assert statistics.block_length_for(80.0, 500) == 100
    assert statistics.block_length_for(80.0, 3) == 1
