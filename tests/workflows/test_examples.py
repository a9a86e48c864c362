"""The run files that come with the project are valid."""

import shutil
from pathlib import Path

import pytest
from aiida.manage import get_manager

from aiida_slhmc import models
from aiida_slhmc.engine.profile import prepare_localhost
from aiida_slhmc.workflows.runfile import builder_from_run, read

#: That of VASP takes a code and POTCARs: tests/workflows/test_vasp.py checks it with fake ones.
EXAMPLES = [
    file for file in sorted((Path(__file__).parents[2] / "examples").glob("*.yaml")) if not file.stem.startswith("vasp")
]


@pytest.fixture
def worker(aiida_profile, tmp_path):
    """Return the code that an isolated profile has, and examples name."""
    return prepare_localhost(get_manager().get_profile(), scratch=tmp_path / "scratch")


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_a_valid_run(worker, file):
    builder = builder_from_run(read(file), file.parent)
    npt = builder.ensemble["ensemble"] == "NPT"
    assert npt == file.stem.endswith("npt")
    assert (builder.ensemble["pressure"] is not None) == npt


def test_chains_may_be_given_starts_of_their_own(aiida_profile, tmp_path):
    text = EXAMPLES[0].read_text() + "structures: {chain_001: rutile-TiO2}\n"
    (tmp_path / "run.yaml").write_text(text)
    builder = builder_from_run(read(tmp_path / "run.yaml"), tmp_path)
    assert list(builder.structures) == ["chain_001"]


def test_a_teachers_weights_lie_beside_the_run_file(aiida_profile, tmp_path):
    shutil.copy(models.path("tio2-pbe-small"), tmp_path / "teacher.model")
    content = read(EXAMPLES[0]) | {
        "target": {"engine": "mace", "functional": "PBE", "parameters": {"model": "teacher.model"}}
    }
    level = builder_from_run(content, tmp_path).target.level.get_dict()
    assert len(level["parameters"]["model"]) == 64
