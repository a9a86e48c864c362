"""One sample of an ensemble, analysed: what is compared between samples later, and the curves of the figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import ArrayLike, NDArray

from . import rdf
from .cell import cell_series, formula_units
from .distances import nearest_distances
from .neighbours import coordination_numbers, nearest_neighbours, shell_means
from .pressure import pressure

#: Bins of 0.01 bohr that make one bin of a histogram whose peak is looked for, and of a distance between two g(r).
PEAK_BINS, DISTANCE_BINS = 4, 10
#: Bin of the distribution of nearest-neighbour distances in Å.
DISTANCE_WIDTH = 0.005

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Plan:
    """Say how every sample of a comparison is analysed, with all numbers decided.

    :param pair: nearest-neighbour distances are counted from every atom of the first element to the second.
    :param cutoff: of the coordination of that pair in Å.
    :param windows: where the first peak of a pair ``A-B`` is looked for, in Å.
    :param multiples: what the lengths of the cell are divided by.
    :param rdf_range: largest distance of the radial distribution functions in Å.
    :param temperature: of the ensemble in K.
    :param moves: whether the cell moves: then its metrics count, else the pressure does.
    :param shell: numbers of neighbours of the parts of the first shell; empty: it is not split.
    """

    pair: tuple[str, str]
    cutoff: float
    windows: Mapping[str, tuple[float, float]]
    multiples: tuple[float, float, float]
    rdf_range: float
    temperature: float
    moves: bool
    shell: tuple[int, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as plain values, for JSON."""
        return {
            "pair": list(self.pair),
            "cutoff": self.cutoff,
            "windows": {name: list(window) for name, window in self.windows.items()},
            "multiples": list(self.multiples),
            "rdf_range": self.rdf_range,
            "temperature": self.temperature,
            "moves": self.moves,
            "shell": list(self.shell),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """Return the plan that plain values describe.

        :param values: of :meth:`as_dict`.
        """
        return cls(
            pair=(values["pair"][0], values["pair"][1]),
            cutoff=float(values["cutoff"]),
            windows={name: (float(low), float(high)) for name, (low, high) in values["windows"].items()},
            multiples=tuple(float(value) for value in values["multiples"]),  # type: ignore[arg-type]
            rdf_range=float(values["rdf_range"]),
            temperature=float(values["temperature"]),
            moves=bool(values["moves"]),
            shell=tuple(int(size) for size in values["shell"]),
        )


def default_pair(
    numbers: ArrayLike, positions: ArrayLike, cells: ArrayLike, pbc: ArrayLike = (True, True, True)
) -> tuple[str, str]:
    """Return the pair of elements whose bond says most: the rarest element, and the one that is nearest to it.

    :param numbers: atomic numbers, (N,).
    :param positions: (F, N, 3) in Å.
    :param cells: (F, 3, 3) in Å.
    :param pbc: periodic along each lattice vector, (3,).
    :returns: two symbols; of equally rare elements the heavier, which is rarely the ligand, stands first.
    """
    kinds, counts = np.unique(np.asarray(numbers, dtype=int), return_counts=True)
    centre = chemical_symbols[max(zip(-counts, kinds, strict=True))[1]]
    others = [chemical_symbols[kind] for kind in kinds if chemical_symbols[kind] != centre] or [centre]
    lengths = {
        other: nearest_distances(positions, cells, numbers, centre=centre, neighbour=other, pbc=pbc).mean()
        for other in others
    }
    return centre, min(lengths, key=lambda other: (lengths[other], other))


def make_plan(reference: Arrays, settings: Mapping[str, Any], *, temperature: float, moves: bool) -> Plan:
    """Decide how the samples of a comparison are analysed: what is not given follows from the reference.

    :param reference: sample: ``positions`` (S, N, 3), ``cells`` (S, 3, 3) in Å, ``numbers`` (N,).
    :param settings: ``pair``, ``cutoff`` (Å), ``windows`` (Å), ``shell``, each may be None; ``multiples``,
        ``rdf_range`` (Å).
    :param temperature: of the ensemble in K.
    :param moves: whether the cell moves.
    :raises ValueError: for an element that the reference has not, or a pair without a shell within the range.
    """
    positions, cells, numbers = (reference[name] for name in ("positions", "cells", "numbers"))
    pair = tuple(settings["pair"] or default_pair(numbers, positions[:1], cells[:1]))
    histograms = rdf.pair_histograms(positions, cells, numbers, cutoff=settings["rdf_range"])
    shells = {}
    for name in histograms.pairs:
        g = rdf.distribution_function(histograms, name)
        if g.any():
            shells[name] = rdf.first_shell(g, histograms.edges)
    named = {rdf.pair_name(*name.split("-")): window for name, window in (settings["windows"] or {}).items()}
    foreign = sorted(set(named) - set(histograms.pairs))
    if foreign:
        raise ValueError(f"a window is given for {foreign[0]}, but the pairs are {', '.join(histograms.pairs)}")
    bond = rdf.pair_name(*pair)
    if settings["cutoff"] is None and bond not in shells:
        raise ValueError(f"no {bond} pair is closer than {settings['rdf_range']} Å: give a cutoff or a larger range")
    return Plan(
        pair=(pair[0], pair[1]),
        cutoff=float(settings["cutoff"] or shells[bond][1]),
        windows={name: tuple(named.get(name, shell)) for name, shell in shells.items()},  # type: ignore[misc]
        multiples=tuple(settings["multiples"]),
        rdf_range=float(settings["rdf_range"]),
        temperature=temperature,
        moves=moves,
        shell=tuple(settings["shell"] or ()),
    )


def analyse(sample: Arrays, plan: Plan) -> dict[str, NDArray[Any]]:
    """Analyse a sample.

    :param sample: ``positions`` (S, N, 3) and ``cells`` (S, 3, 3) in Å, ``numbers`` (N,), frames of a chain in the
        order of time; ``stresses`` (S, 3, 3) in eV/Å³ and ``chain`` (S,) where there are such.
    :param plan: how.
    :returns: frame by frame ``chain`` (S,), ``distances`` (S, A) in Å, ``coordination`` (S,), ``volumes`` (S,) in Å³ a
        formula unit, ``lengths`` (S, 3) in Å, ``angles`` (S, 3) in degrees, ``pressures`` (S,) in GPa (NaN without a
        stress), ``shells`` (S, parts + 1) in Å if the shell is split; curves ``rdf_edges`` (bins + 1,) in Å, and for
        every pair ``rdf_<A>_<B>`` and ``running_<A>_<B>`` (bins,); block by block, for errors: ``block_frames``,
        ``block_chain`` (B,), ``counts_<A>_<B>`` (B, bins / 4), ``weighted_<A>_<B>`` (B, bins / 10) in Å³.
    """
    positions, cells, numbers = (sample[name] for name in ("positions", "cells", "numbers"))
    n_frames, n_atoms = positions.shape[:2]
    chain = np.asarray(sample.get("chain", np.zeros(n_frames)), dtype=np.int64)
    centre, neighbour = plan.pair
    cell = cell_series(cells, numbers, plan.multiples)
    found: dict[str, NDArray[Any]] = {
        "chain": chain,
        "distances": nearest_distances(positions, cells, numbers, centre=centre, neighbour=neighbour),
        "coordination": coordination_numbers(
            positions, cells, numbers, centre=centre, neighbour=neighbour, cutoff=plan.cutoff
        ),
        "volumes": cell.volumes,
        "lengths": cell.lengths,
        "angles": cell.angles,
        "pressures": _pressures(sample, n_atoms, plan.temperature),
    }
    if plan.shell:
        nearest = nearest_neighbours(
            positions, cells, numbers, centre=centre, neighbour=neighbour, count=sum(plan.shell)
        )
        found["shells"] = shell_means(nearest, plan.shell)
    histograms = rdf.pair_histograms(positions, cells, numbers, cutoff=plan.rdf_range, chain=chain)
    fine, coarse = histograms.coarsened(PEAK_BINS), histograms.coarsened(DISTANCE_BINS)
    found |= {"rdf_edges": histograms.edges, "block_frames": histograms.frames, "block_chain": histograms.chain}
    for pair in histograms.pairs:
        key = pair.replace("-", "_")
        found[f"rdf_{key}"] = rdf.distribution_function(histograms, pair)
        found[f"running_{key}"] = rdf.running_coordination(histograms, pair)
        found[f"counts_{key}"] = fine.counts[pair].astype(np.int32)
        found[f"weighted_{key}"] = coarse.weighted[pair]
    return found


def kept_histograms(analysis: Arrays, numbers: ArrayLike, kind: str) -> rdf.PairHistograms:
    """Return the histograms that an analysis keeps block by block.

    :param analysis: of :func:`analyse`.
    :param numbers: atomic numbers, (N,).
    :param kind: ``counts`` (bins of a peak) or ``weighted`` (bins of a distance); the other is left empty.
    """
    symbols = [chemical_symbols[number] for number in np.asarray(numbers, dtype=int)]
    tables = {
        key.removeprefix(f"{kind}_").replace("_", "-"): table
        for key, table in analysis.items()
        if key.startswith(f"{kind}_")
    }
    factor = PEAK_BINS if kind == "counts" else DISTANCE_BINS
    width = float(analysis["rdf_edges"][1]) * factor
    sizes = {symbol: symbols.count(symbol) for symbol in sorted(set(symbols))}
    frames, chain = analysis["block_frames"], analysis["block_chain"]
    return rdf.PairHistograms(width, sizes, tables, tables, frames, chain)


def _pressures(sample: Arrays, n_atoms: int, temperature: float) -> NDArray[np.float64]:
    n_frames = len(sample["positions"])
    if "stresses" not in sample or not np.isfinite(sample["stresses"]).all():
        return np.full(n_frames, np.nan)
    return pressure(sample["stresses"], sample["cells"], n_atoms, temperature)


def units_of(numbers: ArrayLike) -> str:
    """Return the formula unit of atoms in words, such as ``TiO2``.

    :param numbers: atomic numbers, (N,).
    """
    from ase.symbols import Symbols

    kinds = np.asarray(numbers, dtype=int)
    reduced, _ = Symbols(kinds).formula.reduce()
    assert formula_units(kinds) >= 1
    return str(reduced.format("metal"))
