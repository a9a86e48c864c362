"""The same on true DFT: GPAW, plane waves, PBE, as the example is launched by a user."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

pytestmark = [
    pytest.mark.dft,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(importlib.util.find_spec("gpaw") is None, reason="needs GPAW: `make test-dft` installs it"),
]


def test_the_example_runs_with_verdi_run(tmp_path):
    """Two blocks of five cycles with a fine-tuning after each, every label a converged PBE calculation."""
    environment = {**os.environ, "AIIDA_PATH": str(tmp_path), "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}

    def call(*command):
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1400)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    prepare = "import sys; from pathlib import Path; from aiida_slhmc.engine.profile import isolated_profile as p; "
    call(sys.executable, "-c", prepare + "p(Path(sys.argv[1]))", str(tmp_path))
    call(BIN / "verdi", "-p", "slhmc", "run", "workflows/launch_slhmc.py", "--plain")

    pk = run_pk(call)
    status = json.loads(call(BIN / "aiida-slhmc", "--path", tmp_path, "status", pk, "--json"))
    assert status["state"] == "finished"
    assert status["cycles_done"] == 10
    assert status["labels"] == 11
    assert status["labels_failed"] == 0
    assert status["accepted"] > 0
    report = json.loads(call(BIN / "aiida-slhmc", "--path", tmp_path, "audit", pk, "--json"))
    assert report["passed"]
    assert report["frames"] == 11


def run_pk(call):
    """Return the PK of the run."""
    listing = call(BIN / "verdi", "-p", "slhmc", "process", "list", "-a", "-r", "-P", "pk", "process_label")
    return next(line.split()[0] for line in listing.splitlines() if line.split()[1] == "SlhmcWorkChain")
