"""``aiida-slhmc replay-set``: make, export, import; and a run file that names the file."""

import numpy as np
import pytest
import yaml
from aiida import orm
from ase.io import read, write
from click.testing import CliRunner

from aiida_slhmc.cli.errors import InputError
from aiida_slhmc.cli.launch import launch_file
from aiida_slhmc.cli.main import main
from aiida_slhmc.data import DatasetData
from aiida_slhmc.provenance.audit import audit
from aiida_slhmc.workflows.runfile import builder_from_run
from tests.fixtures import rutile

RUN = {
    "workflow": "naive",
    "structure": "rutile-TiO2",
    "model": "tio2-pbe-small",
    "target": {"engine": "chgnet", "functional": "r2SCAN"},
    "protocol": "fast",
    "overrides": {"finetune": "multihead"},
    "seed": 1,
}


@pytest.fixture
def cli(aiida_profile, monkeypatch):
    # The test profile is loaded already.
    monkeypatch.setattr("aiida_slhmc.cli.session.load", lambda profile, path: None)

    def run(*arguments):
        result = CliRunner().invoke(main, ["replay-set", *map(str, arguments)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


def replay_sets():
    return orm.QueryBuilder().append(DatasetData).count()


def test_a_set_is_made_exported_and_imported_unchanged(cli, tmp_path):
    few = ["--set", "samples=2", "--set", "displaced=4", "--set", "thinning=2", "--set", "temperature=600"]
    file = tmp_path / "replay.xyz"
    arguments = ["rutile-TiO2", "--model", "tio2-pbe-small", "--protocol", "fast", *few, "--export", file]
    result = cli("make", *arguments)
    assert result.exit_code == 0, result.output
    assert "6 frames in 1 chunk; in a run file" in result.output
    made = orm.load_node(int(result.output.split("<")[1].split(">")[0]))
    assert cli("make", *arguments).exit_code == 2  # the file exists
    result = cli("import", file)
    assert result.exit_code == 0, result.output
    imported = orm.load_node(int(result.output.split("<")[1].split(">")[0]))
    for name in ("positions", "cells", "energies", "forces", "stresses"):
        arrays = [node.frames()[0].get_array(name) for node in (made, imported)]
        assert np.allclose(*arrays, rtol=0, atol=1e-12)
    report = audit(imported.creator)
    assert report.passed, report.findings
    assert report.frames == 6
    count = replay_sets()
    assert cli("import", file).output == result.output
    assert replay_sets() == count
    again = tmp_path / "again.xyz"
    assert cli("export", imported.pk, again).exit_code == 0
    assert [atoms.info["role"] for atoms in read(again, ":")].count("valid") == 1


def mixed(path, symbol="Ti"):
    """Write frames of two sizes, with the names that MACE's program takes."""
    frames = []
    for repeat in ((1, 1, 1), (1, 1, 2), (1, 1, 1)):
        atoms = rutile().repeat(repeat)
        atoms.symbols[0] = symbol
        atoms.info["REF_energy"] = -9.2 * len(atoms)
        atoms.arrays["REF_forces"] = np.zeros((len(atoms), 3))
        frames.append(atoms)
    write(path, frames, format="extxyz")


def launch(folder, **changes):
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump({**RUN, **changes}))
    return launch_file(file, dry_run=True)


def test_a_run_file_takes_a_file_or_a_node(aiida_profile, tmp_path):
    mixed(tmp_path / "theirs.xyz")
    count = replay_sets()
    launch(tmp_path, replay="theirs.xyz")
    assert replay_sets() == count
    builder = builder_from_run({**RUN, "replay": "theirs.xyz"}, tmp_path)
    assert [(node.n_atoms, node.n_frames) for node in builder.replay.frames()] == [(6, 2), (12, 1)]
    assert builder_from_run({**RUN, "replay": builder.replay.pk}, tmp_path).replay.uuid == builder.replay.uuid
    assert builder_from_run({**RUN, "replay": builder.replay.uuid}, tmp_path).replay.uuid == builder.replay.uuid


def test_bad_replay_sets_are_said_at_once(aiida_profile, tmp_path):
    mixed(tmp_path / "gold.xyz", "Au")
    write(tmp_path / "bare.xyz", rutile(), format="extxyz")
    structure = orm.StructureData(ase=rutile()).store()
    for changes, says in (
        ({}, "there is no replay set: give 'replay'"),
        ({"replay": "gold.xyz"}, r"does not know the element\(s\) Au of the replay set"),
        ({"replay": "bare.xyz"}, "has no energy"),
        ({"replay": "nowhere.xyz"}, "there is no file"),
        ({"replay": structure.pk}, "is a StructureData, no replay set"),
        ({"replay": "gold.xyz", "overrides": {"finetune": None}}, "fine-tunes no model"),
    ):
        with pytest.raises(InputError, match=says):
            launch(tmp_path, **changes)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rutile-TiO2", "--model", "tio2-pbe-small", "--set", "temperature"], "takes NAME=VALUE"),
        (["rutile-TiO2", "--model", "tio2-pbe-small", "--set", "heat=3"], "no setting of 'replay_set' 'heat'"),
        (["rutile-TiO2", "--model", "tio2-pbe-small", "--set", "samples=0", "--set", "displaced=0"], "nothing to make"),
        (["nowhere.cif", "--model", "tio2-pbe-small"], "no file"),
        (["rutile-TiO2", "--model", "nowhere.model"], "model"),
    ],
)
def test_bad_input_is_said_before_anything_is_made(cli, arguments, says):
    result = cli("make", *arguments)
    assert result.exit_code == 2
    assert says in result.output
