"""What takes too long is broken off, and nothing else notices."""

import contextlib
import signal
import subprocess
import threading
import time

import numpy as np
import pytest

from aiida_slhmc.targets.level import normalise
from aiida_slhmc.worker.deadline import deadline
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.label import label

POSITIONS = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.1]])


def slow(seconds):
    inner = {"engine": "einstein", "parameters": {"sites": (POSITIONS + 0.1).tolist(), "spring_constant": 2.0}}
    level = normalise({"engine": "faulty", "parameters": {"level": inner, "fault": "timeout", "seconds": seconds}})
    return {"numbers": [18, 18], "positions": POSITIONS, "cell": 9 * np.eye(3), "pbc": [True] * 3, "level": level}


def test_a_label_that_takes_too_long_is_broken_off():
    started = time.perf_counter()
    with pytest.raises(TaskError, match=r"no label within failure.timeout = 0.2 s") as caught:
        label({**slow(30.0), "timeout": 0.2})
    assert caught.value.kind == "timeout"
    assert time.perf_counter() - started < 5
    assert label({**slow(0.05), "timeout": 30.0})["energy"] == label(slow(0.0))["energy"]


def test_an_engine_that_swallows_errors_is_broken_off_too():
    def stubborn():
        while True:
            with contextlib.suppress(Exception):
                time.sleep(10)

    with pytest.raises(TaskError, match="broken off"), deadline(0.1):
        stubborn()


def test_the_wait_for_a_program_is_broken_off_and_the_program_ended():
    started = time.perf_counter()
    with pytest.raises(TaskError), deadline(0.2):
        subprocess.run(["sleep", "30"], check=True)
    assert time.perf_counter() - started < 5


def test_without_a_limit_nothing_is_set():
    before = signal.getsignal(signal.SIGALRM)
    with deadline(None):
        assert signal.getsignal(signal.SIGALRM) is before


def test_another_timer_goes_on_with_what_is_left_of_it():
    rung = []
    before, pending = signal.signal(signal.SIGALRM, lambda *_: rung.append(time.perf_counter())), signal.getitimer(0)
    try:
        started = time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with deadline(5.0):
            time.sleep(0.2)
        assert not rung
        time.sleep(0.6)
        assert rung[0] - started == pytest.approx(0.5, abs=0.15)
    finally:
        signal.setitimer(signal.ITIMER_REAL, *pending)
        signal.signal(signal.SIGALRM, before)


def test_where_no_timer_can_be_set_it_is_said():
    caught = []

    def run():
        with pytest.raises(TaskError, match="needs the main thread") as error, deadline(1.0):
            pass
        caught.append(error.value.kind)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert caught == ["bad_input"]
