"""Constant pressure on a target without a stress, such as a hybrid of GPAW: its energies alone decide."""

from pathlib import Path

import numpy as np
from aiida import orm

from aiida_slhmc.engine.runner import run_foreground
from aiida_slhmc.targets.contract import check_target
from aiida_slhmc.targets.level import normalise
from aiida_slhmc.workflows.runfile import load_model, rutile
from aiida_slhmc.workflows.slhmc import SlhmcWorkChain
from tests.fixtures import RIGHT, breathing, breathing_builder

from .test_slhmc import decisions

BUDGET = {"chains": 1, "blocks": 1, "cycles": 4, "production_cycles": 2}


def withheld(level):
    """Return a level of theory that keeps its stress to itself."""
    return normalise({"engine": "faulty", "parameters": {"level": level, "fault": "no_stress"}})


def test_it_is_a_target_like_any_other():
    atoms = rutile()
    atoms.rattle(0.05, seed=1)
    report = check_target(withheld(breathing(RIGHT)), atoms)
    assert np.isnan(report.stress_error)


def test_the_decisions_are_those_of_the_same_target_with_a_stress(aiida_profile):
    open_run = run_foreground(breathing_builder(budget=BUDGET))
    builder = breathing_builder(budget=BUDGET)
    builder.target.level = orm.Dict(withheld(breathing(RIGHT)))
    run = run_foreground(builder)
    assert run.is_finished_ok, run.exit_message
    assert [one["accepted"] for one in decisions(run, 0)] == [one["accepted"] for one in decisions(open_run, 0)]
    np.testing.assert_allclose(
        [one["delta"] for one in decisions(run, 0)], [one["delta"] for one in decisions(open_run, 0)], atol=1e-12
    )
    assert np.isnan(run.outputs.dataset.frames()[0].get_array("stresses")).all()
    assert np.isfinite(open_run.outputs.dataset.frames()[0].get_array("stresses")).all()
    # The cell moves, for all that.
    volumes = np.linalg.det(run.outputs.dataset.frames()[0].get_array("cells"))
    assert len(set(np.round(volumes, 6))) > 3


def test_a_model_learns_from_labels_without_a_stress(aiida_profile):
    teacher = {"engine": "chgnet", "functional": "PBE"}
    builder = SlhmcWorkChain.get_builder_from_protocol(
        structure=orm.StructureData(ase=rutile()),
        model=load_model("tio2-pbe-small", Path()),
        level=withheld(teacher),
        seed=3,
        protocol="fast",
        overrides={
            "budget": {**BUDGET, "production_cycles": 0},
            "ensemble": {"ensemble": "NPT", "cell": "isotropic"},
            "proposal": {"length": 4},
        },
    )
    run = run_foreground(builder)
    assert run.is_finished_ok, run.exit_message
    assert run.outputs.model.uuid != run.inputs.model.uuid
