"""A label that fails: stop and resume, or reject and say so."""

import time

import numpy as np
import pytest
from aiida import orm
from aiida.manage.caching import enable_caching

from aiida_slhmc.cli.progress import fields
from aiida_slhmc.engine.resume import resume
from aiida_slhmc.engine.runner import Paused, run_foreground
from aiida_slhmc.provenance.audit import audit
from aiida_slhmc.provenance.progress import run_decisions, run_status
from aiida_slhmc.targets.level import normalise
from aiida_slhmc.worker import label as labelling
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.workflows.label import LabelWorkChain
from aiida_slhmc.workflows.settings import EXECUTOR
from tests.fixtures import RIGHT, analytic_builder, einstein, rutile

BUDGET = {"chains": 1, "blocks": 1, "cycles": 4, "production_cycles": 0}


def slow(driver):
    """Mark the tests with a driver for the slow lane: the quick one has the chains by themselves."""
    return pytest.param(driver, marks=pytest.mark.slow)


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


@pytest.mark.parametrize(
    "driver", [{}, slow({"prefetch": 2}), slow({"lockstep": True})], ids=["alone", "ahead", "in step"]
)
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


# With an engine that fails on purpose -------------------------------------------------------------------------------

#: Three chains: one that fails and two that do not.
CHAINS = {"chains": 3, "blocks": 1, "cycles": 3, "production_cycles": 0}


def faulty(fault="failed", spring=RIGHT, **parameters):
    """Return the level of theory of the right surface, behind an engine that fails on purpose."""
    return normalise({"engine": "faulty", "parameters": {"level": einstein(spring), "fault": fault, **parameters}})


@pytest.fixture(scope="module")
def undisturbed(aiida_profile):
    """Return a run of three chains, and the positions of the second endpoint of its second chain."""
    run = run_foreground(analytic_builder(budget=CHAINS, target=faulty(select="structure", positions=[])))
    assert run.is_finished_ok, run.exit_message
    chunk = run.outputs.dataset.frames()[0]
    row = np.flatnonzero((chunk.get_array("chain") == 1) & (chunk.get_array("cycle") == 1))[0]
    return run, chunk.get_array("positions")[row]


def chain_rows(run, chain):
    """Return what decided a chain, to the last bit."""
    keys = ("cycle", "accepted", "probability", "delta", "target_start", "target_end")
    return [[row[key] for key in keys] for row in run_decisions(run) if row["chain"] == chain]


def content(run):
    return [frames.content_sha256 for frames in run.outputs.dataset.frames()]


@pytest.mark.parametrize("driver", [{}, slow({"lockstep": True})], ids=["alone", "in step"])
def test_one_bad_label_does_not_cost_the_others(undisturbed, tmp_path, driver):
    whole, positions = undisturbed
    # Both attempts fail; what is asked after the resume is answered.
    level = faulty(select="structure", positions=positions.tolist(), times=2, state=str(tmp_path))
    with pytest.raises(Paused) as caught:
        run_foreground(analytic_builder(budget=CHAINS, target=level, driver=driver))
    run = orm.load_node(caught.value.pk)
    status = run_status(run)
    assert len(status.paused) == 1
    assert "it failed on purpose" in status.paused[0]
    assert (status.labels_failed, status.rejected_unlabelled) == (1, 0)
    if not driver:
        # The others have finished their block, not merely the cycle.
        assert {chain: len(chain_rows(run, chain)) for chain in range(3)} == {0: 3, 1: 1, 2: 3}
    resumed = resume(caught.value.pk)
    assert resumed.is_finished_ok, resumed.exit_message
    assert content(resumed) == content(whole)
    for chain in range(3):
        assert chain_rows(resumed, chain) == chain_rows(whole, chain)
    status = run_status(resumed)
    assert status.paused == []
    # The start, nine endpoints, and the two calls in vain.
    assert (status.labels, status.calls, status.labels_failed) == (10, 12, 1)


def test_a_label_that_fails_again_after_the_resume_pauses_again(undisturbed, tmp_path):
    whole, positions = undisturbed
    level = faulty(select="structure", positions=positions.tolist(), times=4, state=str(tmp_path))
    with pytest.raises(Paused) as caught:
        run_foreground(analytic_builder(budget=CHAINS, target=level))
    with pytest.raises(Paused):
        resume(caught.value.pk)
    resumed = resume(caught.value.pk)
    assert resumed.is_finished_ok
    assert content(resumed) == content(whole)
    assert run_status(resumed).labels_failed == 2


@pytest.mark.parametrize(
    "driver", [{}, slow({"lockstep": True}), slow({"prefetch": 2})], ids=["alone", "in step", "ahead"]
)
def test_reject_is_counted_recorded_and_warned_of(undisturbed, driver):
    whole, positions = undisturbed
    level = faulty(select="structure", positions=positions.tolist())
    run = run_foreground(analytic_builder(budget=CHAINS, target=level, driver=driver, failure={"policy": "reject"}))
    assert run.is_finished_ok, run.exit_message
    failed = [row for row in run_decisions(run) if row["label_failed"]]
    assert [(row["chain"], row["cycle"], row["accepted"], row["divergent"]) for row in failed] == [(1, 1, False, False)]
    # Until then, and in the other chains, nothing is different.
    assert chain_rows(run, 0) == chain_rows(whole, 0)
    assert chain_rows(run, 2) == chain_rows(whole, 2)
    assert chain_rows(run, 1)[0] == chain_rows(whole, 1)[0]
    status = run_status(run)
    assert (status.rejected_unlabelled, status.divergent, status.labels_failed) == (1, 0, 1)
    assert any("rejected because their label failed" in warning for warning in status.warnings)
    assert "1 without a label" in dict(fields(status))["accepted"]
    [block] = run.outputs.history.get_dict()["blocks"]
    assert (block["label_failed"], block["divergent"], block["cycles"]) == (1, 0, 9)
    report = run.outputs.diagnostics.get_dict()
    assert report["label_failed"]["count"] == 1
    assert any("failure.policy is reject" in warning for warning in report["warnings"])
    assert run.outputs.dataset.frames()[0].get_array("label_failures").tolist() == [[1, 1]]
    assert audit(run).passed


@pytest.mark.slow
def test_failures_at_random_are_survived_by_retries(undisturbed, tmp_path):
    """Which labels fail at the first attempt follows from the seed: the run pays for them, and is the same run."""
    whole, _ = undisturbed
    level = faulty(select="random", probability=0.5, seed=3, times=1, state=str(tmp_path))
    run = run_foreground(analytic_builder(budget=CHAINS, target=level))
    assert run.is_finished_ok, run.exit_message
    assert content(run) == content(whole)
    status = run_status(run)
    assert status.labels == 10
    assert status.labels_failed == 0
    assert 10 < status.calls < 20


def label_of(level, timeout=None, attempts=2, code=None, **options):
    """Return the finished node of one labelling."""
    atoms = rutile()
    atoms.rattle(0.05, seed=4)
    target = {"level": orm.Dict(level)}
    if code is not None:
        target |= {"code": code, "options": {"resources": {"num_machines": 1}, **options}}
    where = "local" if code is None else "job"
    inputs = {
        "structure": orm.StructureData(ase=atoms),
        "target": target,
        "failure": orm.Dict({"attempts": attempts, "policy": "stop", "timeout": timeout}),
        "labelling": orm.Dict({"reuse": True, "warm_start": False}),
        "executor": orm.Dict(dict.fromkeys(EXECUTOR, where)),
    }
    return run_foreground(LabelWorkChain, inputs)


@pytest.mark.parametrize(
    ("fault", "status", "says"),
    [
        ("failed", 390, "it failed on purpose"),
        ("unconverged", 410, "did not converge"),
        ("nan_energy", 510, "energy is nan"),
        ("nan_forces", 510, "forces are not finite"),
        ("zero_forces", 511, "forces of exactly zero"),
        ("huge_forces", 511, "beyond max_force"),
    ],
)
def test_every_way_to_fail_is_named_tried_again_and_never_reused(aiida_profile, fault, status, says):
    level = faulty(fault, spring=8.1)
    for _ in range(2):
        node = label_of(level)
        assert node.exit_status == 430
        assert says in node.exit_message
        assert "2 attempts" in node.exit_message
        # A failure is no label: the next run tries again.
        assert [child.exit_status for child in node.called] == [status, status]


def test_a_label_that_takes_too_long_is_broken_off_and_tried_again(aiida_profile, tmp_path):
    level = faulty("timeout", seconds=60.0, times=1, select="always", state=str(tmp_path))
    started = time.monotonic()
    node = label_of(level, timeout=0.3)
    assert node.is_finished_ok, node.exit_message
    assert time.monotonic() - started < 30
    first, second = sorted(node.called, key=lambda child: child.pk)
    assert (first.exit_status, second.exit_status) == (330, 0)
    assert "within failure.timeout = 0.3 s" in first.exit_message


def test_a_failure_is_not_taken_from_the_cache(aiida_profile, tmp_path):
    """With AiiDA's caching the second attempt, whose inputs are equal, would be a copy of the first."""
    level = faulty("failed", times=1, state=str(tmp_path))
    with enable_caching(identifier="aiida.calculations:slhmc.label.local"):
        node = label_of(level)
    assert node.is_finished_ok, node.exit_message
    assert [child.exit_status for child in sorted(node.called, key=lambda child: child.pk)] == [390, 0]


@pytest.mark.parametrize(("fault", "status"), [("exit", 320), ("timeout", 330), ("zero_forces", 511)])
def test_a_job_that_dies_or_hangs_is_tried_again(aiida_profile, tmp_path, code, fault, status):
    level = faulty(fault, seconds=120.0, times=1, state=str(tmp_path))
    node = label_of(level, code=code, timeout=2.0)
    assert node.is_finished_ok, node.exit_message
    assert [child.exit_status for child in sorted(node.called, key=lambda child: child.pk)] == [status, 0]


def test_a_start_that_cannot_be_labelled_ends_the_run_with_a_sentence(aiida_profile):
    run = run_foreground(analytic_builder(budget=BUDGET, target=faulty("unconverged", spring=8.3)))
    assert run.exit_status == 450
    assert "the starting structure has no label" in run.exit_message
    assert "did not converge, on purpose" in run.exit_message
    status = run_status(run)
    assert (status.labels, status.calls, status.labels_failed, status.cycles_done) == (0, 2, 1, 0)


@pytest.mark.parametrize("value", [0, -1.0, "soon"])
def test_a_time_limit_is_checked(aiida_profile, value):
    with pytest.raises(ValueError, match=r"failure\.timeout"):
        run_foreground(analytic_builder(budget=BUDGET, failure={"timeout": value}))
