"""Table and figures of a comparison: what the reader sees are the numbers that were put in."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from aiida_slhmc.report import comparison as tables
from aiida_slhmc.report import comparison_figures as figures
from aiida_slhmc.report import comparison_rows as rows

from .compared import comparison

NVT = {"learning-curves", "distance-distributions", "radial-distributions", "distances-to-reference", "quantities"}
FIGURES = NVT | {"test-errors", "acceptance"}


@pytest.fixture(scope="module")
def still():
    return comparison(moves=False, frames=60)


@pytest.fixture(scope="module")
def moving():
    return comparison(moves=True, frames=60)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1.83861, 0.00123, "1.8386(12)"),
        (2.97282, 0.000998, "2.9728(10)"),
        (2.97282, 0.00999, "2.973(10)"),
        (1.0, 0.0996, "1.00(10)"),
        (-1.237, 0.012, "−1.237(12)"),
        (31.2, 0.2, "31.20(20)"),
        (273.4, 27.0, "273(27)"),
        (6.0, 0.0, "6.000"),
        (6.0, None, "6.000"),
        (2.9528, 1e-16, "2.953"),
        (math.nan, 0.1, "–"),
        (None, None, "–"),
    ],
)
def test_errors_stand_in_the_last_digits(value, error, text) -> None:
    assert tables.number(value, error) == text


def test_the_table_has_a_column_a_protocol_and_says_what_is_noise(still) -> None:
    values, _, _ = still
    head, body = tables.table(values)
    assert head[1] == "foundation"
    assert head[-1] == "reference"
    assert "slhmc (3 seeds)" in head
    by_title = {row[0]: dict(zip(head, row, strict=True)) for row in body}
    pressure = by_title["pressure (GPa)"]
    # A strain of 0.8 % makes 4.8 GPa: far out of the noise; the same law is not.
    assert tables.WITHIN not in pressure["foundation"]
    entry = values["protocols"]["slhmc"]["quantities"]["pressure"]
    assert (tables.WITHIN in pressure["slhmc (3 seeds)"]) is (not entry["resolved"])
    assert pressure["reference"] == tables.number(entry["reference"], entry["reference_error"])
    floor = by_title["W1 of nearest Ti–O distances (mÅ)"]["reference"]
    known = [protocol["distances"]["w1"]["floor_95"] for protocol in values["protocols"].values()]
    assert floor == f"< {1000 * max(known):.1f}"
    assert by_title["labels spent"]["relabel (3 seeds)"] == "30"
    assert {"Ti–O, 4 of 6 nearest (Å)", "force RMSE (random) (meV/Å)", "RDF distance Ti–Ti (Å)"} < set(by_title)
    assert "volume per TiO2 (Å³)" not in by_title


def test_of_a_cell_that_moves_the_metrics_stand_in_the_table(moving) -> None:
    values, _, _ = moving
    _, body = tables.table(values)
    titles = {row[0] for row in body}
    assert {"cell length a (Å)", "volume per TiO2 (Å³)", "W1 of the volume (Å³)"} < titles
    assert "pressure (GPa)" not in titles
    volume = values["protocols"]["foundation"]["quantities"]["volume"]
    assert volume["deviation"] == pytest.approx(3 * 0.008 * 31.2, rel=0.15)
    assert volume["resolved"]


def test_unequal_budgets_are_warned_of(still) -> None:
    values, _, _ = still
    assert not [line for line in tables.warnings(values) if "budget" in line]
    spent = values["protocols"]["relabel"]["labels"]["spent"]
    changed = {**spent, "value": 1.04 * spent["value"]}
    other = {**values["protocols"], "relabel": {**values["protocols"]["relabel"], "labels": {"spent": changed}}}
    assert not tables.warnings({**values, "protocols": other})
    changed["value"] = 1.06 * spent["value"]
    assert "different numbers of labels" in tables.warnings({**values, "protocols": other})[0]


def test_files_of_the_table_hold_the_same_numbers(still, tmp_path) -> None:
    values, _, _ = still
    paths = tables.write_tables(values, tmp_path)
    assert [path.suffix for path in paths] == [".md", ".tex", ".csv"]
    written = {(row["quantity"], row["protocol"]): row for row in read(paths[2])}
    entry = values["protocols"]["naive"]["distances"]["w1"]
    row = written["W1 of nearest Ti–O distances", "naive"]
    assert float(row["value"]) == pytest.approx(1000 * entry["value"], rel=1e-12)
    assert float(row["floor_95"]) == pytest.approx(1000 * entry["floor_95"], rel=1e-12)
    assert row["within_noise"] == str(not entry["resolved"])
    tex = paths[1].read_text(encoding="utf-8")
    lines = [line for line in tex.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in lines} == {7}
    assert "Å" not in "".join(lines)
    assert r"\AA{}" in tex
    markdown = paths[0].read_text(encoding="utf-8")
    assert {line.count("|") for line in markdown.splitlines() if line.startswith("|")} == {9}
    assert "within the noise" in markdown


def test_a_failed_candidate_is_named_in_the_notes(still) -> None:
    values, _, _ = still
    broken = {**values["protocols"]["naive"], "problems": {"naive_seed_2": "atoms came too close"}}
    notes = tables.notes({**values, "protocols": {**values["protocols"], "naive": broken}})
    assert "Missing: naive_seed_2: atoms came too close." in notes


@pytest.mark.parametrize("kind", ["still", "moving"])
def test_every_figure_is_an_image_with_its_numbers(kind, request, tmp_path) -> None:
    values, analyses, reference = request.getfixturevalue(kind)
    paths = figures.write_figures(values, analyses, reference, tmp_path)
    assert {path.stem for path in paths if path.suffix == ".png"} == FIGURES
    for path in paths:
        if path.suffix == ".png":
            image = imread(path)
            assert image[..., :3].std() > 0.01
            # Nothing is cut off at the sides: the outermost pixels are white.
            assert image[:, 0, :3].min() == 1.0
            assert image[:, -1, :3].min() == 1.0
        elif path.suffix == ".pdf":
            assert path.read_bytes().startswith(b"%PDF")
        else:
            assert read(path)
    again = figures.quantities(values, folder=tmp_path / "again")
    for path in again:
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_learning_curves_begin_at_the_foundation_model(still) -> None:
    values, _, _ = still
    points = rows.learning_rows(values)
    assert {row["kind"] for row in points} == {"prequential", "random"}
    for run in ("slhmc_seed_1", "relabel_seed_2"):
        first = next(row for row in points if row["run"] == run and row["kind"] == "random")
        assert first["labels"] == 0
        assert first["force_rmse"] == pytest.approx(
            1000 * values["rows"]["foundation"]["errors"]["random"]["force_rmse"]
        )
    slhmc = [row for row in points if row["protocol"] == "slhmc" and row["kind"] == "prequential"]
    mean = rows.together(slhmc, "force_rmse")
    assert [row["labels"] for row in mean] == [0, 10, 20]
    at_ten = [row["force_rmse"] for row in slhmc if row["labels"] == 10]
    assert mean[1]["value"] == pytest.approx(np.mean(at_ten))
    assert mean[1]["error"] == pytest.approx(np.std(at_ten, ddof=1) / np.sqrt(3))


def test_curves_of_a_pair_are_means_over_the_runs(still) -> None:
    values, analyses, reference = still
    curve = rows.rdf_rows(values, analyses, reference, "O-Ti")
    place = 370
    runs = [analyses[f"naive_seed_{seed}"]["rdf_O_Ti"][place] for seed in (1, 2, 3)]
    assert curve[place]["g_naive"] == pytest.approx(np.mean(runs))
    assert curve[place]["g_reference"] == pytest.approx(reference["rdf_O_Ti"][place])
    assert curve[-1]["n_reference"] == pytest.approx(reference["running_O_Ti"][-1])


def test_protocols_have_looks_of_their_own() -> None:
    from aiida_slhmc.report import style

    looks = [style.protocol(name) for name in style.PROTOCOLS]
    assert len({colour for colour, _, _ in looks}) == len(looks)
    assert len({marker for _, marker, _ in looks}) == len(looks)
    assert figures.titled("on_the_fly") == "on-the-fly"
    assert figures.titled("slhmc_2") == "slhmc 2"
