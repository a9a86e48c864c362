"""Real signals to real programs: whatever strikes, the resumed tree ends as an undisturbed one does."""

import json
import signal
import time

from tests.engine import toys

SMALL = {"blocks": 2, "children": 2, "cycles": 1}


def first_answer(program):
    return json.loads(program.stdout.readline())


def assert_as_undisturbed(seen, size):
    assert seen["total"] == toys.total_of_parent(**size), seen["stderr"]
    assert seen["finished"] == toys.labels_of_parent(**size), "a step was repeated or left out"
    assert seen["unfinished"] == []


def interrupted(program, number):
    """Send a signal in mid run; return the pk once the program has ended as it should."""
    pk = first_answer(program)["pk"]
    time.sleep(0.8)
    program.send_signal(number)
    assert first_answer(program) == {"end": "interrupted", "hard": False}
    assert program.wait(timeout=20) == 0
    assert "never awaited" not in program.stderr.read()
    return pk


def test_signals_stop_between_steps_and_kill_nothing(programs):
    pk = interrupted(programs.start("run", json.dumps(SMALL | {"seconds": 0.3})), signal.SIGINT)
    between = programs.look(pk)
    assert between["state"] in {"running", "waiting"}
    assert between["unfinished"] != []
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
    assert program.wait(timeout=20) == 0
    assert time.monotonic() - start < 15


def test_a_tree_killed_again_and_again_ends_as_an_undisturbed_one(programs):
    """Each point is where a replayed step, without care, would repeat work, lose it or leave a node active."""
    points = [
        "in a calcfunction",
        "before a seal",
        "after a calcfunction",
        "before a checkpoint",
        "after a submission",
    ]
    killed = programs.call("run", json.dumps(SMALL), die="after a submission")
    pk = killed["pk"]
    assert killed["status"] == -signal.SIGKILL
    for point in points:
        killed = programs.call("resume", pk, die=point)
        assert killed["status"] == -signal.SIGKILL, f"{point}: {killed}"
    done = programs.call("resume", pk)
    assert done["end"] == "done", done["stderr"]
    assert_as_undisturbed(done, SMALL)
    assert sorted(done["abandoned"]) == ["block_001_child_0", "cycle_000"]


def test_two_programs_never_run_one_tree(programs):
    program = programs.start("run", json.dumps({"blocks": 1, "children": 1, "cycles": 1, "seconds": 12.0}))
    pk = first_answer(program)["pk"]
    second = programs.call("resume", pk)
    assert second["end"] == "still running"
    assert f"process {program.pid} on" in second["owner"]
    program.kill()
    program.wait()
    holder = programs.start("hold", pk)  # the claim of the killed program is free at once
    assert first_answer(holder) == {"held": True}
    holder.kill()
    holder.wait()
