"""Cells of sets of frames: lengths, angles, volume, their errors and covariances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import units
from numpy.typing import NDArray

from aiida_slhmc.analysis.cell import ANGLES, LENGTHS, CellSeries, cell_metrics, formula_units
from aiida_slhmc.analysis.frame_sets import Cells, cells
from aiida_slhmc.analysis.samples import units_of
from aiida_slhmc.analysis.statistics import block_error_of_mean
from aiida_slhmc.report import panels, style
from aiida_slhmc.report.tables import Row

from .common import Report, Sample, look, naming, number, skipped_notes

#: Cells that one figure shows, those with most frames.
MAX_SHOWN = 8
#: Relative spread of the volume below which a cell stands still.
STILL = 1e-9
COVARIED = (*LENGTHS, "volume")


def cell_report(
    samples: Sequence[Sample],
    *,
    multiples: Sequence[float] = (1.0, 1.0, 1.0),
    block: int = 10,
    temperature: float | None = None,
) -> Report:
    """Return the metrics of the cells of sets of frames.

    :param samples: the sets; of a set of several formulas each has its own line.
    :param multiples: what the lengths are divided by, such as (2, 2, 2) for a supercell.
    :param block: frames a block of the error that knows no correlation.
    :param temperature: of the ensemble in K: the fluctuations of the volume then give the bulk modulus.
    :raises ValueError: in one sentence that names the file.
    """
    summary: list[Row] = []
    covariances: list[Row] = []
    notes: list[str] = []
    series: dict[str, list[CellSeries]] = {}
    for sample in samples:
        chains = _read(sample)
        formulas = list(dict.fromkeys(formula for chain in chains for formula in chain.cells))
        notes += skipped_notes(sample, {"not periodic in all directions": sum(chain.skipped for chain in chains)})
        for formula in formulas:
            own = [chain for chain in chains if formula in chain.cells]
            name = sample.name if len(formulas) == 1 else f"{sample.name}: {formula}"
            series[name] = [chain.series(formula, multiples) for chain in own]
            row, covariance = _row(name, own[0].numbers[formula], series[name], block, temperature)
            summary.append(row)
            covariances += covariance
    if temperature is not None and any(math.isnan(row["bulk_modulus"]) for row in summary):
        notes.append("a cell that stands still, or is seen once, has no bulk modulus")
    columns = ["sample", "formula unit", "frames", *(f"{name} (Å)" for name in LENGTHS)]
    columns += ["angles (°)", "V per formula unit (Å³)", "sd of V (Å³)", "τ (frames)"]
    columns += [f"bulk modulus at {temperature:g} K (GPa)"] if temperature is not None else []
    return Report(
        title="Cells" + ("" if tuple(multiples) == (1, 1, 1) else f", lengths divided by {_words(multiples)}"),
        columns=columns,
        lines=[_line(row, temperature is not None) for row in summary],
        summary=summary,
        name="cell",
        tables={"covariances": covariances, "frames": _frame_rows(series)},
        notes=notes,
        draw=lambda folder: _draw(series, summary, folder),
    )


def _words(multiples: Sequence[float]) -> str:
    return ", ".join(f"{multiple:g}" for multiple in multiples)


def _read(sample: Sample) -> list[Cells]:
    chains = []
    for file in sample.files:
        with naming(f"'{file.path}'"):
            chains.append(cells(file))
    if not any(chain.cells for chain in chains):
        skipped = sum(chain.skipped for chain in chains)
        why = f"none of its {skipped} frames is periodic in all directions" if skipped else "it holds no frame"
        raise ValueError(f"{sample.paths}: {why}.")
    return chains


def _row(
    name: str, numbers: NDArray[np.int64], chains: Sequence[CellSeries], block: int, temperature: float | None
) -> tuple[Row, list[Row]]:
    found = cell_metrics(chains)
    volumes = np.concatenate([chain.volumes for chain in chains])
    row: Row = {
        "sample": name,
        "formula_unit": units_of(numbers),
        "formula_units": formula_units(numbers),
        "frames": len(volumes),
        "volume_per_atom": found["volume"]["value"] * formula_units(numbers) / len(numbers),
    }
    for quantity in (*LENGTHS, *ANGLES, "volume"):
        metric = found[quantity]
        row |= {quantity: metric["value"], f"{quantity}_error": metric["error"], f"{quantity}_sd": metric["sd"]}
    row |= {"volume_tau": found["volume"]["tau"], "volume_sd_diagonal": found["volume_sd_diagonal"]}
    row["volume_error_blocks"] = block_error_of_mean(volumes, block) if len(volumes) >= 2 * block else math.nan
    row["bulk_modulus"] = row["bulk_modulus_error"] = math.nan
    if temperature is not None and row["volume_sd"] > STILL * row["volume"]:
        # B = kT <V>/Var(V), V that of the whole cell; the error is that of a variance of n/tau independent values.
        total = row["formula_units"] * np.array([row["volume"], row["volume_sd"]])
        row["bulk_modulus"] = units.kB * temperature * total[0] / total[1] ** 2 / units.GPa
        row["bulk_modulus_error"] = row["bulk_modulus"] * math.sqrt(2.0 * row["volume_tau"] / len(volumes))
    covariances = [
        {"sample": name, "of": one, **{f"with_{two}": value for two, value in zip(COVARIED, values, strict=True)}}
        for one, values in zip(COVARIED, found["covariance"], strict=True)
    ]
    return row, covariances


def _line(row: Row, modulus: bool) -> list[str]:
    angles = [number(row[name], row[f"{name}_error"], 2) for name in ANGLES]
    line = [row["sample"], row["formula_unit"], str(row["frames"])]
    line += [number(row[name], row[f"{name}_error"], 4) for name in LENGTHS]
    line += [", ".join(dict.fromkeys(angles)), number(row["volume"], row["volume_error"], 3)]
    line += [number(row["volume_sd"], None, 3), f"{row['volume_tau']:.1f}"]
    return line + ([number(row["bulk_modulus"], row["bulk_modulus_error"], 0)] if modulus else [])


def _frame_rows(series: dict[str, list[CellSeries]]) -> list[Row]:
    return [
        {
            "sample": name,
            "chain": index,
            "frame": frame,
            **dict(zip((*LENGTHS, *ANGLES, "volume"), values, strict=True)),
        }
        for name, chains in series.items()
        for index, chain in enumerate(chains)
        for frame, values in enumerate(np.column_stack([chain.lengths, chain.angles, chain.volumes]).tolist())
    ]


def _draw(series: dict[str, list[CellSeries]], summary: Sequence[Row], folder: Path) -> list[Path]:
    order = sorted(summary, key=lambda row: -row["frames"])[:MAX_SHOWN]
    shown = [row for row in summary if row in order]
    with style.styled():
        figure = style.new_figure(style.PAGE, 2.3 + 0.13 * (len(shown) > 1))
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
        volumes = {row["sample"]: [chain.volumes for chain in series[row["sample"]]] for row in shown}
        every: Any = np.concatenate([chain for chains in volumes.values() for chain in chains])
        span = float(np.ptp(every)) or 0.02 * float(every[0])
        edges = np.linspace(every.min() - 0.05 * span, every.max() + 0.05 * span, 41)
        for index, row in enumerate(shown):
            colour, _, line = look(index)
            start = 0
            for chain in volumes[row["sample"]]:
                label = row["sample"] if start == 0 else None
                frames = np.arange(start, start + len(chain))
                marker = "." if len(chain) < 3 else None
                left.plot(frames, chain, color=colour, linewidth=0.7, marker=marker, label=label)
                start += len(chain)
            density, _ = np.histogram(np.concatenate(volumes[row["sample"]]), edges, density=True)
            right.stairs(density, edges, orientation="horizontal", color=colour, linestyle=line)
            for axes in (left, right):
                axes.axhline(row["volume"], color=colour, linewidth=0.6, linestyle="--")
        left.set_xlabel("frame")
        left.set_ylabel("V per formula unit (Å³)")
        right.set_xlabel("density (1/Å³)")
        right.set_xlim(left=0.0)
        panels.few_ticks(left, 5)
        if len(shown) > 1:
            panels.legend_above(left, ncols=min(4, len(shown)))
        return style.save(figure, folder, "cell")
