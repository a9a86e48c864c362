"""``analyse rdf``, ``distances`` and ``cell``: real files in, tables and figures out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.io import write

from .calls import call, refused, rows, table
from .sets import A, C, U, rutile

REAL = Path(__file__).parents[2] / "vasp" / "real"
SHORT, LONG = np.sqrt(2 * (0.5 - U) ** 2 * A**2 + C**2 / 4), np.sqrt(2) * U * A


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
