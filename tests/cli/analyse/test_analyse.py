"""``aiida-slhmc analyse``: real files in, tables and figures out, one sentence for what is wrong."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from click.testing import CliRunner

from aiida_slhmc.cli import main
from aiida_slhmc.numerics.diagnostics import implied_model_error

from .sets import A, C, U, ensemble, rutile, write_sets

REAL = Path(__file__).parents[2] / "vasp" / "real"
SHORT, LONG = np.sqrt(2 * (0.5 - U) ** 2 * A**2 + C**2 / 4), np.sqrt(2) * U * A


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sets")
    write_sets(path)
    return path


def call(*arguments):
    return CliRunner().invoke(main, ["analyse", *(str(argument) for argument in arguments)])


def rows(*arguments):
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["rows"]


def table(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def refused(*arguments):
    """Return the one sentence that a call is refused with."""
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert result.output.rstrip().endswith(line)
    return line


# rdf ------------------------------------------------------------------------------------------------------------------


def test_rdf_of_a_perfect_crystal(tmp_path):
    write(tmp_path / "rutile.extxyz", rutile())
    found = {row["pair"]: row for row in rows("rdf", tmp_path / "rutile.extxyz", "--window", "O-Ti=1.6:2.2")}
    assert set(found) == {"O-O", "O-Ti", "Ti-Ti"}
    # Four of six bonds are short: the peak of the histogram is theirs, within its bin of 0.04 bohr.
    assert found["O-Ti"]["peak"] == pytest.approx(SHORT, abs=0.025)
    assert found["O-Ti"]["coordination"] == 3.0
    assert found["O-Ti"]["coordination_reverse"] == 6.0
    assert found["Ti-Ti"]["peak"] == pytest.approx(C, abs=0.025)
    # One frame has no error.
    assert found["O-Ti"]["peak_error"] is None


def test_rdf_writes_curves_and_figures(folder, tmp_path):
    result = call("rdf", folder / "run.extxyz", folder / "other.traj", folder / "XDATCAR", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "O–Ti" in result.output
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"rdf.csv", "rdf-run.csv", "rdf-other.csv", "rdf-XDATCAR.csv", "rdf.png", "rdf.pdf"}
    curve = table(tmp_path / "out" / "rdf-run.csv")
    assert float(curve[0]["r_end"]) == pytest.approx(0.0052917721, abs=1e-9)
    last = curve[-1]
    # As many pairs either way: two Ti and four O in a cell.
    assert 2 * float(last["O_around_Ti"]) == pytest.approx(4 * float(last["Ti_around_O"]))
    assert max(float(row["g_O-Ti"]) for row in curve) > 5


def test_rdf_of_a_mixed_set_leaves_atoms_and_molecules_out(folder):
    result = call("rdf", folder / "test-set.xyz")
    assert result.exit_code == 0, result.output
    assert "3 frames left out: neither periodic nor of a volume" in result.output


def test_rdf_files_together_are_one_sample(folder):
    found = rows("rdf", folder / "run.extxyz", folder / "other.traj", "--together", "--pair", "Ti-O")
    assert [(row["frames"], row["blocks"]) for row in found] == [(80, 8)]


# distances ------------------------------------------------------------------------------------------------------------


def test_distances_of_a_perfect_crystal(tmp_path):
    write(tmp_path / "rutile.extxyz", [rutile()] * 3)
    (row,) = rows("distances", tmp_path / "rutile.extxyz", "--shell", "4,2")
    assert row["distance"] == pytest.approx(SHORT, abs=1e-6)
    assert row["coordination"] == 6.0
    assert row["shell_1"] == pytest.approx(1.948567, abs=1e-6)
    assert row["shell_2"] == pytest.approx(1.979995, abs=1e-6)
    assert row["shell"] == pytest.approx(1.959043, abs=1e-6)


def test_distances_against_a_reference(folder, tmp_path):
    command = ("distances", folder / "run.extxyz", folder / "other.traj", "--reference", folder / "reference.xyz.gz",
               "--pair", "Ti-O", "--cutoff", "2.4")  # fmt: skip
    run, other, reference = rows(*command)
    assert (run["sample"], other["sample"], reference["sample"]) == ("run", "other", "reference")
    assert run["resolved"] is False
    assert other["resolved"] is True
    assert other["w1"] >= abs(other["distance"] - reference["distance"]) - 1e-12
    assert 0 < run["floor"] < run["floor_95"]
    # The frames are independent, and so are the two atoms of one nearly.
    assert run["floor"] == pytest.approx(run["floor_independent"], rel=0.3)
    assert run["mean_error"] > 0
    assert run["error_blocks"] > 0
    result = call(*command, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert "(within the noise)" in result.output
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "distances.csv", "distances-distribution.csv", "distances-frames.csv", "distances.png", "distances.pdf"
    }  # fmt: skip
    density = table(tmp_path / "distances-distribution.csv")
    assert float(density[0]["right"]) - float(density[0]["left"]) == pytest.approx(0.005)
    assert sum(0.005 * float(row["density_run"]) for row in density) == pytest.approx(1.0)


def test_distances_choose_pair_and_cutoff_and_say_so(folder):
    result = call("distances", folder / "test-set.xyz")
    assert result.exit_code == 0, result.output
    assert "the pair is Ti–O, the cut-off of the coordination is" in result.output
    assert "1 frame left out: no O" in result.output


def test_distances_of_molecules(tmp_path):
    from ase.build import molecule

    write(tmp_path / "water.xyz", [molecule("H2O")] * 4, format="extxyz")
    (row,) = rows("distances", tmp_path / "water.xyz", "--pair", "O-H", "--cutoff", "1.3")
    assert row["distance"] == pytest.approx(molecule("H2O").get_distance(0, 1), abs=1e-6)
    assert row["coordination"] == 2.0


# cell -----------------------------------------------------------------------------------------------------------------


def test_cell_metrics(folder, tmp_path):
    (row,) = rows("cell", folder / "run.extxyz", "--temperature", "300")
    assert row["formula_unit"] == "TiO2"
    assert row["volume"] == pytest.approx(A * A * C / 2, rel=0.005)
    # Three independent strains of 0.003 each: sd(V)/V = 0.003 sqrt(3), within the error of 40 values.
    assert row["volume_sd"] / row["volume"] == pytest.approx(0.003 * np.sqrt(3), rel=0.4)
    expected = 8.617333e-5 * 300 / (2 * row["volume"] * (row["volume_sd"] / row["volume"]) ** 2) * 160.21766
    assert row["bulk_modulus"] == pytest.approx(expected, rel=1e-4)
    result = call("cell", folder / "run.extxyz", folder / "test-set.xyz", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert "test-set: Ti4O8" in result.output
    covariances = table(tmp_path / "cell-covariances.csv")
    assert [line["of"] for line in covariances[:4]] == ["a", "b", "c", "volume"]
    frames = [line for line in table(tmp_path / "cell-frames.csv") if line["sample"] == "run"]
    volumes = [float(line["volume"]) for line in frames]
    assert float(covariances[3]["with_volume"]) == pytest.approx(np.var(volumes, ddof=1))
    assert (tmp_path / "cell.png").stat().st_size > 5000


def test_a_single_structure(tmp_path):
    write(tmp_path / "POSCAR", rutile(), format="vasp")
    (row,) = rows("cell", tmp_path / "POSCAR")
    assert row["volume"] == pytest.approx(A * A * C / 2)
    assert "it holds no frame" in refused("cell", tmp_path / "POSCAR", "--discard", "1")


def test_multiples_and_real_vasp_output():
    (row,) = rows("cell", REAL / "version-6" / "vasprun.xml.gz", "--multiples", "2,2,0.5")
    assert row["formula_unit"] == "Si"
    assert row["volume"] == row["volume_per_atom"] == pytest.approx(2 * 2.7**3 / 2)
    assert row["a"] == pytest.approx(2.7 * np.sqrt(2) / 2)
    assert row["c"] == pytest.approx(2.7 * np.sqrt(2) * 2)
    (one, other) = rows("distances", *(REAL / "version-6" / name for name in ("vasprun.xml.gz", "OUTCAR.gz")))
    assert one["distance"] == pytest.approx(2.7 * np.sqrt(3) / 2, abs=1e-6)
    assert other["distance"] == pytest.approx(one["distance"], abs=1e-4)


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


# chain ----------------------------------------------------------------------------------------------------------------


def test_chain_of_columns(folder, tmp_path):
    found = rows("chain", folder / "chain-1.csv", folder / "chain-2.csv", "--column", "energy")
    assert [row["chain"] for row in found] == ["chain-1", "chain-2", "all"]
    one, _, whole = found
    values = np.array([float(row["energy"]) for row in table(folder / "chain-1.csv")])
    assert one["mean"] == pytest.approx(values.mean())
    # Independent values: the plain error of the mean, and as many effective samples as values.
    assert one["error"] == pytest.approx(values.std(ddof=1) / np.sqrt(80 / one["tau"]))
    assert one["tau"] < 2
    assert whole["n"] == 160
    assert whole["rhat"] == pytest.approx(1.0, abs=0.05)
    (tmp_path / "md.dat").write_text("# time Etot/N[eV]\n" + "".join(f"{row} {row % 7}\n" for row in range(40)))
    result = call("chain", tmp_path / "md.dat", "--column", "Etot/N[eV]", "-o", tmp_path / "dat")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "dat" / "chain-Etot-N-eV.png").is_file()
    result = call("chain", folder / "chain-1.csv", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert {"chain-energy.png", "chain-pressure.pdf", "chain-energy-blocking.csv"} <= {
        path.name for path in tmp_path.iterdir()
    }
    blocking = table(tmp_path / "chain-energy-blocking.csv")
    assert float(blocking[0]["error"]) == pytest.approx(values.std() / np.sqrt(80))


def test_chain_of_frames(folder):
    found = {
        (row["quantity"], row["chain"]): row for row in rows("chain", folder / "run.extxyz", folder / "other.traj")
    }
    assert {quantity for quantity, _ in found} == {"energy", "volume"}
    assert found["volume", "all"]["rhat"] > 1.5
    assert found["volume", "run"]["unit"] == "Å³"
    blocks = np.array([atoms.get_volume() for atoms in ensemble(40, seed=1)]).reshape(4, 10).mean(axis=1)
    assert found["volume", "run"]["error_blocks"] == pytest.approx(blocks.std() / 2, rel=1e-5)


# What is wrong --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["rdf", "distances", "cell", "chain"])
def test_files_that_are_none(folder, tmp_path, command):
    assert "there is no file '" in refused(command, tmp_path / "none.xyz")
    (tmp_path / "empty.xyz").write_text("")
    assert "empty.xyz' is empty." in refused(command, tmp_path / "empty.xyz")
    (tmp_path / "words.xyz").write_text("not a number\n")
    assert "words.xyz' cannot be read" in refused(command, tmp_path / "words.xyz")
    assert "run.extxyz" in refused(command, folder / "run.extxyz", "--discard", "40")


def test_input_that_is_wrong(folder, tmp_path):
    run, other = folder / "run.extxyz", folder / "other.traj"
    assert "no pair C-O; there are O-O, O-Ti, Ti-Ti." in refused("rdf", run, "--pair", "C-O")
    assert "no frame has Ti–C neighbours (40 × no C)" in refused("distances", run, "--pair", "Ti-C", "--cutoff", "2")
    assert "run.extxyz': the first 20 frames show no shell of Ti–C" in refused("distances", run, "--pair", "Ti-C")
    assert "a cut-off of 500 Å takes in about" in refused("rdf", run, "--cutoff", "500")
    assert "less than two bins" in refused("rdf", run, "--cutoff", "0.001")
    assert "labels and predictions would be the same" in refused("errors", run)
    assert "1 files for 2 files of predictions" in refused("errors", run, other, "--labels", run)
    assert "frame 0 of" in refused("errors", run, "--labels", other)
    assert "40 × no predicted energy" in refused("errors", run, "--predictions-key", "X_")
    assert "there is no model" in refused("errors", run, "--model", tmp_path / "none.model")
    assert "has no column 'x'; it has cycle, energy, pressure." in refused(
        "chain", folder / "chain-1.csv", "--column", "x"
    )
    assert "frame 0 of" in refused("chain", run, "--quantity", "dipole_z")
    assert "a chain has one composition" in refused("chain", folder / "test-set.xyz")
    write(tmp_path / "atoms.xyz", [Atoms("O"), Atoms("Ti")], format="extxyz")
    assert "none of its 2 frames has a volume" in refused("rdf", tmp_path / "atoms.xyz")
    assert "none of its 2 frames is periodic" in refused("cell", tmp_path / "atoms.xyz")
    short = ensemble(3, seed=1)
    write(tmp_path / "short.extxyz", short)
    assert "ends after 3 frames" in refused("errors", tmp_path / "short.extxyz", "--labels", run)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--pair", "Ti"), ("--pair", "Ti-Oo"), ("--window", "Ti-O=2"), ("--window", "Ti-O=3:2"), ("--cutoff", "-1")],
)
def test_options_that_are_wrong(folder, option, value):
    result = call("rdf", folder / "run.extxyz", option, value)
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.output


def test_no_profile_and_no_aiida(folder, tmp_path):
    """The analyses run where AiiDA cannot be imported."""
    script = "import sys\nsys.modules['aiida'] = None\nfrom aiida_slhmc.cli import main\nmain(args=sys.argv[1:])\n"
    command = [sys.executable, "-c", script, "analyse", "cell", str(folder / "run.extxyz"), "-o", str(tmp_path / "out")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "cell.pdf").is_file()
