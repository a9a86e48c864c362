"""Bad input: one clear sentence and exit code 2, before anything is computed or stored."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from aiida import orm
from ase.io import write

from aiida_slhmc.cli.errors import InputError
from aiida_slhmc.cli.launch import launch_file
from tests.fixtures import einstein, rutile

GOOD = {
    "structure": "rutile-TiO2",
    "model": "tio2-pbe-small",
    "target": {"engine": "chgnet", "functional": "r2SCAN"},
    "protocol": "fast",
    "seed": 1,
}


@pytest.fixture
def launch(tmp_path, aiida_profile):
    def dry_run(**changes):
        content = {key: value for key, value in (GOOD | changes).items() if value is not ...}
        file = tmp_path / "run.yaml"
        file.write_text(yaml.safe_dump(content))
        return launch_file(file, dry_run=True)

    return dry_run


def overrides(**groups):
    return {"overrides": groups}


def structures(folder):
    """Write structures that cannot be run."""
    overlapping = rutile()
    overlapping.positions[1] = overlapping.positions[0] + 0.1
    unknown = rutile()
    unknown.symbols[0] = "Zr"
    molecule = rutile()
    molecule.cell[:] = 0
    molecule.pbc = False
    slab = rutile()
    slab.pbc = (True, True, False)
    named = {"overlapping": overlapping, "unknown": unknown, "molecule": molecule, "slab": slab}
    for name, atoms in named.items():
        write(folder / f"{name}.xyz", atoms, format="extxyz")
    (folder / "text.cif").write_text("not a structure\n")
    (folder / "foreign.model").write_bytes(b"not a model")


CASES = {
    "no such structure": ({"structure": "nowhere.cif"}, "no file"),
    "not a structure": ({"structure": "text.cif"}, "cannot read"),
    "no cell": ({"structure": "molecule.xyz"}, "no cell"),
    "partly periodic": ({"structure": "slab.xyz"}, "some directions only"),
    "overlapping atoms": ({"structure": "overlapping.xyz"}, "Å apart"),
    "unknown element": ({"structure": "unknown.xyz"}, "Zr"),
    "repeat": ({"structure": {"file": "rutile-TiO2", "repeat": [0, 1, 1]}}, "repeat"),
    "negative temperature": (overrides(ensemble={"temperature": -1.0}), "temperature"),
    "NaN temperature": (overrides(ensemble={"temperature": float("nan")}), "temperature"),
    "negative time step": (overrides(proposal={"timestep": -0.5}), "timestep"),
    "zero cycles": (overrides(budget={"cycles": 0}), "cycles"),
    "nothing to do": (overrides(budget={"blocks": 0, "production_cycles": 0}), "nothing to do"),
    "length beyond its bounds": (overrides(proposal={"length": 500}), "proposal.length"),
    "text for a number": (overrides(budget={"cycles": "ten"}), "budget.cycles"),
    "another ensemble": (overrides(ensemble={"ensemble": "NPH"}), "one of NVT, NPT"),
    "pressure at constant volume": (overrides(ensemble={"pressure": 1.0}), "the ensemble is NVT"),
    "a cell of another kind": (overrides(ensemble={"ensemble": "NPT", "cell": "monoclinic"}), "ensemble.cell"),
    "swaps without temperatures": (overrides(driver={"exchange_every": 2}), "driver.temperatures"),
    "missing model": ({"model": "nowhere.model"}, "nowhere.model"),
    "foreign model": ({"model": "foreign.model"}, "MACE"),
    "MACE-MP-0 without a network": ({"model": "mace-mp-0-small"}, "cannot be downloaded"),
    "unknown protocol": ({"protocol": "fsat"}, "Did you mean 'fast'"),
    "unknown group": (overrides(bugdet={"cycles": 1}), "Did you mean 'budget'"),
    "unknown override key": (overrides(budget={"cycels": 1}), "Did you mean 'cycles'"),
    "unknown hyperparameter": (overrides(finetune={"learning_rat": 1.0}), "learning_rat"),
    "absurd hyperparameter": (overrides(finetune={"learning_rate": -1.0}), "learning_rate"),
    "unknown engine": ({"target": {"engine": "vsap"}}, "vsap"),
    "unknown functional": ({"target": {"engine": "chgnet", "functional": "B3LYP"}}, "B3LYP"),
    "unknown parameter": ({"target": {"engine": "gpaw", "parameters": {"cutof": 340}}}, "cutof"),
    "target of other atoms": ({"target": ...}, "target"),
    "unknown key": ({"strucutre": "x"}, "strucutre"),
    "missing key": ({"seed": ...}, "seed"),
    "negative seed": ({"seed": -1}, "seed"),
    "no such code": ({"code": "nowhere@localhost"}, "nowhere@localhost"),
    "job without a code": ({"executor": "job"}, "code"),
}


@pytest.mark.parametrize("name", CASES)
def test_one_sentence_and_exit_code_2(launch, tmp_path, name, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there, whatever network there is
    structures(tmp_path)
    changes, word = CASES[name]
    before = orm.QueryBuilder().append(orm.ProcessNode).count()
    with pytest.raises(InputError) as caught:
        launch(**changes)
    assert caught.value.exit_code == 2
    assert word in caught.value.message, caught.value.message
    assert "\n" not in caught.value.message
    assert "Traceback" not in caught.value.message
    assert orm.QueryBuilder().append(orm.ProcessNode).count() == before


def test_target_with_another_number_of_atoms(launch):
    level = einstein(5.0)
    level["parameters"]["sites"] = np.zeros((4, 3)).tolist()
    with pytest.raises(InputError, match=r"4 .*6"):
        launch(target=level)


def test_code_whose_executable_is_gone(launch, aiida_localhost):
    orm.InstalledCode(label="gone", computer=aiida_localhost, filepath_executable="/nowhere/slhmc-worker").store()
    with pytest.raises(InputError, match="no executable"):
        launch(code="gone@localhost", executor="job")


def test_a_good_file_passes(launch, capsys):
    launch()
    assert "valid" in capsys.readouterr().out


def test_broken_yaml(tmp_path, aiida_profile):
    file = tmp_path / "run.yaml"
    file.write_text("a: [1,\nb")
    with pytest.raises(InputError, match="not valid YAML"):
        launch_file(file, dry_run=True)
    with pytest.raises(InputError, match="no run file"):
        launch_file(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--path", "nowhere", "status", "1"], "no isolated profile"),
        (["quickstart", "--seed", "-1"], "--seed"),
    ],
)
def test_the_command_itself_exits_with_2(tmp_path, arguments, word):
    command = Path(sys.executable).parent / "aiida-slhmc"
    done = subprocess.run([command, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert word in done.stderr
    assert "Traceback" not in done.stderr
