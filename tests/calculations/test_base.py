"""Conventions that every process of ours keeps, and the two executors that must agree."""

import numpy as np
import pytest
from aiida import orm
from aiida.plugins import CalculationFactory, WorkflowFactory
from aiida.plugins.entry_point import get_entry_point_names

from aiida_slhmc.calculations import base
from aiida_slhmc.calculations.label import LabelCalculation, label_local
from aiida_slhmc.calculations.propose import ProposeCalculation, propose_local
from aiida_slhmc.engine.profile import _worker as worker_executable
from aiida_slhmc.engine.runner import run_foreground
from tests.fixtures import RIGHT, WRONG, einstein


def processes():
    for group, factory in (("aiida.calculations", CalculationFactory), ("aiida.workflows", WorkflowFactory)):
        for name in get_entry_point_names(group):
            if name.startswith("slhmc."):
                yield name, factory(name)


def test_every_entry_point_loads():
    assert len(list(processes())) >= 20


@pytest.mark.parametrize("name", [name for name, _ in processes()])
def test_exit_codes_below_400_invalidate_the_cache(name):
    process = dict(processes())[name]
    spec = process.spec()
    for code in spec.exit_codes.values():
        if 200 <= code.status < 400:
            assert code.invalidates_cache, f"{name} [{code.status}]"


def test_storable_has_no_number_that_a_database_refuses():
    value = {1: np.float64(np.nan), "b": [np.inf, np.int64(3), np.array([1.0, -np.inf])], "c": (True, None)}
    assert base.storable(value) == {"1": None, "b": [None, 3, [1.0, None]], "c": [True, None]}


@pytest.fixture
def code(aiida_localhost):
    aiida_localhost.configure(use_login_shell=False, safe_interval=0.0)
    aiida_localhost.set_minimum_job_poll_interval(0.1)
    return orm.InstalledCode(
        label="slhmc-worker", computer=aiida_localhost, filepath_executable=str(worker_executable())
    ).store()


def test_a_label_is_the_same_as_a_job_and_in_this_process(structure, code):
    structure.store()
    level = orm.Dict(einstein(RIGHT)).store()
    local, _ = label_local.run_get_node(structure=structure, level=level)
    node = run_foreground(LabelCalculation, {"code": code, "structure": structure, "level": level})
    assert node.is_finished_ok, node.exit_message
    assert node.outputs.label.content_sha256 == local["label"].content_sha256
    assert node.outputs.label_info["engine"] == "einstein"


def test_a_proposal_is_the_same_as_a_job_and_in_this_process(structure, code):
    nodes = {
        "model": orm.Dict(einstein(WRONG)).store(),
        "state": structure.store(),
        "stream": orm.Dict({"seed": 5, "chain": 1, "cycle": 4, "phase": "adaptive"}).store(),
        "ensemble": orm.Dict({"ensemble": "NVT", "temperature": 300.0}).store(),
        "proposal": orm.Dict(
            {
                "timestep": 1.0, "length": 9, "length_law": "uniform", "centre_of_mass": "keep",
                "min_distance": None, "max_energy_change": None,
            }
        ).store(),
    }  # fmt: skip
    local, _ = propose_local.run_get_node(**nodes)
    node = run_foreground(ProposeCalculation, {"code": code, **nodes})
    assert node.is_finished_ok, node.exit_message
    positions = [site.position for site in node.outputs.endpoint.sites]
    assert positions == [site.position for site in local["endpoint"].sites]
    job, here = node.outputs.proposal_info.get_dict(), local["proposal_info"].get_dict()
    assert {k: v for k, v in job.items() if k != "wall_time"} == {k: v for k, v in here.items() if k != "wall_time"}


def test_a_failure_that_a_task_names_is_an_exit_code(structure):
    wrong = einstein(RIGHT)
    wrong["parameters"]["sites"] = wrong["parameters"]["sites"][:4]
    _, node = label_local.run_get_node(structure=structure, level=orm.Dict(wrong))
    assert node.exit_status == 210
    assert "4 sites" in node.exit_message


def test_a_job_that_dies_says_what_its_log_said(structure, aiida_localhost):
    broken = orm.InstalledCode(label="broken", computer=aiida_localhost, filepath_executable="/bin/false").store()
    inputs = {"code": broken, "structure": structure, "level": orm.Dict(einstein(RIGHT))}
    node = run_foreground(LabelCalculation, inputs)
    assert node.exit_status == 320
    assert "no output.json" in node.exit_message
