import math

import numpy as np
import pytest
from aiida import orm
from ase import units

from aiida_slhmc.calculations.metropolis import CELL_TERMS, metropolis
from aiida_slhmc.data import FramesData
from aiida_slhmc.numerics.hmc import draw_log_uniform


def label(energy, level="l"):
    frame = {
        "numbers": np.full((1, 1), 8),
        "positions": np.zeros((1, 1, 3)),
        "cells": np.eye(3)[None] * 5,
        "pbc": np.ones((1, 3), dtype=bool),
        "energies": np.array([energy]),
        "forces": np.zeros((1, 1, 3)),
        "stresses": np.full((1, 3, 3), np.nan),
    }
    return FramesData(frame, level_hash=level)


def inputs(structure, **changes):
    info = {"kinetic_start": 0.4, "kinetic_end": 0.35, "potential_start": 1.0, "potential_end": 1.1}
    info |= {f"{term}_{end}": 0.0 for term in CELL_TERMS for end in ("start", "end")}
    info |= {"n_steps": 7, "divergent": False, "reason": ""}
    end = structure.clone()
    end.set_cell([[6, 0, 0], [0, 6, 0], [0, 0, 6]])
    return {
        "state": structure,
        "label": label(-10.0),
        "endpoint": end,
        "proposal_info": orm.Dict(info | changes.pop("info", {})),
        "stream": orm.Dict({"seed": 5, "chain": 1, "cycle": 4, "phase": "adaptive"}),
        "ensemble": orm.Dict({"ensemble": "NVT", "temperature": 300.0}),
        "failure": orm.Dict({"attempts": 1, "policy": "stop"}),
        "endpoint_label": label(-9.9),
    } | changes


def test_decision_holds_every_term_and_replays_from_them(structure):
    result = metropolis(**inputs(structure))
    decision = result["decision"].get_dict()
    assert decision["delta"] == pytest.approx(0.1 - 0.05, abs=1e-12)
    assert decision["probability"] == pytest.approx(math.exp(-0.05 / (units.kB * 300.0)), rel=1e-12)
    assert decision["log_uniform"] == pytest.approx(draw_log_uniform(5, 1, 4), rel=1e-13)
    assert decision["accepted"] == (decision["log_uniform"] <= math.log(decision["probability"]))
    assert result["stream"].get_dict() == {"seed": 5, "chain": 1, "cycle": 5, "phase": "adaptive"}


def test_terms_of_a_moving_cell_enter_the_decision(structure):
    terms = {
        "cell_kinetic_end": 0.02,
        "pressure_volume_end": 0.03,
        "log_volume_end": -0.01,
        "cell_kinetic_start": 0.005,
    }
    decision = metropolis(**inputs(structure, info=terms))["decision"].get_dict()
    assert decision["delta"] == pytest.approx(0.05 + 0.02 + 0.03 - 0.01 - 0.005, abs=1e-12)
    assert {key: decision[key] for key in terms} == terms


@pytest.mark.parametrize(("energy", "accepted"), [(-11.0, True), (-5.0, False)])
def test_next_state_is_endpoint_or_state(structure, energy, accepted):
    given = inputs(structure, endpoint_label=label(energy))
    result = metropolis(**given)
    assert result["decision"].get_dict()["accepted"] is accepted
    expected = given["endpoint"] if accepted else given["state"]
    assert result["state"].cell == expected.cell


def test_divergent_trajectory_is_rejected_without_a_label(structure):
    given = inputs(
        structure, info={"divergent": True, "kinetic_end": None, "potential_end": None, "log_volume_end": None}
    )
    del given["endpoint_label"]
    decision = metropolis(**given)["decision"].get_dict()
    assert decision["accepted"] is False
    assert decision["delta"] is None
    assert decision["probability"] == 0.0


def test_labels_of_two_levels_of_theory_are_refused(structure):
    _, node = metropolis.run_get_node(**inputs(structure, endpoint_label=label(-9.9, "other")))
    assert node.exit_status == 210
    assert "different levels" in node.exit_message


def test_missing_label_is_refused_unless_the_policy_is_to_reject(structure):
    given = inputs(structure)
    del given["endpoint_label"]
    _, node = metropolis.run_get_node(**given)
    assert node.exit_status == 210
    given["failure"] = orm.Dict({"attempts": 1, "policy": "reject"})
    decision = metropolis(**given)["decision"].get_dict()
    assert decision["accepted"] is False
    assert decision["label_failed"] is True
