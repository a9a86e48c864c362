"""Pages of every kind of run: each shows what its protocol has, leaves out what it has not, and traces its numbers."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from aiida import orm

from aiida_slhmc.provenance.numbers import check_report
from aiida_slhmc.report import page
from aiida_slhmc.workflows.production import ProductionWorkChain
from aiida_slhmc.workflows.rounds import PeriodicWorkChain
from tests.fixtures import RIGHT, breathing_builder, einstein, finished
from tests.report.test_page import Page
from tests.workflows import test_on_the_fly as on_the_fly
from tests.workflows import test_rounds as rounds


def written(nodes, folder):
    """Write a page, check its numbers, and return it with the names of figures and tables."""
    page.write_report(nodes, folder)
    assert check_report(folder / page.PAGE) == []
    figures = {path.stem for path in (folder / "figures").rglob("*.png")}
    tables = {path.stem for path in (folder / "tables").rglob("*.csv")}
    return Page((folder / page.PAGE).read_text(encoding="utf-8")), figures, tables


def rows(folder, name):
    with (folder / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_rounds_are_counted_in_labels(aiida_profile, tmp_path):
    builder = rounds.builder(PeriodicWorkChain, rounds={"rounds": 2, "labels": 3})
    builder.target.level = orm.Dict(einstein(RIGHT))
    run = finished(builder)
    found, figures, tables = written([run], tmp_path)
    assert figures >= {
        "prequential-errors",
        "distance-distribution",
        "radial-distributions",
        "coverage",
        "compute-time",
    }
    assert not figures & {"acceptance-history", "chain-diagnostics", "cell-history"}
    assert "rounds" in tables
    assert "chain-diagnostics" not in tables
    history = rows(tmp_path, "rounds")
    assert [row["labels"] for row in history] == ["3.0", "3.0"]
    assert "acceptance" not in history[0]
    assert "Periodic fine-tuning" in found.text
    assert "training data, no sample of the ensemble" in found.text
    [structures] = [row for row in rows(tmp_path, "structure") if row["quantity"] == "structures"]
    assert "3.0" in structures.values()


@pytest.mark.slow
def test_interventions_stand_in_the_table(aiida_profile, tmp_path):
    run = finished(on_the_fly.builder())
    found, figures, _ = written([run], tmp_path)
    assert "prequential-errors" in figures
    history = rows(tmp_path, "rounds")
    blocks = run.outputs.history["blocks"]
    assert [float(row["interventions"]) for row in history] == [block["interventions"] for block in blocks]
    assert {"step", "outside"} < set(history[0])
    assert "On-the-fly learning" in found.text


def test_at_constant_pressure_the_cell_is_shown_and_production_goes_on(aiida_profile, tmp_path):
    run = finished(breathing_builder(budget={"production_cycles": 4}))
    more = finished(ProductionWorkChain.get_builder_from_run(run, cycles=4))
    found, figures, _ = written([run, more], tmp_path)
    assert {"cell-history", "acceptance-history", "chain-diagnostics"} <= figures
    assert "pressure-comparison" not in figures
    assert "Production with a frozen kernel" in found.text
    for node in (run, more):
        table = {row["quantity"]: row for row in rows(tmp_path, f"{node.uuid[:8]}/structure")}
        volume = table["volume per TiO2 (Å³)"]
        # Two formula units stand in the cell.
        expected = np.abs(np.linalg.det(node.outputs.states.get_array("cells"))).mean() / 2
        assert float(volume["SLHMC chain"]) == pytest.approx(expected, rel=1e-9)
        assert float(volume["SLHMC chain (error)"]) > 0
        assert "cell length a (Å)" in table
    assert "mean volume (Å³)" in rows(tmp_path, f"{run.uuid[:8]}/blocks")[0]
    states = rows_of_figure(tmp_path / "figures" / more.uuid[:8] / "acceptance-history-proposals.csv")
    # It counts its cycles on from the run before; the figure begins with its own.
    assert min(int(row["cycle"]) for row in states) == 1


def rows_of_figure(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_a_comparison_shows_its_table_and_its_figures(comparison_run, reference_run, tmp_path):
    found, figures, tables = written([comparison_run, reference_run], tmp_path)
    assert figures >= {"distance-distributions", "radial-distributions", "distances-to-reference", "quantities",
                       "test-errors"}  # fmt: skip
    assert {"comparison", "candidates", "side-by-side"} <= tables
    assert "Every protocol for its labels" in found.text
    assert "Wasserstein distance" in found.text
    values = comparison_run.outputs.comparison["protocols"]["slhmc"]
    name = f"{comparison_run.uuid[:8]}/comparison"
    [line] = [row for row in rows(tmp_path, name) if row["quantity"].startswith("W1 of nearest")]
    [column] = [key for key in line if key.startswith("slhmc") and "(error)" not in key]
    assert float(line[column]) == pytest.approx(1000 * values["distances"]["w1"]["value"], rel=1e-12)
    assert {row["candidate"] for row in rows(tmp_path, f"{comparison_run.uuid[:8]}/candidates")} >= {"foundation model"}


def test_a_comparison_that_failed_has_a_page(aiida_profile, tmp_path):
    node = orm.WorkChainNode(process_type="aiida.workflows:slhmc.compare")
    node.set_process_state("finished")
    node.set_exit_status(461)
    node.store()
    found, figures, _ = written([node], tmp_path)
    assert "Comparison of protocols" in found.text
    assert "This run failed [461]" in found.text
    assert not figures
