"""Errors of predictions against labels in files: energies, forces, stresses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from scipy.special import erfc

from aiida_slhmc.analysis.errors import (
    BOOTSTRAP_SEED,
    RESAMPLES,
    concatenate,
    error_draws,
    force_rmse,
    mean_absolute_errors,
    ratio,
    summarise,
)
from aiida_slhmc.analysis.files import FrameFile
from aiida_slhmc.analysis.frame_sets import ErrorTotals, Values, check_same, values_of
from aiida_slhmc.report import panels, style
from aiida_slhmc.report.tables import MILLI, Row

from .common import Report, Sample, look, number, skipped_notes

#: Quantities, their titles, units, and factors from the stored unit.
QUANTITIES = (
    ("energy_rmse", "energy RMSE", "meV/atom", MILLI),
    ("energy_rmse_offset_removed", "energy RMSE, offset removed", "meV/atom", MILLI),
    ("energy_offset", "mean energy error", "meV/atom", MILLI),
    ("energy_mae", "energy MAE", "meV/atom", MILLI),
    ("force_rmse", "force RMSE", "meV/Å", MILLI),
    ("force_mae", "force MAE", "meV/Å", MILLI),
    ("stress_rmse", "stress RMSE", "GPa", 1.0 / units.GPa),
    ("stress_mae", "stress MAE", "GPa", 1.0 / units.GPa),
)
#: Samples that one figure shows.
MAX_SHOWN = 6

#: Gives the prediction for a frame that has none of its own.
Predictor = Callable[[Atoms], Values]


@dataclass
class _Set:
    """Hold what the frames of a sample gave."""

    totals: ErrorTotals = field(default_factory=ErrorTotals)
    skipped: dict[str, int] = field(default_factory=dict)
    compositions: set[str] = field(default_factory=set)


def errors_report(
    samples: Sequence[Sample],
    labels: Sequence[FrameFile] = (),
    *,
    labels_key: str | None = None,
    predictions_key: str | None = None,
    predictor: Predictor | None = None,
    block: int | None = None,
    temperature: float | None = None,
    seed: int = BOOTSTRAP_SEED,
) -> Report:
    """Return the errors of predictions.

    :param samples: the sets: of predictions if labels are elsewhere, of labels if a model predicts, else of both.
    :param labels: files of the labels, one for each file of predictions, with the same structures in the same order.
    :param labels_key: prefix of the labels' keys; None: the results that ASE reads.
    :param predictions_key: likewise of the predictions.
    :param predictor: predicts what the files do not hold.
    :param block: frames a block of the bootstrap; None: twice the autocorrelation time of the errors.
    :param temperature: in K: adds the acceptance that the energy errors allow a proposal of these frames.
    :param seed: of the bootstrap.
    :raises ValueError: in one sentence that names the file, and the frame.
    """
    given = iter(labels)
    summary: list[Row] = []
    notes: list[str] = []
    sets: dict[str, _Set] = {}
    for sample in samples:
        one = sets[sample.name] = _Set()
        for file in sample.files:
            _read(one, file, next(given, None), labels_key, predictions_key, predictor)
        if not one.totals.parts:
            why = ", ".join(f"{count} × {reason}" for reason, count in one.skipped.items()) or "it holds no frame"
            raise ValueError(
                f"{sample.paths}: there is nothing to compare ({why}): say where the numbers are with --labels, "
                "--labels-key and --predictions-key."
            )
        notes += skipped_notes(sample, one.skipped)
        summary += _rows(sample.name, one, block, temperature, seed)
    if temperature is not None and any(len(one.compositions) > 1 for one in sets.values()):
        notes.append("a set of several compositions has no acceptance")
    return Report(
        title="Errors of predictions",
        columns=("sample", "frames", "quantity", "value", "unit"),
        lines=[
            [row["sample"], str(row["frames"]), row["quantity"], number(row["value"], row["error"], 2), row["unit"]]
            for row in summary
        ],
        summary=summary,
        name="errors",
        tables={"frames": [row for name, one in sets.items() for row in _frame_rows(name, one)]},
        notes=notes,
        draw=lambda folder: _draw({name: one.totals for name, one in sets.items()}, folder),
    )


def _read(
    one: _Set, file: FrameFile, labels: FrameFile | None, labels_key: str | None, predictions_key: str | None,
    predictor: Predictor | None,
) -> None:  # fmt: skip
    frame = file.discard
    for label_atoms, atoms in _pairs(file, labels):
        where = f"frame {frame} of '{file.path}'"
        right = where if labels is None else f"frame {frame} of '{labels.path}'"
        if labels is not None:
            check_same(label_atoms, atoms, f"frame {frame} of '{file.path}' and of '{labels.path}'")
        label = values_of(label_atoms, labels_key, right)
        if label is None:
            one.skipped["no labelled energy"] = one.skipped.get("no labelled energy", 0) + 1
        else:
            prediction = predictor(atoms) if predictor is not None else values_of(atoms, predictions_key, where)
            if prediction is None:
                one.skipped["no predicted energy"] = one.skipped.get("no predicted energy", 0) + 1
            else:
                one.totals.add(atoms, label, prediction)
                one.compositions.add(atoms.get_chemical_formula())
        frame += file.every


def _pairs(file: FrameFile, labels: FrameFile | None) -> Iterator[tuple[Atoms, Atoms]]:
    """Give labels and predictions frame by frame."""
    if labels is None:
        for atoms in file:
            yield atoms, atoms
        return
    for count, (right, atoms) in enumerate(zip_longest(labels, file)):
        if right is None or atoms is None:
            short, long = (labels, file) if right is None else (file, labels)
            raise ValueError(
                f"'{short.path}' ends after {count} frames, '{long.path}' goes on: labels and predictions must be of "
                "the same structures in the same order."
            )
        yield right, atoms


def _rows(name: str, one: _Set, block: int | None, temperature: float | None, seed: int) -> list[Row]:
    totals = one.totals
    data = concatenate(totals.parts)
    found = summarise(data, block_length=block, seed=seed)
    found |= mean_absolute_errors(data, block_length=found["bootstrap"]["block_length"], seed=seed)
    n = len(data.energy)
    shared: Row = {"sample": name, "frames": n, "block_length": found["bootstrap"]["block_length"]}
    rows = [
        {**shared, "quantity": title, "value": scale * found[key], "error": scale * found[f"{key}_error"], "unit": unit}
        for key, title, unit, scale in QUANTITIES
        if math.isfinite(found[key])
    ]
    draws = None if n < 2 else error_draws(data, found["bootstrap"]["block_length"], RESAMPLES, seed)[0]
    for symbol in sorted(totals.elements) if len(totals.elements) > 1 else ():
        squares, counts = totals.of_element(symbol)
        mean, spread = ratio(squares, counts, draws)
        value = MILLI * force_rmse(squares, counts)
        # d sqrt(x) = dx/(2 sqrt(x)).
        error = 0.5 * value * spread / mean if mean > 0 else math.nan
        rows.append({**shared, "quantity": f"force RMSE on {symbol}", "value": value, "error": error, "unit": "meV/Å"})
    if temperature is not None and len(one.compositions) == 1 and n > 1:
        # <P> = erfc(sqrt(v/8)) of a Gaussian delta of variance v = 2 (sigma/kT)²: Gupta et al., Phys. Lett. B 242, 437.
        n_atoms = totals.atoms[0]
        sigma = n_atoms * found["energy_rmse_offset_removed"] / (units.kB * temperature)
        slope = n_atoms * found["energy_rmse_offset_removed_error"] / (units.kB * temperature)
        value = float(erfc(sigma / 2.0))
        error = math.exp(-((sigma / 2.0) ** 2)) / math.sqrt(math.pi) * slope
        rows.append(
            {**shared, "quantity": f"acceptance these errors allow at {temperature:g} K", "value": value,
             "error": error, "unit": ""}
        )  # fmt: skip
    return rows


def _frame_rows(name: str, one: _Set) -> list[Row]:
    totals = one.totals
    return [
        {
            "sample": name, "row": row, "atoms": n_atoms, "energy_label": label, "energy_prediction": prediction,
            "energy_error": prediction - label,
            "force_rmse": force_rmse(part.force_squares, part.force_counts),
            "stress_rmse": math.sqrt(float(part.stress_squares[0]) / 6.0),
        }
        for row, (part, n_atoms, (label, prediction)) in enumerate(
            zip(totals.parts, totals.atoms, totals.energies, strict=True)
        )
    ]  # fmt: skip


def _draw(sets: dict[str, ErrorTotals], folder: Path) -> list[Path]:
    shown = dict(list(sets.items())[:MAX_SHOWN])
    forces = any(totals.forces for totals in shown.values())
    with style.styled():
        figure = style.new_figure(style.PAGE if forces else style.COLUMN, 0.3 + 2.3 * len(shown))
        grid: Any = figure.subplots(len(shown), 2 if forces else 1, squeeze=False)
        for index, (name, totals) in enumerate(shown.items()):
            _energies(grid[index, 0], totals, look(index)[0])
            grid[index, 0].set_title(name if len(shown) > 1 else "", loc="left")
            if forces and totals.forces:
                _forces(grid[index, 1], figure, np.concatenate(totals.forces, axis=1))
            elif forces:
                grid[index, 1].set_visible(False)
        return style.save(figure, folder, "errors")


def _energies(axes: Any, totals: ErrorTotals, colour: str) -> None:
    label, prediction = np.array(totals.energies).T
    error = MILLI * (prediction - label)
    axes.axhline(0.0, color=style.GREY, linewidth=0.5, zorder=0)
    axes.plot(label, error, ".", color=colour, markersize=3, markeredgewidth=0, alpha=0.7, rasterized=True)
    axes.set_xlabel("labelled energy (eV/atom)")
    axes.set_ylabel("predicted − labelled\nenergy (meV/atom)")
    axes.xaxis.get_major_formatter().set_useOffset(False)
    axes.xaxis.set_major_locator(panels.MaxNLocator(5))
    panels.few_ticks(axes, 5)


def _forces(axes: Any, figure: Any, components: Any) -> None:
    label, prediction = components
    error = MILLI * (prediction - label)
    across, down = (1.05 * float(np.abs(values).max()) or 1.0 for values in (label, error))
    counts = axes.hexbin(
        label, error, gridsize=(60, 30), extent=(-across, across, -down, down), bins="log", mincnt=1, cmap="viridis",
        linewidths=0.1,
    )  # fmt: skip
    axes.axhline(0.0, color=style.GREY, linewidth=0.5, zorder=3)
    axes.set_xlim(-across, across)
    axes.set_ylim(-down, down)
    axes.set_xlabel("labelled force component (eV/Å)")
    axes.set_ylabel("predicted − labelled\nforce component (meV/Å)")
    panels.few_ticks(axes, 5)
    figure.colorbar(counts, ax=axes, label="components", pad=0.02)
