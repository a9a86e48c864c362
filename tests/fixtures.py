"""What several test modules need: small structures, levels of theory with known ensembles, finished runs."""

import numpy as np
import pytest
from aiida import orm

from aiida_slhmc.engine.runner import run_foreground
from aiida_slhmc.engine.storage import tune_sqlite
from aiida_slhmc.targets.level import normalise
from aiida_slhmc.workflows.runfile import rutile
from aiida_slhmc.workflows.slhmc import SlhmcWorkChain

#: Spring constants (eV/Å²) of the target and of the deliberately wrong proposal surface.
RIGHT, WRONG = 5.0, 3.0


def einstein(spring, shift=0.0, offset=-3.0):
    """Return the level of theory of an Einstein crystal on the sites of rutile."""
    sites = rutile().positions + shift
    return normalise(
        {
            "engine": "einstein",
            "functional": "analytic",
            "parameters": {"sites": sites.tolist(), "spring_constant": spring, "offset": offset},
        }
    )


def analytic_builder(seed=3, protocol="fast", target=None, **overrides):
    """Return the builder of a run whose proposal surface is wrong and whose target is known."""
    budget = {"chains": 2, "blocks": 1, "cycles": 3, "production_cycles": 2}
    settings = {
        "budget": budget | overrides.pop("budget", {}),
        "proposal": {"length": 12} | overrides.pop("proposal", {}),
        **overrides,
    }
    return SlhmcWorkChain.get_builder_from_protocol(
        structure=orm.StructureData(ase=rutile()),
        model=orm.Dict(einstein(WRONG, shift=0.02)),
        level=target or einstein(RIGHT),
        seed=seed,
        protocol=protocol,
        overrides=settings,
    )


@pytest.fixture(scope="session", autouse=True)
def quick_commits(aiida_profile):
    """Spare the test profile the wait for the disk, as an isolated profile does."""
    tune_sqlite()


@pytest.fixture(scope="session")
def analytic_run(aiida_profile):
    """Return a finished run on an analytic target: two chains, one adaptive block, a production phase."""
    node = run_foreground(analytic_builder())
    assert node.is_finished_ok, node.exit_message
    return node


@pytest.fixture
def structure(aiida_profile):
    return orm.StructureData(ase=rutile())


@pytest.fixture
def rng():
    return np.random.default_rng(7)
