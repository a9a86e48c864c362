"""Labels held back from a run: what comes first, what later, and that a chain's start is in neither twice."""

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_slhmc.calculations.uncertainty import forward, hold_back, soap_settings, trained_chunks


def held_back(run, chunks, production=True):
    inputs = {"production": run.outputs.production} if production else {}
    _, node = run_get_node(
        hold_back, dataset=run.outputs.dataset, settings=orm.Dict({"chunks": chunks}), seed=run.inputs.seed, **inputs
    )
    return node


def test_the_frozen_phase_judges_what_was_learned_before_it(analytic_run):
    node = held_back(analytic_run, None)
    assert node.is_finished_ok, node.exit_message
    assert node.outputs.first.chunk_uuids == analytic_run.outputs.dataset.chunk_uuids
    assert node.outputs.stream.get_dict() == {"seed": analytic_run.inputs.seed.value, "update": 0}
    # Two chains of two cycles; their starting states ended the block before and may have been trained on.
    production, later = analytic_run.outputs.production, node.outputs.later
    assert (production.n_frames, later.n_frames) == (6, 4)
    rows = production.get_array("length") > 0
    np.testing.assert_array_equal(later.get_array("energies"), production.get_array("energies")[rows])
    assert later.label_uuids == [uuid for uuid, kept in zip(production.label_uuids, rows, strict=True) if kept]


def test_nothing_left_to_judge_by(analytic_run):
    with pytest.raises(ValueError, match="1 of 1 chunks leave no label"):
        held_back(analytic_run, 1, production=False)


def test_half_of_the_chunks_unless_told_otherwise(analytic_run):
    dataset = analytic_run.outputs.dataset
    assert trained_chunks(dataset, None) == 1
    assert trained_chunks(dataset, 3) == 3
    assert forward(dataset, 1) == []


def test_the_settings_of_the_descriptors_alone():
    values = {"r_cut": 5.0, "n_max": 8, "l_max": 6, "sigma": 0.375, "components": 5}
    found = soap_settings(orm.Dict({**values, "chunks": None, "threshold_quantile": 0.8}))
    assert found.get_dict() == values


@pytest.fixture(autouse=True)
def _profile(aiida_profile):
    """Every test stores nodes."""
