"""Ways of fine-tuning through AiiDA, really run: committees, strategies, replay sets."""

import mace  # noqa: F401  (before e3nn)
import numpy as np
import pytest
import torch
from aiida import orm
from mace import modules

from aiida_slhmc import models
from aiida_slhmc.calculations.finetune import committee_of
from aiida_slhmc.data import FramesData, MaceModelData
from aiida_slhmc.engine.runner import run_foreground
from aiida_slhmc.provenance.audit import audit
from aiida_slhmc.worker.models import read, save
from aiida_slhmc.worker.predict import predict
from aiida_slhmc.workflows.replay_set import ReplaySetWorkChain
from aiida_slhmc.workflows.rounds import PeriodicWorkChain
from aiida_slhmc.workflows.runfile import rutile

from ..worker.training.test_strategies import tiny
from .test_rounds import builder

FEW = {"rounds": 2, "labels": 4}


def trainings(run):
    """Return the fine-tunings of a run, in order."""
    found = [node for node in run.called if "training" in node.outputs]
    return sorted(found, key=lambda node: node.pk)


def weights_of(model):
    with model.local_path() as path:
        return {name: value for name, value in read(path).state_dict().items() if value.is_floating_point()}


def test_each_member_of_a_committee_goes_on_from_where_it_stood_here_and_as_a_job(aiida_profile, code):
    found = []
    for executor in ("local", "job"):
        asked = builder(
            PeriodicWorkChain,
            rounds=FEW,
            finetune={"max_epochs": 1, "committee": 3},
            executor={"finetune": executor},
        )
        asked.worker.code = code
        run = run_foreground(asked)
        assert run.is_finished_ok, run.exit_message
        members = committee_of(run)
        assert set(run.outputs.committee) == {"member_001", "member_002"}
        assert members[0].uuid == run.outputs.model.uuid
        first, second = trainings(run)
        before = committee_of(first)
        assert {model.description["parent_state_sha256"] for model in before} == {run.inputs.model.state_sha256}
        parents = [model.description["parent_state_sha256"] for model in members]
        assert parents == [model.state_sha256 for model in before]
        record = second.outputs.training.get_dict()
        assert len({record["seed"], *(member["seed"] for member in record["committee"])}) == 3
        assert all(len(member["curve"]["epoch"]) == 2 for member in record["committee"])
        report = audit(run)
        assert report.passed, report.findings
        assert len({model.state_sha256 for model in members}) == 3
        found.append([weights_of(model) for model in members])
    for here, there in zip(*found, strict=True):
        assert here.keys() == there.keys()
        assert all(torch.equal(here[name], there[name]) for name in here)


@pytest.fixture(scope="module")
def replay(aiida_profile):
    """Return a replay set of rutile, made by the shipped model."""
    run = run_foreground(replay_builder())
    assert run.is_finished_ok, run.exit_message
    report = audit(run)
    assert report.passed, report.findings
    return run.outputs.replay


def replay_builder(**overrides):
    few = {"samples": 4, "displaced": 4, "thinning": 5, "discard": 0, "temperature": 600.0}
    return ReplaySetWorkChain.get_builder_from_protocol(
        structures=[orm.StructureData(ase=rutile()), orm.StructureData(ase=rutile().repeat((1, 1, 2)))],
        model=MaceModelData(models.path("tio2-pbe-small")),
        seed=3,
        overrides={"replay_set": few, **overrides},
    )


def test_a_replay_set_is_the_foundations_own_word(replay, code):
    assert [(node.n_atoms, node.n_frames) for node in replay.frames()] == [(6, 8), (12, 8)]
    assert [split.tolist().count(1) for split in replay.splits] == [1, 1]
    for node in replay.frames():
        frames = {name: node.get_array(name) for name in ("numbers", "positions", "cells", "pbc")}
        with MaceModelData(models.path("tio2-pbe-small")).store().local_path() as path:
            said = predict({"potential": {"engine": "mace", "file": str(path)}, "frames": frames})
        assert np.allclose(said["forces"], node.get_array("forces"), atol=1e-12)
        assert node.get_array("origin").tolist() == [0] * 4 + [1] * 4
        assert np.ptp(np.linalg.det(node.get_array("cells")[4:])) > 1.0
    # The same set as a job, frame by frame.
    asked = replay_builder(executor={"dynamics": "job"})
    asked.worker.code = code
    job = run_foreground(asked)
    assert job.is_finished_ok, job.exit_message
    assert job.outputs.replay.chunks == replay.chunks


@pytest.mark.slow
def test_multihead_and_committee_through_a_whole_run(replay):
    settings = {"protocol": "multihead", "max_epochs": 1, "committee": 2}
    run = run_foreground(builder(PeriodicWorkChain, rounds=FEW, finetune=settings, replay=replay))
    assert run.is_finished_ok, run.exit_message
    assert {tuple(model.description["heads"]) for model in committee_of(run)} == {("Default",)}
    # Every training starts from the foundation model, whose own energies the replay set has.
    parents = {model.description["parent_state_sha256"] for model in committee_of(run)}
    assert parents == {run.inputs.model.state_sha256}
    for node in trainings(run):
        assert node.inputs.replay.uuid == replay.uuid
        record = node.outputs.training.get_dict()
        for member in (record, *record["committee"]):
            assert member["replay"]["frames"] == {"train": 14, "measured": 2, "held_out": True}
            assert member["replay"]["parent"]["forces_mev_per_angstrom"] < 1e-6
            assert member["replay"]["head"]["forces_mev_per_angstrom"] is not None
    # The second round's dynamics ran on the first round's model, and its prequential errors are of its target head.
    rows = run.outputs.history.get_dict()["blocks"]
    assert rows[1]["errors"]["energy_rmse"] < rows[1]["foundation_errors"]["energy_rmse"]
    report = audit(run)
    assert report.passed, report.findings


@pytest.mark.parametrize(
    ("finetune", "given", "says"),
    [
        ("wong-yang", False, "strategy is 'multihead', but there is no replay set: give 'replay'"),
        ({"strategy": "multihead"}, True, "set it to 'foundation'"),
        ({"strategy": "multihead", "start": "foundation", "e0": "average"}, True, "'average' cannot be had"),
        (None, True, "fine-tunes no model"),
        ({"committee": 17}, False, "committee must lie between 1 and 16"),
        ({"strategy": "adapters"}, False, "strategy must be one of"),
    ],
)
def test_what_a_strategy_lacks_is_said_before_anything_runs(replay, finetune, given, says):
    asked = builder(PeriodicWorkChain, rounds=FEW, replay=replay if given else None, finetune=finetune)
    with pytest.raises(ValueError, match=says):
        run_foreground(asked)


def test_a_replay_set_of_foreign_elements_is_refused(replay):
    arrays = {**replay.frames()[0].arrays}
    arrays["numbers"] = np.where(arrays["numbers"] == 22, 79, arrays["numbers"])
    asked = builder(PeriodicWorkChain, replay=FramesData(arrays), rounds=FEW, finetune="multihead")
    with pytest.raises(ValueError, match=r"does not know the element\(s\) Au of the replay set"):
        run_foreground(asked)


def test_a_model_that_mace_cannot_rebuild_is_refused(replay, tmp_path):
    save(tiny(modules.MACE, "4x0e"), tmp_path / "plain.model")
    asked = builder(PeriodicWorkChain, rounds=FEW, finetune="scratch")
    asked.model = MaceModelData(tmp_path / "plain.model")
    with pytest.raises(ValueError, match="MACE cannot rebuild a MACE"):
        run_foreground(asked)
