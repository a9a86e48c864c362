"""``slhmc-worker``, as a job calls it: the console script in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from aiida_slhmc import models
from aiida_slhmc.worker import cli, io
from aiida_slhmc.worker.label import label
from aiida_slhmc.worker.propose import propose

SCRIPT = Path(sys.executable).with_name("slhmc-worker")


def run(folder: Path, task: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [SCRIPT, task, "--folder", "."]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False, env=environment
    )


def crystal() -> dict:
    sites = np.array([[0.0, 0.0, 0.0], [1.7, 0.1, 0.0]])
    return {
        "numbers": np.array([18, 18]),
        "positions": sites + 0.01,
        "cell": 8.0 * np.eye(3),
        "pbc": np.array([True, True, True]),
        "masses": np.array([39.95, 39.95]),
    }


LEVEL = {
    "engine": "einstein",
    "functional": "analytic",
    "parameters": {"sites": [[0.0, 0.0, 0.0], [1.7, 0.1, 0.0]], "spring_constant": 2.0, "offset": -3.0},
}
PROPOSAL = {
    "potential": LEVEL,
    "seed": 5,
    "chain": 0,
    "cycle": 3,
    "temperature": 300.0,
    "timestep": 1.0,
    "length": 6,
    "length_law": "uniform",
    "centre_of_mass": "keep",
    "min_distance": None,
    "max_energy_change": None,
}


def same(left, right) -> bool:
    left, right = dict(left), dict(right)
    for result in (left, right):
        assert result.pop("wall_time") >= 0
    return set(left) == set(right) and all(np.array_equal(left[key], right[key]) for key in left)


def test_the_script_gives_what_the_function_gives(tmp_path):
    payload = {**crystal(), **PROPOSAL}
    io.write(tmp_path, payload)
    done = run(tmp_path, "propose")
    assert done.returncode == 0, done.stderr
    # To the bit: a job and this process are the same proposal.
    assert same(io.read(tmp_path, "output"), propose(payload))


def test_a_label_through_the_script(tmp_path):
    payload = {**crystal(), "level": LEVEL}
    io.write(tmp_path, payload)
    done = run(tmp_path, "label")
    assert done.returncode == 0, done.stderr
    result = io.read(tmp_path, "output")
    assert same(result, label(payload))
    assert "stress" not in result


def test_a_named_failure_ends_in_the_output(tmp_path):
    level = {**LEVEL, "parameters": {**LEVEL["parameters"], "sites": [[0.0, 0.0, 0.0]]}}
    io.write(tmp_path, {**crystal(), "level": level})
    done = run(tmp_path, "label")
    assert done.returncode == 0, done.stderr
    assert io.read(tmp_path, "output") == {
        "failure": {"kind": "bad_input", "message": "the Einstein crystal has 1 sites, but the structure has 2 atoms."}
    }


def test_a_defect_ends_in_a_traceback_and_no_output(tmp_path):
    io.write(tmp_path, {**crystal(), **PROPOSAL, "seed": "not a number"})
    io.write(tmp_path, {"an": "old result"}, "output")
    done = run(tmp_path, "propose")
    assert done.returncode != 0
    assert "Traceback" in done.stderr
    # What an earlier run left must not pass for the result of this one.
    assert not (tmp_path / "output.json").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "cannot be read"), ("{", "is broken"), ('{"level": {"engine": "einstein"}}', "lacks 'numbers'")],
)
def test_a_bad_payload_is_a_named_failure(tmp_path, monkeypatch, content, says):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "input.json").write_text(content)
    done = CliRunner().invoke(cli.main, ["label", "--folder", str(tmp_path)])
    assert done.exit_code == 0, done.output
    failure = io.read(tmp_path, "output")["failure"]
    assert failure["kind"] == "bad_input"
    assert says in failure["message"]


def test_an_unknown_task_is_refused(tmp_path):
    done = CliRunner().invoke(cli.main, ["dance", "--folder", str(tmp_path)])
    assert done.exit_code == 2
    assert "'dance' is not one of" in done.output


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    done = CliRunner().invoke(cli.main, ["label", "--folder", str(tmp_path / "nowhere")])
    assert done.exit_code == 2


def test_a_task_without_a_network_imports_no_torch(tmp_path):
    io.write(tmp_path, {**crystal(), "level": LEVEL})
    code = (
        "import sys; from aiida_slhmc.worker import cli; cli.main(['label'], standalone_mode=False); "
        "print([name for name in ('torch', 'mace', 'chgnet', 'gpaw', 'aiida') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def describe(folder: Path) -> dict:
    # In this process: another one would load torch for each test.
    done = CliRunner().invoke(cli.main, ["describe", "--folder", str(folder)])
    assert done.exit_code == 0, done.output
    return io.read(folder, "output")


def test_describe_reads_a_model_beside_the_payload(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.model").write_bytes(models.path("tio2-pbe-small").read_bytes())
    io.write(tmp_path, {"file": "model.model"})
    result = describe(tmp_path)
    assert {"Ti", "O"} <= set(result["symbols"])
    assert len(result["file_sha256"]) == 64


def test_describe_without_a_model_is_a_named_failure(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    io.write(tmp_path, {"file": "nothing.model"})
    failure = describe(tmp_path)["failure"]
    assert failure["kind"] == "bad_input"
    assert "nothing.model" in failure["message"]
