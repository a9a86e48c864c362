"""A real kill in the middle of a launch; resume, and the run is as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).parent / "aiida-slhmc"
#: A program that makes a model node of an analytic surface, launches, and says how it went.
LAUNCH = """
import json, sys
from pathlib import Path
from aiida_slhmc.engine.profile import isolated_profile
isolated_profile(Path(sys.argv[1]))
from tests.fixtures import analytic_builder
from aiida_slhmc.cli.launch import follow
from aiida_slhmc.engine.runner import run_foreground
builder = analytic_builder(
    budget={"chains": 2, "blocks": 1, "cycles": 5, "production_cycles": 2}, driver=json.loads(sys.argv[2])
)
follow(lambda tick: run_foreground(builder, on_tick=tick), plain=True)
"""
LOOK = """
import json, sys
from pathlib import Path
from aiida_slhmc.engine.profile import isolated_profile
isolated_profile(Path(sys.argv[1]))
from aiida import orm
from aiida_slhmc.workflows.slhmc import SlhmcWorkChain
from aiida_slhmc.provenance.audit import audit, step_name
runs = orm.QueryBuilder().append(SlhmcWorkChain).all(flat=True)
run = runs[-1]
decisions = sorted(
    [n.outputs.decision[key] for key in ("chain", "cycle", "accepted", "delta")]
    for n in run.called_descendants if step_name(n) == "metropolis" and n.is_finished_ok
)
labels = [n for n in run.called_descendants if step_name(n) == "label" and n.is_finished_ok]
print("RESULT" + json.dumps({
    "runs": len(runs), "pk": run.pk, "state": run.process_state.value, "exit": run.exit_status, "decisions": decisions,
    "labels": len(labels), "hash": run.outputs.dataset.base.caching.get_hash() if run.is_finished_ok else None,
    "audit": [f.message for f in audit(run).findings] if run.is_finished_ok else None,
}))
"""


class Session:
    """Programs on one isolated profile."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(folder)}
        self.environment.pop("AIIDA_PATH", None)

    def start(self, *command):
        return subprocess.Popen(
            [str(part) for part in command], cwd=Path(__file__).parents[2], env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def launch(self, driver=None, program=LAUNCH):
        return self.start(sys.executable, "-W", "ignore", "-c", program, self.folder, json.dumps(driver or {}))

    def look(self, program=LOOK):
        out = self.start(sys.executable, "-W", "ignore", "-c", program, self.folder).communicate(timeout=600)[0]
        return json.loads(out.split("RESULT")[1])

    def wait_for_cycles(self, number, step="metropolis", timeout=600):
        """Wait until the run has made some decisions, as a user would look: from outside."""
        import sqlite3

        deadline = time.monotonic() + timeout
        query = f"select count(*) from db_dbnode where process_type like '%slhmc.{step}'"
        while time.monotonic() < deadline:
            for file in self.folder.glob(".aiida/repository/*/database.sqlite"):
                try:
                    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
                    if connection.execute(query).fetchone()[0] >= number:
                        return
                except sqlite3.OperationalError:
                    pass
            time.sleep(0.2)
        raise TimeoutError


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    session = Session(tmp_path_factory.mktemp("undisturbed"))
    program = session.launch()
    out, _ = program.communicate(timeout=600)
    assert program.returncode == 0, out
    return session.look()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_resume_gives_the_decisions_of_an_undisturbed_run(tmp_path, undisturbed, signum):
    session = Session(tmp_path)
    program = session.launch()
    session.wait_for_cycles(4)
    program.send_signal(signum)
    out, _ = program.communicate(timeout=600)
    assert program.returncode != 0
    if signum == signal.SIGINT:
        assert "nothing is lost" in out
        assert "resume" in out
    stopped = session.look()
    assert stopped["state"] not in ("finished", "excepted", "killed")
    assert 0 < len(stopped["decisions"]) < len(undisturbed["decisions"])

    again = session.start(COMMAND, "--path", tmp_path, "resume", stopped["pk"], "--plain")
    out, _ = again.communicate(timeout=600)
    assert again.returncode == 0, out
    resumed = session.look()
    assert resumed["runs"] == 1
    assert resumed["decisions"] == undisturbed["decisions"]
    assert resumed["hash"] == undisturbed["hash"]
    assert resumed["audit"] == []
    # Every finished label was kept: at most the one in flight when the process was killed was made again.
    assert undisturbed["labels"] <= resumed["labels"] <= undisturbed["labels"] + (signum == signal.SIGKILL) * 2


@pytest.mark.slow
@pytest.mark.parametrize("driver", [{"prefetch": 2}, {"lockstep": True}], ids=["ahead", "in step"])
def test_a_kill_with_other_drivers(tmp_path, undisturbed, driver):
    session = Session(tmp_path)
    program = session.launch(driver)
    session.wait_for_cycles(3)
    program.kill()
    program.communicate(timeout=600)
    stopped = session.look()
    assert 0 < len(stopped["decisions"]) < len(undisturbed["decisions"])
    again = session.start(COMMAND, "--path", tmp_path, "resume", stopped["pk"], "--plain")
    out, _ = again.communicate(timeout=600)
    assert again.returncode == 0, out
    resumed = session.look()
    assert resumed["decisions"] == undisturbed["decisions"]
    assert resumed["audit"] == []
