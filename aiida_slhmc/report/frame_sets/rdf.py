"""Radial distribution functions of sets of frames: table, curves, figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aiida_slhmc.analysis.pair_totals import PairTotals, Peak
from aiida_slhmc.analysis.rdf import BIN_WIDTH, BLOCK, merged, pair_name
from aiida_slhmc.analysis.samples import PEAK_BINS
from aiida_slhmc.report import panels, style
from aiida_slhmc.report.tables import Row

from .common import SEED, Report, Sample, look, naming, number, skipped_notes

#: Panels of one figure; curves of further pairs are in the tables.
MAX_PANELS = 24
#: Fewer blocks than these, and the error of a peak is hardly known.
FEW_BLOCKS = 8
#: Width in Å at which curves are drawn: finer bins show noise.
DRAWN = 0.02


def rdf_report(
    samples: Sequence[Sample],
    *,
    cutoff: float = 6.0,
    bin_width: float = BIN_WIDTH,
    peak_bin: float | None = None,
    block: int = BLOCK,
    pairs: Sequence[tuple[str, str]] = (),
    windows: Mapping[str, tuple[float, float]] | None = None,
    seed: int = SEED,
) -> Report:
    """Return the radial distribution functions of sets of frames.

    :param samples: the sets.
    :param cutoff: largest distance in Å.
    :param bin_width: of g(r) in Å.
    :param peak_bin: width of the bins of the histogram whose peak is looked for, in Å; None: four of g(r).
    :param block: frames a block of the bootstrap.
    :param pairs: those that are wanted; empty: all.
    :param windows: by ``A-B`` (in alphabetical order) where the first peak is looked for in Å; else the first shell.
    :param seed: of the bootstraps.
    :raises ValueError: in one sentence that names the file.
    """
    bins = PEAK_BINS if peak_bin is None else max(1, round(peak_bin / bin_width))
    wanted = [pair_name(*pair) for pair in pairs]
    found: dict[str, PairTotals] = {}
    summary: list[Row] = []
    notes: list[str] = []
    for sample in samples:
        totals = PairTotals(cutoff, bin_width, block)
        for file in sample.files:
            with naming(f"'{file.path}'"):
                totals.add_chain(file)
        if not totals.frames:
            why = f"none of its {totals.skipped} frames has a volume" if totals.skipped else "it holds no frame"
            raise ValueError(f"{sample.paths}: {why}: g(r) needs periodic frames.")
        missing = [name for name in [*wanted, *(windows or {})] if name not in totals.pairs]
        if missing:
            raise ValueError(f"{sample.paths}: no pair {missing[0]}; there are {', '.join(totals.pairs)}.")
        notes += skipped_notes(sample, {"neither periodic nor of a volume": totals.skipped})
        found[sample.name] = totals
        for name in wanted or totals.pairs:
            with naming(sample.paths):
                summary.append(_row(sample.name, totals, name, (windows or {}).get(name), bins, seed))
    names = list(dict.fromkeys(row["pair"] for row in summary))
    drawn = [name for name in names if any(name in part.pairs and part.g(name).any() for part in found.values())]
    if len(drawn) > MAX_PANELS:
        notes.append(f"the figure shows {MAX_PANELS} of {len(drawn)} pairs: choose with --pair")
    few = [row for row in summary if row["blocks"] and row["blocks"] < FEW_BLOCKS]
    if few:
        notes.append(
            f"the error of the {few[0]['pair']} peak of {few[0]['sample']} comes from {few[0]['blocks']} blocks: it is "
            "hardly known"
        )
    if any(row["peak_at_edge"] for row in summary):
        notes.append("a peak marked * stands at the end of its window and is no maximum: give another --window")
    return Report(
        title=f"Radial distribution functions up to {cutoff:g} Å",
        columns=("sample", "frames", "A–B", "first peak (Å)", "shell ends (Å)", "B around A", "A around B"),
        lines=[_line(row) for row in summary],
        summary=summary,
        name="rdf",
        tables={name: _curves(totals, wanted or list(totals.pairs)) for name, totals in found.items()},
        notes=notes,
        draw=lambda folder: _draw(found, drawn[:MAX_PANELS], folder),
    )


def _row(sample: str, totals: PairTotals, name: str, window: tuple[float, float] | None, bins: int, seed: int) -> Row:
    shell = totals.shell(name)
    row: Row = {
        "sample": sample, "pair": name, "frames": totals.frames, "peak": math.nan, "peak_error": math.nan,
        "peak_error_blocks": math.nan, "blocks": 0, "peak_at_edge": False, "window_begin": math.nan,
        "window_end": math.nan, "shell_end": math.nan, "coordination": math.nan, "coordination_reverse": math.nan,
    }  # fmt: skip
    if shell is None:
        return row
    chosen = window or shell
    peak: Peak = totals.peak(name, chosen, bins=bins, rng=np.random.default_rng(seed))
    last = int(np.searchsorted(totals.edges[1:], shell[1]))
    forward, backward = totals.running(name)
    last = min(last, len(forward) - 1)
    return row | {
        "peak": peak.position, "peak_error": peak.error, "peak_error_blocks": peak.error_blocks, "blocks": peak.blocks,
        "peak_at_edge": peak.at_edge, "window_begin": chosen[0], "window_end": chosen[1], "shell_end": shell[1],
        "coordination": float(forward[last]), "coordination_reverse": float(backward[last]),
    }  # fmt: skip


def _line(row: Row) -> list[str]:
    one, two = row["pair"].split("-")
    return [
        row["sample"],
        str(row["frames"]),
        f"{one}–{two}",
        number(row["peak"], row["peak_error"]) + ("*" if row["peak_at_edge"] else ""),
        number(row["shell_end"], None, 2),
        number(row["coordination"], None, 2),
        number(row["coordination_reverse"], None, 2),
    ]


def _curves(totals: PairTotals, names: Sequence[str]) -> list[Row]:
    """Return g(r) and running coordination numbers, a row a bin."""
    columns: dict[str, Any] = {"r_begin": totals.edges[:-1], "r_end": totals.edges[1:]}
    for name in names:
        one, two = name.split("-")
        columns[f"g_{name}"] = totals.g(name)
        forward, backward = totals.running(name)
        columns[f"{two}_around_{one}"] = forward
        if one != two:
            columns[f"{one}_around_{two}"] = backward
    return [dict(zip(columns, map(float, values), strict=True)) for values in zip(*columns.values(), strict=True)]


def _draw(found: Mapping[str, PairTotals], names: Sequence[str], folder: Path) -> list[Path]:
    if not names:
        return []
    across = min(3, len(names))
    down = -(-len(names) // across)
    with style.styled():
        width = style.COLUMN if across == 1 else style.PAGE
        figure = style.new_figure(width, 0.35 + 1.85 * down)
        grid = figure.subplots(down, across, squeeze=False)
        for axes, name in zip(grid.flat, names, strict=False):
            _panel(axes, found, name)
        for axes in grid.flat[len(names) :]:
            axes.set_visible(False)
        for axes in grid[-1]:
            axes.set_xlabel("r (Å)")
        for row in grid:
            row[0].set_ylabel("g(r)")
        if len(found) > 1:
            handles, labels = grid.flat[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside upper left", ncols=min(4, len(found)))
        return style.save(figure, folder, "rdf")


def _panel(axes: Any, found: Mapping[str, PairTotals], name: str) -> None:
    one, two = name.split("-")
    right = axes.twinx()
    right.spines["right"].set_visible(True)
    tops, ends, firsts = [], [], []
    for index, (sample, totals) in enumerate(found.items()):
        if name not in totals.pairs:
            continue
        colour, _, line = look(index)
        factor = max(1, round(DRAWN / totals.width))
        g = merged(totals.g(name), factor) / factor
        r = totals.width * factor * (np.arange(len(g)) + 0.5)
        axes.plot(r, g, color=colour, linestyle=line, linewidth=0.9, label=sample)
        running = totals.running(name)[0]
        right.plot(totals.edges[1:], running, color=colour, linestyle=":", linewidth=0.8)
        visible = np.flatnonzero(g)
        firsts.append(r[visible[0]] if visible.size else totals.cutoff)
        tops.append(_body(g))
        ends.append(running[-1])
    axes.axhline(1.0, color=style.GREY, linewidth=0.5, zorder=0)
    axes.set_xlim(max(0.0, min(firsts) - 0.4), max(totals.cutoff for totals in found.values()))
    axes.set_ylim(0.0, 1.1 * max(max(tops), 1.5))
    right.set_ylim(0.0, max(1.0, 1.02 * max(ends)))
    right.tick_params(axis="y", colors=style.GREY)
    # Above the panel: inside it would lie on the first peak.
    axes.set_title(f"{one}–{two}", loc="left", fontweight="bold", pad=3.0)
    right.set_ylabel(f"{two} around {one} (dotted)", color=style.GREY, fontsize=6.5)
    panels.few_ticks(axes)
    panels.few_ticks(right)


def _body(g: Any) -> float:
    """Return the height that a panel needs: a spike of a cell that stands still may leave it."""
    top = float(np.max(g))
    wide = np.sort(g)[-4] if len(g) > 4 else top
    return min(top, 3.0 * max(float(wide), 1.0))
