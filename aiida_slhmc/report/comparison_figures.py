"""Figures of a comparison: from what its nodes hold to PNG, PDF and the plotted numbers as CSV."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from aiida_slhmc.analysis.samples import DISTANCE_WIDTH

from . import comparison_panels as draw
from . import comparison_rows as rows
from . import panels, style, tables
from .comparison_panels import REFERENCE
from .comparison_rows import PREQUENTIAL, Arrays, Comparison

#: Characters of a panel's title in one line.
TITLE_WIDTH = 34


def titled(name: str) -> str:
    """Return the name of a protocol as a reader sees it.

    :param name: short name.
    """
    words = {"foundation": "foundation model", "reference": "target (reference)", "slhmc": "SLHMC"}
    return words.get(name, name.replace("_", " " if name[-1:].isdigit() else "-"))


def write_figures(
    comparison: Comparison, analyses: Mapping[str, Arrays], reference: Arrays, folder: Path
) -> list[Path]:
    """Write all figures that a comparison has the numbers for.

    :param comparison: what the node holds.
    :param analyses: by candidate, of :func:`aiida_slhmc.analysis.samples.analyse`.
    :param reference: the analysed reference.
    :param folder: made if it is not there.
    :returns: the paths.
    """
    paths: list[Path] = []
    if rows.learning_rows(comparison):
        paths += learning_curves(comparison, folder=folder)
    if rows.shown(comparison, analyses):
        paths += distance_distributions(comparison, analyses, reference, folder=folder)
        paths += radial_distributions(comparison, analyses, reference, folder=folder)
        paths += distances_to_reference(comparison, folder=folder)
        paths += quantities(comparison, folder=folder)
    if any(protocol["errors"] for protocol in comparison["protocols"].values()):
        paths += errors_on_tests(comparison, folder=folder)
    if rows.chain_rows(comparison):
        paths += chains(comparison, folder=folder)
    return paths


def _look(comparison: Comparison) -> dict[str, tuple[str, str, Any]]:
    """Return colour, marker and line style of every protocol."""
    names = rows.ordered(comparison["protocols"])
    return {name: style.protocol(name, index) for index, name in enumerate(names)}


def learning_curves(comparison: Comparison, *, folder: Path, name: str = "learning-curves") -> list[Path]:
    """Draw the errors of the models against the labels that they had been given.

    :param comparison: what the node holds.
    :param folder: where the files go.
    :param name: of the files.
    :returns: paths of PNG, PDF and CSV.
    :raises ValueError: if no run was judged.
    """
    points = rows.learning_rows(comparison)
    if not points:
        raise ValueError("no run has errors on the labels of its blocks")
    kinds = [PREQUENTIAL, *sorted({row["kind"] for row in points} - {PREQUENTIAL})]
    with style.styled():
        figure = style.new_figure(max(style.COLUMN, 2.45 * len(kinds)), 3.5)
        grid = figure.subplots(2, len(kinds), sharex="col", sharey="row", squeeze=False)
        for column, kind in enumerate(kinds):
            own = [row for row in points if row["kind"] == kind]
            for line, (quantity, title) in enumerate(
                (("force_rmse", "force RMSE (meV/Å)"), ("energy_rmse", "energy RMSE (meV/atom)"))
            ):
                draw.learning(grid[line, column], own, quantity, _look(comparison))
                if column == 0:
                    grid[line, 0].set_ylabel(title)
            head = "on the labels of the next block" if kind == PREQUENTIAL else f"on the test set '{kind}'"
            grid[0, column].set_title(head)
            grid[1, column].set_xlabel("labels (DFT calls) spent before")
        _legend(figure, comparison, {row["protocol"] for row in points})
        figure.align_ylabels()
        paths = style.save(figure, folder, name)
    return [*paths, style.write_table(folder, name, points)]


def _legend(figure: Figure, comparison: Comparison, names: Any, reference: bool = False) -> None:
    """Put the protocols' names above the panels."""
    look = _look(comparison)
    wanted = [name for name in rows.ordered(comparison["protocols"]) if name in names]
    handles: list[Artist] = [
        Line2D([], [], color=look[name][0], marker=look[name][1], linestyle=look[name][2]) for name in wanted
    ]
    labels = [titled(name) for name in wanted]
    if reference:
        handles.append(Patch(facecolor=draw.AREA, edgecolor=style.GREY, linewidth=0.5))
        labels.append(titled(REFERENCE))
    figure.legend(handles, labels, loc="outside upper left", ncols=4, columnspacing=1.4)


def distance_distributions(
    comparison: Comparison, analyses: Mapping[str, Arrays], reference: Arrays, *, folder: Path,
    name: str = "distance-distributions",
) -> list[Path]:  # fmt: skip
    """Draw the distributions of the nearest-neighbour distance, those of the runs of a protocol as one.

    :param comparison: what the node holds.
    :param analyses: by candidate.
    :param reference: the analysed reference.
    :param folder: where the files go.
    :param name: of the files.
    :returns: paths of PNG, PDF and CSV (bins of 0.005 Å).
    """
    samples = {
        protocol: np.concatenate([part["distances"].ravel() for part in rows.pooled(comparison, analyses, protocol)])
        for protocol in rows.shown(comparison, analyses)
    }
    densities = tables.density_rows({**samples, REFERENCE: reference["distances"]}, DISTANCE_WIDTH)
    edges = np.array([*(row["left"] for row in densities), densities[-1]["right"]])
    curves = {key: np.array([row[f"density_{key}"] for row in densities]) for key in (*samples, REFERENCE)}
    look = _look(comparison)
    # Small samples are drawn in wider bins, where their noise leaves something to be seen.
    wide = next((k for k, n in ((1, 8000), (2, 2000)) if min(map(len, samples.values())) >= n), 4)
    drawn = tables.density_rows({**samples, REFERENCE: reference["distances"]}, wide * DISTANCE_WIDTH)
    bins = np.array([*(row["left"] for row in drawn), drawn[-1]["right"]])
    everything = np.concatenate([sample.ravel() for sample in (*samples.values(), reference["distances"])])
    limits = np.quantile(everything, (0.001, 0.999))
    with style.styled():
        figure = style.new_figure(style.PAGE, 3.0)
        left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
        shape = [row[f"density_{REFERENCE}"] for row in drawn]
        left.stairs(shape, bins, fill=True, facecolor=draw.AREA, edgecolor=style.GREY, linewidth=0.5)
        for protocol in samples:
            colour, _, line = look[protocol]
            left.plot(
                0.5 * (bins[1:] + bins[:-1]),
                [row[f"density_{protocol}"] for row in drawn],
                color=colour,
                linestyle=line,
            )
            right.plot(
                edges[1:],
                np.cumsum(curves[protocol] - curves[REFERENCE]) * DISTANCE_WIDTH,
                color=colour,
                linestyle=line,
            )
        left.set_ylim(0.0, None)
        left.set_ylabel("density (1/Å)")
        right.axhline(0.0, color=style.GREY, linewidth=0.5, zorder=0)
        right.set_ylabel("cumulative − reference")
        right.set_title("the area is $W_1$", loc="right")
        bond = "–".join(comparison["plan"]["pair"])
        for axes, text in zip((left, right), "ab", strict=True):
            axes.set_xlim(limits[0] - 0.01, limits[1] + 0.01)
            axes.set_xlabel(f"nearest {bond} distance (Å)")
            axes.xaxis.set_major_locator(MaxNLocator(6))
            panels.letter(axes, text)
        _legend(figure, comparison, samples, reference=True)
        paths = style.save(figure, folder, name)
    return [*paths, style.write_table(folder, name, densities)]


def radial_distributions(
    comparison: Comparison, analyses: Mapping[str, Arrays], reference: Arrays, *, folder: Path,
    name: str = "radial-distributions",
) -> list[Path]:  # fmt: skip
    """Draw the radial distribution function of every pair, and the positions of its first peak above it.

    :param comparison: what the node holds.
    :param analyses: by candidate.
    :param reference: the analysed reference.
    :param folder: where the files go.
    :param name: of the files.
    :returns: paths of PNG, PDF, and a CSV a pair, beside that of the peaks.
    """
    pairs, look = list(comparison["plan"]["windows"]), _look(comparison)
    peaks = rows.entry_rows(comparison, [("quantities", f"peak {pair}") for pair in pairs])
    names = rows.shown(comparison, analyses)
    curves = {pair: rows.rdf_rows(comparison, analyses, reference, pair) for pair in pairs}
    with style.styled():
        figure = style.new_figure(style.PAGE, 1.0 + 1.75 * len(pairs))
        grid = figure.subplots(len(pairs), 2, width_ratios=(1.6, 1), squeeze=False)
        for line, pair in enumerate(pairs):
            draw.rdf(grid[line, 0], curves[pair], names, look)
            grid[line, 0].set_ylabel(f"$g(r)$ {pair.replace('-', '–')}")
            title = f"first peak {pair.replace('-', '–')}"
            own = [row for row in peaks if row["quantity"] == title]
            draw.points(grid[line, 1], own, look, f"{title} (Å)", names=names)
        grid[-1, 0].set_xlabel("r (Å)")
        _legend(figure, comparison, names, reference=True)
        paths = style.save(figure, folder, name)
    paths += [style.write_table(folder, f"{name}-{pair}", curves[pair]) for pair in pairs]
    return [*paths, style.write_table(folder, f"{name}-peaks", peaks)]


def distances_to_reference(comparison: Comparison, *, folder: Path, name: str = "distances-to-reference") -> list[Path]:
    """Draw the distances of distributions to the reference's, with the noise floor as a band.

    :param comparison: what the node holds.
    :param folder: where the files go.
    :param name: of the files.
    :returns: paths of PNG, PDF and CSV.
    """
    pairs = comparison["plan"]["windows"]
    keys = [("distances", "w1"), *(("distances", f"rdf {pair}") for pair in pairs), ("distances", "w1 volume")]
    return _by_panel(comparison, keys, draw.bars, folder=folder, name=name)


def quantities(comparison: Comparison, *, folder: Path, name: str = "quantities") -> list[Path]:
    """Draw mean distance, and cell or pressure, of every protocol beside the reference's.

    :param comparison: what the node holds.
    :param folder: where the files go.
    :param name: of the files.
    :returns: paths of PNG, PDF and CSV.
    """
    shells = [f"shell {index + 1}" for index in range(len(comparison["plan"]["shell"]))]
    names = ["distance", *shells, "coordination", "a", "b", "c", "volume", "pressure"]
    return _by_panel(comparison, [("quantities", key) for key in names], draw.points, folder=folder, name=name)


def errors_on_tests(comparison: Comparison, *, folder: Path, name: str = "test-errors") -> list[Path]:
    """Draw the errors of the models on the test sets.

    :param comparison: what the node holds.
    :param folder: where the files go.
    :param name: of the files.
    :returns: paths of PNG, PDF and CSV.
    """
    tests = dict.fromkeys(test for protocol in comparison["protocols"].values() for test in protocol["errors"])
    keys = [
        ("errors", test, key) for test in tests for key in ("energy_rmse_offset_removed", "force_rmse", "stress_rmse")
    ]
    return _by_panel(comparison, keys, draw.bars, folder=folder, name=name)


def _by_panel(
    comparison: Comparison, keys: Sequence[tuple[str, ...]], panel: Callable[..., None], *, folder: Path, name: str
) -> list[Path]:
    """Draw lines of the table, a panel each."""
    entries = rows.entry_rows(comparison, keys)
    titles = list(dict.fromkeys((row["quantity"], row["unit"]) for row in entries))
    names = [
        protocol
        for protocol in rows.ordered(comparison["protocols"])
        if any(r["protocol"] == protocol for r in entries)
    ]
    columns = min(3, len(titles))
    lines = -(-len(titles) // columns)
    look = _look(comparison)
    with style.styled():
        figure = style.new_figure(style.PAGE, 0.45 + lines * (0.6 + 0.21 * len(names)))
        grid = figure.subplots(lines, columns, squeeze=False).ravel()
        for index, (quantity, unit) in enumerate(titles):
            own = [row for row in entries if row["quantity"] == quantity]
            text = f"{quantity} ({unit})" if unit else quantity
            panel(grid[index], own, look, textwrap.fill(text, TITLE_WIDTH), names=names)
            if index % columns == 0:
                draw.name_lines(grid[index], [titled(protocol) for protocol in names])
        for axes in grid[len(titles) :]:
            axes.set_visible(False)
        figure.legend(
            *draw.key(panel, any(r["run"] for r in entries), any(math.isfinite(r["floor_95"]) for r in entries)),
            loc="outside upper right", ncols=4, columnspacing=1.4,
        )  # fmt: skip
        paths = style.save(figure, folder, name)
    return [*paths, style.write_table(folder, name, entries)]


def chains(comparison: Comparison, *, folder: Path, name: str = "acceptance") -> list[Path]:
    """Draw acceptance and proposal length of the runs that have chains.

    :param comparison: what the node holds.
    :param folder: where the files go.
    :param name: of the files.
    :returns: paths of PNG, PDF and CSV.
    """
    blocks, look = rows.chain_rows(comparison), _look(comparison)
    runs = list(dict.fromkeys(row["run"] for row in blocks))
    with style.styled():
        figure = style.new_figure(style.COLUMN, 3.1)
        top, bottom = figure.subplots(2, 1, sharex=True)
        for index, run in enumerate(runs):
            own = [row for row in blocks if row["run"] == run]
            colour, marker, _ = look[own[0]["protocol"]]
            # Runs of one protocol stand side by side, not on one another.
            shift = (index - (len(runs) - 1) / 2) * 0.15
            middle = [(row["first_cycle"] + row["last_cycle"]) / 2 + shift for row in own]
            value = np.array([row["acceptance"] for row in own])
            bars = [
                np.clip(value - [row["acceptance_low"] for row in own], 0, None),
                np.clip([row["acceptance_high"] for row in own] - value, 0, None),
            ]
            line = ("-", "--", "-.", ":")[index % 4]
            top.errorbar(
                middle, value, yerr=bars, color=colour, marker=marker, linestyle=line, capsize=1.5, elinewidth=0.8,
                capthick=0.8, linewidth=0.8, label=titled(run.replace("_seed_", ", seed ")),
            )  # fmt: skip
            bottom.plot(
                middle, [row["length"] for row in own], color=colour, marker=marker, linestyle=line, linewidth=0.8
            )
        top.set_ylim(0.0, 1.05)
        top.set_ylabel("acceptance")
        top.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        bottom.set_ylim(0.0, None)
        bottom.set_ylabel("length (steps)")
        bottom.set_xlabel("cycle (of all chains)")
        for axes in (top, bottom):
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(5))
        panels.legend_above(top, ncols=2)
        figure.align_ylabels()
        paths = style.save(figure, folder, name)
    return [*paths, style.write_table(folder, name, blocks)]
