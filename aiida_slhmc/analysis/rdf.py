"""Radial distribution functions of all pairs of elements, beyond half the box, with what follows from them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from ase import units
from ase.data import chemical_symbols
from numpy.typing import ArrayLike, NDArray

from .distances import lattices
from .neighbours import neighbour_pairs

#: Width of a bin of the paper: 0.01 bohr in Å.
BIN_WIDTH = 0.01 * units.Bohr
#: Frames whose counts are kept together, for a bootstrap over blocks of time.
BLOCK = 10

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PairHistograms:
    """Counts of ordered pairs by distance, block by block of consecutive frames.

    :param width: of a bin in Å; the first begins at 0.
    :param sizes: number of atoms by element.
    :param counts: by pair ``A-B``: (B, bins) how often an atom B (images too) stands at that distance from an atom A,
        summed over the frames of a block.
    :param weighted: by pair: (B, bins) the same, every frame times its volume in Å³.
    :param frames: (B,) frames of every block.
    :param chain: (B,) chain of every block; no block holds frames of two.
    """

    width: float
    sizes: Mapping[str, int]
    counts: Mapping[str, NDArray[np.int64]]
    weighted: Mapping[str, Array]
    frames: NDArray[np.int64]
    chain: NDArray[np.int64]

    @property
    def pairs(self) -> tuple[str, ...]:
        """Return the names of the pairs, ``A-B``."""
        return tuple(self.counts)

    @property
    def edges(self) -> Array:
        """Return the edges of the bins in Å, (bins + 1,)."""
        return self.width * np.arange(next(iter(self.counts.values())).shape[1] + 1)

    def coarsened(self, factor: int) -> PairHistograms:
        """Return the histograms with ``factor`` bins made one; bins left over at the end are dropped.

        :param factor: at least 1.
        """
        counts, weighted = (
            {pair: merged(table, factor) for pair, table in group.items()} for group in (self.counts, self.weighted)
        )
        return PairHistograms(self.width * factor, self.sizes, counts, weighted, self.frames, self.chain)


def merged(table: NDArray[Any], factor: int) -> NDArray[Any]:
    """Return a histogram with ``factor`` bins made one; bins left over at the end are dropped.

    :param table: (..., bins).
    :param factor: at least 1.
    """
    bins = table.shape[-1] // factor
    return np.asarray(table[..., : bins * factor].reshape(*table.shape[:-1], bins, factor).sum(axis=-1))


def pair_name(first: str, second: str) -> str:
    """Return the name of a pair of elements as the histograms have it: ``A-B``, in alphabetical order.

    :param first: chemical symbol.
    :param second: chemical symbol.
    """
    return "-".join(sorted((first, second)))


def _blocks(chain: NDArray[np.int64], block: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Give the chain and the frames of every block."""
    for label in np.unique(chain):
        rows = np.flatnonzero(chain == label)
        for start in range(0, len(rows), block):
            yield int(label), rows[start : start + block]


def pair_histograms(
    positions: ArrayLike,
    cells: ArrayLike,
    numbers: ArrayLike,
    *,
    cutoff: float,
    bin_width: float = BIN_WIDTH,
    block: int = BLOCK,
    chain: ArrayLike | None = None,
    pbc: ArrayLike = (True, True, True),
) -> PairHistograms:
    """Count the pairs of all elements by their distance, periodic images of any number included.

    :param positions: (F, N, 3) in Å, frames of a chain in the order of time.
    :param cells: (F, 3, 3) or (3, 3) in Å, rows are lattice vectors.
    :param numbers: atomic numbers, (N,).
    :param cutoff: largest distance in Å; what is beyond its last whole bin is not counted.
    :param bin_width: in Å.
    :param block: frames whose counts are kept together.
    :param chain: (F,) which chain a frame belongs to; None: all of one.
    :param pbc: periodic along each lattice vector, (3,).
    :raises ValueError: without a frame, for a cut-off below one bin, or a cell of no volume along a periodic direction.
    """
    coordinates = np.asarray(positions, dtype=np.float64)
    coordinates = coordinates.reshape(-1, *coordinates.shape[-2:])
    n_frames, bins = len(coordinates), math.floor(cutoff / bin_width * (1 + 1e-12))
    if not n_frames or bins < 1:
        raise ValueError(f"{n_frames} frames and a cut-off of {cutoff} Å with bins of {bin_width} Å give no histogram")
    lattice = lattices(cells, n_frames)
    volumes = np.abs(np.linalg.det(lattice))
    labels = np.zeros(n_frames, dtype=np.int64) if chain is None else np.asarray(chain, dtype=np.int64)

    symbols = [chemical_symbols[number] for number in np.asarray(numbers, dtype=int)]
    elements = sorted(set(symbols))
    species = np.array([elements.index(symbol) for symbol in symbols])
    pairs = list(combinations_with_replacement(range(len(elements)), 2))
    # Only one order of two elements is counted: the other has the same distances.
    code = np.full((len(elements), len(elements)), len(pairs))
    for index, pair in enumerate(pairs):
        code[pair] = index

    counts, weighted, sizes, owners = [], [], [], []
    for owner, rows in _blocks(labels, block):
        count = np.zeros((len(pairs), bins), dtype=np.int64)
        weight = np.zeros((len(pairs), bins))
        for row in rows:
            first, second, distance = neighbour_pairs(coordinates[row], lattice[row], bins * bin_width, pbc)
            place = np.minimum((distance / bin_width).astype(np.int64), bins - 1)
            flat = np.bincount(code[species[first], species[second]] * bins + place, minlength=(len(pairs) + 1) * bins)
            own = flat[: len(pairs) * bins].reshape(len(pairs), bins)
            count += own
            weight += volumes[row] * own
        counts.append(count)
        weighted.append(weight)
        sizes.append(len(rows))
        owners.append(owner)
    names = [pair_name(elements[one], elements[two]) for one, two in pairs]
    by_pair, by_pair_weighted = np.stack(counts, axis=1), np.stack(weighted, axis=1)
    return PairHistograms(
        bin_width,
        {element: symbols.count(element) for element in elements},
        dict(zip(names, by_pair, strict=True)),
        dict(zip(names, by_pair_weighted, strict=True)),
        np.array(sizes, dtype=np.int64),
        np.array(owners, dtype=np.int64),
    )


def _norm(histograms: PairHistograms, pair: str) -> Array:
    """Return what a volume-weighted count of one frame is divided by: ordered pairs times the shells' volumes."""
    one, two = pair.split("-")
    partners = histograms.sizes[two] - (one == two)
    shells = 4.0 / 3.0 * np.pi * np.diff(histograms.edges**3)
    return np.asarray(histograms.sizes[one] * partners * shells)


def distribution_function(
    histograms: PairHistograms, pair: str, blocks: NDArray[np.int64] | slice = slice(None)
) -> Array:
    """Return g(r) of a pair, the mean over frames of V / (N_a (N_b - delta_ab)) n(r) / shell volume.

    :param histograms: counts.
    :param pair: ``A-B``.
    :param blocks: those that count, (K,), or (R, K) for R resamples; all by default.
    :returns: (bins,), or (R, bins); 1 for an ideal gas, and 0 where an element has one atom, whose only partners are
        its own images.

    Source: Allen and Tildesley, Computer Simulation of Liquids, section 2.6.
    """
    weighted, frames = histograms.weighted[pair][blocks], histograms.frames[blocks]
    axis = -2 if weighted.ndim > 2 else 0
    with np.errstate(divide="ignore", invalid="ignore"):
        g = weighted.sum(axis=axis) / frames.sum(axis=-1)[..., None] / _norm(histograms, pair)
    return np.asarray(np.nan_to_num(g, nan=0.0, posinf=0.0))


def running_coordination(histograms: PairHistograms, pair: str) -> Array:
    """Return how many atoms B stand around an atom A up to the end of every bin.

    :param histograms: counts.
    :param pair: ``A-B``: around A, which is the first of the two in alphabetical order.
    :returns: (bins,), the mean over atoms and frames; at constant volume the integral of 4 pi r^2 g(r) N_b / V.
    """
    total = histograms.counts[pair].sum(axis=0).cumsum()
    return np.asarray(total / (histograms.frames.sum() * histograms.sizes[pair.split("-")[0]]))


def smoothed(g: ArrayLike, width: float, sigma: float) -> Array:
    """Return a distribution function smoothed by a Gaussian.

    :param g: (bins,).
    :param width: of a bin in Å.
    :param sigma: of the Gaussian in Å.
    """
    from scipy.ndimage import gaussian_filter1d

    return np.asarray(gaussian_filter1d(np.asarray(g, dtype=np.float64), sigma / width, mode="constant"))


def first_shell(g: ArrayLike, edges: ArrayLike, sigma: float = 0.08) -> tuple[float, float]:
    """Return where the first shell of neighbours begins and ends.

    The function is smoothed; the shell is that of its first maximum above 1 (an ideal gas), or of the highest if none
    is. It ends where the function is lowest before it rises to half of that maximum again, in the middle of a gap where
    there is nothing, and begins as far inside of the maximum as it ends outside, if not later.

    :param g: (bins,).
    :param edges: (bins + 1,) in Å.
    :param sigma: of the smoothing in Å; shells closer than two of it are one.
    :returns: both in Å.
    :raises ValueError: if there is no pair at all.
    """
    bounds = np.asarray(edges, dtype=np.float64)
    curve = smoothed(g, float(bounds[1] - bounds[0]), sigma)
    centres = 0.5 * (bounds[1:] + bounds[:-1])
    if not curve.max() > 0:
        raise ValueError(f"no two atoms are closer than {bounds[-1]:.2f} Å")
    inner = np.flatnonzero((curve[1:-1] >= curve[:-2]) & (curve[1:-1] > curve[2:]) & (curve[1:-1] > 1.0)) + 1
    top = int(inner[0]) if inner.size else int(curve.argmax())
    rising = np.flatnonzero(curve[top:] <= 0.5 * curve[top])
    after = top + (int(rising[0]) if rising.size else 0)
    again = np.flatnonzero(curve[after:] > 0.5 * curve[top])
    end = after + int(again[0]) if again.size else len(curve)
    valley = curve[after:end] if end > after else curve[-1:]
    lowest = np.flatnonzero(valley <= valley.min() + 1e-3 * curve[top])
    outer = float(centres[min(after + round(float(lowest.mean())), len(centres) - 1)])
    return max(0.0, 2.0 * float(centres[top]) - outer), outer


@dataclass(frozen=True)
class Peak:
    """The first peak of a histogram.

    :param position: in the unit of the edges.
    :param at_edge: the largest bin stands at an end of the window: the position is its middle, and no peak.
    """

    position: float
    at_edge: bool


def first_peak(counts: ArrayLike, edges: ArrayLike, window: tuple[float, float]) -> Peak:
    """Return the position of the largest bin in a window, by a parabola through it and its neighbours.

    With y_-, y_0, y_+ the counts, the vertex is (y_- - y_+) / (2 (y_- - 2 y_0 + y_+)) bins beyond the middle of the
    largest bin. The histogram of distances is meant, as in arXiv 2605.25032, and not g(r), whose peak lies lower by
    about 2 s^2 / r. Of equal bins the first counts.

    :param counts: (bins,).
    :param edges: (bins + 1,), equidistant.
    :param window: beginning and end; bins whose middle lies inside count.
    :raises ValueError: if no bin lies inside.
    """
    values, bounds = np.asarray(counts, dtype=np.float64), np.asarray(edges, dtype=np.float64)
    width = bounds[1] - bounds[0]
    centres = 0.5 * (bounds[1:] + bounds[:-1])
    inside = np.flatnonzero((centres >= window[0]) & (centres <= window[1]))
    if not inside.size:
        raise ValueError(f"no bin lies between {window[0]} and {window[1]}")
    top = int(inside[values[inside].argmax()])
    if top in (inside[0], inside[-1]):
        return Peak(float(centres[top]), True)
    before, here, after = values[top - 1 : top + 2]
    shift = 0.5 * (before - after) / (before - 2.0 * here + after)
    return Peak(float(centres[top] + shift * width), False)


def peak_error(counts: ArrayLike, edges: ArrayLike, window: tuple[float, float], draws: NDArray[np.int64]) -> float:
    """Return the standard error of the position of the first peak, from resampled blocks.

    :param counts: (B, bins), block by block.
    :param edges: (bins + 1,), equidistant.
    :param window: beginning and end.
    :param draws: (R, K) the blocks of every resample.
    :returns: in the unit of the edges; NaN for a single block.
    """
    table = np.asarray(counts)
    if len(table) < 2:
        return math.nan
    return float(np.std([first_peak(table[draw].sum(axis=0), edges, window).position for draw in draws], ddof=1))


def rdf_distance(first: ArrayLike, second: ArrayLike, width: float) -> float:
    """Return the integral of |g_1 - g_2| over r.

    :param first: (bins,).
    :param second: (bins,).
    :param width: of a bin in Å.
    :returns: in Å.
    """
    return float(np.abs(np.asarray(first) - np.asarray(second)).sum() * width)
