"""``aiida-slhmc reference`` and ``compare``: what they take, what they write, what they refuse."""

import csv
import json

import pytest
import yaml
from click.testing import CliRunner

from aiida_slhmc.cli import main
from aiida_slhmc.cli.progress import plain_line
from aiida_slhmc.provenance.progress import run_status
from tests.fixtures import SAMPLING, TESTS


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump({"dynamics": SAMPLING, "reference": TESTS}))
    return path


def test_from_runs_to_a_table_and_figures(replicas, tmp_path, settings):
    made = call("reference", replicas[0].pk, "--settings", settings, "--seed", 9, "--plain")
    assert made.exit_code == 0, made.output
    reference = made.output.rsplit("--reference ", 1)[1].split("'")[0]
    (tmp_path / "dynamics.yaml").write_text(yaml.safe_dump({"dynamics": SAMPLING}))
    folder = tmp_path / "out"
    result = call(
        "compare", *(run.pk for run in replicas), "--reference", reference, "--settings", tmp_path / "dynamics.yaml",
        "--protocol", "fast", "-o", folder, "--plain",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "models 3/3" in result.output
    assert "| mean nearest Ti–O distance (Å) |" in result.output
    assert "slhmc (2 seeds)" in result.output
    written = {path.name for path in folder.iterdir()}
    assert {"comparison.md", "comparison.tex", "comparison.csv", "distance-distributions.png"} <= written
    assert {"acceptance.pdf", "test-errors.csv", "radial-distributions.png", "quantities.png"} <= written


def test_a_finished_comparison_is_shown_again(comparison_run, tmp_path):
    result = call("compare", comparison_run.pk, "--json", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    table = json.loads(result.output)
    assert set(table["protocols"]) == {"foundation", "slhmc"}
    with (tmp_path / "comparison.csv").open() as stream:
        quantities = {row["quantity"] for row in csv.DictReader(stream)}
    assert {"labels spent", "mean nearest Ti–O distance", "force RMSE (random)"} <= quantities


def test_its_status(comparison_run, reference_run):
    assert "models 3/3" in plain_line(run_status(comparison_run))
    assert "labels 7/7" in plain_line(run_status(reference_run))
    assert "models 3/3" in call("status", comparison_run.pk).output


def test_what_is_missing_or_wrong_is_said(replicas, reference_run, tmp_path):
    refused = call("compare", replicas[0].pk)
    assert refused.exit_code == 2
    assert "--reference is missing" in refused.output
    assert "is no reference" in call("compare", replicas[0].pk, "--reference", replicas[0].inputs.structure.pk).output
    assert "no node '999999'" in call("compare", replicas[0].pk, "--reference", 999999).output
    assert "is no run of" in " ".join(
        call("compare", replicas[0].called[0].pk, replicas[1].pk, "--reference", reference_run.pk).output.split()
    ).replace(", no run of", " is no run of")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [")
    options = ("--reference", reference_run.pk, "--settings")
    assert "not valid YAML" in call("compare", replicas[0].pk, *options, broken).output
    assert "no file" in call("compare", replicas[0].pk, *options, tmp_path / "none.yaml").output
    assert "no protocol 'quick'" in call(
        "compare", replicas[0].pk, "--reference", reference_run.pk, "--protocol", "quick"
    ).output  # fmt: skip
    trained = call("compare", *(run.pk for run in replicas), "--reference", reference_run.pk, "--tests", replicas[0].pk)
    assert trained.exit_code == 2
    assert "was trained on" in trained.output


def test_a_reference_from_a_run_file(tmp_path, aiida_profile):
    path = tmp_path / "run.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "structure": "rutile-TiO2",
                "model": "tio2-pbe-small",
                "target": {"engine": "chgnet", "functional": "r2SCAN"},
                "seed": 1,
            }
        )
    )
    refused = call("reference", path, "--from", 999999)
    assert refused.exit_code == 2
    assert "no node '999999'" in refused.output
