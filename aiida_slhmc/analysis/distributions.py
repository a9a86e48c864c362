"""How far two distributions are apart, and how far two samples of one distribution would seem to be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import wasserstein_distance

from .statistics import Estimate, autocorrelation_time, block_indices, block_length_for, mean_of_chains

#: Integral of sqrt(F (1 - F)) of the standard normal law.
GAUSSIAN_SPREAD = 1.6147439


@dataclass(frozen=True)
class Ragged:
    """Hold the values of frames that differ in how many they have, such as those of a data set of mixed cells.

    :param values: (n,), frame after frame.
    :param sizes: (F,) values of every frame, at least 1.
    """

    values: NDArray[np.float64]
    sizes: NDArray[np.int64]

    @classmethod
    def of(cls, frames: Sequence[ArrayLike]) -> Ragged:
        """Return the values of frames.

        :param frames: one array a frame.
        """
        arrays = [np.asarray(frame, dtype=np.float64).ravel() for frame in frames]
        values = np.concatenate(arrays) if arrays else np.zeros(0)
        return cls(values, np.array([array.size for array in arrays], dtype=np.int64))

    @property
    def size(self) -> int:
        """Return the number of all values."""
        return self.values.size

    def __len__(self) -> int:
        return len(self.sizes)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.float64]:
        return np.array(self.values, dtype=dtype)

    def __getitem__(self, rows: Any) -> NDArray[np.float64]:
        """Return the values of some frames, in that order and as often as they are named."""
        chosen = np.arange(len(self))[rows]
        sizes, starts = self.sizes[chosen], (np.cumsum(self.sizes) - self.sizes)[chosen]
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return np.asarray(self.values[np.repeat(starts, sizes) + within])

    def frame_means(self, values: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Return the mean of every frame (F,).

        :param values: (n,) others in their place.
        """
        starts = np.cumsum(self.sizes) - self.sizes
        return np.asarray(np.add.reduceat(self.values if values is None else values, starts) / self.sizes)


def wasserstein(first: ArrayLike, second: ArrayLike) -> float:
    """Return the Wasserstein-1 distance of two samples: the integral of |F_1 - F_2|, exact from the sorted values.

    :param first: any shape; all values count alike.
    :param second: any shape, in the same unit.
    :returns: distance in the unit of the values.
    :raises ValueError: if a sample is empty or not finite.
    """
    one, two = (np.asarray(sample, dtype=np.float64).ravel() for sample in (first, second))
    if not (one.size and two.size and np.isfinite(one).all() and np.isfinite(two).all()):
        raise ValueError("both samples need at least one value, all of them finite")
    return float(wasserstein_distance(one, two))


def spread_integral(sample: ArrayLike) -> float:
    """Return the integral of sqrt(F (1 - F)) over the sample's range, F its empirical distribution function.

    :param sample: any shape.
    :returns: in the unit of the values; 1.6147 standard deviations for a Gaussian law.
    """
    values = np.sort(np.asarray(sample, dtype=np.float64).ravel())
    level = np.arange(1, values.size) / values.size
    return float(np.sum(np.sqrt(level * (1.0 - level)) * np.diff(values)))


def independent_floor(spread: float, n: float, m: float) -> float:
    """Return the mean W1 of two independent samples of one law: sqrt(2/pi) sqrt(1/n + 1/m) times the spread.

    At every x the difference of the two empirical distribution functions is nearly Gaussian with variance
    F (1 - F) (1/n + 1/m); its mean modulus integrates to the expression. With correlated values it is too low, and with
    effective sizes n / tau too high (whether x lies below X decorrelates faster than x): see :func:`bootstrap_floor`.

    :param spread: integral of sqrt(F (1 - F)) (:func:`spread_integral`), or ``GAUSSIAN_SPREAD`` times the standard
        deviation.
    :param n: (effective) size of one sample.
    :param m: (effective) size of the other.
    :returns: in the unit of the spread.
    """
    return math.sqrt(2.0 / math.pi) * math.sqrt(1.0 / n + 1.0 / m) * spread


def bootstrap_floor(
    frames: ArrayLike | Ragged,
    n: int,
    m: int,
    *,
    block_length: int,
    rng: np.random.Generator,
    resamples: int = 200,
) -> NDArray[np.float64]:
    """Draw W1 between pairs of samples of one law, with the time correlation of the data.

    Both samples of a pair are drawn from the same frames, in contiguous blocks of whole frames: the correlation in
    time up to the block length, and that between the atoms of a frame, are kept.

    :param frames: (F,) or (F, A): A values a frame, frames in time order.
    :param n: frames of one sample.
    :param m: frames of the other.
    :param block_length: frames a block; several autocorrelation times.
    :param rng: source of the resampling.
    :param resamples: number of pairs.
    :returns: (resamples,) in the unit of the values; its mean is the noise floor.
    """
    values = frames if isinstance(frames, Ragged) else np.asarray(frames, dtype=np.float64)
    first = block_indices(len(values), n, block_length, rng=rng, resamples=resamples)
    second = block_indices(len(values), m, block_length, rng=rng, resamples=resamples)
    return np.array([wasserstein(values[one], values[two]) for one, two in zip(first, second, strict=True)])


def split_floor(frames: ArrayLike | Ragged, n: int, m: int) -> float:
    """Return W1 between the two halves of a run, scaled to samples of other sizes.

    One draw, hence coarse, but free of any assumption about the correlation; a drift shows as a large value.

    :param frames: (F,) or (F, A), frames in time order, F >= 2.
    :param n: frames of one sample.
    :param m: frames of the other.
    :returns: in the unit of the values.
    :raises ValueError: if there are fewer than two frames.
    """
    values = frames if isinstance(frames, Ragged) else np.asarray(frames, dtype=np.float64)
    if len(values) < 2:
        raise ValueError("a split needs two frames")
    half = len(values) // 2
    rest = len(values) - half
    return wasserstein(values[:half], values[half:]) * math.sqrt((1.0 / n + 1.0 / m) / (1.0 / half + 1.0 / rest))


#: Frames in time order: (F, A), or with another number of values each.
Frames = NDArray[np.float64] | Ragged


@dataclass(frozen=True)
class Comparison:
    """A sample against a reference sample. All lengths in the unit of the values.

    :param w1: Wasserstein-1 distance.
    :param w1_error: its standard error (block bootstrap of both samples).
    :param floor: mean W1 of two samples of the reference's law, of these sizes and this correlation.
    :param floor_95: 95th percentile of the same: a W1 below it is no evidence of a difference.
    :param floor_independent: the floor if every value were independent: the least that is possible.
    :param floor_split: the floor from the two halves of the reference; NaN with fewer than two frames.
    :param mean: mean of the sample.
    :param mean_error: its standard error.
    :param reference_mean: mean of the reference.
    :param reference_mean_error: its standard error.
    :param block_length: frames a block of the bootstrap.
    """

    w1: float
    w1_error: float
    floor: float
    floor_95: float
    floor_independent: float
    floor_split: float
    mean: float
    mean_error: float
    reference_mean: float
    reference_mean_error: float
    block_length: int

    @property
    def resolved(self) -> bool:
        """Return whether the distance stands above the noise."""
        return self.w1 > self.floor_95

    def as_dict(self) -> dict[str, float | bool]:
        """Return the fields as plain numbers, with the verdict."""
        return {**asdict(self), "resolved": self.resolved}


def _table(values: ArrayLike | Ragged) -> Frames:
    if isinstance(values, Ragged):
        return values
    array = np.asarray(values, dtype=np.float64)
    return array.reshape(len(array), -1)


def _frame_means(frames: Frames, values: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    if isinstance(frames, Ragged):
        return frames.frame_means(values)
    return np.asarray((frames if values is None else values).mean(axis=1))


def _joined(chains: Sequence[Frames]) -> Frames:
    if not any(isinstance(chain, Ragged) for chain in chains):
        return np.concatenate([np.asarray(chain) for chain in chains])
    parts = [chain if isinstance(chain, Ragged) else Ragged.of(list(chain)) for chain in chains]
    return Ragged(np.concatenate([part.values for part in parts]), np.concatenate([part.sizes for part in parts]))


def frame_correlation(frames: ArrayLike | Ragged) -> float:
    """Return the autocorrelation time that matters to a distribution: the longer of its centre's and its width's.

    :param frames: (F,) or (F, A), frames in time order.
    :returns: tau in frames, at least 1.
    """
    table = _table(frames)
    values = np.asarray(table)
    centre = _frame_means(table)
    width = _frame_means(table, (values - values.mean()) ** 2)
    return max(autocorrelation_time(centre), autocorrelation_time(width))


def compare(
    frames: ArrayLike | Ragged | Sequence[ArrayLike | Ragged],
    reference: ArrayLike | Ragged | Sequence[ArrayLike | Ragged],
    *,
    rng: np.random.Generator,
    resamples: int = 200,
) -> Comparison:
    """Compare a sample with a reference: W1, its error, and the noise floor beneath which W1 says nothing.

    :param frames: (F,) or (F, A): A values a frame in time order, or :class:`Ragged`; or a list of such, one a chain.
    :param reference: likewise; the floor is that of the reference's law.
    :param rng: source of the resampling.
    :param resamples: of every bootstrap.
    :returns: the comparison, in the unit of the values.
    :raises ValueError: if a sample is empty or not finite.
    """
    one, one_mean, one_tau = _sample(frames)
    two, two_mean, two_tau = _sample(reference)
    n, m = len(one), len(two)
    block = block_length_for(max(one_tau, two_tau), min(n, m))
    floors = bootstrap_floor(two, n, m, block_length=block, rng=rng, resamples=resamples)
    first = block_indices(n, n, block, rng=rng, resamples=resamples)
    second = block_indices(m, m, block, rng=rng, resamples=resamples)
    distances = [wasserstein(one[i], two[j]) for i, j in zip(first, second, strict=True)]
    return Comparison(
        w1=wasserstein(one, two),
        w1_error=float(np.std(distances, ddof=1)),
        floor=float(floors.mean()),
        floor_95=float(np.quantile(floors, 0.95)),
        floor_independent=independent_floor(spread_integral(two), one.size, two.size),
        floor_split=split_floor(two, n, m) if m > 1 else math.nan,
        mean=one_mean.value,
        mean_error=one_mean.error,
        reference_mean=two_mean.value,
        reference_mean_error=two_mean.error,
        block_length=block,
    )


def _sample(
    data: ArrayLike | Ragged | Sequence[ArrayLike | Ragged],
) -> tuple[Frames, Estimate, float]:
    """Return all frames one chain after the other, the mean, and the longest autocorrelation time."""
    chains = [_table(chain) for chain in data] if isinstance(data, (list, tuple)) else [_table(data)]  # type: ignore[arg-type]
    if not chains or any(chain.size == 0 or not np.isfinite(np.asarray(chain)).all() for chain in chains):
        raise ValueError("a sample needs at least one frame, all values finite")
    mean = mean_of_chains([_frame_means(chain) for chain in chains])
    return _joined(chains), mean, max(frame_correlation(chain) for chain in chains)
