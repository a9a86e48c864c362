"""The single panels of the figures, drawn on axes that are passed in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from . import style
from .tables import CONFIDENCE, Row

#: A ratio of largest to smallest error beyond which a linear axis would hide the small ones.
LOG_RATIO = 12.0
#: Up to so many blocks every block's end gets its tick.
MAX_TICKS = 8
#: Lags that are shown: so many autocorrelation times, and at least so many cycles.
LAGS_IN_TAU, MINIMUM_LAGS = 6.0, 10


def cycle_axis(axes: Axes, rows: Sequence[Row]) -> None:
    """Mark block boundaries, where the model is fine-tuned, and shade the frozen phase.

    :param axes: with the cycle on the horizontal axis.
    :param rows: of :func:`tables.block_rows`.
    """
    axes.set_xlim(0.5, rows[-1]["last_cycle"] + 0.5)
    for row in rows[1:]:
        axes.axvline(row["first_cycle"] - 0.5, color=style.GREY, linewidth=0.5, linestyle=(0, (1, 2)), zorder=0)
    for row in rows:
        if row["frozen"]:
            axes.axvspan(row["first_cycle"] - 0.5, row["last_cycle"] + 0.5, color=style.LIGHT, linewidth=0, zorder=-1)
    if len(rows) <= MAX_TICKS:
        axes.set_xticks([row["last_cycle"] for row in rows])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def few_ticks(axes: Axes, count: int = 4) -> None:
    """Mark few numbers on the vertical axis.

    :param axes: the panel.
    :param count: of intervals, at most.
    """
    axes.yaxis.set_major_locator(MaxNLocator(count))


def legend_above(axes: Axes, **options: Any) -> None:
    """Put the legend above the panel, where it can hide nothing.

    :param axes: the panel.
    :param options: of the legend.
    """
    place = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.0, "borderpad": 0.3}
    axes.legend(**{**place, "columnspacing": 1.4, **options})


def acceptance(axes: Axes, rows: Sequence[Row], proposals: Sequence[Row] = ()) -> None:
    """Draw the acceptance of every block with its interval, and the cumulative acceptance.

    :param axes: where.
    :param rows: of :func:`tables.block_rows`.
    :param proposals: of :func:`tables.proposal_rows`, for a cumulative acceptance by the cycle.
    """
    cycle_axis(axes, rows)
    centre = [(row["first_cycle"] + row["last_cycle"]) / 2 for row in rows]
    value = np.array([row["acceptance"] for row in rows])
    low = np.array([row["acceptance_low"] for row in rows])
    high = np.array([row["acceptance_high"] for row in rows])
    bars = np.clip(np.nan_to_num([value - low, high - value]), 0.0, None)
    if proposals:
        line = [(row["cycle"], row["cumulative_acceptance"]) for row in proposals]
    else:
        line = [(row["last_cycle"], row["cumulative_acceptance"]) for row in rows]
    axes.errorbar(
        centre, value, yerr=bars, fmt="o", color=style.BLUE, capsize=2, elinewidth=0.9, capthick=0.9,
        label=f"block ({100 * CONFIDENCE:.0f} % interval)", zorder=3,
    )  # fmt: skip
    axes.plot(*zip(*line, strict=True), color=style.ORANGE, label="cumulative")
    axes.set_ylim(0.0, 1.06)
    axes.set_ylabel("acceptance")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    legend_above(axes, ncols=2)


def proposal_length(axes: Axes, rows: Sequence[Row], proposals: Sequence[Row] = ()) -> None:
    """Draw the nominal proposal length of every block, and the length drawn for every proposal.

    :param axes: where.
    :param rows: of :func:`tables.block_rows`.
    :param proposals: of :func:`tables.proposal_rows`.
    """
    cycle_axis(axes, rows)
    edges = [rows[0]["first_cycle"] - 0.5, *(row["last_cycle"] + 0.5 for row in rows)]
    lengths = [row["proposal_length"] for row in rows]
    if proposals:
        axes.plot(
            [row["cycle"] for row in proposals], [row["steps"] for row in proposals], ".",
            color=style.SKY, markersize=3, markeredgewidth=0, label="drawn",
        )  # fmt: skip
    axes.stairs(lengths, edges, baseline=None, color=style.BLUE, linewidth=1.3, label="nominal")
    # Room below the points for the words.
    top = max([*lengths, *(row["steps"] for row in proposals)])
    axes.set_ylim(-0.18 * top, 1.08 * top)
    axes.set_ylabel("length (steps)")
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= 1.08 * top])
    axes.set_xlabel("cycle")
    if proposals:
        axes.legend(loc="lower left", ncols=2, columnspacing=1.2, borderaxespad=0.0, borderpad=0.2, markerscale=1.8)
    frozen = [row for row in rows if row["frozen"]]
    if frozen:
        centre = (frozen[0]["first_cycle"] + frozen[-1]["last_cycle"]) / 2
        axes.text(
            centre, 0.03, "frozen", transform=axes.get_xaxis_transform(), ha="center", va="bottom",
            fontsize=6.5, color=style.GREY,
        )  # fmt: skip


def errors(axes: Axes, rows: Sequence[Row], places: Sequence[Row], quantity: str, title: str) -> None:
    """Draw an error of the current model and of the foundation model on the labels of every block.

    :param axes: where.
    :param rows: of :func:`tables.error_rows`.
    :param places: of :func:`tables.block_rows`.
    :param quantity: ``force_rmse`` or ``energy_rmse``.
    :param title: of the vertical axis, with its unit.
    """
    cycle_axis(axes, places)
    for model in ("foundation", "adapted"):
        own = [row for row in rows if row["model"] == model and math.isfinite(row[quantity])]
        if not own:
            continue
        colour, marker, line = style.role(model)
        # Open and larger: it stays visible in the first block, where both models are one.
        hollow: dict[str, Any] = {"markerfacecolor": "white", "markersize": 6.0} if model == "foundation" else {}
        axes.errorbar(
            [(row["first_cycle"] + row["last_cycle"]) / 2 for row in own],
            [row[quantity] for row in own],
            yerr=np.nan_to_num([row[f"{quantity}_error"] for row in own]),
            color=colour, marker=marker, linestyle=line, capsize=2, elinewidth=0.9, capthick=0.9,
            label="foundation model" if model == "foundation" else "current model", **hollow,
        )  # fmt: skip
    values = [row[quantity] for row in rows if math.isfinite(row[quantity]) and row[quantity] > 0]
    if values and max(values) > LOG_RATIO * min(values):
        axes.set_yscale("log")
    else:
        axes.set_ylim(0.0, None)
        axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_ylabel(title)


def distribution(
    axes: Axes,
    densities: Sequence[Row],
    distances: Sequence[Row],
    *,
    reference: str,
    pair: tuple[str, str],
    looks: Mapping[str, tuple[str, str, str]] | None = None,
) -> None:
    """Draw the distributions of the nearest-neighbour distance; W1 and the noise floor stand in the legend.

    :param axes: where.
    :param densities: of :func:`tables.density_rows`.
    :param distances: of :func:`tables.distance_rows`.
    :param reference: name of the sample that is drawn as an area.
    :param pair: element symbols.
    :param looks: colour, marker and line style by name; None: those of the samples' roles.
    """
    edges = [*(row["left"] for row in densities), densities[-1]["right"]]
    names = [key.removeprefix("density_") for key in densities[0] if key.startswith("density_")]
    known = {row["sample"]: row for row in distances if math.isfinite(row["w1"])}
    floors = sorted(1000 * row["floor"] for row in known.values() if math.isfinite(row["floor"]))
    for index, name in enumerate(sorted(names, key=lambda name: name == reference)):
        colour, _, line = looks[name] if looks is not None else style.role(name, index)
        values = [row[f"density_{name}"] for row in densities]
        text = style.label(name)
        if name in known:
            text += f": $W_1$ = {_milli(known[name]['w1'], known[name]['w1_error'])} mÅ"
        elif name == reference and floors:
            low, high = f"{floors[0]:.1f}", f"{floors[-1]:.1f}"
            text += f"; noise floor of $W_1$: {low if low == high else f'{low}–{high}'} mÅ"
        if name == reference:
            axes.stairs(values, edges, fill=True, facecolor="#D5D5D5", edgecolor=style.GREY, linewidth=0.5, label=text)
        else:
            axes.stairs(values, edges, color=colour, linestyle=line, zorder=2, label=text)
    mass = np.array([[row[f"density_{name}"] for row in densities] for name in names]).sum(axis=0).cumsum()
    inside = np.flatnonzero((mass > 0.001 * mass[-1]) & (mass < 0.999 * mass[-1]))
    if inside.size:
        axes.set_xlim(edges[max(inside[0] - 1, 0)], edges[min(inside[-1] + 2, len(edges) - 1)])
    axes.set_ylim(0.0, None)
    axes.set_xlabel(f"nearest {pair[0]}–{pair[1]} distance (Å)")
    axes.set_ylabel("density (1/Å)")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    legend_above(axes, labelspacing=0.3)


def _milli(value: float, error: float) -> str:
    """Return a length in thousandths, with its error where there is one."""
    return f"{1000 * value:.1f}" + (f" ± {1000 * error:.1f}" if math.isfinite(error) else "")


def traces(
    axes: Axes,
    rows: Sequence[Row],
    title: str = "energy − mean (eV)",
    step: str = "cycle",
    names: Sequence[str] | None = None,
) -> None:
    """Draw the energy of every chain's states, repeats included, about the mean of all.

    :param axes: where.
    :param rows: of :func:`tables.trace_rows`.
    :param title: of the vertical axis, where it is another quantity.
    :param step: what a chain goes on by.
    :param names: of the chains; None: their numbers.
    """
    chains = sorted({row["chain"] for row in rows})
    for index, chain in enumerate(chains):
        own = [row for row in rows if row["chain"] == chain]
        # The step shows how long a state was held.
        axes.step(
            [row["cycle"] for row in own], [row["deviation"] for row in own], where="mid", linewidth=0.9,
            color=style.CHAINS[index % len(style.CHAINS)],
            label=f"chain {chain}" if names is None else names[chain],
        )  # fmt: skip
    axes.axhline(0.0, color=style.GREY, linewidth=0.5, zorder=0)
    low, high = min(row["cycle"] for row in rows), max(row["cycle"] for row in rows)
    axes.set_xlim(low - 0.5, high + 0.5)
    axes.set_xlabel(step)
    axes.set_ylabel(title)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    if len(chains) <= MAX_TICKS:
        legend_above(axes, ncols=min(4, len(chains)))


def autocorrelations(
    axes: Axes, rows: Sequence[Row], observable: Mapping[str, Any], name: str = "energy", steps: str = "cycles"
) -> None:
    """Draw the autocorrelation function of the energy; what follows from it stands above.

    :param axes: where.
    :param rows: of :func:`tables.autocorrelation_rows`.
    :param observable: ``tau`` (cycles), ``tau_error``, ``ess``, ``rhat`` of the energy, each may be None.
    :param name: of the quantity, where it is another.
    :param steps: what a chain goes on by, in the plural.
    """
    axes.set_xlabel(f"lag ({steps})")
    axes.set_ylabel(f"{name} autocorrelation")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if not rows:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(0.5, 0.5, f"too few {steps}", transform=axes.transAxes, ha="center", va="center", color=style.GREY)
        return
    tau = observable.get("tau")
    # Several times tau show the decay; the rest is noise.
    last = len(rows) if tau is None else min(len(rows), max(MINIMUM_LAGS, math.ceil(LAGS_IN_TAU * tau)) + 1)
    lags = [row["lag"] for row in rows[:last]]
    noise = rows[0]["noise"]
    axes.axhspan(
        -2 * noise, 2 * noise, color=style.LIGHT, linewidth=0, zorder=-1, label="noise of independent states (2 σ)"
    )
    axes.axhline(0.0, color=style.GREY, linewidth=0.5, zorder=0)
    words = []
    if tau is not None:
        error = observable.get("tau_error")
        words.append(rf"$\tau$ = {tau:.1f}" + ("" if error is None else f" ± {error:.1f}") + f" {steps}")
    if observable.get("ess") is not None:
        words.append(f"{observable['ess']:.0f} independent")
    if observable.get("rhat") is not None:
        words.append(rf"$\hat R$ = {observable['rhat']:.2f}")
    axes.plot(
        lags, [row["autocorrelation"] for row in rows[:last]], "o-", color=style.BLUE, markersize=2.8,
        label=", ".join(words) or "all chains",
    )  # fmt: skip
    axes.set_xlim(-0.02 * max(1, lags[-1]), 1.02 * max(1, lags[-1]))
    # Above the panel: a curve that stays high would run through it.
    legend_above(axes, reverse=True, labelspacing=0.3)


def pressures(axes: Axes, rows: Sequence[Row], *, reference: str) -> None:
    """Draw mean pressures with their errors; the reference's goes through as a band.

    :param axes: where.
    :param rows: of :func:`tables.pressure_rows`, in the order from top to bottom.
    :param reference: name of the sample to compare with.
    """
    axes.margins(x=0.08)
    for index, row in enumerate(rows):
        colour, marker, _ = style.role(row["sample"], index)
        axes.errorbar(
            row["pressure"], -index, xerr=np.nan_to_num(row["pressure_error"]), fmt=marker, color=colour,
            capsize=2.5, elinewidth=1.0, capthick=1.0, markersize=4.2, zorder=3,
        )  # fmt: skip
    low, high = axes.get_xlim()
    for index, row in enumerate(rows):
        colour, _, _ = style.role(row["sample"], index)
        left = row["pressure"] < (low + high) / 2
        text = f"{style.label(row['sample'])}: {row['pressure']:.2f}"
        if math.isfinite(row["pressure_error"]):
            text += f" ± {row['pressure_error']:.2f}"
        axes.annotate(
            text, (row["pressure"], -index), (-4 if left else 4, 4.5), textcoords="offset points",
            ha="left" if left else "right", va="bottom", fontsize=6.5, color=colour,
        )  # fmt: skip
        if row["sample"] == reference and math.isfinite(row["pressure_error"]):
            band = (row["pressure"] - row["pressure_error"], row["pressure"] + row["pressure_error"])
            axes.axvspan(*band, color=style.LIGHT, linewidth=0, zorder=-1)
    axes.set_xlim(low, high)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_ylim(-len(rows) + 0.5, 0.75)
    axes.set_xlabel("mean pressure at fixed cell (GPa)")


def letter(axes: Axes, text: str) -> None:
    """Put a panel's letter outside its upper left corner.

    :param axes: the panel.
    :param text: the letter.
    """
    axes.annotate(
        text, (0.0, 1.0), (-30, 5), xycoords="axes fraction", textcoords="offset points",
        fontsize=9, fontweight="bold", ha="left", va="bottom",
    )  # fmt: skip


def ordered(names: Iterable[str], reference: str) -> list[str]:
    """Return the names of samples in the order of the story: foundation, adapted, others, reference.

    :param names: of the samples.
    :param reference: name of the reference.
    """
    order = {"foundation": 0, "adapted": 1, reference: 3}
    return sorted(names, key=lambda name: (order.get(name, 2), name))
