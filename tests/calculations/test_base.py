"""Conventions that every process of ours keeps, and the two executors that must agree."""

import numpy as np
import pytest
from aiida import orm
from aiida.plugins import CalculationFactory, WorkflowFactory
from aiida.plugins.entry_point import get_entry_point_names

from aiida_slhmc.calculations import base
from aiida_slhmc.calculations.label import LabelCalculation, label_local
from aiida_slhmc.calculations.propose import (
    ProposeCalculation,
    ProposeManyCalculation,
    propose_local,
    propose_many_local,
)
from aiida_slhmc.engine.runner import run_foreground
from aiida_slhmc.workflows.protocol import protocol_inputs
from tests.fixtures import RIGHT, WRONG, breathing, einstein


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


def test_a_label_is_the_same_as_a_job_and_in_this_process(structure, code):
    structure.store()
    level = orm.Dict(einstein(RIGHT)).store()
    local, _ = label_local.run_get_node(structure=structure, level=level)
    node = run_foreground(LabelCalculation, {"code": code, "structure": structure, "level": level})
    assert node.is_finished_ok, node.exit_message
    assert node.outputs.label.content_sha256 == local["label"].content_sha256
    assert node.outputs.label_info["engine"] == "einstein"


def proposal_nodes(structure):
    settings = protocol_inputs("fast", {"proposal": {"length": 9, "cell_mass": 3e3}, "ensemble": {"ensemble": "NPT"}})
    return {
        "model": orm.Dict(breathing(WRONG)).store(),
        "state": structure.store(),
        "stream": orm.Dict({"seed": 5, "chain": 1, "cycle": 4, "phase": "adaptive"}).store(),
        "ensemble": orm.Dict(settings["ensemble"] | {"cell": "orthorhombic"}).store(),
        "proposal": orm.Dict(settings["proposal"]).store(),
    }


def alike(one, other):
    """Compare structures and reports, but for the time they took."""
    assert one["endpoint"].cell == other["endpoint"].cell
    assert [site.position for site in one["endpoint"].sites] == [site.position for site in other["endpoint"].sites]
    first, second = ({**node["proposal_info"].get_dict(), "wall_time": 0} for node in (one, other))
    assert first == second


def test_a_proposal_is_the_same_as_a_job_and_in_this_process(structure, code):
    nodes = proposal_nodes(structure)
    local, _ = propose_local.run_get_node(**nodes)
    node = run_foreground(ProposeCalculation, {"code": code, **nodes})
    assert node.is_finished_ok, node.exit_message
    alike(local, node.outputs)


def test_one_job_carries_several_chains_each_with_its_own_nodes(structure, code):
    single = proposal_nodes(structure)
    nodes = {key: single[key] for key in ("model", "proposal")}
    streams = [single["stream"], orm.Dict({**single["stream"].get_dict(), "chain": 2}).store()]
    for name, stream in zip(("chain_001", "chain_002"), streams, strict=True):
        nodes |= {f"state_{name}": single["state"], f"stream_{name}": stream, f"ensemble_{name}": single["ensemble"]}
    local, _ = propose_many_local.run_get_node(**nodes)
    node = run_foreground(ProposeManyCalculation, {"code": code, **nodes})
    assert node.is_finished_ok, node.exit_message
    assert set(local) == {f"{what}_chain_00{n}" for what in ("endpoint", "proposal_info") for n in (1, 2)}
    for name, stream in zip(("chain_001", "chain_002"), streams, strict=True):
        alone, _ = propose_local.run_get_node(**{**single, "stream": stream})
        for many in (local, node.outputs):
            alike(alone, {what: many[f"{what}_{name}"] for what in ("endpoint", "proposal_info")})


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
