"""No label is computed twice: not by another run, protocol or phase, and not where it was computed elsewhere."""

import json

import pytest
from aiida import orm

from aiida_slhmc.cli.progress import fields
from aiida_slhmc.engine.runner import run_foreground
from aiida_slhmc.provenance.audit import audit
from aiida_slhmc.provenance.label_cost import label_counts
from aiida_slhmc.provenance.progress import run_status
from aiida_slhmc.worker import label as labelling
from aiida_slhmc.workflows.production import ProductionWorkChain
from aiida_slhmc.workflows.rounds import NaiveWorkChain, PeriodicWorkChain
from tests.fixtures import analytic_builder, einstein
from tests.workflows.test_rounds import builder as rounds

BUDGET = {"chains": 2, "blocks": 1, "cycles": 3, "production_cycles": 0}


class Counting:
    """Count the calls of the labelling task; nothing is replaced."""

    def __init__(self):
        self.count = 0
        self.original = labelling.label

    def __call__(self, payload):
        self.count += 1
        return self.original(payload)


@pytest.fixture
def counting(monkeypatch):
    counting = Counting()
    monkeypatch.setattr(labelling, "label", counting)
    return counting


def builder(spring, reuse=True, **more):
    """Return a run on a surface of its own: the test profile is shared, and a label of another test is no news."""
    return analytic_builder(target=einstein(spring), budget=BUDGET, labelling={"reuse": reuse}, **more)


def same_content(one, other):
    return one.outputs.dataset.base.caching.get_hash() == other.outputs.dataset.base.caching.get_hash()


def test_the_same_run_again_costs_nothing(aiida_profile, counting):
    first = run_foreground(builder(5.11))
    paid = counting.count
    assert paid == label_counts(first).calls == 1 + 6
    second = run_foreground(builder(5.11))
    assert second.is_finished_ok, second.exit_message
    assert counting.count == paid
    assert same_content(first, second)
    counts = label_counts(second)
    assert (counts.calls, counts.computed, counts.reused, counts.failed) == (0, 0, 7, 0)
    status = run_status(second)
    assert (status.calls, status.labels, status.labels_reused) == (0, 0, 7)
    assert dict(fields(status))["DFT calls"] == "0 (0 labels, 7 reused)"
    assert json.loads(json.dumps(status.as_dict()))["labels_reused"] == 7
    for run in (first, second):
        report = audit(run)
        assert report.passed, report.findings
    # The label is the node of the first run, handed on: whole provenance, nothing copied.
    label = second.outputs.ends["label_chain_000"]
    assert label.uuid == first.outputs.ends["label_chain_000"].uuid


def test_another_protocol_shares_what_it_shares(aiida_profile, counting):
    """Another number of cycles, chains in step: the structures in common are the start and the first cycles."""
    run_foreground(builder(5.12))
    paid = counting.count
    longer = analytic_builder(
        target=einstein(5.12), protocol="balanced", budget={**BUDGET, "cycles": 5}, labelling={"reuse": True},
        driver={"lockstep": True}, proposal={"length": 12, "timestep": 1.0, "maximum": 200},
    )  # fmt: skip
    run = run_foreground(longer)
    assert run.is_finished_ok, run.exit_message
    counts = label_counts(run)
    assert counts.computed == counting.count - paid
    assert counts.reused == paid
    assert counts.computed == 2 * 2
    uuids = [uuid for frames in run.outputs.dataset.frames() for uuid in frames.label_uuids]
    assert len(set(uuids)) == counts.computed + counts.reused


def test_more_cycles_of_the_same_seed_pay_for_the_new_ones_alone(aiida_profile, counting):
    run_foreground(builder(5.13))
    paid = counting.count
    more = analytic_builder(target=einstein(5.13), budget={**BUDGET, "cycles": 5}, labelling={"reuse": True})
    run = run_foreground(more)
    assert label_counts(run).reused == paid == 7
    assert counting.count - paid == label_counts(run).computed == 2 * 2


def test_production_twice_from_one_run_costs_once(aiida_profile, counting):
    run = run_foreground(builder(5.14))
    overrides = {"labelling": {"reuse": True}}
    once = run_foreground(ProductionWorkChain.get_builder_from_run(run, cycles=3, overrides=overrides))
    paid = counting.count
    twice = run_foreground(ProductionWorkChain.get_builder_from_run(run, cycles=3, overrides=overrides))
    assert twice.is_finished_ok
    assert counting.count == paid
    assert twice.outputs.production.content_sha256 == once.outputs.production.content_sha256
    assert audit(twice).passed


def test_reuse_can_be_switched_off_and_another_level_is_another_label(aiida_profile, counting):
    run_foreground(builder(5.15))
    paid = counting.count
    again = run_foreground(builder(5.15, reuse=False))
    assert counting.count == 2 * paid
    assert label_counts(again).reused == 0
    run_foreground(builder(5.16))
    # The start is the same structure at another level of theory.
    assert counting.count >= 3 * paid - 1
    assert orm.load_node(again.pk).inputs.labelling.get_dict()["reuse"] is False


def test_labels_of_a_job_are_reused_locally_and_back(aiida_profile, counting, code):
    local = run_foreground(builder(5.17))
    paid = counting.count
    jobs = builder(5.17)
    jobs.target.code = code
    jobs.executor = orm.Dict({**jobs.executor.get_dict(), "label": "job"})
    jobs.target.options = {"resources": {"num_machines": 1}}
    run = run_foreground(jobs)
    assert run.is_finished_ok, run.exit_message
    assert label_counts(run).calls == 0
    assert counting.count == paid
    assert same_content(local, run)


def test_another_protocol_spends_nothing_on_what_the_first_has_labelled(aiida_profile, counting):
    """Really run: periodic's first round from the same seed visits what naive visited; its second alone costs."""
    reuse = {"labelling": {"reuse": True}, "finetune": {"max_epochs": 1}}
    naive = run_foreground(rounds(NaiveWorkChain, seed=14, rounds={"trajectories": 1, "labels": 3}, **reuse))
    assert naive.is_finished_ok, naive.exit_message
    assert counting.count == 3
    periodic = run_foreground(rounds(PeriodicWorkChain, seed=14, rounds={"rounds": 2, "labels": 3}, **reuse))
    assert periodic.is_finished_ok, periodic.exit_message
    assert counting.count == 3 + 3
    status = run_status(periodic)
    assert (status.calls, status.labels, status.labels_reused) == (3, 3, 3)
    shared = naive.outputs.dataset.frames()[0].label_uuids
    assert periodic.outputs.dataset.frames()[0].label_uuids == shared
    report = audit(periodic)
    assert report.passed, report.findings
    # What is reused is no less of a label in the history and in the training.
    assert [row["labels"] for row in periodic.outputs.history.get_dict()["blocks"]] == [3, 3]
