"""What several tests of the provenance look at."""

import pytest

from aiida_slhmc.provenance.pedigree import pedigree


@pytest.fixture(scope="module")
def found(trained_run):
    """Return the pedigree of a model that was fine-tuned twice."""
    return pedigree(trained_run.outputs.model)
