"""A tree that the daemon has is not taken from it, whether the daemon runs or is stopped for now."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import subprocess, sys, time
from pathlib import Path
from aiida_slhmc.engine.profile import isolated_profile
isolated_profile(Path(sys.argv[1]))
from aiida import orm
from aiida.engine import submit
from aiida_slhmc.engine import StillRunning
from aiida_slhmc.engine.resume import resume
from tests.engine import graph, toys

def daemon(command):
    done = subprocess.run(["verdi", "daemon", command, "--timeout", "60"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

def refused(node):
    try:
        resume(node.pk)
    except StillRunning as error:
        return error.owner
    return "nobody"

def wait_until(condition):
    end = time.monotonic() + 120
    while not condition() and time.monotonic() < end:
        time.sleep(0.2)

daemon("start")
try:
    node = submit(toys.Parent, seconds=orm.Float(0.5))
    wait_until(lambda: node.process_state.value == "waiting")
    print(refused(node))
    daemon("stop")
    print(refused(node))
    daemon("start")
    wait_until(lambda: node.is_terminated)
finally:
    daemon("stop")
assert node.outputs.total.value == toys.total_of_parent()
assert graph.finished_labels(node.pk) == toys.labels_of_parent()
"""


@pytest.mark.slow
def test_the_daemon_keeps_what_it_has(tmp_path):
    (tmp_path / "home").mkdir()
    root = Path(__file__).parents[2]
    environment = os.environ | {
        "HOME": str(tmp_path / "home"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(root),  # for the workers, which import the toys
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "aiida")],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    running, stopped = done.stdout.splitlines()
    assert "worker" in running
    assert "queue" in stopped
