"""Figures: the files are there, are images of the stated resolution, and the CSV holds exactly the numbers put in."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

from aiida_slhmc.analysis.chains import diagnose
from aiida_slhmc.analysis.states import state_indices
from aiida_slhmc.numerics.diagnostics import acceptance_interval, autocorrelation
from aiida_slhmc.report import figures, tables
from aiida_slhmc.report.quickstart import diagnostics_table, write_diagnostics
from tests.analysis.test_chains import independence_chain

CHAINS, CYCLES = 2, 12


def errors(force: float, energy: float | None) -> dict[str, float | None]:
    return {
        "force_rmse": force,
        "force_rmse_error": 0.1 * force,
        "energy_rmse_offset_removed": energy,
        "energy_rmse_offset_removed_error": None,
    }


BLOCKS: list[dict[str, Any]] = [
    {"cycles": 24, "accepted": 4, "length": 10, "production": False, "errors": errors(0.24, 0.011)},
    {
        "cycles": 24,
        "accepted": 15,
        "length": 6,
        "production": False,
        "errors": errors(0.11, 0.003),
        "foundation_errors": errors(0.25, 0.012),
    },
    {
        "cycles": 24,
        "accepted": 17,
        "length": 8,
        "production": True,
        "errors": errors(0.08, 0.002),
        "foundation_errors": errors(0.26, 0.012),
    },
]
SAMPLES: dict[str, dict[str, Any]] = {
    "reference": {"pressure": 0.9, "pressure_error": 0.1, "distance": 1.8386, "distance_error": 0.002},
    "adapted": {"pressure": 0.8, "pressure_error": 0.1, "distance": 1.8390, "distance_error": 0.002}
    | {"w1": 0.003, "w1_error": 0.001, "floor": 0.0025, "floor_95": 0.004},
    "foundation": {"pressure": 6.6, "pressure_error": 0.15, "distance": 1.8446, "distance_error": 0.002}
    | {"w1": 0.007, "w1_error": 0.001, "floor": 0.0025, "floor_95": 0.004},
}


def endpoints() -> dict[str, np.ndarray]:
    cycle = np.tile(np.arange(-1, 3 * CYCLES), CHAINS)
    rng = np.random.default_rng(0)
    return {
        "cycle": cycle,
        "chain": np.repeat(np.arange(CHAINS), 3 * CYCLES + 1),
        "accepted": rng.random(cycle.size) < 0.5,
        "length": np.where(cycle < 0, 0, rng.integers(4, 14, cycle.size)),
    }


def distances() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: row["distance"] + 0.04 * rng.normal(size=(300, 2)) for name, row in SAMPLES.items()}


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def check_images(paths: list[Path], width: float) -> None:
    png, pdf = paths[:2]
    assert imread(png).shape[1] == pytest.approx(200 * width, abs=1)
    assert imread(png)[..., :3].std() > 0.01
    assert pdf.read_bytes().startswith(b"%PDF")


def test_acceptance_history(tmp_path: Path) -> None:
    given = endpoints()
    paths = figures.acceptance_history(BLOCKS, folder=tmp_path / "new", chains=CHAINS, endpoints=given)
    check_images(paths, 3.4)
    rows = read(paths[2])
    assert [(int(row["first_cycle"]), int(row["last_cycle"])) for row in rows] == [(1, 12), (13, 24), (25, 36)]
    assert [float(row["acceptance"]) for row in rows] == [4 / 24, 15 / 24, 17 / 24]
    assert [float(row["cumulative_acceptance"]) for row in rows] == [4 / 24, 19 / 48, 36 / 72]
    assert [int(row["proposal_length"]) for row in rows] == [10, 6, 8]
    assert [row["frozen"] for row in rows] == ["False", "False", "True"]
    low, high = acceptance_interval(4, 24, 0.68)
    assert (float(rows[0]["acceptance_low"]), float(rows[0]["acceptance_high"])) == (low, high)

    proposals = read(paths[3])
    assert len(proposals) == CHAINS * 3 * CYCLES
    for row in proposals:
        number, chain = int(row["cycle"]) - 1, int(row["chain"])
        place = np.flatnonzero((given["cycle"] == number) & (given["chain"] == chain))[0]
        assert int(row["steps"]) == given["length"][place]
        assert row["accepted"] == str(bool(given["accepted"][place]))
        upto = (given["cycle"] >= 0) & (given["cycle"] <= number)
        assert float(row["cumulative_acceptance"]) == pytest.approx(given["accepted"][upto].mean())


def test_prequential_errors(tmp_path: Path) -> None:
    paths = figures.prequential_errors(BLOCKS, folder=tmp_path, chains=CHAINS)
    check_images(paths, 3.4)
    found = {(row["model"], int(row["block"])): row for row in read(paths[2])}
    for index, block in enumerate(BLOCKS):
        foundation = block.get("foundation_errors", block["errors"])
        for model, expected in (("adapted", block["errors"]), ("foundation", foundation)):
            row = found[model, index]
            assert float(row["force_rmse"]) == 1000 * expected["force_rmse"]
            assert float(row["force_rmse_error"]) == 1000 * expected["force_rmse_error"]
            assert float(row["energy_rmse"]) == 1000 * expected["energy_rmse_offset_removed"]
            assert math.isnan(float(row["energy_rmse_error"]))


def test_a_block_where_all_proposals_diverged_leaves_a_gap(tmp_path: Path) -> None:
    empty = {"cycles": 24, "accepted": 0, "length": 8, "errors": errors(math.nan, None)}
    rows = read(figures.prequential_errors([*BLOCKS, empty], folder=tmp_path, chains=CHAINS)[2])
    assert math.isnan(float(rows[-1]["force_rmse"]))


def test_distance_distribution(tmp_path: Path) -> None:
    given = distances()
    paths = figures.distance_distribution(given, SAMPLES, folder=tmp_path)
    check_images(paths, 3.4)
    rows = read(paths[2])
    left = np.array([float(row["left"]) for row in rows])
    width = np.array([float(row["right"]) for row in rows]) - left
    np.testing.assert_allclose(width, 0.01)
    for name, values in given.items():
        density = np.array([float(row[f"density_{name}"]) for row in rows])
        assert np.sum(density * width) == pytest.approx(1.0)
        mean = np.sum(density * width * (left + width / 2))
        assert mean == pytest.approx(values.mean(), abs=1e-3)
        inside = (values >= left[20]) & (values < left[21])
        assert density[20] == pytest.approx(inside.mean() / 0.01)
    w1 = {row["sample"]: row for row in read(paths[3])}
    assert float(w1["foundation"]["w1"]) == 0.007
    assert float(w1["adapted"]["floor_95"]) == 0.004
    assert w1["reference"]["w1"] == "nan"


def test_pressure_comparison(tmp_path: Path) -> None:
    paths = figures.pressure_comparison(SAMPLES, folder=tmp_path)
    check_images(paths, 3.4)
    rows = read(paths[2])
    assert [row["sample"] for row in rows] == ["foundation", "adapted", "reference"]
    for row in rows:
        assert float(row["pressure"]) == SAMPLES[row["sample"]]["pressure"]
        assert float(row["pressure_error"]) == SAMPLES[row["sample"]]["pressure_error"]


def test_pressure_of_a_sample_without_stress_is_left_out(tmp_path: Path) -> None:
    blind = {**SAMPLES, "adapted": {"pressure": None, "pressure_error": None}}
    rows = read(figures.pressure_comparison(blind, folder=tmp_path)[2])
    assert [row["sample"] for row in rows] == ["foundation", "reference"]
    with pytest.raises(ValueError, match="no sample has a pressure"):
        figures.pressure_comparison({"adapted": blind["adapted"]}, folder=tmp_path)


def test_summary_writes_the_page_and_its_panels(tmp_path: Path) -> None:
    paths = figures.quickstart_summary(
        BLOCKS, distances=distances(), samples=SAMPLES, folder=tmp_path, chains=CHAINS, endpoints=endpoints()
    )
    check_images(paths, 7.0)
    names = {path.name for path in paths}
    panels = ("acceptance-history", "prequential-errors", "distance-distribution", "pressure-comparison")
    assert names >= {f"{name}.{ending}" for name in panels for ending in ("png", "pdf", "csv")}
    assert all(path.is_file() for path in paths)


def test_equal_numbers_give_equal_files_and_settings_stay_the_callers(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    one, two = (figures.pressure_comparison(SAMPLES, folder=tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    assert dict(mpl.rcParams) == before


def test_nothing_to_show_is_said() -> None:
    with pytest.raises(ValueError, match="no block"):
        tables.block_rows([])
    with pytest.raises(ValueError, match="no block has prequential"):
        tables.error_rows([{"cycles": 4, "accepted": 1, "length": 3}])
    with pytest.raises(ValueError, match="at least one value"):
        tables.density_rows({"foundation": []}, 0.01)


# How far the chains can be trusted ------------------------------------------------------------------------------------


def chains_of(cycles: int, n_chains: int = 3) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return diagnostics and states of chains that hold every state for a while."""
    given = independence_chain(cycles, n_chains, sigma=0.02, reject=0.3, seed=4)
    states = state_indices(given["chain"], given["cycle"], given["accepted"], spans=given["spans"])
    arrays = {"chain": states.chain, "cycle": states.cycle, "energies": given["energies"][states.row]}
    return diagnose(**given, energy_rmse=0.02), arrays


def test_chain_diagnostics(tmp_path: Path) -> None:
    report, states = chains_of(40)
    paths = figures.chain_diagnostics(report, states, BLOCKS, folder=tmp_path, chains=CHAINS)
    check_images(paths, 7.0)
    traces = read(tmp_path / "chain-diagnostics-traces.csv")
    assert [int(row["cycle"]) for row in traces] == [*range(1, 41)] * 3
    assert [float(row["energy"]) for row in traces] == states["energies"].tolist()
    assert np.mean([float(row["deviation"]) for row in traces]) == pytest.approx(0.0, abs=1e-12)
    rho = read(tmp_path / "chain-diagnostics-autocorrelation.csv")
    expected = autocorrelation(states["energies"].reshape(3, 40))
    assert [float(row["autocorrelation"]) for row in rho] == expected[:21].tolist()
    assert float(rho[0]["noise"]) == pytest.approx(1 / math.sqrt(120))
    table = {row["quantity"]: row for row in read(tmp_path / "chain-diagnostics.csv")}
    assert float(table["acceptance"]["value"]) == report["acceptance"]["value"]
    assert float(table["energy: autocorrelation time"]["value"]) == report["observables"]["energy"]["tau"]
    assert float(table["measured energy RMSE"]["value"]) == pytest.approx(10.0)
    error = table["model error implied by the acceptance"]
    assert float(error["error"]) == pytest.approx(500 * report["model_error"]["implied_error"])


def test_chain_diagnostics_of_few_cycles(tmp_path: Path) -> None:
    report, states = chains_of(2)
    paths = figures.chain_diagnostics(report, states, BLOCKS, folder=tmp_path, chains=CHAINS)
    check_images(paths, 7.0)
    assert not (tmp_path / "chain-diagnostics-autocorrelation.csv").exists()
    table = {row["quantity"]: row for row in read(tmp_path / "chain-diagnostics.csv")}
    assert table["energy: R-hat"]["value"] == "nan"


def test_table_of_diagnostics_leaves_out_what_is_not_known() -> None:
    for cycles in (2, 40):
        report, _ = chains_of(cycles)
        console = Console(file=io.StringIO(), width=118)
        console.print(diagnostics_table(report))
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert "nan" not in text
        assert ("R-hat" in text) == (cycles == 40)
        assert "ln V" not in text
        assert f"{report['labels']} labels" in text


def test_replicas_are_correlated_at_one_temperature(tmp_path: Path) -> None:
    report, states = chains_of(40)
    states["temperature"] = np.where(states["chain"] == 2, 600.0, 300.0)
    states["energies"] = states["energies"] + 100.0 * (states["chain"] == 2)
    figures.chain_diagnostics(report, states, BLOCKS, folder=tmp_path, chains=CHAINS)
    rho = read(tmp_path / "chain-diagnostics-autocorrelation.csv")
    expected = autocorrelation(states["energies"][:80].reshape(2, 40))
    assert [float(row["autocorrelation"]) for row in rho] == expected[:21].tolist()


def test_diagnostics_of_a_real_run(analytic_run: Any, tmp_path: Path) -> None:
    paths = write_diagnostics(analytic_run, tmp_path)
    check_images(paths, 7.0)
    table = {row["quantity"]: row for row in read(tmp_path / "chain-diagnostics.csv")}
    accepted = analytic_run.outputs.history.get_dict()["blocks"][-1]["acceptance"]
    assert float(table["acceptance"]["value"]) == pytest.approx(accepted)
    assert float(table["energy: mean"]["value"]) == pytest.approx(
        analytic_run.outputs.states.get_array("energies").mean()
    )
