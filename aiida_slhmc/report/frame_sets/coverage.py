"""How well a training set covers the atoms of other sets: Q and T² of SOAP vectors, element by element."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from aiida_slhmc.analysis.coverage import OUTLIER_SIGMAS, Reference, Settings, descriptors
from aiida_slhmc.analysis.files import FrameFile
from aiida_slhmc.report import panels, style
from aiida_slhmc.report.tables import Row

from .common import Report, Sample, look, naming, number, skipped_notes

#: Gigabytes of descriptors of a training set beyond which a thinner one is asked for.
MAX_GIGABYTES = 4.0
#: Of T² in the training set: beyond it an atom is far out within the subspace.
QUANTILE = 0.95
#: Points of one set and element that a figure shows, evenly spread.
MAX_POINTS = 4000
#: Components that a map shows.
MAPPED = 2

Array = NDArray[np.float64]


@dataclass
class _Atoms:
    """Hold the atoms of one element of a set."""

    q: list[Array] = field(default_factory=list)
    t2: list[Array] = field(default_factory=list)
    place: list[Array] = field(default_factory=list)
    frame: list[NDArray[np.int64]] = field(default_factory=list)

    def together(self) -> tuple[Array, Array, Array]:
        return np.concatenate(self.q), np.concatenate(self.t2), np.concatenate(self.place)


def coverage_report(
    samples: Sequence[Sample], training: Sequence[FrameFile], settings: Settings | None = None
) -> Report:
    """Return how far the atoms of sets are from a training set.

    :param samples: the sets.
    :param training: files of the training set.
    :param settings: of descriptors and subspaces; None: the published ones.
    :raises ValueError: in one sentence that names the file.
    """
    whole = Sample("training set", training)
    reference, own, skipped = _fit(whole, settings or Settings())
    notes = skipped_notes(whole, skipped)
    sets: dict[str, dict[int, _Atoms]] = {whole.name: own}
    for sample in samples:
        found: dict[int, _Atoms] = {}
        left: dict[str, int] = {}
        start = 0
        for file in sample.files:
            start = _judge(file, reference, found, left, start)
        if not found:
            why = ", ".join(f"{count} × {reason}" for reason, count in left.items()) or "it is empty"
            raise ValueError(f"{sample.paths}: it holds no frame that can be compared ({why}).")
        notes += skipped_notes(sample, left)
        sets[sample.name] = found
    limits = {number: float(np.quantile(np.concatenate(atoms.t2), QUANTILE)) for number, atoms in own.items()}
    summary = [_row(name, number, sets[name], reference, limits) for name in sets for number in sorted(sets[name])]
    return Report(
        title="Coverage by the training set: SOAP, principal components of each element",
        columns=(
            "sample", "element", "atoms", "components", "median Q / limit", "Q beyond its limit",
            f"T² beyond the {100 * QUANTILE:.0f} % of training", "largest Q / limit",
        ),
        lines=[_line(row) for row in summary],
        summary=summary,
        name="coverage",
        tables={"frames": [row for name in sets for row in _frame_rows(name, sets[name], reference)]},
        notes=[
            *notes,
            f"the limit of Q is its mean in the training set and {OUTLIER_SIGMAS:g} standard deviations",
        ],
        draw=lambda folder: _draw(sets, reference, limits, folder),
    )  # fmt: skip


def _arrays(atoms: Atoms) -> dict[str, NDArray[Any]]:
    return {
        "numbers": atoms.numbers[None],
        "positions": atoms.positions[None],
        "cells": np.asarray(atoms.cell[:])[None],
        "pbc": atoms.pbc[None],
    }


def _isolated(atoms: Atoms) -> bool:
    """Return whether a frame is a single atom alone: it has no neighbours that could be covered."""
    return len(atoms) == 1 and not atoms.pbc.any()


def _unlike(atoms: Atoms, species: Sequence[int]) -> str:
    """Return why a frame cannot be compared with a training set; empty if it can."""
    if _isolated(atoms):
        return "isolated atoms"
    foreign = sorted(set(atoms.numbers.tolist()) - set(species))
    if foreign:
        return f"the training set has no {chemical_symbols[foreign[0]]}"
    return "" if atoms.pbc.any() == atoms.pbc.all() else "periodic in part: SOAP takes all directions or none"


def _fit(sample: Sample, settings: Settings) -> tuple[Reference, dict[int, _Atoms], dict[str, int]]:
    """Return the subspaces of a training set, its own atoms, and what was left out."""
    species = sorted({int(number) for file in sample.files for atoms in file for number in atoms.numbers})
    if not species:
        raise ValueError(f"{sample.paths}: the training set holds no frame.")
    numbers, vectors, skipped, size = [], [], {"isolated atoms": 0}, 0.0
    for file in sample.files:
        frame = file.discard
        for atoms in file:
            if _isolated(atoms):
                skipped["isolated atoms"] += 1
            else:
                with naming(f"frame {frame} of '{file.path}'"):
                    vectors.append(descriptors(_arrays(atoms), species, settings))
                numbers.append(atoms.numbers[None].copy())
                size += vectors[-1].nbytes / 1e9
            if size > MAX_GIGABYTES:
                raise ValueError(
                    f"'{file.path}': the descriptors of its first {frame + 1} frames take {size:.0f} GB of memory: "
                    "thin the training set with --training-every."
                )
            frame += file.every
    with naming(sample.paths):
        if not vectors:
            raise ValueError("the training set holds isolated atoms alone")
        reference = Reference.of_descriptors(numbers, vectors, settings)
    found: dict[int, _Atoms] = {}
    for frame, (z, vector) in enumerate(zip(numbers, vectors, strict=True)):
        _add(found, reference, z, vector, frame)
    return reference, found, skipped


def _judge(file: FrameFile, reference: Reference, found: dict[int, _Atoms], left: dict[str, int], start: int) -> int:
    species = sorted(reference.subspaces)
    frame = file.discard
    for atoms in file:
        why = _unlike(atoms, species)
        if why:
            left[why] = left.get(why, 0) + 1
        else:
            with naming(f"frame {frame} of '{file.path}'"):
                vectors = descriptors(_arrays(atoms), species, reference.settings)
            _add(found, reference, atoms.numbers[None], vectors, start)
        frame, start = frame + file.every, start + 1
    return start


def _add(found: dict[int, _Atoms], reference: Reference, numbers: Any, vectors: Array, frame: int) -> None:
    residuals = reference.judge(numbers, vectors)
    for z in np.unique(numbers).tolist():
        these = numbers == z
        own = found.setdefault(z, _Atoms())
        own.q.append(residuals.q[these])
        own.t2.append(residuals.t2[these])
        own.place.append(reference.subspaces[z].coordinates(vectors[these])[:, :MAPPED])
        own.frame.append(np.full(int(these.sum()), frame))


def _limit(reference: Reference, z: int) -> float:
    """Return the limit of Q, above zero also where nothing lies outside the subspace."""
    return max(reference.limits[z], float(np.finfo(np.float64).tiny))


def _row(name: str, z: int, atoms: Mapping[int, _Atoms], reference: Reference, limits: Mapping[int, float]) -> Row:
    q, t2, _ = atoms[z].together()
    limit = _limit(reference, z)
    return {
        "sample": name,
        "element": chemical_symbols[z],
        "atoms": q.size,
        "components": len(reference.subspaces[z].variances),
        "q_limit": reference.limits[z],
        "t2_limit": limits[z],
        "q_median": float(np.median(q)),
        "q_max": float(q.max()),
        "t2_median": float(np.median(t2)),
        "t2_max": float(t2.max()),
        "q_median_ratio": float(np.median(q)) / limit,
        "q_max_ratio": float(q.max()) / limit,
        "outliers": float(np.mean(q > reference.limits[z])),
        "t2_beyond": float(np.mean(t2 > limits[z])),
    }


def _line(row: Row) -> list[str]:
    return [
        row["sample"], row["element"], str(row["atoms"]), str(row["components"]),
        number(row["q_median_ratio"], None, 2), f"{100 * row['outliers']:.1f} %", f"{100 * row['t2_beyond']:.1f} %",
        number(row["q_max_ratio"], None, 2),
    ]  # fmt: skip


def _frame_rows(name: str, atoms: Mapping[int, _Atoms], reference: Reference) -> list[Row]:
    return [
        {
            "sample": name, "frame": int(frame[0]), "element": chemical_symbols[z], "atoms": len(q),
            "q_max": float(q.max()), "q_mean": float(q.mean()), "t2_max": float(t2.max()),
            "outliers": int((q > reference.limits[z]).sum()),
        }
        for z, own in sorted(atoms.items())
        for frame, q, t2 in zip(own.frame, own.q, own.t2, strict=True)
    ]  # fmt: skip


def _draw(
    sets: Mapping[str, Mapping[int, _Atoms]], reference: Reference, limits: Mapping[int, float], folder: Path
) -> list[Path]:
    elements = sorted({z for atoms in sets.values() for z in atoms})[:4]
    with style.styled():
        width = style.COLUMN if len(elements) == 1 else style.PAGE
        figure = style.new_figure(width, 0.35 + 1.9 * 2)
        grid: Any = figure.subplots(2, len(elements), squeeze=False)
        for column, z in enumerate(elements):
            for index, (name, atoms) in enumerate(sets.items()):
                if z not in atoms:
                    continue
                q, t2, place = atoms[z].together()
                step = -(-len(q) // MAX_POINTS)
                colour, marker, _ = (style.GREY, "o", "-") if index == 0 else look(index - 1)
                marks: dict[str, Any] = {
                    "linestyle": "none", "marker": marker, "color": colour, "markersize": 2.2, "markeredgewidth": 0,
                    "alpha": 0.35 if index == 0 else 0.6, "rasterized": True, "label": name, "zorder": 1 + index,
                }  # fmt: skip
                floor = 1e-3 * _limit(reference, z)
                grid[0, column].plot(t2[::step], np.maximum(q[::step], floor), **marks)
                second = place[::step, 1] if place.shape[1] > 1 else np.zeros(len(place[::step]))
                first = place[::step, 0] if place.shape[1] else second
                grid[1, column].plot(first, second, **marks)
            _finish(grid[:, column], chemical_symbols[z], reference.limits[z], limits[z])
        grid[0, 0].set_ylabel("Q-residual")
        grid[1, 0].set_ylabel("second component")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        legend = figure.legend(handles, labels, loc="outside upper left", ncols=min(4, len(sets)), markerscale=2.0)
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set_alpha(1.0)
        return style.save(figure, folder, "coverage")


def _finish(column: Any, symbol: str, q_limit: float, t2_limit: float) -> None:
    upper, lower = column
    upper.set_xscale("log")
    upper.set_yscale("log")
    for line, value in ((upper.axhline, q_limit), (upper.axvline, t2_limit)):
        if value > 0 and math.isfinite(value):
            line(value, color=style.BLACK, linewidth=0.6, linestyle="--", zorder=0)
    upper.set_xlabel("Hotelling's T²")
    upper.set_title(symbol, loc="left", fontweight="bold")
    lower.set_xlabel("first principal component")
    panels.few_ticks(lower)
    lower.xaxis.set_major_locator(panels.MaxNLocator(4))
