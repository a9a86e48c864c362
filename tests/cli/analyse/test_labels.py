"""``analyse errors`` and ``coverage``: planted errors are found, foreign frames told."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from ase.io import write

from aiida_slhmc.numerics.diagnostics import implied_model_error

from .calls import call, refused, rows, table
from .sets import ensemble

REAL = Path(__file__).parents[2] / "vasp" / "real"


# errors ---------------------------------------------------------------------------------------------------------------

PLANTED = {"energy RMSE": 10.0, "energy MAE": 10.0, "mean energy error": 10.0, "force RMSE": 100.0, "force MAE": 100.0,
           "force RMSE on Ti": 100.0, "stress RMSE": 0.160217663, "stress MAE": 0.160217663,
           "energy RMSE, offset removed": 0.0}  # fmt: skip


@pytest.mark.parametrize("how", ["keys", "files"])
def test_planted_errors_are_found(folder, tmp_path, how):
    command = {
        "keys": ("errors", folder / "run.extxyz", "--predictions-key", "MACE_"),
        "files": ("errors", folder / "predictions.extxyz", "--labels", folder / "run.extxyz"),
    }[how]
    found = {row["quantity"]: row["value"] for row in rows(*command, "--temperature", "300")}
    for quantity, value in PLANTED.items():
        assert found[quantity] == pytest.approx(value, rel=1e-4, abs=1e-3), quantity
    assert found["acceptance these errors allow at 300 K"] == pytest.approx(1.0, abs=1e-3)
    result = call(*command, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert {path.name for path in tmp_path.iterdir()} == {"errors.csv", "errors-frames.csv", "errors.png", "errors.pdf"}
    assert len(table(tmp_path / "errors-frames.csv")) == 40


def test_the_acceptance_that_errors_allow(tmp_path):
    """Errors of ±0.05 eV have σ = 0.05 eV: <P> = erfc(σ/2kT), which implies that σ again."""
    frames = ensemble(40)
    for index, atoms in enumerate(frames):
        energy = atoms.get_potential_energy()
        atoms.info |= {"REF_energy": energy, "ML_energy": energy + 0.05 * (-1) ** index}
        atoms.calc = None
    write(tmp_path / "keys.extxyz", frames)
    command = ("errors", tmp_path / "keys.extxyz", "--labels-key", "REF_", "--predictions-key", "ML_")
    found = {row["quantity"]: row["value"] for row in rows(*command, "--temperature", "300")}
    acceptance = found["acceptance these errors allow at 300 K"]
    assert acceptance == pytest.approx(math.erfc(0.05 / (2 * 8.617333e-5 * 300)), rel=1e-4)
    assert implied_model_error(acceptance, 300.0) == pytest.approx(0.05, rel=1e-4)
    # Energies alone: there is nothing to say of forces.
    assert not any("force" in quantity for quantity in found)


def test_errors_of_a_mixed_set(folder):
    found = {
        row["quantity"]: row["value"] for row in rows("errors", folder / "test-set.xyz", "--predictions-key", "MACE_")
    }
    assert found["energy RMSE"] == pytest.approx(10.0)
    assert found["force RMSE on H"] == pytest.approx(50.0)


def test_errors_of_a_model(folder):
    from aiida_slhmc.models import __file__ as models

    pytest.importorskip("mace")
    model = Path(models).parent / "tio2-pbe-small.model"
    result = call("errors", folder / "XDATCAR", "--model", model)
    assert result.exit_code == 2
    assert "12 × no labelled energy" in result.output
    result = call("errors", folder / "training.xyz", "--discard", "4", "--every", "3", "--model", model, "--json")
    assert result.exit_code == 0, result.output
    assert "is a pickle: loading it runs what is in it" in result.stderr
    found = {row["quantity"]: row for row in json.loads(result.stdout)["rows"]}
    assert found["force RMSE"]["frames"] == 2
    assert found["force RMSE"]["value"] > 10
    assert found["energy RMSE"]["value"] > 0


# coverage -------------------------------------------------------------------------------------------------------------


def test_coverage(folder, tmp_path):
    pytest.importorskip("dscribe")
    small = ("--n-max", 3, "--l-max", 2, "--cutoff", 4.0, "--components", 3)
    training = ("--training", folder / "training.xyz", *small)
    result = call("coverage", folder / "test-set.xyz", *training)
    assert result.exit_code == 0, result.output
    assert "1 frame left out: the training set has no H" in result.output
    assert "it holds no frame that can be compared (1 × the training set has no Si)" in refused(
        "coverage", REAL / "version-6" / "OUTCAR.gz", *training
    )
    command = ("coverage", folder / "other.traj", "--every", 5, *training)
    found = {(row["sample"], row["element"]): row for row in rows(*command)}
    assert set(found) == {(name, element) for name in ("training set", "other") for element in ("O", "Ti")}
    assert found["training set", "Ti"]["atoms"] == 16
    assert found["training set", "Ti"]["outliers"] <= 0.2
    # Wider and more strained than what was trained on.
    assert found["other", "Ti"]["q_median"] > found["training set", "Ti"]["q_median"]
    result = call(*command, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert "2 frames left out: isolated atoms" in result.output
    assert {path.name for path in tmp_path.iterdir()} == {
        "coverage.csv", "coverage-frames.csv", "coverage.png", "coverage.pdf"
    }  # fmt: skip
