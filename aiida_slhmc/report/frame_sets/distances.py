"""Nearest-neighbour distances of sets of frames, and how far they are from a reference."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from aiida_slhmc.analysis.distributions import compare
from aiida_slhmc.analysis.frame_sets import Distances, distances
from aiida_slhmc.analysis.pair_totals import PairTotals
from aiida_slhmc.analysis.rdf import pair_name
from aiida_slhmc.analysis.samples import DISTANCE_WIDTH, default_pair
from aiida_slhmc.analysis.statistics import block_bootstrap, mean_of_chains
from aiida_slhmc.report import panels, style
from aiida_slhmc.report.tables import Row, density_rows, distance_rows

from .common import SEED, Report, Sample, look, naming, number, skipped_notes

#: Frames that the default pair and the default cut-off are taken from, and how far neighbours are looked for in Å.
FIRST, REACH = 20, 6.0
#: Resamples of the bootstrap over blocks.
RESAMPLES = 400


@dataclass(frozen=True)
class _Set:
    """Hold what the chains of a sample gave."""

    sample: Sample
    chains: Sequence[Distances]

    def joined(self, series: Sequence[Any]) -> Any:
        return np.concatenate([np.asarray(part) for part in series])

    @property
    def values(self) -> Any:
        return self.joined([np.ravel(np.asarray(chain.values)) for chain in self.chains])


def distances_report(
    samples: Sequence[Sample],
    reference: Sample | None = None,
    *,
    pair: tuple[str, str] | None = None,
    cutoff: float | None = None,
    shell: Sequence[int] = (),
    bin_width: float = DISTANCE_WIDTH,
    block: int = 10,
    seed: int = SEED,
) -> Report:
    """Return the nearest-neighbour distances of sets of frames.

    :param samples: the sets.
    :param reference: the set that the others are compared with.
    :param pair: from every atom of the first element to the nearest of the second; None: the rarest element of the
        first frame, and what is nearest to it.
    :param cutoff: of the coordination in Å; None: where the first shell of the first frames ends.
    :param shell: numbers of neighbours of the parts of the first shell; empty: it is not split.
    :param bin_width: of the distribution in Å.
    :param block: frames a block of the bootstrap that knows no correlation.
    :param seed: of the bootstraps.
    :raises ValueError: in one sentence that names the file.
    """
    everything = [*samples, *([reference] if reference is not None else [])]
    notes: list[str] = []
    if pair is None or cutoff is None:
        pair, cutoff, words = _defaults(everything[-1], pair, cutoff)
        notes.append(words)
    sets = [_read(sample, pair, cutoff, shell) for sample in everything]
    for one in sets:
        skipped: Counter[str] = Counter()
        for chain in one.chains:
            skipped.update(chain.skipped)
        notes += skipped_notes(one.sample, skipped)
    against = sets[-1] if reference is not None else None
    summary = [_row(one, against, shell, block, seed) for one in sets]
    labels = {row["sample"]: row for row in summary}
    densities = density_rows({one.sample.name: one.values for one in sets}, bin_width)
    frames = [row for one in sets for row in _frame_rows(one, shell)]
    name = "–".join(pair)
    lines = [_line(row, shell, reference is not None) for row in summary]
    columns = ["sample", "frames", "mean (Å)", "τ (frames)", f"error, blocks of {block} (Å)", f"within {cutoff:.2f} Å"]
    columns += [f"shell of {size} (Å)" for size in shell] + ([f"all {sum(shell)} (Å)"] if shell else [])
    columns += ["W1 (Å)", "noise floor, 95 % (Å)"] if reference is not None else []

    def draw(folder: Path) -> list[Path]:
        rows = distance_rows({key: {**row, "distance_error": row["mean_error"]} for key, row in labels.items()})
        with style.styled():
            figure = style.new_figure(style.COLUMN, 2.3 + 0.13 * len(sets))
            looks = {one.sample.name: look(index) for index, one in enumerate(sets)}
            shown = reference.name if reference is not None else ""
            panels.distribution(figure.subplots(), densities, rows, reference=shown, pair=pair, looks=looks)
            return style.save(figure, folder, "distances")

    return Report(
        title=f"Nearest {name} distances",
        columns=columns,
        lines=lines,
        summary=summary,
        name="distances",
        tables={"distribution": densities, "frames": frames},
        notes=notes,
        draw=draw,
    )


def _defaults(sample: Sample, pair: tuple[str, str] | None, cutoff: float | None) -> tuple[tuple[str, str], float, str]:
    file = sample.files[0]
    first: list[Atoms] = list(islice(iter(file), FIRST))
    if not first:
        raise ValueError(f"'{file.path}' holds no frame.")
    # Of a data set with isolated atoms, a frame that has a bond.
    frame = max(first, key=len)
    words = []
    if pair is None:
        with naming(f"'{file.path}'"):
            pair = default_pair(frame.numbers, frame.positions[None], frame.cell[:][None], frame.pbc)
        words.append(f"the pair is {'–'.join(pair)}")
    if cutoff is None:
        name, totals = pair_name(*pair), PairTotals(REACH)
        totals.add_chain(first)
        shell = totals.shell(name) if name in totals.pairs else None
        if shell is None:
            raise ValueError(
                f"'{file.path}': the first {len(first)} frames show no shell of {'–'.join(pair)} neighbours: give the "
                "cut-off of the coordination with --cutoff, or another --pair."
            )
        cutoff = shell[1]
        words.append(f"the cut-off of the coordination is {cutoff:.2f} Å, where the first shell ends")
    return pair, cutoff, f"'{file.path}': " + ", ".join(words)


def _read(sample: Sample, pair: tuple[str, str], cutoff: float, shell: Sequence[int]) -> _Set:
    chains = []
    for file in sample.files:
        with naming(f"'{file.path}'"):
            chain = distances(file, pair, cutoff, shell)
        if not len(chain.values):
            reasons = ", ".join(f"{count} × {reason}" for reason, count in chain.skipped.items())
            raise ValueError(
                f"'{file.path}': no frame has {pair[0]}–{pair[1]} neighbours ({reasons or 'it holds no frame'})."
            )
        chains.append(chain)
    return _Set(sample, chains)


def _row(one: _Set, reference: _Set | None, shell: Sequence[int], block: int, seed: int) -> Row:
    means = [chain.means for chain in one.chains]
    mean = mean_of_chains(means)
    row: Row = {
        "sample": one.sample.name,
        "frames": mean.n,
        "distance": mean.value,
        "mean_error": mean.error,
        "tau": mean.tau,
        "error_blocks": _blocks(one.joined(means), block, seed),
    }
    series = {"coordination": [chain.coordination for chain in one.chains]}
    for index, name in enumerate(_shell_names(shell)):
        series[name] = [np.asarray(chain.shells)[:, index] for chain in one.chains]
    for name, values in series.items():
        estimate = mean_of_chains(values)
        row |= {name: estimate.value, f"{name}_error": estimate.error}
    keys = ("w1", "w1_error", "floor", "floor_95", "floor_independent", "floor_split")
    row |= dict.fromkeys(keys, math.nan) | {"block_length": 0, "resolved": ""}
    if reference is not None and reference is not one:
        found = compare(
            [chain.values for chain in one.chains], [chain.values for chain in reference.chains],
            rng=np.random.default_rng(seed),
        ).as_dict()  # fmt: skip
        row |= {name: found[name] for name in (*keys, "block_length", "resolved")}
    return row


def _blocks(series: Any, block: int, seed: int) -> float:
    """Return the error of a mean by the bootstrap over blocks of a fixed length; NaN for fewer than two."""
    if len(series) < 2 * block:
        return math.nan
    return block_bootstrap(
        series, np.mean, rng=np.random.default_rng(seed), block_length=block, resamples=RESAMPLES
    )  # fmt: skip


def _shell_names(shell: Sequence[int]) -> list[str]:
    return [f"shell_{index + 1}" for index in range(len(shell))] + (["shell"] if shell else [])


def _line(row: Row, shell: Sequence[int], compared: bool) -> list[str]:
    line = [row["sample"], str(row["frames"]), number(row["distance"], row["mean_error"], 4), f"{row['tau']:.1f}"]
    line += [number(row["error_blocks"], None, 4), number(row["coordination"], row["coordination_error"])]
    line += [number(row[name], row[f"{name}_error"], 4) for name in _shell_names(shell)]
    if compared:
        mark = " (within the noise)" if row["resolved"] is False else ""
        line += [number(row["w1"], row["w1_error"], 4) + mark]
        floors = [number(row[name], None, 4) for name in ("floor", "floor_95")]
        line += [", ".join(dict.fromkeys(floors))]
    return line


def _frame_rows(one: _Set, shell: Sequence[int]) -> list[Row]:
    rows = []
    for index, chain in enumerate(one.chains):
        for frame, mean in enumerate(chain.means):
            row: Row = {"sample": one.sample.name, "chain": index, "frame": frame, "distance": float(mean)}
            row["coordination"] = float(chain.coordination[frame])
            for part, name in enumerate(_shell_names(shell)):
                row[name] = float(np.asarray(chain.shells)[frame, part])
            rows.append(row)
    return rows
