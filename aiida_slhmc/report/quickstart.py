"""What the quickstart shows at its end: one table, the figures, and the verdict."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from aiida_slhmc.analysis.distances import nearest_distances
from aiida_slhmc.provenance.label_cost import label_counts

from .tables import diagnostics_rows

#: How many standard errors apart counts as a difference.
SIGMAS = 2.0
NAMES = {
    "foundation": "foundation model",
    "adapted": "adapted model",
    "slhmc": "SLHMC frozen phase",
    "reference": "target itself (reference)",
}


def history_rows(run: Any) -> list[dict[str, Any]]:
    """Return the history of a run, one row a block.

    :param run: node of a SLHMC run.
    """
    return list(run.outputs.history.get_dict()["blocks"])


def forward_gain(rows: list[dict[str, Any]]) -> tuple[float, float]:
    """Return by how much the current model beats the foundation model on the blocks after its first training.

    :param rows: history.
    :returns: mean difference of the force RMSE and its error, in meV/Å; the errors of blocks are independent.
    """
    pairs = [(row["foundation_errors"], row["errors"]) for row in rows if "foundation_errors" in row]
    if not pairs:
        return math.nan, math.nan
    gains = [1000 * (base["force_rmse"] - model["force_rmse"]) for base, model in pairs]
    variances = [
        1e6 * ((base["force_rmse_error"] or 0) ** 2 + (model["force_rmse_error"] or 0) ** 2) for base, model in pairs
    ]
    return sum(gains) / len(gains), math.sqrt(sum(variances)) / len(pairs)


def verdicts(comparison: Any, run: Any) -> dict[str, bool]:
    """Return whether the adapted model wins: on the forward blocks, and in the ensemble's pressure.

    :param comparison: node of an ``EnsembleWorkChain``.
    :param run: node of the SLHMC run.
    """
    gain, error = forward_gain(history_rows(run))
    samples = comparison.outputs.comparison.get_dict()["samples"]
    foundation, adapted = samples["foundation"], samples["adapted"]
    difference = abs(foundation["pressure_deviation"]) - abs(adapted["pressure_deviation"])
    spread = math.hypot(foundation["pressure_deviation_error"], adapted["pressure_deviation_error"])
    return {"forces": gain > SIGMAS * error, "pressure": difference > SIGMAS * spread}


def won(comparison: Any, run: Any) -> bool:
    """Return whether the adapted model wins on every count.

    :param comparison: node of an ``EnsembleWorkChain``.
    :param run: node of the SLHMC run.
    """
    return all(verdicts(comparison, run).values())


def _pm(value: float | None, error: float | None, digits: int) -> str:
    if value is None:
        return "-"
    return f"{value:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def _blocks_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="Blocks: the model judged on labels that it had not seen")
    for name in ("block", "phase", "cycles", "acceptance", "length", "force RMSE meV/Å", "foundation meV/Å"):
        table.add_column(name, justify="right")
    for index, row in enumerate(rows):
        errors, base = row.get("errors"), row.get("foundation_errors")
        low, high = row["acceptance_interval"]
        table.add_row(
            str(index + 1),
            "production" if row["production"] else "adaptive",
            str(row["cycles"]),
            f"{row['acceptance']:.2f} [{low:.2f}, {high:.2f}]",
            str(row["length"]),
            _pm(1000 * errors["force_rmse"], 1000 * (errors["force_rmse_error"] or 0), 0) if errors else "-",
            _pm(1000 * base["force_rmse"], 1000 * (base["force_rmse_error"] or 0), 0) if base else "the same",
        )
    return table


def _ensemble_table(samples: dict[str, Any]) -> Table:
    table = Table(title="Ensembles at 300 K and the experimental cell")
    for name in ("ensemble", "samples", "pressure GPa", "nearest Ti-O Å", "W1 to reference Å", "noise floor Å (95 %)"):
        table.add_column(name, justify="right")
    for name, label in NAMES.items():
        if name not in samples:
            continue
        row = samples[name]
        table.add_row(
            label,
            str(row["n_samples"]),
            _pm(row["pressure"], row["pressure_error"], 2),
            _pm(row["distance"], row["distance_error"], 4),
            _pm(row.get("w1"), row.get("w1_error"), 4),
            f"{row['floor']:.4f} ({row['floor_95']:.4f})" if "floor" in row else "-",
        )
    return table


def diagnostics_of(run: Any) -> dict[str, Any] | None:
    """Return how far the chains of a run's last block can be trusted; None of a run from before there were diagnostics.

    :param run: node of a run.
    """
    return dict(run.outputs.diagnostics.get_dict()) if "diagnostics" in run.outputs else None


def diagnostics_table(report: dict[str, Any]) -> Table:
    """Return how far the chains can be trusted as a table for a terminal.

    :param report: what a run's ``diagnostics`` node holds.
    """
    table = Table(
        title=f"Chains: {report['kind']} phase, {report['chains']} chains, {report['cycles']} cycles, "
        f"{report['labels']} labels"
    )
    for name, side in (("quantity", "left"), ("value", "right"), ("unit", "left")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    for row in diagnostics_rows(report):
        value, error = row["value"], row["error"]
        if not math.isfinite(value):
            continue
        digits = _digits(error if math.isfinite(error) and error > 0 else value / 10)
        table.add_row(row["quantity"], _pm(value, error if math.isfinite(error) else None, digits), row["unit"])
    return table


def _digits(error: float) -> int:
    """Return the decimals that show two digits of an error."""
    return 0 if error == 0 else min(8, max(0, 1 - math.floor(math.log10(abs(error)))))


def write_report(run: Any, comparison: Any, output: Path, width: int = 118) -> str:
    """Write figures and tables and return the text for the terminal.

    :param run: node of the SLHMC run.
    :param comparison: node of the ``EnsembleWorkChain``.
    :param output: folder.
    :param width: of the text in characters.
    """
    output.mkdir(parents=True, exist_ok=True)
    rows = history_rows(run)
    samples = comparison.outputs.comparison.get_dict()["samples"]
    console = Console(width=width, record=True, file=(output / "summary.txt").open("w"), force_terminal=False)
    console.print(_blocks_table(rows))
    spent = label_counts(run)
    console.print(f"Labels: {spent.computed} computed ({spent.calls} DFT calls), {spent.reused} reused.", markup=False)
    diagnostics = diagnostics_of(run)
    if diagnostics is not None:
        console.print(diagnostics_table(diagnostics))
        for warning in diagnostics["warnings"]:
            console.print(f"Warning: {warning}", markup=False)
    console.print(_ensemble_table(samples))
    gain, error = forward_gain(rows)
    result = verdicts(comparison, run)
    console.print(
        f"Forward blocks: the adapted model's force RMSE is lower by {gain:.0f} ± {error:.0f} meV/Å: "
        f"{'wins' if result['forces'] else 'no significant gain'}."
    )
    console.print(
        f"Mean pressure off the reference: foundation {samples['foundation']['pressure_deviation']:+.2f} ± "
        f"{samples['foundation']['pressure_deviation_error']:.2f} GPa, adapted "
        f"{samples['adapted']['pressure_deviation']:+.2f} ± {samples['adapted']['pressure_deviation_error']:.2f} GPa: "
        f"{'wins' if result['pressure'] else 'no significant gain'}."
    )
    text = console.export_text()
    console.file.close()
    _write_tables(rows, samples, output)
    _write_figures(run, comparison, rows, samples, output)
    (output / "nodes.json").write_text(
        json.dumps(
            {
                "run": run.uuid,
                "comparison": comparison.uuid,
                "model": run.outputs.model.uuid,
                "model_state_sha256": run.outputs.model.state_sha256,
            },
            indent=2,
        )
    )
    with (output / "adapted.model").open("wb") as handle:
        handle.write(run.outputs.model.get_content(mode="rb"))
    return text


def _write_tables(rows: list[dict[str, Any]], samples: dict[str, Any], output: Path) -> None:
    names = sorted({name for row in samples.values() for name in row})
    with (output / "ensembles.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, ["ensemble", *names])
        writer.writeheader()
        for name, row in samples.items():
            writer.writerow({"ensemble": name, **row})
    (output / "history.json").write_text(json.dumps(rows, indent=2))


def distances_by_ensemble(comparison: Any) -> dict[str, Any]:
    """Return the nearest-neighbour distances (Å) of every sample of a comparison.

    :param comparison: node of an ``EnsembleWorkChain``.
    """
    pair = comparison.inputs.comparison.get_dict()["pair"]
    found = {}
    for name in ("foundation", "adapted", "reference"):
        node = comparison.outputs.samples[name]
        found[name] = nearest_distances(
            node.get_array("positions"),
            node.get_array("cells"),
            node.get_array("numbers"),
            centre=pair[0],
            neighbour=pair[1],
        )
    return found


def _write_figures(
    run: Any, comparison: Any, rows: list[dict[str, Any]], samples: dict[str, Any], output: Path
) -> None:
    from . import figures

    figures.quickstart_summary(
        rows,
        distances=distances_by_ensemble(comparison),
        samples=samples,
        pair=tuple(comparison.inputs.comparison.get_dict()["pair"]),
        folder=output,
    )
    write_diagnostics(run, output)


def write_diagnostics(run: Any, output: Path) -> list[Path]:
    """Write figure and tables of how far the chains of a run can be trusted.

    :param run: node of a run, self-learning or production.
    :param output: folder.
    :returns: the paths; none if the run has no production phase, or no diagnostics.
    """
    from . import figures

    report = diagnostics_of(run)
    if report is None or "states" not in run.outputs:
        return []
    node = run.outputs.states
    states = {name: node.get_array(name) for name in ("chain", "cycle", "energies", "temperature")}
    return figures.chain_diagnostics(report, states, history_rows(run), folder=output, chains=report["chains"])
