"""A label that fails: stop and resume, or reject and say so."""

import numpy as np
import pytest
from aiida import orm

from aiida_slhmc.engine.resume import resume
from aiida_slhmc.engine.runner import Paused, run_foreground
from aiida_slhmc.provenance.progress import run_status
from aiida_slhmc.worker import label as labelling
from aiida_slhmc.worker.errors import TaskError
from tests.fixtures import analytic_builder

BUDGET = {"chains": 1, "blocks": 1, "cycles": 4, "production_cycles": 0}


class Flaky:
    """Fail at chosen calls of the labelling task; nothing else is replaced."""

    def __init__(self, calls, kind="failed"):
        self.calls, self.kind, self.count = set(calls), kind, 0
        self.original = labelling.label

    def __call__(self, payload):
        self.count += 1
        if self.count in self.calls:
            raise TaskError(self.kind, "the engine fell over")
        return self.original(payload)


def test_a_label_that_fails_once_is_tried_again(aiida_profile, monkeypatch):
    flaky = Flaky({3})
    monkeypatch.setattr(labelling, "label", flaky)
    run = run_foreground(analytic_builder(budget=BUDGET))
    assert run.is_finished_ok
    assert flaky.count == 5 + 1


@pytest.mark.parametrize("driver", [{}, {"prefetch": 2}, {"lockstep": True}], ids=["alone", "ahead", "in step"])
def test_stop_pauses_the_chain_and_resume_gives_the_undisturbed_decisions(aiida_profile, monkeypatch, driver):
    undisturbed = run_foreground(analytic_builder(budget=BUDGET, driver=driver))
    # The first label of the first cycle, and its second attempt: no chain gets past it, whatever runs ahead.
    monkeypatch.setattr(labelling, "label", Flaky({2, 3} if not driver.get("prefetch") else {2, 3, 4, 5, 6, 7}))
    with pytest.raises(Paused) as caught:
        run_foreground(analytic_builder(budget=BUDGET, driver=driver))
    assert run_status(orm.load_node(caught.value.pk)).paused
    assert any("the engine fell over" in message for message in caught.value.messages.values())
    run = resume(caught.value.pk)
    assert run.is_finished_ok
    assert run.outputs.dataset.base.caching.get_hash() == undisturbed.outputs.dataset.base.caching.get_hash()


def test_reject_counts_the_failure_and_goes_on(aiida_profile, monkeypatch):
    monkeypatch.setattr(labelling, "label", Flaky({3, 4}))
    run = run_foreground(analytic_builder(budget=BUDGET, failure={"policy": "reject"}))
    assert run.is_finished_ok
    assert run.outputs.dataset.n_frames == 1 + 3
    assert run.outputs.history.get_dict()["blocks"][0]["cycles"] == 4


def test_what_fails_the_same_way_every_time_is_tried_once(aiida_profile, monkeypatch):
    flaky = Flaky({1}, kind="bad_input")
    monkeypatch.setattr(labelling, "label", flaky)
    run = run_foreground(analytic_builder(budget=BUDGET))
    assert run.exit_status == 450
    assert "the engine fell over" in run.exit_message
    assert flaky.count == 1


def test_a_label_made_ahead_that_is_not_needed_may_fail(aiida_profile, monkeypatch):
    driver = {"prefetch": 2}
    undisturbed = run_foreground(analytic_builder(budget=BUDGET, driver=driver))
    chunk, aside = undisturbed.outputs.dataset.frames()
    original = labelling.label

    def broken(payload):
        if np.allclose(payload["positions"], aside.get_array("positions")[0], atol=1e-9):
            raise TaskError("unconverged", "the engine fell over")
        return original(payload)

    monkeypatch.setattr(labelling, "label", broken)
    run = run_foreground(analytic_builder(budget=BUDGET, driver=driver))
    assert run.is_finished_ok, run.exit_message
    left = run.outputs.dataset.frames()
    assert left[0].content_sha256 == chunk.content_sha256
    assert left[1].n_frames == aside.n_frames - 1
