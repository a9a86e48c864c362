"""What several test modules need: small structures, levels of theory with known ensembles, finished runs."""

import numpy as np
import pytest
from aiida import orm
from aiida.common import NotExistent

from aiida_slhmc import models
from aiida_slhmc.data import MaceModelData
from aiida_slhmc.engine.profile import _worker as worker_executable
from aiida_slhmc.engine.runner import run_foreground
from aiida_slhmc.engine.storage import tune_sqlite
from aiida_slhmc.targets.level import normalise
from aiida_slhmc.workflows.from_runs import compare_builder, reference_builder
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


#: Volume (Å³) and bulk modulus (GPa) of the breathing target.
VOLUME, BULK = 62.0, 200.0


def breathing(spring, bulk=BULK, volume=VOLUME, shift=0.0):
    """Return the level of theory of an Einstein crystal that breathes: its volume is known under pressure."""
    sites = rutile().get_scaled_positions() + shift
    parameters = {"sites": sites.tolist(), "spring_constant": spring, "bulk_modulus": bulk, "volume": volume}
    return normalise({"engine": "breathing", "functional": "analytic", "parameters": parameters})


def breathing_builder(seed=5, cell="isotropic", pressure=5.0, **overrides):
    """Return the builder of a run at constant pressure whose proposal surface is wrong in every respect."""
    overrides = {
        "ensemble": {"ensemble": "NPT", "cell": cell, "pressure": pressure},
        "proposal": {"cell_period": 40.0},
        **overrides,
    }
    builder = analytic_builder(seed, target=breathing(RIGHT), **overrides)
    builder.model = orm.Dict(breathing(4.5, bulk=170.0, volume=61.0, shift=0.002))
    return builder


def analytic_builder(seed=3, protocol="fast", target=None, **overrides):
    """Return the builder of a run whose proposal surface is wrong and whose target is known."""
    budget = {"chains": 2, "blocks": 1, "cycles": 3, "production_cycles": 2}
    settings = {
        "budget": budget | overrides.pop("budget", {}),
        "proposal": {"length": 12} | overrides.pop("proposal", {}),
        # Equal runs are compared with one another: each has to pay for its own labels.
        "labelling": {"reuse": False} | overrides.pop("labelling", {}),
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


def trained_builder(seed=11, **overrides):
    """Return the builder of a run in which the shipped model proposes and learns from an analytic target."""
    settings = {
        "budget": {"chains": 1, "blocks": 2, "cycles": 2, "production_cycles": 1},
        "proposal": {"length": 4},
        "finetune": {"max_epochs": 2},
        "labelling": {"reuse": False},
        **overrides,
    }
    return SlhmcWorkChain.get_builder_from_protocol(
        structure=orm.StructureData(ase=rutile()),
        model=MaceModelData(models.path("tio2-pbe-small")),
        level=einstein(RIGHT),
        seed=seed,
        protocol="fast",
        overrides=settings,
    )


@pytest.fixture(scope="session")
def trained_run(aiida_profile):
    """Return a finished run that fine-tuned the shipped model twice: one chain, two blocks, a production phase."""
    node = run_foreground(trained_builder())
    assert node.is_finished_ok, node.exit_message
    return node


#: Dynamics and test sets of a comparison, as small as it goes: what is tested is the way of the numbers.
SAMPLING = {"samples": 30, "discard": 2, "length": 8}
TESTS = {"trajectories": 2, "frames": 4, "random": 3}


def finished(builder):
    """Run a builder to its end, which must be a good one."""
    node = run_foreground(builder)
    assert node.is_finished_ok, node.exit_message or node.exception
    return node


@pytest.fixture(scope="session")
def replicas(analytic_run):
    """Return two finished runs that differ in their seed alone."""
    return [analytic_run, finished(analytic_builder(seed=4))]


@pytest.fixture(scope="session")
def reference_run(replicas):
    """Return a reference of their target, with test sets."""
    overrides = {"reference": TESTS, "dynamics": SAMPLING}
    return finished(reference_builder(replicas[0].inputs, seed=7, protocol="fast", overrides=overrides))


@pytest.fixture(scope="session")
def comparison_run(replicas, reference_run):
    """Return their comparison."""
    return finished(
        compare_builder(replicas, [reference_run], seed=3, protocol="fast", overrides={"dynamics": SAMPLING})
    )


@pytest.fixture
def structure(aiida_profile):
    return orm.StructureData(ase=rutile())


@pytest.fixture
def code(aiida_localhost):
    """Return the worker as a code of the local computer."""
    aiida_localhost.configure(use_login_shell=False, safe_interval=0.0)
    aiida_localhost.set_minimum_job_poll_interval(0.1)
    executable = str(worker_executable())
    try:
        # One of a name, as in a user's profile: a run file names it.
        return orm.load_code(f"slhmc-worker@{aiida_localhost.label}")
    except NotExistent:
        return orm.InstalledCode(label="slhmc-worker", computer=aiida_localhost, filepath_executable=executable).store()


@pytest.fixture
def rng():
    return np.random.default_rng(7)
