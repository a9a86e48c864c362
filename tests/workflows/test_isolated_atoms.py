"""Reference energies from the target's own isolated atoms, through the WorkChain."""

import pytest
from aiida import orm

from aiida_slhmc import models
from aiida_slhmc.calculations.base import structure_payload
from aiida_slhmc.data import MaceModelData
from aiida_slhmc.engine.runner import run_foreground
from aiida_slhmc.provenance.audit import audit
from aiida_slhmc.provenance.progress import run_status
from aiida_slhmc.targets.level import normalise
from aiida_slhmc.worker.label import label
from aiida_slhmc.workflows.runfile import rutile
from aiida_slhmc.workflows.slhmc import SlhmcWorkChain

TEACHER = {"engine": "mace", "functional": "PBE (CHGNet)", "parameters": {"model": "tio2-pbe-small"}}


def builder(level):
    return SlhmcWorkChain.get_builder_from_protocol(
        structure=orm.StructureData(ase=rutile()),
        model=MaceModelData(models.path("tio2-pbe-small")),
        level=level,
        seed=6,
        protocol="fast",
        overrides={
            "budget": {"chains": 1, "blocks": 1, "cycles": 2, "production_cycles": 0},
            "finetune": {"e0": "isolated", "max_epochs": 1},
        },
    )


def test_the_target_labels_its_atoms_and_the_model_takes_their_energies(aiida_profile):
    run = run_foreground(builder(TEACHER))
    assert run.is_finished_ok, run.exit_message
    atoms = {
        link.link_label: link.node
        for link in run.base.links.get_outgoing(node_class=orm.WorkChainNode).all()
        if link.link_label.startswith("atom_")
    }
    assert set(atoms) == {"atom_O", "atom_Ti"}
    held = run.outputs.model.description["atomic_energies"]
    for symbol in ("O", "Ti"):
        structure = atoms[f"atom_{symbol}"].inputs.structure
        expected = label({**structure_payload(structure), "level": normalise(TEACHER)})["energy"]
        assert next(iter(held.values()))[symbol] == pytest.approx(expected, abs=1e-9)
    # The start, two endpoints, two atoms.
    assert run_status(run).labels + run_status(run).labels_reused == 5
    # The binding energy of this teacher is in its E0s in part: the offset is said where a user looks.
    assert any("'isolated'" in warning for warning in run_status(run).warnings)
    report = audit(run)
    assert report.passed, report.findings


def test_an_engine_without_isolated_atoms_is_refused_before_anything_runs(aiida_profile):
    with pytest.raises(ValueError, match=r"finetune\.e0 is 'isolated', but the engine 'chgnet' has no isolated atoms"):
        run_foreground(builder({"engine": "chgnet", "functional": "r2SCAN"}))
