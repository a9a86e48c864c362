"""Labels of chosen frames when some of them fail."""

import numpy as np
import pytest
from aiida import orm

from aiida_slhmc.calculations.base import structure_payload
from aiida_slhmc.engine.resume import resume
from aiida_slhmc.engine.runner import Paused, run_foreground
from aiida_slhmc.targets.level import normalise
from aiida_slhmc.workflows.label_frames import LabelFramesWorkChain
from aiida_slhmc.workflows.protocol import protocol_inputs
from aiida_slhmc.workflows.runfile import rutile
from tests.fixtures import RIGHT, einstein

COUNT = 5


@pytest.fixture
def trajectory(aiida_profile):
    """Return a trajectory of random displacements, which is data that no process made."""
    positions = rutile().positions + np.random.default_rng(3).normal(0.0, 0.05, (COUNT, 6, 3))
    return orm.ArrayData({"positions": positions, "cells": np.repeat(rutile().cell[:][None], COUNT, axis=0)})


def labels(trajectory, policy, **fault):
    settings = protocol_inputs("fast", table="relabel")
    level = normalise({"engine": "faulty", "parameters": {"level": einstein(RIGHT), "fault": "failed", **fault}})
    builder = LabelFramesWorkChain.get_builder()
    builder.trajectory = trajectory
    builder.structure = orm.StructureData(ase=rutile())
    builder.piece = orm.Dict({"trajectory": 2, "indices": [0, 1, 3, 4]})
    builder.target.level = orm.Dict(level)
    builder.ensemble = orm.Dict(settings["ensemble"])
    builder.failure = orm.Dict({**settings["failure"], "policy": policy, "attempts": 1})
    builder.labelling = orm.Dict({**settings["labelling"], "reuse": False})
    builder.executor = orm.Dict(settings["executor"])
    return builder


def bad_frame(trajectory):
    """Select the second of the chosen frames."""
    return {"select": "structure", "positions": trajectory.get_array("positions")[1].tolist()}


def test_reject_leaves_out_the_frame_that_failed_and_no_other(trajectory):
    run = run_foreground(labels(trajectory, "reject", **bad_frame(trajectory)))
    assert run.is_finished_ok, run.exit_message
    chunk = run.outputs.chunk
    assert chunk.get_array("cycle").tolist() == [0, 3, 4]
    assert set(chunk.get_array("chain")) == {2}
    positions = trajectory.get_array("positions")[[0, 3, 4]]
    assert np.allclose(chunk.get_array("positions"), positions, atol=1e-12)
    energies = -3.0 + 0.5 * RIGHT * np.sum(
        (positions - structure_payload(run.inputs.structure)["positions"]) ** 2, (1, 2)
    )
    assert np.allclose(chunk.get_array("energies"), energies, atol=1e-9)


def test_stop_labels_the_others_then_waits_and_tries_that_one_again(trajectory, tmp_path):
    fault = {**bad_frame(trajectory), "times": 1, "state": str(tmp_path)}
    with pytest.raises(Paused) as caught:
        run_foreground(labels(trajectory, "stop", **fault))
    assert any("1 of 4 labels failed, first frame_000001" in text for text in caught.value.messages.values())
    stopped = orm.load_node(caught.value.pk)
    assert [child.exit_status for child in stopped.called if child.process_label == "LabelWorkChain"].count(0) == 3
    run = resume(caught.value.pk)
    assert run.is_finished_ok, run.exit_message
    assert run.outputs.chunk.get_array("cycle").tolist() == [0, 1, 3, 4]
    # Four labels, and one of them twice: the others were kept.
    assert [child.process_label for child in run.called].count("LabelWorkChain") == 5


def test_no_label_at_all_leaves_no_chunk(trajectory):
    run = run_foreground(labels(trajectory, "reject", select="always"))
    assert run.is_finished_ok
    assert "chunk" not in run.outputs
