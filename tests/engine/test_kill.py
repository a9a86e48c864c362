"""Real signals to real programs: whatever strikes, the resumed tree ends as an undisturbed one does."""

import json
import signal
import time

from tests.engine import toys

SMALL = {"blocks": 2, "children": 2, "cycles": 1}


def first_answer(program):
    return json.loads(program.stdout.readline())


def assert_as_undisturbed(seen, size):
    assert seen["total"] == toys.total_of_parent(**size)
    assert seen["finished"] == toys.labels_of_parent(**size), "a step was repeated or left out"
    assert seen["unfinished"] == []


def interrupted(program, number):
    """Send a signal in mid run; return the pk once the program has ended as it should."""
    pk = first_answer(program)["pk"]
    time.sleep(0.8)
    program.send_signal(number)
    assert first_answer(program) == {"end": "interrupted", "hard": False}
    between = first_answer(program)
    assert program.wait(timeout=20) == 0
    assert "never awaited" not in program.stderr.read()
    assert between["state"] in {"running", "waiting"}
    assert between["unfinished"] != []
    assert between["abandoned"] == []
    return pk


def test_signals_stop_between_steps_and_kill_nothing(programs):
    pk = interrupted(programs.start("run", json.dumps(SMALL | {"seconds": 0.3})), signal.SIGINT)
    assert interrupted(programs.start("resume", pk), signal.SIGTERM) == pk
    done = programs.call("resume", pk)
    assert done["end"] == "done", done["stderr"]
    assert_as_undisturbed(done, SMALL)
    assert done["abandoned"] == [], "a step was cut"


def test_a_second_interrupt_cuts_the_step(programs):
    program = programs.start("run", json.dumps({"blocks": 1, "children": 1, "cycles": 1, "seconds": 30.0}))
    first_answer(program)
    time.sleep(2.5)  # by now the calcfunction sleeps
    start = time.monotonic()
    program.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert program.poll() is None, "the first interrupt must wait for the step"
    program.send_signal(signal.SIGINT)
    assert first_answer(program) == {"end": "interrupted", "hard": True}
    assert first_answer(program)["state"] == "waiting"
    assert program.wait(timeout=20) == 0
    assert time.monotonic() - start < 15


def test_a_tree_killed_again_and_again_ends_as_an_undisturbed_one(programs):
    """Each point is where a replayed step, without care, would repeat work, lose it or leave a node active."""
    points = [
        "after a submission",
        "in a calcfunction",
        "before a seal",
        "after a calcfunction",
        "before a checkpoint",
        "after a submission",
    ]
    program = programs.start("torture", json.dumps({"inputs": SMALL, "points": points}))
    out, err = program.communicate(timeout=240)
    stages = [json.loads(line) for line in out.splitlines()]
    assert [(stage["point"], stage["signal"]) for stage in stages[:-1]] == [(p, signal.SIGKILL) for p in points], err
    _, ended, seen = stages[-1]["answers"]
    assert ended == {"end": "done"}
    assert_as_undisturbed(seen, SMALL)
    assert sorted(seen["abandoned"]) == ["block_001_child_0", "cycle_000"]


def test_two_programs_never_run_one_tree(programs):
    program = programs.start("run", json.dumps({"blocks": 1, "children": 1, "cycles": 1, "seconds": 60.0}))
    pk = first_answer(program)["pk"]
    second = programs.call("resume", pk)
    program.kill()
    program.wait()
    assert second["end"] == "still running"
    assert f"process {program.pid} on" in second["owner"]
