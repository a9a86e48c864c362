"""Sampling of one surface: exact, reproducible, and no dearer than it must be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ase import units
from ase.build import bulk

from aiida_slhmc.numerics.diagnostics import mean_with_error
from aiida_slhmc.worker import dynamics as module
from aiida_slhmc.worker.dynamics import dynamics
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.potentials import build_potential

SITES = np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0]])


def payload(**changes) -> dict:
    level = {"engine": "einstein", "functional": "analytic"}
    return {
        "numbers": np.full(4, 18),
        "positions": SITES + 0.01,
        "cell": 8.0 * np.eye(3),
        "pbc": np.array([True] * 3),
        "masses": np.full(4, 39.95),
        "potential": {**level, "parameters": {"sites": SITES.tolist(), "spring_constant": 2.0, "offset": -7.0}},
        "seed": 3,
        "chain": 0,
        "temperature": 300.0,
        "timestep": 20.0,
        "length": 6,
        "length_law": "uniform",
        "centre_of_mass": "keep",
        "min_distance": None,
        "max_energy_change": None,
        "samples": 30,
        "discard": 5,
        **changes,
    }


def copper(**changes) -> dict:
    atoms = bulk("Cu", cubic=True)
    potential = {"engine": "ase", "functional": "ase", "parameters": {"calculator": "emt", "arguments": {}}}
    structure = {
        "numbers": atoms.numbers,
        "positions": atoms.get_positions(),
        "cell": np.array(atoms.cell[:]),
        "pbc": atoms.pbc,
        "masses": atoms.get_masses(),
    }
    return payload(**{**structure, "potential": potential, "timestep": 3.0, **changes})


def test_shapes_and_kinds():
    result = dynamics(copper(samples=7, discard=2))
    assert result["positions"].shape == (7, 4, 3)
    assert result["cells"].shape == (7, 3, 3)
    assert result["energies"].shape == (7,)
    assert result["stresses"].shape == (7, 3, 3)
    assert result["probabilities"].shape == (7,)
    assert ((result["probabilities"] >= 0) & (result["probabilities"] <= 1)).all()
    assert 0 < result["acceptance"] <= 1
    assert result["divergent"] == 0
    assert result["wall_time"] > 0


def test_energies_and_stresses_belong_to_the_positions():
    result = dynamics(copper(samples=6, discard=0))
    surface = build_potential(copper()["potential"], [29] * 4, [True] * 3)
    for row in range(6):
        answer = surface.evaluate(result["positions"][row], result["cells"][row])
        assert answer.energy == result["energies"][row]
        assert np.array_equal(answer.stress, result["stresses"][row])


def test_without_a_stress_there_is_nan():
    assert np.isnan(dynamics(payload(samples=3))["stresses"]).all()


def test_the_ensemble_of_springs():
    """U - offset follows Gamma(3N/2, kT): mean 6 kT, variance 6 (kT)²; whatever the time step."""
    result = dynamics(payload(samples=1500, discard=50))
    kt = units.kB * 300.0
    excess = (result["energies"] + 7.0) / kt
    # The time step is long enough for the test to reject.
    assert 0.5 < result["acceptance"] < 0.98
    mean, error = mean_with_error(excess)
    assert abs(mean - 6.0) < 4 * error
    assert error < 0.15
    spread, error = mean_with_error((excess - 6.0) ** 2)
    assert abs(spread - 6.0) < 4 * error


def test_it_replays_and_seeds_and_chains_differ():
    first = dynamics(payload())
    assert np.array_equal(first["positions"], dynamics(payload())["positions"])
    for change in ({"seed": 4}, {"chain": 1}):
        assert not np.array_equal(first["positions"], dynamics(payload(**change))["positions"])


def test_discard_drops_the_beginning_of_the_same_chain():
    whole, tail = dynamics(payload(samples=20, discard=0)), dynamics(payload(samples=12, discard=8))
    assert np.array_equal(whole["positions"][8:], tail["positions"])
    assert np.array_equal(whole["probabilities"][8:], tail["probabilities"])


def test_both_ends_of_a_trajectory_are_evaluated_once(monkeypatch):
    calls = []

    class Counting:
        def __init__(self, potential):
            self.potential = potential

        def evaluate(self, positions, cell):
            calls.append(1)
            return self.potential.evaluate(positions, cell)

    monkeypatch.setattr(module, "build_potential", lambda *args: Counting(build_potential(*args)))
    dynamics(payload(samples=10, discard=0, length_law="fixed", length=6))
    # One for the start as it is given, one for the start on the lattice, and 6 for each of 10 trajectories.
    assert len(calls) <= 62


def test_divergent_trajectories_are_rejected_and_counted():
    result = dynamics(copper(timestep=80.0, length=30, length_law="fixed", samples=4, discard=0, min_distance=0.7))
    assert result["divergent"] == 4
    assert result["acceptance"] == 0
    assert (result["probabilities"] == 0).all()
    assert np.array_equal(result["positions"][0], result["positions"][-1])


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        ({"samples": 0}, "bad_input", "nothing to sample"),
        ({"discard": -1}, "bad_input", "nothing to sample"),
        ({"timestep": -1.0}, "bad_input", "'timestep' must be greater than 0"),
        ({"positions": np.full((4, 3), math.nan)}, "bad_input", "not finite"),
        ({"positions": np.full((4, 3), 1e200)}, "not_finite", "no finite energy at the start"),
    ],
)
def test_bad_input(change, kind, says):
    with pytest.raises(TaskError, match=says) as caught:
        dynamics(payload(**change))
    assert caught.value.kind == kind


@pytest.mark.parametrize("key", ["samples", "discard", "potential", "seed", "chain"])
def test_a_payload_that_lacks_something(key):
    content = payload()
    del content[key]
    with pytest.raises(TaskError, match=f"lacks '{key}'"):
        dynamics(content)
