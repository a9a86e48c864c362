"""Ensembles side by side: planted shifts in pressure and distance are found, with errors that hold them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ase import units

from aiida_slhmc.analysis.ensembles import compare_samples
from aiida_slhmc.analysis.pressure import ideal_pressure

CELL = np.diag([6.0, 7.0, 8.0])
BASE = np.array([[0, 0, 0], [0, 0, 1.84], [3, 3, 4], [3, 3, 5.84]])


def sample(stretch: float, pressure: float, n: int, seed: int) -> dict[str, np.ndarray]:
    """Return two Ti-O dumbbells of fluctuating length and a fluctuating pressure, independent states."""
    rng = np.random.default_rng(seed)
    positions = np.tile(BASE, (n, 1, 1))
    positions[:, [1, 3], 2] += stretch + 0.04 * rng.normal(size=(n, 2))
    stress = -np.eye(3) * (pressure + rng.normal(size=n))[:, None, None] * units.GPa
    return {
        "numbers": np.array([22, 8, 22, 8]),
        "positions": positions,
        "cells": np.tile(CELL, (n, 1, 1)),
        "stresses": stress,
    }


def compared(**changes: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    samples = {
        "foundation": sample(0.05, 6.2, 300, seed=1),
        "adapted": sample(0.0, 0.5, 300, seed=2),
        "reference": sample(0.0, 0.5, 400, seed=3),
    }
    return compare_samples(
        {**samples, **changes}, reference="reference", temperature=300.0, pair=("Ti", "O"), seed=4, resamples=100
    )


def test_planted_differences_are_found() -> None:
    rows = compared()
    foundation, adapted, reference = (rows[name] for name in ("foundation", "adapted", "reference"))
    ideal = float(ideal_pressure(4, CELL, 300.0))
    assert foundation["pressure"] == pytest.approx(6.2 + ideal, abs=4 * foundation["pressure_error"])
    assert foundation["pressure_error"] == pytest.approx(1 / math.sqrt(300), rel=0.25)
    assert foundation["pressure_deviation"] == pytest.approx(5.7, abs=4 * foundation["pressure_deviation_error"])
    assert abs(adapted["pressure_deviation"]) < 4 * adapted["pressure_deviation_error"]
    assert foundation["w1"] == pytest.approx(0.05, abs=0.01)
    assert foundation["distance_deviation"] == pytest.approx(0.05, abs=4 * foundation["distance_deviation_error"])
    assert foundation["resolved"]
    assert not adapted["resolved"]
    assert reference["n_samples"] == 400
    assert "w1" not in reference


def test_another_sample_changes_no_number() -> None:
    assert compared() == {
        name: row for name, row in compared(slhmc=sample(0.0, 0.5, 50, seed=5)).items() if name != "slhmc"
    }


def test_an_engine_without_stress_leaves_the_distances() -> None:
    blind = sample(0.0, 0.5, 300, seed=6)
    blind["stresses"][7] = np.nan
    row = compared(adapted=blind)["adapted"]
    assert math.isnan(row["pressure"])
    assert math.isfinite(row["w1"])


def test_chains_of_a_sample_are_kept_apart() -> None:
    one, two = sample(0.0, 0.0, 150, seed=7), sample(0.0, 8.0, 150, seed=8)
    both = {name: one[name] if name == "numbers" else np.concatenate([one[name], two[name]]) for name in one}
    apart = compared(adapted={**both, "chain": np.repeat([0, 1], 150)})["adapted"]
    assert apart["pressure_error"] < 0.2 * compared(adapted=both)["adapted"]["pressure_error"]


def test_the_reference_must_be_there() -> None:
    with pytest.raises(ValueError, match="no sample 'target'"):
        compare_samples({}, reference="target", temperature=300.0, pair=("Ti", "O"), seed=0)
