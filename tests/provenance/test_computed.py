"""What functions make of a node: the same numbers as the analyses that they stand for, every time."""

import json
from datetime import timedelta

import numpy as np
import pytest
from aiida import orm

from aiida_slhmc.analysis import comparison as comparing
from aiida_slhmc.analysis.distances import nearest_distances
from aiida_slhmc.provenance import computed
from aiida_slhmc.provenance.computed import NotComputable, compute
from aiida_slhmc.provenance.label_cost import label_counts


def test_a_sample_has_the_numbers_of_its_frames(analytic_run):
    states = analytic_run.outputs.states
    found = compute(states, "sample")
    assert found["frames"] == len(states.get_array("positions"))
    assert (found["pair"], found["formula_unit"]) == (["Ti", "O"], "TiO2")
    centre, neighbour = found["pair"]
    distances = nearest_distances(
        states.get_array("positions"), states.get_array("cells"), states.get_array("numbers"),
        centre=centre, neighbour=neighbour,
    )  # fmt: skip
    assert found["quantities"]["distance"]["value"] == pytest.approx(distances.mean(), rel=1e-12)
    sample = computed.analysed(states)
    again = comparing.quantities(
        sample.analysis, sample.arrays["numbers"], sample.plan,
        rng=np.random.default_rng(computed.SEED), resamples=computed.RESAMPLES,
    )  # fmt: skip
    # As text, in which what is not a number equals itself.
    assert json.dumps(found["quantities"]) == json.dumps(again)
    assert json.dumps(compute(states, "sample")) == json.dumps(found)


def test_of_labelled_frames_the_proposals_count(analytic_run):
    chunk = analytic_run.outputs.dataset.frames()[0]
    proposed = chunk.get_array("length") > 0
    assert compute(chunk, "sample")["frames"] == proposed.sum()


@pytest.mark.parametrize("kind", ["number", "array", "empty", "isolated"])
def test_what_holds_no_sample_is_said(aiida_profile, kind):
    cells = np.tile(np.eye(3) * 20.0, (1, 1, 1))
    node = {
        "number": lambda: orm.Int(1),
        "array": lambda: orm.ArrayData({"energies": np.ones(3)}),
        "empty": lambda: orm.ArrayData(
            {"numbers": np.array([22, 8]), "positions": np.empty((0, 2, 3)), "cells": np.empty((0, 3, 3))}
        ),
        "isolated": lambda: orm.ArrayData(
            {"numbers": np.array([22]), "positions": np.zeros((1, 1, 3)), "cells": cells}
        ),
    }[kind]().store()
    with pytest.raises(NotComputable):
        compute(node, "sample")


def test_labels_time_and_graph_of_a_run(analytic_run):
    counts = label_counts(analytic_run)
    assert compute(analytic_run, "labels") == {
        "calls": counts.calls, "computed": counts.computed, "reused": counts.reused, "failed": counts.failed,
    }  # fmt: skip
    below = analytic_run.called_descendants
    assert compute(analytic_run, "graph") == {"processes": len(below)}
    found = compute(analytic_run, "time")
    attempts = [node for node in below if (node.process_type or "").startswith("aiida.calculations:slhmc.label")]
    assert found["steps"]["label"]["count"] == len(attempts)
    walls = [node.outputs.label_info["wall_time"] for node in attempts]
    assert found["steps"]["label"]["seconds"] == pytest.approx(sum(walls), rel=1e-12)
    assert found["seconds"] == pytest.approx(sum(step["seconds"] for step in found["steps"].values()), rel=1e-12)
    last = max(node.ctime for node in below)
    assert found["elapsed"] == (last - analytic_run.ctime) / timedelta(seconds=1)


def test_coverage_of_a_run_by_its_training_set(trained_run):
    found = compute(trained_run, "coverage")
    cover = computed.covered(trained_run)
    assert found["production"] is True
    assert set(found["elements"]) == {"O", "Ti"}
    production = trained_run.outputs.production
    assert found["frames"] == (production.get_array("length") > 0).sum()
    numbers = np.asarray(cover.frames["numbers"])
    outliers = {22: found["elements"]["Ti"]["outliers"], 8: found["elements"]["O"]["outliers"]}
    for number, share in outliers.items():
        beyond = cover.residuals.q[numbers == number] > cover.reference.limits[number]
        assert share == pytest.approx(beyond.mean())


def test_a_run_without_training_has_no_coverage(aiida_profile):
    with pytest.raises(NotComputable, match="trained on no labels"):
        compute(orm.WorkChainNode().store(), "coverage")


def test_long_sets_are_thinned_evenly(monkeypatch):
    monkeypatch.setattr(computed, "FRAMES", 10)
    chunk = {"numbers": np.arange(25)}
    assert computed._thinned(chunk, 25)["numbers"].tolist() == list(range(0, 25, 3))
    assert computed._thinned(chunk, 10)["numbers"].tolist() == list(range(25))
