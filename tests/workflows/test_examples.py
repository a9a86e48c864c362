"""The run files that come with the project are valid."""

import importlib.util
from pathlib import Path

import pytest

from aiida_slhmc.workflows.runfile import builder_from_run, read

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_a_valid_run(aiida_profile, file):
    if file.stem.startswith("gpaw") and importlib.util.find_spec("gpaw") is None:
        pytest.skip("needs GPAW: `make test-dft` installs it")
    builder = builder_from_run(read(file), file.parent)
    npt = builder.ensemble["ensemble"] == "NPT"
    assert npt == file.stem.endswith("npt")
    assert (builder.ensemble["pressure"] is not None) == npt


def test_chains_may_be_given_starts_of_their_own(aiida_profile, tmp_path):
    text = EXAMPLES[0].read_text() + "structures: {chain_001: rutile-TiO2}\n"
    (tmp_path / "run.yaml").write_text(text)
    builder = builder_from_run(read(tmp_path / "run.yaml"), tmp_path)
    assert list(builder.structures) == ["chain_001"]
