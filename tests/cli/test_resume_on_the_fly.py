"""On-the-fly learning, killed at any of its steps and resumed, is as if nothing had happened."""

import pytest

from .test_resume import COMMAND, Session

LAUNCH = """
import sys
from pathlib import Path
from aiida_slhmc.engine.profile import isolated_profile
isolated_profile(Path(sys.argv[1]))
from tests.workflows.test_on_the_fly import builder
from aiida_slhmc.cli.launch import follow
from aiida_slhmc.engine.runner import run_foreground
follow(lambda tick: run_foreground(builder(), on_tick=tick), plain=True)
"""
LOOK = """
import json, sys
from pathlib import Path
from aiida_slhmc.engine.profile import isolated_profile
isolated_profile(Path(sys.argv[1]))
from aiida import orm
from tests.workflows.test_on_the_fly import content
from aiida_slhmc.workflows.on_the_fly import OnTheFlyWorkChain
from aiida_slhmc.provenance.audit import audit, step_name
(run,) = orm.QueryBuilder().append(OnTheFlyWorkChain).all(flat=True)
done = [step_name(node) for node in run.called_descendants if node.is_finished_ok]
print("RESULT" + json.dumps({
    "pk": run.pk, "state": run.process_state.value,
    "steps": {name: done.count(name) for name in ("label", "take_up", "posterior", "explore", "finetune")},
    "content": content(run) if run.is_finished_ok else None,
    "audit": [finding.message for finding in audit(run).findings] if run.is_finished_ok else None,
}))
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    session = Session(tmp_path_factory.mktemp("undisturbed"))
    program = session.launch(program=LAUNCH)
    out, _ = program.communicate(timeout=900)
    assert program.returncode == 0, out
    return session.look(LOOK)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("step", ["take_up", "posterior.local", "explore.local"])
def test_a_kill_changes_nothing(tmp_path, undisturbed, step):
    session = Session(tmp_path)
    program = session.launch(program=LAUNCH)
    # The node of a step is there before its work is done: the kill strikes in the middle of it, or just after.
    session.wait_for_cycles(2, step)
    program.kill()
    program.communicate(timeout=600)
    stopped = session.look(LOOK)
    assert stopped["state"] not in ("finished", "excepted", "killed")
    assert stopped["steps"]["take_up"] < undisturbed["steps"]["take_up"]
    again = session.start(COMMAND, "--path", tmp_path, "resume", stopped["pk"], "--plain")
    out, _ = again.communicate(timeout=900)
    assert again.returncode == 0, out
    resumed = session.look(LOOK)
    assert resumed["content"] == undisturbed["content"]
    assert resumed["steps"] == undisturbed["steps"]
    assert resumed["audit"] == []
