"""What estimates of uncertainty are worth: one figure, a table, and all numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from aiida import orm
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from aiida_slhmc.analysis.assessments import Assessment, errors
from aiida_slhmc.calculations.uncertainty import COMMITTEE, ESTIMATORS, POSTERIOR, T2, Q, assessments, halves

from . import panels, style

NAMES = {COMMITTEE: "committee", POSTERIOR: "sampled posterior", Q: "Q-residual", T2: "Hotelling's T²"}
LOOKS = {
    COMMITTEE: (style.BLUE, "o", "-"),
    POSTERIOR: (style.VERMILLION, "s", "--"),
    Q: (style.GREEN, "^", "-."),
    T2: (style.PURPLE, "v", ":"),
}
#: Points of the curve of errors over predicted uncertainties, at most; each of at least so many errors.
BINS, LEAST_IN_BIN = 10, 4
#: Name, unit of the error, factor from eV to it.
QUANTITIES = {"force": ("forces", "meV/Å", 1000.0), "energy": ("energies", "meV/cell", 1000.0)}


def table_rows(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the scores as rows, one an estimator and quantity.

    :param scores: ``scores`` of the node.
    """
    rows = []
    for name in ESTIMATORS:
        for quantity, (_, unit, factor) in QUANTITIES.items():
            part = scores[name][quantity]
            raw, calibrated, detection = part.get("raw", {}), part["calibrated"], part["detection"]
            rows.append({
                "estimator": name,
                "quantity": quantity,
                "unit": unit,
                "errors": calibrated["n"],
                "rmse": factor * calibrated["rmse"],
                "sd_raw": _times(factor, raw.get("sd")),
                "z_raw": raw.get("z"),
                "area_raw": raw.get("miscalibration_area"),
                "factor": part["factor"],
                "z_calibrated": calibrated["z"],
                "area_calibrated": calibrated["miscalibration_area"],
                "area_floor": calibrated["miscalibration_floor"],
                "log_density": calibrated["log_density"],
                "threshold": factor * detection["threshold"],
                "above": detection["above"],
                "auroc": detection["auroc"],
                "spearman": detection["spearman"],
                "pearson": detection["pearson"],
            })  # fmt: skip
    return rows


def _times(factor: float, value: float | None) -> float | None:
    return None if value is None else factor * value


def reliability(
    size: NDArray[np.float64], doubt: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the error that was made over the one that was announced, in bins of equally many errors.

    :param size: (n,) errors.
    :param doubt: (n,) announced standard deviations, same unit.
    :returns: (bins,) each: root mean squares of the announced ones and of the errors; standard errors of the latter.
    """
    order = np.argsort(doubt, kind="stable")
    pieces = np.array_split(order, max(1, min(BINS, len(order) // LEAST_IN_BIN)))
    announced = np.array([math.sqrt(np.mean(doubt[piece] ** 2)) for piece in pieces])
    made = np.array([math.sqrt(np.mean(size[piece] ** 2)) for piece in pieces])
    spread = np.array([np.std(size[piece] ** 2) / math.sqrt(len(piece)) for piece in pieces])
    return announced, made, spread / (2.0 * np.maximum(made, np.finfo(float).tiny))


def uncertainty_report(run: orm.ProcessNode, folder: Path) -> dict[str, Any]:
    """Write figure, table and numbers of a trial of uncertainties.

    :param run: a finished ``UncertaintyWorkChain``.
    :param folder: where the files go: ``uncertainty.png``, ``.pdf``, ``.csv``, ``.json``.
    :returns: what the node of the scores holds.
    """
    result = dict(run.outputs.scores.get_dict())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "uncertainty.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    style.write_table(folder, "uncertainty", table_rows(result["scores"]))
    frames = run.outputs.frames
    found = assessments({name: run.outputs.answers[name] for name in run.outputs.answers})
    _, rest = halves(frames.n_frames, result["calibration_share"])
    labels = {name: frames.get_array(name)[rest] for name in ("energies", "forces")}
    with style.styled():
        style.save(
            draw(result["scores"], {name: one[rest] for name, one in found.items()}, labels), folder, "uncertainty"
        )
    return result


def draw(
    scores: Mapping[str, Any], found: Mapping[str, Assessment], labels: Mapping[str, NDArray[np.float64]]
) -> Figure:
    """Return the figure: coverage, errors over uncertainties, and order; forces above, energies below.

    :param scores: by estimator, as of :func:`aiida_slhmc.analysis.assessments.score`.
    :param found: assessments of the scored frames, by estimator.
    :param labels: ``energies`` (F,) in eV and ``forces`` (F, N, 3) in eV/Å of the scored frames.
    """
    figure = style.new_figure(style.PAGE, 4.6)
    grid = figure.subplots(2, 3)
    for row, quantity in zip(grid, QUANTITIES, strict=True):
        _coverage(row[0], scores, quantity)
        _reliability(row[1], found, labels, scores, quantity)
        _detection(row[2], scores, quantity)
    panels.legend_above(grid[0, 0], ncols=2)
    return figure


def _coverage(axes: Axes, scores: Mapping[str, Any], quantity: str) -> None:
    axes.plot([0, 1], [0, 1], color=style.GREY, linewidth=0.6, zorder=0)
    for name in ESTIMATORS:
        colour, _, line = LOOKS[name]
        part = scores[name][quantity]
        curve = part["calibrated"]["coverage"]
        axes.plot(curve["expected"], curve["observed"], line, color=colour, label=NAMES[name])
        if "raw" in part:
            raw = part["raw"]["coverage"]
            axes.plot(raw["expected"], raw["observed"], line, color=colour, linewidth=0.6, alpha=0.6)
    curve = scores[COMMITTEE][quantity]["calibrated"]["coverage"]
    level, width = np.array(curve["expected"]), 2.0 * np.array(curve["error"])
    axes.fill_between(level, level - width, level + width, color=style.LIGHT, linewidth=0, zorder=-1)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("level of the interval")
    axes.set_ylabel(f"{QUANTITIES[quantity][0]} within")


def _reliability(
    axes: Axes,
    found: Mapping[str, Assessment],
    labels: Mapping[str, NDArray[np.float64]],
    scores: Mapping[str, Any],
    quantity: str,
) -> None:
    _, unit, factor = QUANTITIES[quantity]
    for name in ESTIMATORS:
        colour, marker, line = LOOKS[name]
        energy, force = errors(found[name], labels["energies"], labels["forces"])
        if quantity == "energy":
            size, doubt = np.abs(energy), found[name].frame
        else:
            size, doubt = np.linalg.norm(force, axis=-1).ravel() / math.sqrt(3.0), found[name].atom.ravel()
        announced, made, spread = reliability(size, scores[name][quantity]["factor"] * doubt)
        axes.errorbar(
            factor * announced, factor * made, yerr=factor * spread, fmt=marker, linestyle=line, color=colour,
            elinewidth=0.7, linewidth=0.8,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = (pick(*axes.get_xlim(), *axes.get_ylim()) for pick in (min, max))
    axes.plot([low, high], [low, high], color=style.GREY, linewidth=0.6, zorder=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axis.set_major_formatter(FormatStrFormatter("%g"))
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(f"announced ({unit})")
    axes.set_ylabel(f"error ({unit})")


def _detection(axes: Axes, scores: Mapping[str, Any], quantity: str) -> None:
    for index, name in enumerate(ESTIMATORS):
        detection = scores[name][quantity]["detection"]
        colour, marker, _ = LOOKS[name]
        for key, filled in (("auroc", True), ("spearman", False)):
            if detection[key] is not None:
                axes.plot(
                    detection[key], -index, marker, color=colour, markersize=5,
                    markerfacecolor=colour if filled else "white",
                )  # fmt: skip
    axes.axvline(0.5, color=style.GREY, linewidth=0.6, zorder=0)
    axes.set_yticks([-index for index in range(len(ESTIMATORS))], [NAMES[name] for name in ESTIMATORS])
    axes.set_ylim(-len(ESTIMATORS) + 0.5, 0.5)
    axes.set_xlim(min(-0.05, axes.get_xlim()[0]), 1.02)
    axes.set_xlabel(f"{QUANTITIES[quantity][0]}: AUROC (filled),\nSpearman (open)")
