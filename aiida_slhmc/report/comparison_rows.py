"""The numbers behind the figures of a comparison, one dictionary a row, in the units of the axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .comparison import FOUNDATION, Line, lines, ordered
from .tables import MILLI, Row, number

Arrays = Mapping[str, NDArray[Any]]
Comparison = Mapping[str, Any]

#: Kinds of a learning curve: on the labels of the next block, or on a test set.
PREQUENTIAL = "prequential"


def learning_rows(comparison: Comparison) -> list[Row]:
    """Return the errors of every run's models by the labels that they had been given.

    :param comparison: what the node holds.
    :returns: ``protocol``, ``run``, ``kind`` (``prequential`` or the name of a test set), ``labels``, ``force_rmse``
        and ``force_rmse_error`` (meV/Å), ``energy_rmse`` and ``energy_rmse_error`` (meV/atom, offset removed).
    """
    found = []
    for name, row in comparison["rows"].items():
        curves = {PREQUENTIAL: row.get("learning") or [], **(row.get("curves") or {})}
        for kind, points in curves.items():
            if kind != PREQUENTIAL:
                # Before its first label every run's model is the foundation model.
                start = comparison["rows"].get(FOUNDATION, {}).get("errors", {}).get(kind)
                points = ([{"labels": 0, **start}] if start else []) + list(points)
            found += [_learning(row["protocol"], name, kind, point) for point in points]
    return found


def _learning(protocol: str, run: str, kind: str, point: Mapping[str, Any]) -> Row:
    return {
        "protocol": protocol,
        "run": run,
        "kind": kind,
        "labels": int(point["labels"]),
        "force_rmse": MILLI * number(point["force_rmse"]),
        "force_rmse_error": MILLI * number(point["force_rmse_error"]),
        "energy_rmse": MILLI * number(point["energy_rmse_offset_removed"]),
        "energy_rmse_error": MILLI * number(point["energy_rmse_offset_removed_error"]),
    }


def together(rows: Sequence[Row], quantity: str) -> list[Row]:
    """Return the mean over the runs of a protocol at every number of labels that all of them have.

    :param rows: of :func:`learning_rows`, of one protocol and kind.
    :param quantity: ``force_rmse``, ``energy_rmse``.
    :returns: ``labels``, ``value``, ``error`` (standard error over the runs; of a single run its own), ascending.
    """
    runs = {row["run"] for row in rows}
    found = []
    for labels in sorted({row["labels"] for row in rows}):
        here = [row for row in rows if row["labels"] == labels and math.isfinite(row[quantity])]
        if len(here) < len(runs):
            continue
        values = np.array([row[quantity] for row in here])
        error = here[0][f"{quantity}_error"] if len(here) == 1 else float(values.std(ddof=1) / math.sqrt(len(here)))
        found.append({"labels": labels, "value": float(values.mean()), "error": error})
    return found


def pooled(comparison: Comparison, analyses: Mapping[str, Arrays], protocol: str) -> list[Arrays]:
    """Return the analyses of a protocol's runs.

    :param comparison: what the node holds.
    :param analyses: by candidate.
    :param protocol: its name.
    """
    return [analyses[name] for name in comparison["protocols"][protocol]["members"] if name in analyses]


def shown(comparison: Comparison, analyses: Mapping[str, Arrays]) -> list[str]:
    """Return the protocols whose models were sampled, in the order of the story.

    :param comparison: what the node holds.
    :param analyses: by candidate.
    """
    return [name for name in ordered(comparison["protocols"]) if pooled(comparison, analyses, name)]


def rdf_rows(comparison: Comparison, analyses: Mapping[str, Arrays], reference: Arrays, pair: str) -> list[Row]:
    """Return g(r) and the running coordination of a pair for every protocol and the reference.

    :param comparison: what the node holds.
    :param analyses: by candidate.
    :param reference: the analysed reference.
    :param pair: ``A-B``.
    :returns: ``r`` (Å, middle of the bin) and for every protocol ``g_<protocol>``, ``n_<protocol>``, means over its
        runs.
    """
    key = pair.replace("-", "_")
    edges = reference["rdf_edges"]
    curves = {
        "reference": [reference],
        **{name: pooled(comparison, analyses, name) for name in shown(comparison, analyses)},
    }
    columns = {"r": 0.5 * (edges[1:] + edges[:-1])}
    for name, parts in curves.items():
        columns[f"g_{name}"] = np.mean([part[f"rdf_{key}"] for part in parts], axis=0)
        columns[f"n_{name}"] = np.mean([part[f"running_{key}"] for part in parts], axis=0)
    return [
        dict(zip(columns, (float(value) for value in values), strict=True))
        for values in zip(*columns.values(), strict=True)
    ]


def entry_rows(comparison: Comparison, keys: Sequence[tuple[str, ...]]) -> list[Row]:
    """Return lines of the table for the protocols and their runs.

    :param comparison: what the node holds.
    :param keys: of :class:`.comparison.Line`.
    :returns: ``quantity``, ``unit``, ``protocol``, ``run`` (empty: all runs together), ``value``, ``error``,
        ``reference``, ``reference_error``, ``floor``, ``floor_95``, ``within_noise``; rows without a value left out.
    """
    known = {line.key: line for line in lines(comparison)}
    found = []
    for line in (known[key] for key in keys if key in known):
        for name in ordered(comparison["protocols"]):
            protocol = comparison["protocols"][name]
            found += _entry(line, name, "", protocol)
            if len(protocol["members"]) > 1:
                for member in protocol["members"]:
                    found += _entry(line, name, member, _as_protocol(comparison["rows"][member]))
    return found


def _as_protocol(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's row in the shape of a protocol's: errors become entries."""
    errors = {
        test: {key: {"value": value, "error": values.get(f"{key}_error")} for key, value in values.items()}
        for test, values in (row.get("errors") or {}).items()
    }
    return {**row, "errors": errors}


def _entry(line: Line, protocol: str, run: str, values: Mapping[str, Any]) -> list[Row]:
    entry = line.entry(values)
    if not entry or not math.isfinite(number(entry["value"])):
        return []
    keys = ("value", "error", "reference", "reference_error", "floor", "floor_95")
    resolved = entry.get("resolved")
    return [
        {
            "quantity": line.title,
            "unit": line.unit,
            "protocol": protocol,
            "run": run,
            **{key: number(entry.get(key)) for key in keys},
            "within_noise": "" if resolved is None else not resolved,
        }
    ]


def chain_rows(comparison: Comparison) -> list[Row]:
    """Return acceptance and proposal length of the runs that have chains, block by block.

    :param comparison: what the node holds.
    :returns: ``protocol``, ``run``, ``block``, ``first_cycle``, ``last_cycle``, ``acceptance``, ``acceptance_low``,
        ``acceptance_high``, ``length`` (steps), ``frozen``.
    """
    found = []
    for name, row in comparison["rows"].items():
        cycle = 0
        for index, block in enumerate((row.get("chains") or {}).get("blocks", [])):
            low, high = block["acceptance_interval"]
            found.append(
                {
                    "protocol": row["protocol"],
                    "run": name,
                    "block": index,
                    "first_cycle": cycle + 1,
                    "last_cycle": cycle + block["cycles"],
                    "acceptance": block["accepted"] / block["cycles"],
                    "acceptance_low": low,
                    "acceptance_high": high,
                    "length": block["length"],
                    "frozen": bool(block.get("production")),
                }
            )
            cycle += block["cycles"]
    return found
