"""The panels of the figures of a comparison, drawn on axes that are passed in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from aiida_slhmc.analysis.rdf import smoothed

from . import comparison_rows as rows
from . import style, tables

REFERENCE = "reference"
#: Colour of the area under a curve of the reference.
AREA = "#D5D5D5"
#: Bins of 0.01 bohr that are drawn as one: alone they are noisy.
DRAWN_BINS = 4
#: A peak narrower than this (Å) is no shell of neighbours.
SPIKE = 0.05


def learning(axes: Axes, points: Sequence[tables.Row], quantity: str, look: Mapping[str, Any]) -> None:
    """Draw an error against the labels: the mean of a protocol's runs, each of them thin beside it.

    :param axes: where.
    :param points: of :func:`.comparison_rows.learning_rows`, of one kind.
    :param quantity: ``force_rmse``, ``energy_rmse``.
    :param look: colour, marker and line style by protocol.
    """
    for protocol in rows.ordered({row["protocol"] for row in points}):
        own = [row for row in points if row["protocol"] == protocol]
        colour, marker, line = look[protocol]
        runs = sorted({row["run"] for row in own})
        mean = rows.together(own, quantity)
        shared = len(runs) == 1 or 2 * len(mean) > len({row["labels"] for row in own})
        for run in runs if len(runs) > 1 else ():
            part = [row for row in own if row["run"] == run]
            # Runs that ask for labels when they need them have no mean at equal labels.
            alone: dict[str, Any] = {"linewidth": 0.9, "linestyle": line, "markersize": 3.0}
            beside: dict[str, Any] = {"linewidth": 0.5, "alpha": 0.45, "markersize": 1.8}
            axes.plot(
                [row["labels"] for row in part], [row[quantity] for row in part], color=colour, marker=marker,
                **(beside if shared else alone),
            )  # fmt: skip
        if not shared:
            continue
        axes.errorbar(
            [row["labels"] for row in mean], [row["value"] for row in mean],
            yerr=np.nan_to_num([row["error"] for row in mean]), color=colour, marker=marker, linestyle=line,
            capsize=1.5, elinewidth=0.8, capthick=0.8,
        )  # fmt: skip
    values = [row[quantity] for row in points if math.isfinite(row[quantity]) and row[quantity] > 0]
    if values:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(left=-0.02 * max(1, max(row["labels"] for row in points)))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def rdf(axes: Axes, curve: Sequence[tables.Row], names: Sequence[str], look: Mapping[str, Any]) -> None:
    """Draw the radial distribution function of a pair, the reference's as an area.

    :param axes: where.
    :param curve: of :func:`.comparison_rows.rdf_rows`.
    :param names: of the protocols.
    :param look: colour, marker and line style by protocol.
    """
    r = np.array([row["r"] for row in curve])
    keep = len(r) // DRAWN_BINS * DRAWN_BINS

    def merged(key: str) -> Any:
        return np.array([row[key] for row in curve])[:keep].reshape(-1, DRAWN_BINS).mean(axis=1)

    axes.fill_between(merged("r"), merged(f"g_{REFERENCE}"), color=AREA, linewidth=0)
    axes.plot(merged("r"), merged(f"g_{REFERENCE}"), color=style.GREY, linewidth=0.5)
    for name in names:
        axes.plot(merged("r"), merged(f"g_{name}"), color=look[name][0], linestyle=look[name][2], linewidth=0.8)
    visible = np.flatnonzero(merged(f"g_{REFERENCE}") > 0)
    axes.set_xlim(max(0.0, merged("r")[visible[0]] - 0.3) if visible.size else 0.0, r[-1])
    # In a cell that stands still an atom's own images are all at one distance: that spike may leave the panel.
    body = smoothed(merged(f"g_{REFERENCE}"), float(merged("r")[1] - merged("r")[0]), SPIKE)
    axes.set_ylim(0.0, 1.4 * float(body.max()))
    axes.yaxis.set_major_locator(MaxNLocator(4))


def points(
    axes: Axes, entries: Sequence[tables.Row], look: Mapping[str, Any], title: str, *, names: Sequence[str]
) -> None:
    """Draw a quantity of every protocol with its error, its runs small, and the reference as a band of two errors.

    :param axes: where.
    :param entries: of :func:`.comparison_rows.entry_rows`, of one quantity; open where it is within the noise.
    :param look: colour, marker and line style by protocol.
    :param title: of the axis, with its unit.
    :param names: of the protocols, from top to bottom.
    """
    places = {name: -index for index, name in enumerate(names)}
    known = [row for row in entries if row["protocol"] in places]
    for row in known:
        colour, marker, _ = look[row["protocol"]]
        place = places[row["protocol"]]
        if row["run"]:
            axes.plot(
                row["value"], place - 0.22, marker=marker, color=colour, markersize=2.0, alpha=0.5, linestyle="none"
            )
            continue
        filled: dict[str, Any] = {} if row["within_noise"] is not True else {"markerfacecolor": "white"}
        axes.errorbar(
            row["value"], place, xerr=np.nan_to_num(row["error"]), fmt=marker, color=colour, capsize=2.0,
            elinewidth=0.9, capthick=0.9, markersize=4.0, zorder=3, **filled,
        )  # fmt: skip
    if known and math.isfinite(known[0]["reference"]):
        value, error = known[0]["reference"], float(np.nan_to_num(known[0]["reference_error"]))
        axes.axvspan(value - 2 * error, value + 2 * error, color=style.LIGHT, linewidth=0, zorder=-2)
        axes.axvline(value, color=style.GREY, linewidth=0.7, zorder=-1)
    axes.set_ylim(-len(names) + 0.4, 0.6)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel(title)


def bars(
    axes: Axes, entries: Sequence[tables.Row], look: Mapping[str, Any], title: str, *, names: Sequence[str]
) -> None:
    """Draw a distance or an error of every protocol as a bar, its runs as small points, the noise floor over it.

    :param axes: where.
    :param entries: of :func:`.comparison_rows.entry_rows`, of one quantity; dotted the mean of the floor, grey up to
        its 95th percentile.
    :param look: colour, marker and line style by protocol.
    :param title: of the axis, with its unit.
    :param names: of the protocols, from top to bottom.
    """
    for index, protocol in enumerate(names):
        colour, marker, _ = look[protocol]
        for row in entries:
            if row["protocol"] != protocol:
                continue
            if row["run"]:
                axes.plot(
                    row["value"], -index, marker=marker, color=style.BLACK, markersize=2.2, linestyle="none", zorder=4
                )
                continue
            axes.barh(
                -index, row["value"], height=0.68, color=colour, alpha=0.75, linewidth=0,
                xerr=np.nan_to_num(row["error"]), error_kw={"elinewidth": 0.9, "capsize": 2.0, "capthick": 0.9},
            )  # fmt: skip
            if math.isfinite(row["floor_95"]):
                # Each its own floor: samples of other lengths have others.
                low, high = -index - 0.45, -index + 0.45
                axes.fill_betweenx(
                    [low, high], 0.0, row["floor_95"], color=style.GREY, alpha=0.35, linewidth=0, zorder=3
                )
                axes.plot([row["floor"]] * 2, [low, high], color=style.BLACK, linewidth=0.8, linestyle=":", zorder=3)
    axes.set_xlim(left=0.0)
    axes.set_ylim(-len(names) + 0.4, 0.6)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel(title)


def name_lines(axes: Axes, names: Sequence[str]) -> None:
    """Write the names of the protocols at the left of a panel of :func:`points` or :func:`bars`.

    :param axes: the panel.
    :param names: from top to bottom.
    """
    axes.set_yticks([-index for index in range(len(names))], names)
    axes.tick_params(axis="y", length=0)


def key(panel: Any, runs: bool, floors: bool) -> tuple[list[Artist], list[str]]:
    """Return handles and labels of what a panel shows beside the protocols.

    :param panel: :func:`points` or :func:`bars`.
    :param runs: whether single runs are shown.
    :param floors: whether there is a noise floor.
    """
    marks: dict[str, Any] = {"color": style.GREY, "marker": "o", "linestyle": "none"}
    found: list[tuple[Artist, str]] = []
    if panel is points:
        found.append((Patch(facecolor=style.LIGHT, edgecolor=style.GREY), "reference ± 2 standard errors"))
        found.append((Line2D([], [], markerfacecolor="white", **marks), "open: within the noise"))
    if floors:
        found.append((Patch(facecolor=style.GREY, alpha=0.35), "noise floor, 95 %"))
        found.append((Line2D([], [], color=style.BLACK, linestyle=":", linewidth=0.8), "its mean"))
    if runs:
        found.append((Line2D([], [], markersize=2.2, **marks), "single seeds"))
    return [handle for handle, _ in found], [text for _, text in found]
