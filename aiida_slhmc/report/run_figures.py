"""Figures of one run for its report: radial distributions, cell, coverage, compute time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from aiida_slhmc.analysis.samples import Plan
from aiida_slhmc.provenance.computed import Covered

from . import comparison_panels, panels, style
from .tables import Row

Arrays = Mapping[str, NDArray[Any]]
#: Lengths of a cell, and its volume.
CELL = (("a", style.BLUE, "-"), ("b", style.ORANGE, "--"), ("c", style.GREEN, "-."))
#: Elements that a map of coverage shows, those with the most atoms first; and atoms of one cloud.
ELEMENTS, CLOUD = 3, 1500
#: Room before the first peak in Å.
MARGIN = 0.3


def curve_rows(samples: Mapping[str, Arrays], pair: str, reference: str) -> list[Row]:
    """Return g(r) and the running coordination of a pair for every sample.

    :param samples: by name, of :func:`aiida_slhmc.analysis.samples.analyse`, with the same bins.
    :param pair: ``A-B``.
    :param reference: the sample whose columns are called so.
    :returns: ``r`` (Å, middle of the bin), ``g_<name>``, ``n_<name>``; those of ``reference`` are ``g_reference`` and
        ``n_reference``.
    """
    key = pair.replace("-", "_")
    edges = samples[reference]["rdf_edges"]
    columns = {"r": 0.5 * (edges[1:] + edges[:-1])}
    for name, analysis in samples.items():
        title = comparison_panels.REFERENCE if name == reference else name
        columns[f"g_{title}"], columns[f"n_{title}"] = analysis[f"rdf_{key}"], analysis[f"running_{key}"]
    values = zip(*columns.values(), strict=True)
    return [dict(zip(columns, (float(one) for one in row), strict=True)) for row in values]


def radial_distributions(
    samples: Mapping[str, Arrays], plan: Plan, *, reference: str, folder: Path, name: str = "radial-distributions"
) -> list[Path]:
    """Draw the radial distribution function of every pair, with the running coordination of the reference.

    :param samples: by name, of :func:`aiida_slhmc.analysis.samples.analyse`, with the same bins.
    :param plan: of the reference's analysis: ranges of the first peaks.
    :param reference: the sample that is drawn as an area.
    :param folder: where the files go.
    :param name: of the files.
    :returns: paths of PNG, PDF, and a CSV a pair.
    """
    pairs = list(plan.windows)
    curves = {pair: curve_rows(samples, pair, reference) for pair in pairs}
    others = [one for one in panels.ordered(samples, reference) if one != reference]
    look = {one: style.role(one, index) for index, one in enumerate(others)}
    with style.styled():
        figure = style.new_figure(style.PAGE, 0.6 + 1.6 * len(pairs))
        grid = figure.subplots(len(pairs), 1, squeeze=False, sharex=True)[:, 0]
        for axes, pair in zip(grid, pairs, strict=True):
            comparison_panels.rdf(axes, curves[pair], others, look)
            _running(axes, curves[pair], pair)
            axes.set_ylabel(f"$g(r)$ {pair.replace('-', '–')}")
            for index, one in enumerate([reference, *others]):
                colour, _, line = style.role(one, index)
                if one == reference:
                    axes.fill_between([], [], color=comparison_panels.AREA, label=style.label(one))
                else:
                    axes.plot([], [], color=colour, linestyle=line, label=style.label(one))
        # One range for all pairs, from the shortest bond of any.
        grid[0].set_xlim(min(_begin(curves[pair]) for pair in pairs), curves[pairs[0]][-1]["r"])
        # Above and outside of the curves, once for all panels.
        panels.legend_above(grid[0], ncols=4)
        grid[-1].set_xlabel("r (Å)")
        figure.align_ylabels()
        paths = style.save(figure, folder, name)
    return [*paths, *(style.write_table(folder, f"{name}-{pair}", curves[pair]) for pair in pairs)]


def _begin(curve: Sequence[Row]) -> float:
    """Return where a pair's curve begins to rise, with room before it, in Å."""
    key = f"g_{comparison_panels.REFERENCE}"
    return max(0.0, next((row["r"] for row in curve if row[key] > 0.0), curve[-1]["r"]) - MARGIN)


def _running(axes: Axes, curve: Sequence[Row], pair: str) -> None:
    """Draw the running coordination number on an axis of its own."""
    right = axes.twinx()
    right.plot([row["r"] for row in curve], [row[f"n_{comparison_panels.REFERENCE}"] for row in curve],
               color=style.GREY, linewidth=0.8, linestyle=(0, (1, 1)))  # fmt: skip
    right.set_ylabel(f"neighbours {pair.replace('-', '–')}\n(dotted)", color=style.GREY)
    right.spines["right"].set_visible(True)
    right.spines["right"].set_color(style.GREY)
    right.tick_params(axis="y", colors=style.GREY)
    right.set_ylim(0.0, None)
    right.yaxis.set_major_locator(MaxNLocator(4))


def cell_history(analysis: Arrays, *, unit: str, folder: Path, name: str = "cell-history") -> list[Path]:
    """Draw lengths and volume of the cell of every state, a line a chain.

    :param analysis: of :func:`aiida_slhmc.analysis.samples.analyse`.
    :param unit: formula unit that the volume is of.
    :param folder: where the files go.
    :param name: of the files.
    :returns: paths of PNG, PDF and CSV.
    """
    chains = np.unique(analysis["chain"])
    rows: list[Row] = []
    with style.styled():
        figure = style.new_figure(style.COLUMN, 3.2)
        top, bottom = figure.subplots(2, 1, sharex=True)
        for chain in chains:
            own = analysis["chain"] == chain
            volumes, lengths = analysis["volumes"][own], analysis["lengths"][own]
            states = np.arange(1, len(volumes) + 1)
            bottom.plot(states, volumes, color=style.CHAINS[int(chain) % len(style.CHAINS)], linewidth=0.9,
                        label=f"chain {chain}")  # fmt: skip
            for index, (letter, colour, line) in enumerate(CELL):
                top.plot(states, lengths[:, index], color=colour, linestyle=line, linewidth=0.9,
                         label=letter if chain == chains[0] else f"_{letter}, chain {chain}")  # fmt: skip
            rows += [
                {"chain": int(chain), "state": int(state), **dict(zip("abc", map(float, lengths[place]), strict=True)),
                 "volume": float(volumes[place])}
                for place, state in enumerate(states)
            ]  # fmt: skip
        top.set_ylabel("cell length (Å)")
        panels.legend_above(top, ncols=3)
        bottom.set_ylabel(f"volume (Å³/{unit})")
        bottom.set_xlabel("state of the chain")
        for axes in (top, bottom):
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(5))
        figure.align_ylabels()
        paths = style.save(figure, folder, name)
    return [*paths, style.write_table(folder, name, rows)]


def coverage_map(found: Covered, *, folder: Path, name: str = "coverage") -> list[Path]:
    """Draw the atoms of later labels over those that were trained on: a map of SOAP's components, and Q-residuals.

    :param found: the coverage.
    :param folder: where the files go.
    :param name: of the files.
    :returns: paths of PNG, PDF and CSV (one row an atom of the later labels).
    """
    numbers = np.asarray(found.frames["numbers"], dtype=int)
    kinds, counts = np.unique(numbers, return_counts=True)
    shown = [int(kind) for kind in kinds[np.argsort(-counts, kind="stable")][:ELEMENTS]]
    later = "production" if found.production else "last block"
    rows: list[Row] = []
    with style.styled():
        figure = style.new_figure(style.PAGE, 2.45 * len(shown) + 0.1)
        grid = figure.subplots(len(shown), 2, squeeze=False)
        for (left, right), kind in zip(grid, shown, strict=True):
            these = numbers == kind
            own, theirs = found.maps(kind)
            q, outlier = found.residuals.q[these], found.residuals.outlier[these]
            symbol = chemical_symbols[kind]
            _cloud(left, own, theirs, outlier, later)
            left.set_title(symbol, loc="right")
            _residuals(right, found, kind, q, later)
            rows += [
                {"element": symbol, "component_1": float(point[0]),
                 "component_2": float(point[1]) if len(point) > 1 else 0.0, "q": float(value), "outlier": bool(out)}
                for point, value, out in zip(theirs, q, outlier, strict=True)
            ]  # fmt: skip
        grid[-1, 0].set_xlabel("first principal component (SOAP)")
        grid[-1, 1].set_xlabel("Q-residual (SOAP²)")
        panels.legend_above(grid[0, 0], ncols=3, columnspacing=0.8, handletextpad=0.3)
        panels.legend_above(grid[0, 1], ncols=3, columnspacing=0.8)
        figure.align_ylabels()
        paths = style.save(figure, folder, name)
    return [*paths, style.write_table(folder, name, rows)]


def _cloud(
    axes: Axes, own: NDArray[Any], theirs: NDArray[Any], outlier: NDArray[np.bool_], later: str
) -> None:  # fmt: skip
    def second(points: NDArray[Any]) -> NDArray[Any]:
        return points[:, 1] if points.shape[1] > 1 else np.zeros(len(points))

    def thin(points: NDArray[Any]) -> NDArray[Any]:
        return points[:: max(1, -(-len(points) // CLOUD))]

    marks: dict[str, Any] = {"linestyle": "none", "markeredgewidth": 0.0}
    known, inside, out = thin(own), thin(theirs[~outlier]), theirs[outlier]
    axes.plot(known[:, 0], second(known), "o", color="#BDBDBD", markersize=2.6, label="trained on", **marks)
    axes.plot(inside[:, 0], second(inside), "^", color=style.BLUE, markersize=2.8, label=later, **marks)
    axes.plot(out[:, 0], second(out), "x", color=style.VERMILLION, markersize=3.4, label=f"{later}, outlier",
              linestyle="none")  # fmt: skip
    axes.set_ylabel("second component (SOAP)")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4))


def _residuals(axes: Axes, found: Covered, kind: int, q: NDArray[Any], later: str) -> None:
    """Draw the distribution of Q of an element, and the limit beyond which an atom is an outlier."""
    known = np.concatenate([
        found.reference.residuals(chunk).q[np.asarray(chunk["numbers"], dtype=int) == kind] for chunk in found.chunks
    ])  # fmt: skip
    limit = found.reference.limits[kind]
    edges = np.linspace(0.0, max(1.3 * limit, float(np.quantile(q, 0.98)), float(np.quantile(known, 0.98))), 32)
    for values, colour, line, text in ((known, style.GREY, "-", "trained on"), (q, style.BLUE, "--", later)):
        density, _ = np.histogram(values, edges, density=True)
        axes.stairs(density * len(values[values <= edges[-1]]) / len(values), edges, color=colour, linestyle=line,
                    label=text)  # fmt: skip
    axes.axvline(limit, color=style.VERMILLION, linewidth=0.9, linestyle=":", label="limit")
    axes.set_ylim(0.0, None)
    axes.set_xlim(0.0, edges[-1])
    axes.set_ylabel("density (1/SOAP²)")
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_locator(MaxNLocator(4))


def compute_time(steps: Mapping[str, Mapping[str, Any]], *, folder: Path, name: str = "compute-time") -> list[Path]:
    """Draw the compute time that every kind of step took in all.

    :param steps: by kind of step: ``count``, ``seconds``; those without a time are left out.
    :param folder: where the files go.
    :param name: of the files.
    :returns: paths of PNG, PDF and CSV.
    :raises ValueError: if no step reports a time.
    """
    rows = [{"step": step, "count": row["count"], "seconds": row["seconds"]} for step, row in steps.items()
            if row["seconds"] > 0]  # fmt: skip
    if not rows:
        raise ValueError("no step reports a time")
    rows.sort(key=lambda row: -row["seconds"])
    with style.styled():
        figure = style.new_figure(style.COLUMN, 0.7 + 0.26 * len(rows))
        axes = figure.subplots()
        axes.barh([-place for place in range(len(rows))], [row["seconds"] for row in rows], height=0.62,
                  color=style.BLUE, label="_time")  # fmt: skip
        for place, row in enumerate(rows):
            axes.annotate(f"{row['seconds']:.3g} s, {row['count']}×", (row["seconds"], -place), (3, 0),
                          textcoords="offset points", va="center", fontsize=6.5)  # fmt: skip
        axes.set_yticks([-place for place in range(len(rows))], [row["step"] for row in rows])
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0.0, 1.32 * rows[0]["seconds"])
        axes.set_xlabel("compute time (s)")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        paths = style.save(figure, folder, name)
    return [*paths, style.write_table(folder, name, rows)]
