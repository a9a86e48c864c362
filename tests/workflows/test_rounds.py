"""Naive, periodic and relabel: really run, with the shipped model and CHGNet's r2SCAN surface as the target."""

import numpy as np
import pytest
from aiida import orm

from aiida_slhmc import models
from aiida_slhmc.calculations.rounds import chosen, trajectory_name
from aiida_slhmc.cli.progress import plain_line
from aiida_slhmc.data import MaceModelData
from aiida_slhmc.engine.runner import run_foreground
from aiida_slhmc.provenance.audit import audit
from aiida_slhmc.provenance.progress import run_status
from aiida_slhmc.workflows.rounds import NaiveWorkChain, PeriodicWorkChain, RelabelWorkChain
from aiida_slhmc.workflows.runfile import rutile

DYNAMICS = {"samples": 6, "discard": 1, "thinning": 3}


def builder(process, seed=4, replay=None, **overrides):
    moved = rutile()
    moved.rattle(0.03, seed=1)
    return process.get_builder_from_protocol(
        structure=orm.StructureData(ase=moved),
        model=MaceModelData(models.path("tio2-pbe-small")),
        level={"engine": "chgnet", "functional": "r2SCAN"},
        seed=seed,
        protocol="fast",
        replay=replay,
        overrides={
            "dynamics": DYNAMICS,
            "finetune": {"max_epochs": 2},
            "labelling": {"reuse": False},
            **overrides,
        },
    )


def test_naive_pools_frames_of_independent_trajectories(aiida_profile):
    run = run_foreground(builder(NaiveWorkChain, rounds={"trajectories": 2, "labels": 3}))
    assert run.is_finished_ok, run.exit_message
    (row,) = run.outputs.history.get_dict()["blocks"]
    assert (row["labels"], row["labels_failed"]) == (6, 0)
    (chunk,) = run.outputs.dataset.frames()
    assert chunk.get_array("chain").tolist() == [0, 0, 0, 1, 1, 1]
    assert chunk.get_array("cycle").tolist() == [0, 2, 5, 0, 2, 5]
    # One start, one model, and yet other random numbers.
    positions = chunk.get_array("positions")
    assert np.abs(positions[:3] - positions[3:]).max() > 0.01
    assert set(run.outputs.models) == {"block_000"}
    assert run.outputs.model.description["parent_state_sha256"] == run.inputs.model.state_sha256
    assert row["errors"]["n_frames"] == 6
    status = run_status(run)
    assert (status.labels, status.labels_total, status.blocks, status.phase) == (6, 6, 1, "done")
    assert status.force_rmse == pytest.approx(1000 * row["errors"]["force_rmse"])
    assert "round 1/1 | labels 6/6" in plain_line(status)
    report = audit(run)
    assert report.passed, report.findings


def test_periodic_goes_on_from_its_last_frame_with_the_new_model(aiida_profile):
    run = run_foreground(builder(PeriodicWorkChain, rounds={"rounds": 2, "labels": 3}))
    assert run.is_finished_ok, run.exit_message
    rows = run.outputs.history.get_dict()["blocks"]
    assert [row["labels"] for row in rows] == [3, 3]
    assert "foundation_errors" in rows[1]
    dynamics = {
        link.link_label: link.node
        for link in run.base.links.get_outgoing(node_class=orm.CalcFunctionNode).all()
        if link.link_label.endswith(trajectory_name(0)) and "trajectory" in link.node.outputs
    }
    first, second = dynamics["block_000_trajectory_000"], dynamics["block_001_trajectory_000"]
    end = first.outputs.trajectory.get_array("positions")[-1]
    assert np.allclose(second.inputs.structure.get_ase().positions, end, atol=1e-9)
    assert second.inputs.model.uuid == run.outputs.models.block_000.uuid
    assert len(run.outputs.dataset.chunks) == 2
    # All labels so far, not the last ones alone.
    assert run.outputs.dataset.n_frames == 6
    report = audit(run)
    assert report.passed, report.findings


def test_relabel_draws_frames_at_another_temperature_and_pressure(aiida_profile):
    overrides = {
        "rounds": {"labels": 4, "temperature": 600.0},
        "ensemble": {"ensemble": "NPT"},
        "finetune": None,
    }
    run = run_foreground(builder(RelabelWorkChain, **overrides))
    assert run.is_finished_ok, run.exit_message
    assert run.outputs.model.uuid == run.inputs.model.uuid
    (chunk,) = run.outputs.dataset.frames()
    assert set(chunk.get_array("temperature")) == {600.0}
    assert np.ptp(np.linalg.det(chunk.get_array("cells"))) > 0
    again = run_foreground(builder(RelabelWorkChain, **overrides))
    assert again.outputs.dataset.base.caching.get_hash() == run.outputs.dataset.base.caching.get_hash()
    assert audit(run).passed


def test_the_papers_relabelling_draws_600_of_1200_frames():
    indices = chosen(1200, 600, "random", np.random.default_rng(0))
    assert len(set(indices.tolist())) == 600
    assert (indices.min() >= 0, indices.max() < 1200) == (True, True)
    assert chosen(11, 11, "even", np.random.default_rng(0)).tolist() == list(range(11))
    with pytest.raises(ValueError, match="12 frames"):
        chosen(11, 12, "even", np.random.default_rng(0))


@pytest.mark.parametrize(
    ("process", "overrides", "says"),
    [
        (NaiveWorkChain, {"rounds": {"rounds": 2}}, "rounds.rounds is 2, but NaiveWorkChain"),
        (PeriodicWorkChain, {"rounds": {"go_on": False}}, "rounds.go_on is False"),
        (RelabelWorkChain, {"rounds": {"labels": 7}}, "more than the 6 frames"),
        (NaiveWorkChain, {"dynamics": {"like": "exact", "samples": 3, "method": "langevin"}}, "dynamics"),
        (RelabelWorkChain, {"rounds": {"frames": 7}}, "no setting of 'rounds' 'frames'"),
    ],
)
def test_bad_input_is_said_before_anything_runs(aiida_profile, process, overrides, says):
    with pytest.raises(ValueError, match=says):
        run_foreground(builder(process, **overrides))
