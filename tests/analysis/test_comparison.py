"""Samples beside a reference: known laws are told apart, equal ones are not, and replicas are averaged honestly."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aiida_slhmc.analysis import comparison as comparing
from aiida_slhmc.analysis.learning import curve_on_tests, learning_curve
from aiida_slhmc.analysis.samples import Plan, analyse, default_pair, kept_histograms, make_plan, units_of
from aiida_slhmc.workflows.runfile import rutile

ATOMS = rutile().repeat((1, 1, 2))
SETTINGS = {"pair": None, "cutoff": None, "windows": None, "shell": [4, 2], "multiples": [1, 1, 2], "rdf_range": 5.0}


def sample(seed: int, spread: float, frames: int = 60, chains: int = 2, strain: float = 0.0, moves: bool = False):
    rng = np.random.default_rng(seed)
    n = frames * chains
    scale = 1.0 + strain + (0.003 * rng.normal(size=(n, 3)) if moves else np.zeros((n, 3)))
    cells = ATOMS.cell[:] * scale[:, :, None]
    positions = ATOMS.get_scaled_positions() @ cells + spread * rng.normal(size=(n, len(ATOMS), 3))
    return {"positions": positions, "cells": cells, "numbers": ATOMS.numbers, "chain": np.repeat(range(chains), frames)}


def generator(what: str) -> np.random.Generator:
    return np.random.default_rng([3, *what.encode()])


def plan_of(reference, **changes) -> Plan:
    return make_plan(reference, {**SETTINGS, **changes}, temperature=300.0, moves=False)


def test_what_is_left_open_follows_from_the_reference() -> None:
    plan = plan_of(sample(0, 0.06))
    assert plan.pair == ("Ti", "O")
    assert 2.2 < plan.cutoff < 3.2
    assert set(plan.windows) == {"O-O", "O-Ti", "Ti-Ti"}
    assert Plan.from_dict(plan.as_dict()) == plan
    given = plan_of(sample(0, 0.06), cutoff=2.4, windows={"Ti-O": [1.6, 2.2]}, pair=["O", "Ti"])
    assert (given.cutoff, given.windows["O-Ti"], given.pair) == (2.4, (1.6, 2.2), ("O", "Ti"))
    with pytest.raises(ValueError, match="a window is given for Fe-O"):
        plan_of(sample(0, 0.06), windows={"O-Fe": [1.0, 2.0]})
    with pytest.raises(ValueError, match="give a cutoff or a larger range"):
        plan_of(sample(0, 0.06), pair=["Ti", "O"], rdf_range=1.0)


def test_the_bond_of_other_materials() -> None:
    numbers = np.array([6, 1, 1, 1, 1])
    positions = np.array([[[0, 0, 0], [1, 1, 1], [-1, -1, 1], [1, -1, -1], [-1, 1, -1]]]) * 0.63
    assert default_pair(numbers, positions, np.eye(3)[None] * 20) == ("C", "H")
    salt = np.array([11, 17])
    assert default_pair(salt, np.array([[[0, 0, 0], [2.8, 0, 0]]]), np.eye(3)[None] * 5.6) == ("Cl", "Na")
    assert default_pair([29], np.zeros((1, 1, 3)), np.eye(3)[None] * 3.0) == ("Cu", "Cu")
    assert units_of(ATOMS.numbers) == "TiO2"


def test_an_analysis_keeps_what_the_frames_say() -> None:
    own = sample(1, 0.05)
    plan = plan_of(own)
    found = analyse(own, plan)
    assert found["distances"].shape == (120, 4)
    assert found["coordination"].tolist() == [6.0] * 120
    assert found["shells"].shape == (120, 3)
    assert np.isnan(found["pressures"]).all()
    assert found["lengths"][0] == pytest.approx([4.594, 4.594, 2.959])
    counts = kept_histograms(found, ATOMS.numbers, "counts")
    weighted = kept_histograms(found, ATOMS.numbers, "weighted")
    assert counts.frames.tolist() == [10] * 12
    volume = abs(np.linalg.det(own["cells"][0]))
    assert weighted.weighted["O-Ti"].sum() == pytest.approx(
        volume * counts.counts["O-Ti"][:, : int(weighted.edges[-1] / counts.width + 1e-9)].sum(), rel=1e-3
    )


def test_equal_laws_are_noise_and_different_ones_are_not() -> None:
    target, same, wide = sample(0, 0.06), sample(1, 0.06), sample(2, 0.09)
    plan = plan_of(target)
    reference = analyse(target, plan)
    results = [
        comparing.compare(analyse(own, plan), reference, ATOMS.numbers, plan, generator=generator)
        for own in (same, wide)
    ]
    assert not results[0]["distances"]["w1"]["resolved"]
    assert not results[0]["distances"]["rdf O-Ti"]["resolved"]
    for name in ("w1", "rdf O-Ti", "rdf O-O", "rdf Ti-Ti"):
        entry = results[1]["distances"][name]
        assert entry["resolved"], name
        assert entry["value"] > entry["floor_95"] > entry["floor"] > 0
    assert results[1]["quantities"]["distance"]["resolved"]
    # What the reference is does not depend on what it is compared with.
    assert (
        results[0]["quantities"]["peak O-Ti"]["reference_error"]
        == results[1]["quantities"]["peak O-Ti"]["reference_error"]
    )
    for entry in results[0]["quantities"].values():
        assert entry["deviation"] == pytest.approx(entry["value"] - entry["reference"])


def test_the_volume_decides_where_distances_cannot() -> None:
    target = sample(0, 0.06, moves=True)
    plan = make_plan(target, SETTINGS, temperature=300.0, moves=True)
    larger = analyse(sample(1, 0.06, moves=True, strain=0.004), plan)
    result = comparing.compare(larger, analyse(target, plan), ATOMS.numbers, plan, generator=generator)
    volume = result["quantities"]["volume"]
    assert volume["deviation"] == pytest.approx(0.012 * 31.2, rel=0.2)
    assert volume["resolved"]
    assert result["distances"]["w1 volume"]["value"] == pytest.approx(volume["deviation"], rel=0.05)
    assert volume["sd"] > 0
    assert volume["sd_diagonal"] == pytest.approx(volume["sd"], rel=0.25)
    assert "pressure" not in result["quantities"]


def test_a_short_sample_is_warned_of() -> None:
    own = sample(0, 0.06, frames=12, chains=1)
    found = analyse(own, plan_of(own))
    assert "sample longer" in comparing.sampling_warnings(found)[0]
    long = sample(0, 0.06, frames=60)
    assert not comparing.sampling_warnings(analyse(long, plan_of(long)))


def test_the_error_of_replicas_is_never_less_than_their_own() -> None:
    rows = [
        {"value": value, "error": 0.2, "unit": "Å", "reference": 1.0, "reference_error": 0.1} for value in (2.0, 2.0)
    ]
    entry = comparing.over_replicas(rows)
    assert entry["value"] == 2.0
    # They agree by chance; their own errors say 0.2 / sqrt(2).
    assert entry["error"] == pytest.approx(0.2 / math.sqrt(2))
    assert entry["deviation_error"] == pytest.approx(math.hypot(0.2 / math.sqrt(2), 0.1))
    spread = comparing.over_replicas([{**rows[0], "value": value} for value in (1.0, 2.0, 3.0)])
    assert spread["error"] == pytest.approx(1.0 / math.sqrt(3))
    assert spread["spread"] == pytest.approx(1.0)
    assert spread["resolved"] is False
    floors = comparing.over_replicas([{"value": 3.0, "error": 0.1, "floor": 1.0, "floor_95": 2.0}])
    assert (floors["floor_95"], floors["resolved"], floors["error"]) == (2.0, True, 0.1)
    assert comparing.over_replicas([{"value": None}]) == {"value": None, "error": None, "n": 0}


def test_a_number_that_never_changes_is_within_its_rounding() -> None:
    row = comparing.against({"value": 2.95 + 4e-16, "error": 0.0}, 2.95, 0.0)
    assert row["resolved"] is False
    assert comparing.against({"value": 2.96, "error": 0.0}, 2.95, 0.0)["resolved"] is True
    assert comparing.against({"value": 2.96, "error": math.nan}, 2.95, 0.0)["resolved"] is None


def test_a_protocol_without_a_sample_has_its_errors() -> None:
    rows = {
        "a": {"protocol": "p", "problem": "exploded", "errors": {"t": {"force_rmse": 0.1, "force_rmse_error": 0.01}}},
        "b": {"protocol": "p", "quantities": {"distance": {"value": 1.0, "error": 0.1}}, "errors": {}},
    }
    group = comparing.by_protocol(rows)["p"]
    assert group["problems"] == {"a": "exploded"}
    assert group["quantities"]["distance"]["n"] == 1
    assert group["errors"]["t"]["force_rmse"]["value"] == 0.1
    assert group["labels"]["spent"]["value"] is None


def test_learning_curves_count_the_labels_before_each_block() -> None:
    errors = {"force_rmse": 0.1, "force_rmse_error": 0.01}
    blocks = [{"labels": 5, "errors": errors}, {"labels": 4}, {"labels": 3, "errors": errors, "production": True}]
    curve = learning_curve(blocks)
    assert [(point["labels"], point["production"]) for point in curve] == [(0, False), (9, True)]
    assert curve[0]["energy_rmse"] is None
    tests = curve_on_tests(blocks, {"block_001": errors, "block_000": errors})
    assert [point["labels"] for point in tests] == [5, 9]
