"""The engine that fails on purpose does what its level of theory says, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from aiida_slhmc.targets.level import normalise, validate
from aiida_slhmc.worker import io
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.label import label
from aiida_slhmc.worker.potentials import build_potential

SITES = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
INNER = {"engine": "einstein", "parameters": {"sites": SITES.tolist(), "spring_constant": 2.0}}
CELL = np.eye(3) * 9


def level(**parameters) -> dict:
    return normalise({"engine": "faulty", "parameters": {"level": INNER, **parameters}})


def payload(theory: dict, shift: float = 0.1) -> dict:
    return {"numbers": np.array([18, 18]), "positions": SITES + shift, "cell": CELL, "pbc": [True] * 3, "level": theory}


def fails(theory: dict, shift: float = 0.1) -> bool:
    try:
        label(payload(theory, shift))
    except TaskError:
        return True
    return False


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("failed", "failed"), ("unconverged", "unconverged"), ("nan_energy", "not_finite"), ("nan_forces", "not_finite"),
     ("huge_forces", "absurd")],
)  # fmt: skip
def test_every_fault_is_told_by_its_kind(fault, kind):
    with pytest.raises(TaskError) as caught:
        label(payload(level(fault=fault)))
    assert caught.value.kind == kind


def test_zero_forces_come_with_the_right_energy():
    positions = SITES + 0.1
    right = build_potential(normalise(INNER), [18, 18], [True] * 3).evaluate(positions, CELL)
    wrong = build_potential(level(fault="zero_forces"), [18, 18], [True] * 3).evaluate(positions, CELL)
    assert np.abs(right.forces).min() > 0.1
    assert wrong.energy == right.energy
    assert not wrong.forces.any()


def test_a_label_that_takes_too_long_is_right_in_the_end():
    started = time.perf_counter()
    result = label(payload(level(fault="timeout", seconds=0.3)))
    assert time.perf_counter() - started > 0.3
    assert result["energy"] == label(payload(normalise(INNER)))["energy"]


def test_a_process_that_ends_leaves_no_result(tmp_path):
    io.write(tmp_path, payload(level(fault="exit")))
    command = [sys.executable, "-m", "aiida_slhmc.worker.cli", "label", "--folder", str(tmp_path)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 13
    assert not (tmp_path / "output.json").exists()


def test_random_is_the_fate_of_a_structure():
    shifts = np.linspace(0.01, 0.5, 200)
    theory = level(select="random", probability=0.3, seed=1)
    fates = [fails(theory, shift) for shift in shifts]
    assert fates == [fails(theory, shift) for shift in shifts]
    # Binomial: 60 +- 6.5.
    assert 35 < sum(fates) < 85
    other = [fails(level(select="random", probability=0.3, seed=2), shift) for shift in shifts]
    assert fates != other
    # A database keeps 14 digits: nothing changes.
    assert fates == [fails(theory, shift + 1e-13) for shift in shifts]


def test_one_structure_alone():
    theory = level(select="structure", positions=(SITES + 0.1).tolist(), within=0.05)
    assert fails(theory, 0.1)
    assert fails(theory, 0.12)
    assert not fails(theory, 0.2)


def test_chosen_calls_are_counted_over_processes(tmp_path):
    theory = level(select="calls", calls=[2, 3], state=str(tmp_path))
    assert [fails(theory) for _ in range(3)] == [False, True, True]
    command = [sys.executable, "-m", "aiida_slhmc.worker.cli", "label", "--folder"]
    folder = tmp_path / "job"
    folder.mkdir()
    io.write(folder, payload(level(select="calls", calls=[4], state=str(tmp_path))))
    subprocess.run([*command, str(folder)], capture_output=True, check=True)
    assert io.read(folder, "output")["failure"]["kind"] == "failed"


def test_a_structure_that_fails_twice_and_then_works(tmp_path):
    theory = level(select="random", probability=1.0, times=2, state=str(tmp_path))
    assert [fails(theory, shift) for shift in (0.1, 0.1, 0.2, 0.1, 0.2, 0.2)] == [True, True, True, False, True, False]


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"fault": "explode"}, "'fault' must be one of failed"),
        ({"select": "sometimes"}, "'select' must be one of always"),
        ({"select": "calls", "calls": [1]}, "'state' must be a folder"),
        ({"times": 1}, "'state' must be a folder"),
        ({"level": 3}, "must be a level of theory"),
        ({"level": {"engine": "einsten"}}, "no engine 'einsten'"),
        ({"level": {"engine": "gpaw", "parameters": {"cutoff": -1}}}, "'cutoff' must be"),
        ({"falt": 1}, "no parameter 'falt'"),
    ],
)
def test_a_wrong_level_is_refused(parameters, says):
    with pytest.raises(ValueError, match=says):
        validate({"engine": "faulty", "parameters": {"level": INNER, **parameters}})


def test_a_state_folder_that_is_not_there():
    with pytest.raises(TaskError, match="no folder '/no/such'") as caught:
        build_potential(level(times=1, state="/no/such"), [18, 18], [True] * 3)
    assert caught.value.kind == "bad_input"
