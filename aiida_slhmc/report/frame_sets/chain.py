"""What series in files say of the chains that they come from: autocorrelation, effective samples, R-hat, errors."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiida_slhmc.analysis.files import KEYS, FrameFile, find_property
from aiida_slhmc.analysis.series import known_or_none, observable
from aiida_slhmc.analysis.statistics import block_error_of_mean, mean_of_chains
from aiida_slhmc.report import panels, style
from aiida_slhmc.report.tables import Row, autocorrelation_rows, trace_rows
from aiida_slhmc.report.tables import number as as_number

from .common import Report, file_name, number

#: Quantities of frames, and their units; any other key of the frames is taken as it is.
UNITS = {"energy": "eV", "volume": "Å³"}
#: Ends of the names of files of columns.
COLUMNS = (".csv", ".dat", ".txt", ".tsv")
#: Fewest blocks that an error is made of, in the figure.
FEW_BLOCKS = 8
#: Relative change below which a quantity stands still.
STILL = 1e-9

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """Hold the series of one quantity.

    :param quantity: its name.
    :param unit: of it; empty: unknown or none.
    :param names: of the chains.
    :param chains: one array a chain.
    """

    quantity: str
    unit: str
    names: Sequence[str]
    chains: Sequence[Array]


def read_series(files: Sequence[FrameFile], quantities: Sequence[str]) -> list[Series]:
    """Return the series that files hold, one chain a file.

    :param files: of frames, or of columns (.csv, .dat, .txt, .tsv: a header of names, then numbers).
    :param quantities: columns, or of frames ``energy``, ``volume`` or any key that holds a number; empty: the energy
        where there is one, and the volume if it changes; of columns all that are numbers.
    :raises ValueError: in one sentence that names the file.
    """
    tables = []
    for file in files:
        columns = file.path.name.lower().endswith(COLUMNS)
        tables.append(_columns(file, quantities) if columns else _frames(file, quantities))
    shared = [name for name in tables[0] if all(name in table for table in tables)]
    if not shared:
        raise ValueError(f"'{files[0].path}' and the other files have no quantity in common: name one.")
    if not quantities:
        moved = [
            name for name in shared if any(np.ptp(table[name]) > STILL * abs(table[name]).max() for table in tables)
        ]
        shared = moved or shared[:1]
    names = [file.name for file in files]
    frames = not files[0].path.name.lower().endswith(COLUMNS)
    return [
        Series(name, UNITS.get(name, "") if frames else "", names, [table[name] for table in tables]) for name in shared
    ]


def _moves(values: Array) -> bool:
    return bool(np.ptp(values) > STILL * np.abs(values).max())


def _frames(file: FrameFile, quantities: Sequence[str]) -> dict[str, Array]:
    found: dict[str, list[float]] = {}
    wanted = list(quantities) or ["energy", "volume"]
    frame, formula = file.discard, None
    for atoms in file:
        where = f"frame {frame} of '{file.path}'"
        own = atoms.get_chemical_formula()
        if formula not in (None, own):
            raise ValueError(f"{where} is {own}, those before are {formula}: a chain has one composition.")
        formula = own
        for name in wanted:
            if name == "volume":
                value = atoms.cell.volume if atoms.cell.rank == 3 else None
            else:
                value = find_property(atoms, KEYS["energy"] if name == "energy" else (name,))
            if value is None:
                if not quantities and name not in found:
                    continue
                raise ValueError(f"{where} has no {name}.")
            try:
                scalar = float(np.asarray(value, dtype=np.float64).reshape(()))
            except (TypeError, ValueError) as error:
                raise ValueError(f"{where}: '{name}' is no single number.") from error
            if frame > file.discard and name not in found:
                raise ValueError(f"{where} has {name}, those before have none.")
            found.setdefault(name, []).append(scalar)
        frame += file.every
    if formula is None:
        raise ValueError(f"'{file.path}' holds no frame after the first {file.discard}.")
    if not found:
        raise ValueError(f"'{file.path}': its frames have no {' or '.join(wanted)}.")
    return _finite(file.path, found)


def _columns(file: FrameFile, quantities: Sequence[str]) -> dict[str, Array]:
    if not file.path.is_file():
        raise ValueError(f"there is no file '{file.path}'.")
    found: dict[str, list[float]] = {}
    words: set[str] = set()
    try:
        with file.path.open(newline="", encoding="utf-8") as stream:
            rows = _split(stream)
            header = next(rows, [])
            missing = [name for name in quantities if name not in header]
            if missing:
                raise ValueError(f"'{file.path}' has no column '{missing[0]}'; it has {', '.join(header) or 'none'}.")
            for index, row in enumerate(rows):
                if index < file.discard or (index - file.discard) % file.every:
                    continue
                for name, text in zip(header, row, strict=False):
                    if name in words or (quantities and name not in quantities):
                        continue
                    try:
                        found.setdefault(name, []).append(float(text))
                    except ValueError as error:
                        if quantities:
                            raise ValueError(f"row {index} of '{file.path}': '{text}' is no number.") from error
                        words.add(name)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"'{file.path}' cannot be read: {error}.") from error
    numbers = {name: values for name, values in found.items() if name not in words}
    if not numbers:
        raise ValueError(f"'{file.path}' has no row of numbers after the first {file.discard}.")
    return _finite(file.path, numbers)


def _split(stream: Any) -> Iterator[list[str]]:
    """Give the cells of every row: separated as the first row is, by commas, semicolons, tabs or spaces."""
    first = stream.readline().lstrip("#").strip()
    separator = next((mark for mark in (",", ";", "\t") if mark in first), None)
    for line in (first, *()):
        yield [cell.strip().strip('"') for cell in line.split(separator)]
    if separator is None:
        yield from (line.split() for line in stream if line.strip())
    else:
        yield from (row for row in csv.reader(stream, delimiter=separator) if row)


def _finite(path: Path, found: dict[str, list[float]]) -> dict[str, Array]:
    arrays = {name: np.array(values) for name, values in found.items()}
    lengths = {len(array) for array in arrays.values()}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(
                f"'{path}': value {int(np.flatnonzero(~np.isfinite(array))[0])} of '{name}' is not finite."
            )
    if len(lengths) > 1:
        raise ValueError(f"'{path}': its columns are of different lengths.")
    return arrays


def chain_report(series: Sequence[Series], *, block: int = 10, step: str = "frame") -> Report:
    """Return what chains say of their quantities.

    :param series: the quantities.
    :param block: samples a block of the error that knows no correlation.
    :param step: what the chains go on by.
    """
    summary = [row for one in series for row in _rows(one, block)]
    notes = []
    for one in series:
        lengths = [len(chain) for chain in one.chains]
        if len(set(lengths)) > 1:
            notes.append(
                f"{one.quantity}: chains of {min(lengths)} to {max(lengths)} values: τ, effective samples and R-hat of "
                "all together are those of their last values, as many as the shortest has; one shorter than half of "
                "the longest is left out"
            )
    few = [row for row in summary if row["tau"] == row["tau"] and row["n"] < 20 * row["tau"]]
    if few:
        notes.append(
            f"{few[0]['quantity']} of {few[0]['chain']}: {few[0]['n']} values are {few[0]['n'] / few[0]['tau']:.0f} "
            "autocorrelation times: its errors are hardly known"
        )
    return Report(
        title="Chains",
        columns=(
            "quantity", "chain", "values", "mean", f"error, blocks of {block}", f"τ ({step}s)", "effective", "R-hat",
        ),
        lines=[_line(row) for row in summary],
        summary=summary,
        name="chain",
        tables={
            **{f"{one.quantity}-trace": _traces(one) for one in series},
            **{f"{one.quantity}-blocking": _blocking(one) for one in series},
            **{f"{one.quantity}-autocorrelation": _correlations(one) for one in series},
        },
        notes=notes,
        draw=lambda folder: [path for one in series for path in _draw(one, folder, step)],
    )  # fmt: skip


def _rows(one: Series, block: int) -> list[Row]:
    rows = []
    groups = [([chain], name) for chain, name in zip(one.chains, one.names, strict=True)]
    if len(one.chains) > 1:
        groups.append((list(one.chains), "all"))
    for chains, name in groups:
        found = observable(chains, 0)
        # Of all values; the observable's is that of the aligned chains.
        mean = mean_of_chains(chains)
        error = found["error"] if found["error"] is not None else known_or_none(mean.error)
        rows.append(
            {
                "quantity": one.quantity, "unit": one.unit, "chain": name, "n": mean.n, "mean": mean.value,
                "error": as_number(error), "error_blocks": _blocked(chains, block), "block_length": block,
                "tau": as_number(found["tau"]), "tau_error": as_number(found["tau_error"]),
                "effective_samples": as_number(found["ess"]), "rhat": as_number(found["rhat"]),
                "sd": float(np.concatenate(chains).std(ddof=1)) if mean.n > 1 else math.nan,
            }
        )  # fmt: skip
    return rows


def _blocked(chains: Sequence[Array], block: int) -> float:
    """Return the error of the joint mean from block means; NaN where a chain has fewer than two blocks."""
    if min(len(chain) for chain in chains) < 2 * block:
        return math.nan
    squares = [(len(chain) * block_error_of_mean(chain, block)) ** 2 for chain in chains]
    return math.sqrt(sum(squares)) / sum(len(chain) for chain in chains)


def _line(row: Row) -> list[str]:
    unit = f" ({row['unit']})" if row["unit"] else ""
    return [
        f"{row['quantity']}{unit}", row["chain"], str(row["n"]), number(row["mean"], row["error"], 4),
        f"{row['error_blocks']:.2g}" if math.isfinite(row["error_blocks"]) else "–",
        number(row["tau"], row["tau_error"], 1), number(row["effective_samples"], None, 0),
        number(row["rhat"], None, 3),
    ]  # fmt: skip


def _trace(one: Series) -> list[Row]:
    chain = np.repeat(np.arange(len(one.chains)), [len(values) for values in one.chains])
    cycle = np.concatenate([np.arange(len(values)) for values in one.chains])
    return trace_rows(chain, cycle, np.concatenate(list(one.chains)))


def _traces(one: Series) -> list[Row]:
    return [
        {"chain": one.names[row["chain"]], "value_number": row["cycle"], one.quantity: row["energy"]}
        for row in _trace(one)
    ]


def _correlations(one: Series) -> list[Row]:
    return autocorrelation_rows(_trace(one))


def _blocking(one: Series) -> list[Row]:
    """Return the error of the mean by the length of the blocks.

    Source: Flyvbjerg and Petersen, J. Chem. Phys. 91, 461 (1989).
    """
    rows: list[Row] = []
    shortest, block = min(len(chain) for chain in one.chains), 1
    while shortest // block >= FEW_BLOCKS:
        error = _blocked(one.chains, block)
        blocks = sum(len(chain) // block for chain in one.chains)
        rows.append({"block_length": block, "error": error, "error_error": error / math.sqrt(2 * (blocks - 1))})
        block *= 2
    return rows


def _draw(one: Series, folder: Path, step: str) -> list[Path]:
    unit = f" ({one.unit})" if one.unit else ""
    found = observable(one.chains, 0)
    with style.styled():
        figure = style.new_figure(style.PAGE, 4.0)
        grid = figure.add_gridspec(2, 2)
        upper = figure.add_subplot(grid[0, :])
        left, right = figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[1, 1])
        panels.traces(upper, _trace(one), title=f"{one.quantity} − mean{unit}", step=step, names=one.names)
        panels.autocorrelations(left, _correlations(one), found, name=one.quantity, steps=f"{step}s")
        _blocks(right, _blocking(one), as_number(found["error"]), unit, step)
        for axes, letter in zip((upper, left, right), "abc", strict=True):
            panels.letter(axes, letter)
        return style.save(figure, folder, f"chain-{file_name(one.quantity)}")


def _blocks(axes: Any, rows: Sequence[Row], error: float, unit: str, step: str) -> None:
    axes.set_xlabel(f"length of a block ({step}s)")
    axes.set_ylabel(f"error of the mean{unit}")
    if not rows:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(0.5, 0.5, f"too few {step}s", transform=axes.transAxes, ha="center", va="center", color=style.GREY)
        return
    axes.errorbar(
        [row["block_length"] for row in rows],
        [row["error"] for row in rows],
        yerr=[row["error_error"] for row in rows],
        fmt="o-", color=style.BLUE, capsize=2, elinewidth=0.8, capthick=0.8, label="block means",
    )  # fmt: skip
    if math.isfinite(error):
        axes.axhline(error, color=style.ORANGE, linestyle="--", label=r"from $\tau$")
    axes.set_xscale("log", base=2)
    axes.set_ylim(bottom=0.0)
    panels.few_ticks(axes, 5)
    panels.legend_above(axes, ncols=2)
