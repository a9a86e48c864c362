"""Radial distribution functions of frames that come one at a time, of any composition, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from . import rdf
from .statistics import autocorrelation_time, block_indices, block_length_for

#: Blocks of a pair that are kept apart. Where there would be more, neighbouring ones are made one: the blocks then are
#: longer, which their bootstrap does not mind.
MAX_BLOCKS = 512
#: Ordered pairs of one frame beyond which a cut-off is refused: their table alone takes gigabytes.
MAX_PAIRS = 3e7
#: Resamples of the bootstrap of a peak.
RESAMPLES = 300

Array = NDArray[np.float64]


@dataclass
class Pair:
    """Sum up one pair of elements over blocks of frames.

    :param counts: by block (bins,): ordered pairs by distance.
    :param density: by block (bins,): g(r), summed over the frames.
    :param frames: by block, those that have a g(r): an element of one atom has no partner of its own kind.
    :param atoms: by block, atoms of the first and of the second element, summed over the frames.
    :param span: batches that make a block.
    """

    counts: list[NDArray[np.int64]] = field(default_factory=list)
    density: list[Array] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    atoms: list[NDArray[np.int64]] = field(default_factory=list)
    span: int = 1
    _open: int = 0

    def add(self, counts: NDArray[np.int64], density: Array, frames: int, atoms: NDArray[np.int64]) -> None:
        """Add a batch of frames.

        :param counts: (bins,).
        :param density: (bins,).
        :param frames: that have a g(r).
        :param atoms: (2,) of the first and of the second element.
        """
        lists: tuple[list[Any], ...] = (self.counts, self.density, self.frames, self.atoms)
        for values, value in zip(lists, (counts, density, frames, atoms), strict=True):
            if self._open:
                values[-1] = values[-1] + value
            else:
                values.append(value)
        self._open = (self._open + 1) % self.span
        if len(self.counts) > MAX_BLOCKS:
            for values in lists:
                values[:] = [values[row] + values[row + 1] for row in range(0, len(values) - 1, 2)] + (
                    values[-1:] if len(values) % 2 else []
                )
            self.span *= 2
            self._open = 1 if len(self.counts) % 2 else 0

    def close(self) -> None:
        """End the last block: the next frame is of another chain."""
        self._open = 0


@dataclass
class PairTotals:
    """Hold the pairs of all frames that were given.

    :param cutoff: largest distance in Å.
    :param width: of a bin in Å.
    :param block: frames a block, as far as composition and memory allow.
    :param pairs: by name ``A-B``, in alphabetical order.
    :param frames: number of frames that count.
    :param skipped: number of frames that have no volume.
    """

    cutoff: float
    width: float = rdf.BIN_WIDTH
    block: int = rdf.BLOCK
    pairs: dict[str, Pair] = field(default_factory=dict)
    frames: int = 0
    skipped: int = 0

    @property
    def edges(self) -> Array:
        """Return the edges of the bins in Å, (bins + 1,)."""
        return np.asarray(
            self.width * np.arange(math.floor(self.cutoff / self.width * (1 + 1e-12)) + 1), dtype=np.float64
        )

    def add_chain(self, frames: Iterable[Atoms]) -> None:
        """Add the frames of a chain, in the order of time.

        :param frames: each is dropped once it is counted.
        :raises ValueError: for a cut-off below one bin, or one that gives more pairs than memory holds.
        """
        for batch in self._batches(frames):
            first = batch[0]
            histograms = rdf.pair_histograms(
                [atoms.positions for atoms in batch], [atoms.cell[:] for atoms in batch], first.numbers,
                cutoff=self.cutoff, bin_width=self.width, block=len(batch), pbc=first.pbc,
            )  # fmt: skip
            self.frames += len(batch)
            for name in histograms.pairs:
                one, two = (histograms.sizes[symbol] for symbol in name.split("-"))
                partners = two - (name.split("-")[0] == name.split("-")[1])
                self.pairs.setdefault(name, Pair()).add(
                    histograms.counts[name][0],
                    rdf.distribution_function(histograms, name) * len(batch),
                    len(batch) if partners else 0,
                    np.array([one, two]) * len(batch),
                )
            # Not held while the next batch is read.
            del batch, first
        for pair in self.pairs.values():
            pair.close()

    def _batches(self, frames: Iterable[Atoms]) -> Iterator[list[Atoms]]:
        batch: list[Atoms] = []
        for atoms in frames:
            if not atoms.pbc.any() or atoms.cell.rank < 3:
                self.skipped += 1
                continue
            self._check(atoms)
            if batch and not _alike(batch[0], atoms):
                yield batch
                batch = []
            batch.append(atoms)
            if len(batch) == self.block:
                yield batch
                batch = []
        if batch:
            yield batch

    def _check(self, atoms: Atoms) -> None:
        pairs = len(atoms) ** 2 * 4.0 / 3.0 * math.pi * self.cutoff**3 / atoms.cell.volume
        if pairs > MAX_PAIRS:
            raise ValueError(
                f"a cut-off of {self.cutoff:g} Å takes in about {pairs:.0e} pairs of {atoms.get_chemical_formula()}: "
                f"choose one below {self.cutoff * (MAX_PAIRS / pairs) ** (1 / 3):.1f} Å"
            )

    def g(self, name: str) -> Array:
        """Return g(r) of a pair, the mean over the frames that have both elements.

        :param name: ``A-B``.
        :returns: (bins,).
        """
        pair = self.pairs[name]
        return np.asarray(np.sum(pair.density, axis=0) / max(1, sum(pair.frames)))

    def running(self, name: str) -> tuple[Array, Array]:
        """Return how many atoms B stand around an atom A up to the end of every bin, and A around B.

        :param name: ``A-B``.
        :returns: both (bins,), the mean over atoms and frames.
        """
        pair = self.pairs[name]
        counts, atoms = np.sum(pair.counts, axis=0).cumsum(), np.sum(pair.atoms, axis=0)
        return counts / atoms[0], counts / atoms[1]

    def shell(self, name: str) -> tuple[float, float] | None:
        """Return where the first shell of a pair begins and ends in Å; None if there is no pair within the cut-off.

        :param name: ``A-B``.
        """
        g = self.g(name)
        return rdf.first_shell(g, self.edges) if g.any() else None

    def peak(
        self, name: str, window: tuple[float, float], *, bins: int, rng: np.random.Generator, resamples: int = RESAMPLES
    ) -> Peak:
        """Return the first peak of the histogram of distances, with its errors.

        :param name: ``A-B``.
        :param window: where it is looked for in Å.
        :param bins: made one for the histogram.
        :param rng: source of the bootstraps.
        :param resamples: of each.
        :raises ValueError: if the window holds no bin.
        """
        counts = rdf.merged(np.asarray(self.pairs[name].counts), bins)
        edges = self.edges[::bins][: counts.shape[1] + 1]
        found = rdf.first_peak(counts.sum(axis=0), edges, window)
        n = len(counts)
        plain = block_indices(n, n, 1, rng=rng, resamples=resamples)
        # How long the distances remember: blocks are drawn in runs that outlast it.
        centres = 0.5 * (edges[1:] + edges[:-1])
        inside = (centres >= window[0]) & (centres <= window[1])
        shells = counts[:, inside]
        filled = shells.sum(axis=1) > 0
        means = (shells[filled] @ centres[inside]) / shells[filled].sum(axis=1)
        run = block_length_for(autocorrelation_time(means), n)
        draws = block_indices(n, n, run, rng=rng, resamples=resamples)
        # The two agree where blocks are independent: the larger one errs on the safe side.
        errors = [rdf.peak_error(counts, edges, window, rows) for rows in (plain, draws)]
        return Peak(found.position, max(errors), errors[0], found.at_edge, n)


@dataclass(frozen=True)
class Peak:
    """The first peak of a pair.

    :param position: in Å.
    :param error: its standard error, from blocks in runs that outlast their correlation; NaN for a single block.
    :param error_blocks: that of single blocks.
    :param at_edge: the largest bin stands at an end of the window: no peak.
    :param blocks: number of blocks.
    """

    position: float
    error: float
    error_blocks: float
    at_edge: bool
    blocks: int


def _alike(one: Atoms, other: Atoms) -> bool:
    return np.array_equal(one.numbers, other.numbers) and np.array_equal(one.pbc, other.pbc)
