"""The foreground engine: no polling, children side by side, pauses and failures reported, signals left as they were."""

import itertools
import logging
import signal
import time

import pytest
from aiida import orm
from aiida.common.exceptions import InvalidOperation
from aiida.engine import ProcessState

from aiida_slhmc.engine import runner as engine
from aiida_slhmc.engine.resume import resume
from aiida_slhmc.engine.runner import EngineFailure, LocalRunner, Paused, run_foreground
from tests.engine import graph, toys

pytestmark = pytest.mark.usefixtures("aiida_profile")


@pytest.fixture
def no_polling(monkeypatch):
    """Make every poll last longer than any test may take."""
    monkeypatch.setattr(engine, "POLL_INTERVAL", 3600)


@pytest.mark.usefixtures("no_polling")
def test_a_tree_runs_to_its_end_with_ticks_that_may_fail(caplog):
    seen = []

    def on_tick(node):
        seen.append((time.monotonic(), node.process_state))
        raise LookupError("a broken display")

    size = {"blocks": 2, "children": 2, "cycles": 1}
    with caplog.at_level(logging.WARNING, logger=engine.__name__):
        inputs = {key: orm.Int(value) for key, value in size.items()}
        node = run_foreground(toys.Parent, inputs, on_tick=on_tick, tick=0.05)
    assert node.outputs.total.value == toys.total_of_parent(**size) == 25
    assert graph.finished_labels(node.pk) == toys.labels_of_parent(**size)
    assert graph.unfinished_business(node.pk) == []

    assert len(seen) >= 10, "there are more steps than that"
    assert min(later - sooner for (sooner, _), (later, _) in itertools.pairwise(seen)) >= 0.05
    assert ProcessState.WAITING in {state for _, state in seen}
    assert any("a broken display" in str(record.exc_info) for record in caplog.records)


@pytest.mark.usefixtures("no_polling")
def test_a_display_that_takes_long_is_called_seldom():
    """What a status looks up grows with the run: called at every step it would take more time than the run itself."""
    spent = []

    def on_tick(node):
        began = time.monotonic()
        time.sleep(0.02)
        spent.append((began, time.monotonic()))

    inputs = {"blocks": orm.Int(2), "children": orm.Int(2), "cycles": orm.Int(1)}
    run_foreground(toys.Parent, inputs, on_tick=on_tick, tick=0.0)
    assert len(spent) >= 2
    for (began, ended), (again, _) in itertools.pairwise(spent):
        assert again - ended >= 0.99 * (ended - began) / engine.TICK_SHARE


def test_builders_are_accepted_and_their_inputs_checked():
    builder = toys.Child.get_builder()
    builder.start = orm.Int(3)
    assert run_foreground(builder).outputs.total.value == 9
    with pytest.raises(ValueError, match="start"):
        run_foreground(toys.Child)
    with pytest.raises(InvalidOperation):
        run_foreground(toys.add, {"x": orm.Int(1), "y": orm.Int(1), "seconds": orm.Float(0.0)})


@pytest.mark.usefixtures("no_polling")
def test_jobs_run_side_by_side(aiida_code_installed, aiida_localhost):
    aiida_localhost.set_minimum_job_poll_interval(0.1)
    code = aiida_code_installed(
        default_calc_job_plugin="core.arithmetic.add", filepath_executable="/bin/bash", computer=aiida_localhost
    )
    seconds, jobs = 4, 2
    node = run_foreground(toys.Jobs, {"code": code, "jobs": orm.Int(jobs), "seconds": orm.Int(seconds)})
    assert node.outputs.total.value == sum(range(jobs)) + jobs
    spans = [(job.ctime, job.mtime) for _, job in graph.processes_below(node.pk)]
    assert max(begin for begin, _ in spans) < min(end for _, end in spans), "no moment when all of them ran"


@pytest.mark.usefixtures("no_polling")
def test_a_pause_returns_control_when_the_others_have_ended():
    with pytest.raises(Paused, match="the label failed") as caught:
        run_foreground(toys.WithStopping)
    below = {node.process_label: node for _, node in graph.processes_below(caught.value.pk)}
    assert below["Child"].is_finished_ok, "a paused sibling must not hold up the others"
    assert below["Stopping"].paused
    assert caught.value.messages == {below["Stopping"].pk: "the label failed"}
    node = resume(caught.value.pk)
    assert node.outputs.total.value == 3 + 5
    assert graph.unfinished_business(node.pk) == []


@pytest.mark.usefixtures("no_polling")
def test_a_failed_child_is_its_parents_business():
    node = run_foreground(toys.WithFailing)
    assert node.outputs.total.value == 3
    failed = next(child for _, child in graph.processes_below(node.pk) if child.process_label == "Failing")
    assert failed.is_excepted
    assert "a toy that breaks" in failed.exception
    assert run_foreground(toys.Failing, {"start": orm.Int(1)}).is_excepted


def test_a_child_of_another_program_is_polled():
    foreign = orm.CalcJobNode(computer=None)
    foreign.set_process_state(ProcessState.WAITING)
    foreign.store()

    def on_tick(node):
        if node.process_state is ProcessState.WAITING and not foreign.is_terminated:
            foreign.set_exit_status(7)
            foreign.set_process_state(ProcessState.FINISHED)

    node = run_foreground(toys.Waiting, {"pk": orm.Int(foreign.pk)}, on_tick=on_tick, tick=0.05)
    assert node.outputs.total.value == 7


def test_a_failure_of_the_engine_is_raised_and_leaves_the_tree_resumable(monkeypatch):
    async def step(self):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(toys.Child, "step", step)
        with pytest.raises(EngineFailure, match="no space left") as caught:
            run_foreground(toys.Parent, {key: orm.Int(1) for key in ("blocks", "children", "cycles")})
    node = resume(caught.value.pk)
    assert node.outputs.total.value == toys.total_of_parent(blocks=1, children=1, cycles=1)
    assert graph.finished_labels(node.pk) == toys.labels_of_parent(blocks=1, children=1, cycles=1)


def test_signal_handlers_are_put_back():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    run_foreground(toys.Child, {"start": orm.Int(1)})
    assert [signal.getsignal(number) for number in numbers] == before


def test_an_ignored_hangup_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        runner = LocalRunner()
        with runner._signals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) == runner._on_signal
        runner.close()
    finally:
        signal.signal(signal.SIGHUP, before)
