"""Our own profile in a folder of its own; the user's is never touched."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CREATE = """
import json, sys
from pathlib import Path
from aiida_slhmc.engine.profile import isolated_profile
assert "aiida" not in sys.modules, "the profile module must not import AiiDA before it is told where"
profile = isolated_profile(Path(sys.argv[1]))
again = isolated_profile(Path(sys.argv[1]))
from aiida import orm
from aiida.manage.configuration import get_config_option
computer, code = orm.load_computer("localhost"), orm.load_code("slhmc-worker@localhost")
print(json.dumps({
    "profile": profile.name, "same": again.uuid == profile.uuid,
    "storage": profile.storage_backend, "broker": profile.process_control_backend,
    "poll": get_config_option("runner.poll.interval"),
    "computer": [computer.transport_type, computer.scheduler_type, computer.get_default_mpiprocs_per_machine()],
    "job_poll": computer.get_minimum_job_poll_interval(), "configuration": computer.get_configuration(),
    "workdir": computer.get_workdir(), "executable": str(code.filepath_executable),
    "plugin": code.default_calc_job_plugin, "codes": orm.QueryBuilder().append(orm.InstalledCode).count(),
    "value": orm.Int(1).store().value,
}))
"""

MISSING = """
from pathlib import Path
import sys
from aiida_slhmc.engine.profile import NoProfile, isolated_profile, load_existing
for name in (None, "mine"):
    try:
        load_existing(name)
    except NoProfile as error:
        print(error)
isolated_profile(Path(sys.argv[1]))
try:
    load_existing("mine")
except NoProfile as error:
    print(error)
print(load_existing().name)
"""

OTHER = """
import sys
from pathlib import Path
from aiida.manage.configuration import create_profile, get_config, load_profile
from aiida_slhmc.engine.profile import NoProfile, isolated_profile, load_existing, prepare_localhost
config = get_config(create=True)
create_profile(config, name="mine", email="me@localhost", storage_backend="core.sqlite_dos", storage_config={})
config.set_default_profile("mine")
config.store()
profile = load_existing()
code = prepare_localhost(profile)
assert prepare_localhost(profile).pk == code.pk
assert code.computer.is_configured
code.computer.set_minimum_job_poll_interval(30)
prepare_localhost(profile)
assert code.computer.get_minimum_job_poll_interval() == 30, "the settings of a computer are the user's"
sys.executable = sys.argv[1] + "/python"  # as if the environment had moved
moved = Path(sys.argv[1]) / "slhmc-worker"
moved.touch()
new = prepare_localhost(profile)
assert new.pk != code.pk and Path(new.filepath_executable) == moved and code.label != new.label
try:
    isolated_profile(Path(sys.argv[1]) / "own")
except NoProfile as error:
    print(error)
"""


def run(script, home, argument, **environment):
    """Run a script with an empty home and return what it prints."""
    clean = {key: value for key, value in os.environ.items() if key != "AIIDA_PATH"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(argument)],
        cwd=ROOT,
        env=clean | {"HOME": str(home), "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def test_the_isolated_profile_is_complete_and_leaves_the_home_alone(home, tmp_path):
    path = tmp_path / "run"
    done = run(CREATE, home, path)
    found = json.loads(done.stdout)
    assert found == {
        "profile": "slhmc",
        "same": True,
        "storage": "core.sqlite_dos",
        "broker": "core.zeromq",
        "poll": 1,
        "computer": ["core.local", "core.direct", 1],
        "job_poll": 0.1,
        "configuration": {"safe_interval": 0.0, "use_login_shell": False},
        "workdir": str(path / "scratch"),
        "executable": str(Path(sys.executable).parent / "slhmc-worker"),
        "plugin": "slhmc.propose",
        "codes": 1,
        "value": 1,
    }
    assert done.stderr == "", "the first thing a newcomer sees"
    assert list(home.iterdir()) == []


def test_a_missing_profile_is_named_with_a_way_out(home, tmp_path):
    lines = run(MISSING, home, tmp_path / "run", AIIDA_PATH=str(tmp_path / "empty")).stdout.splitlines()
    assert "no configuration" in lines[0]
    assert "no configuration" in lines[1]
    assert "no AiiDA profile 'mine' (there are: slhmc)" in lines[2]
    assert lines[3] == "slhmc"
    assert list(home.iterdir()) == []


def test_a_users_profile_is_prepared_once_and_never_mixed_with_ours(home, tmp_path):
    done = run(OTHER, home, tmp_path, AIIDA_PATH=str(tmp_path / "theirs"))
    assert "start a new interpreter" in done.stdout
    assert list(home.iterdir()) == []
