"""Means of correlated series, with errors that know the correlation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aiida_slhmc.numerics.diagnostics import integrated_autocorrelation_time

#: Shorter series say nothing about their own correlation.
MINIMUM_FOR_TAU = 8


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error.

    :param value: the estimate.
    :param error: its standard error, in the unit of the value; NaN where the data cannot tell.
    :param tau: integrated autocorrelation time in samples (1: independent samples).
    :param n: number of samples.
    """

    value: float
    error: float
    tau: float
    n: int

    @property
    def effective_size(self) -> float:
        """Return the number of independent samples that are worth as much: n / tau."""
        return self.n / self.tau

    def as_dict(self) -> dict[str, float]:
        """Return the fields as plain numbers."""
        return asdict(self)


def autocorrelation_time(series: ArrayLike) -> float:
    """Return the integrated autocorrelation time, never below that of independent samples.

    An anticorrelated series has a mean better than independent samples would give; a short one only looks so. The
    floor of 1 errs on the side of the larger error bar.

    :param series: (n,).
    :returns: tau in samples, at least 1.
    """
    values = np.asarray(series, dtype=np.float64)
    if values.size < MINIMUM_FOR_TAU or np.ptp(values) == 0.0:
        return 1.0
    tau, _ = integrated_autocorrelation_time(values)
    return max(1.0, float(tau))


def mean_estimate(series: ArrayLike) -> Estimate:
    """Return the mean of a stationary series, with the error se = sd sqrt(tau / n).

    :param series: (n,).
    :returns: mean and error in the unit of the series; the error of a single sample is NaN.
    :raises ValueError: if the series is empty or not finite.

    Source: Sokal, Monte Carlo methods in statistical mechanics (1997), with an automatic window.
    """
    values = np.asarray(series, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError("a series needs one axis and at least one value")
    if not np.isfinite(values).all():
        raise ValueError("the series holds a value that is not finite")
    n = int(values.size)
    tau = autocorrelation_time(values)
    error = float(values.std(ddof=1)) * math.sqrt(tau / n) if n > 1 else math.nan
    return Estimate(float(values.mean()), error, tau, n)


def mean_of_chains(chains: Sequence[ArrayLike]) -> Estimate:
    """Return the mean over independent chains, each with its own autocorrelation time.

    :param chains: one series a chain; lengths may differ.
    :returns: the mean over all samples; tau such that n / tau is the sum of the chains' effective sizes.
    :raises ValueError: if there is no chain, or one is empty or not finite.
    """
    if not chains:
        raise ValueError("there is no chain")
    parts = [mean_estimate(chain) for chain in chains]
    n = sum(part.n for part in parts)
    value = sum(part.n * part.value for part in parts) / n
    error = math.sqrt(sum((part.n * part.error) ** 2 for part in parts)) / n
    return Estimate(value, error, n / sum(part.effective_size for part in parts), n)


def block_means(series: ArrayLike, block_length: int = 10) -> NDArray[np.float64]:
    """Return the means of contiguous blocks; an incomplete block at the end is dropped.

    :param series: (n, ...).
    :param block_length: samples a block.
    :returns: (n // block_length, ...).
    :raises ValueError: if not even one block is complete.
    """
    values = np.asarray(series, dtype=np.float64)
    if block_length < 1 or len(values) < block_length:
        raise ValueError(f"{len(values)} samples hold no block of {block_length}")
    n_blocks = len(values) // block_length
    return np.asarray(values[: n_blocks * block_length].reshape(n_blocks, block_length, *values.shape[1:]).mean(axis=1))


def block_error_of_mean(series: ArrayLike, block_length: int = 10) -> float:
    """Return the error that the block bootstrap of a mean converges to: sd(block means) / sqrt(blocks).

    :param series: (n,).
    :param block_length: samples a block; the error is too small unless blocks are longer than several tau.
    :returns: standard error in the unit of the series.
    """
    means = block_means(series, block_length)
    return float(means.std() / math.sqrt(len(means)))


def block_bootstrap(
    series: ArrayLike,
    statistic: Callable[[NDArray[np.float64]], float],
    *,
    rng: np.random.Generator,
    block_length: int = 10,
    resamples: int = 400,
) -> float:
    """Return the standard error of a statistic from resampled blocks.

    The series is cut into ``n // block_length`` contiguous blocks, as many are drawn with replacement, and the error is
    the standard deviation of the statistic over the resamples. For an AR(1) series of 500 samples, blocks of 10 give
    0.93, 0.62 and 0.31 of the true error at tau = 3, 19 and 99: choose the blocks by :func:`block_length_for`, or
    report :func:`mean_estimate` beside.

    :param series: (n, ...), the first axis is time.
    :param statistic: maps a resampled series (blocks * block_length, ...) to a number.
    :param rng: source of the resampling.
    :param block_length: samples a block.
    :param resamples: number of bootstrap samples.
    :returns: standard error in the unit of the statistic.
    :raises ValueError: if not even one block is complete.
    """
    values = np.asarray(series, dtype=np.float64)
    n_blocks = len(values) // block_length
    if n_blocks < 1:
        raise ValueError(f"{len(values)} samples hold no block of {block_length}")
    blocks = values[: n_blocks * block_length].reshape(n_blocks, block_length, *values.shape[1:])
    draws = rng.integers(n_blocks, size=(resamples, n_blocks))
    results = [statistic(blocks[draw].reshape(-1, *values.shape[1:])) for draw in draws]
    return float(np.std(results, ddof=1))


def block_indices(
    n: int, size: int, block_length: int, *, rng: np.random.Generator, resamples: int = 400
) -> NDArray[np.int64]:
    """Draw bootstrap samples made of contiguous blocks that may start anywhere (the end wraps to the beginning).

    :param n: length of the series.
    :param size: length of a bootstrap sample.
    :param block_length: samples a block.
    :param rng: source of the resampling.
    :param resamples: number of bootstrap samples.
    :returns: indices into the series, (resamples, size).

    Source: circular block bootstrap, Politis and Romano (1992).
    """
    n_blocks = -(-size // block_length)
    starts = rng.integers(n, size=(resamples, n_blocks, 1))
    return np.asarray((starts + np.arange(block_length)).reshape(resamples, -1)[:, :size] % n, dtype=np.int64)


def block_length_for(tau: float, n: int, *, multiple: float = 4.0, minimum_blocks: int = 5) -> int:
    """Return a block length of several autocorrelation times that still leaves some blocks.

    :param tau: integrated autocorrelation time in samples.
    :param n: length of the series.
    :param multiple: blocks of this many tau; a series of independent samples (tau = 1) is not blocked.
    :param minimum_blocks: number of blocks that must remain.
    :returns: at least 1.
    """
    wanted = 1 if tau <= 1.0 else math.ceil(multiple * tau)
    return max(1, min(wanted, n // minimum_blocks))
