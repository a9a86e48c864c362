"""Proposals of the worker: the numerics' own, on any engine's surface."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ase import units
from ase.build import bulk

from aiida_slhmc.numerics import hmc
from aiida_slhmc.numerics.analytic import EinsteinCrystal
from aiida_slhmc.numerics.lattice import snap
from aiida_slhmc.numerics.limits import Limits
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.propose import propose


def payload(**changes) -> dict:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.03, seed=1)
    return {
        "numbers": atoms.numbers,
        "positions": atoms.get_positions(),
        "cell": np.array(atoms.cell[:]),
        "pbc": atoms.pbc,
        "masses": atoms.get_masses(),
        "potential": {"engine": "ase", "functional": "ase", "parameters": {"calculator": "emt", "arguments": {}}},
        "seed": 11,
        "chain": 2,
        "cycle": 5,
        "temperature": 300.0,
        "timestep": 2.0,
        "length": 10,
        "length_law": "uniform",
        "centre_of_mass": "keep",
        "min_distance": 0.7,
        "max_energy_change": None,
        **changes,
    }


def springs() -> dict:
    content = payload()
    sites = content["positions"] - 0.02
    level = {"engine": "einstein", "functional": "analytic"}
    return {**content, "potential": {**level, "parameters": {"sites": sites.tolist(), "spring_constant": 2.0}}}


def test_it_is_the_numerics_own_proposal():
    content = springs()
    result = propose(content)
    settings = hmc.Settings(300.0, 2.0, 10, "uniform", "keep", Limits(0.7, None))
    crystal = EinsteinCrystal(content["positions"] - 0.02, 2.0)
    expected = hmc.propose(
        content["positions"], content["cell"], content["masses"], crystal, settings, seed=11, chain=2, cycle=5
    )
    assert np.array_equal(result["positions"], expected.positions)
    for key in ("potential_start", "potential_end", "kinetic_start", "kinetic_end", "n_steps", "drift", "divergent"):
        assert result[key] == getattr(expected, key), key


def test_the_same_stream_gives_the_same_proposal():
    first, second = propose(payload()), propose(payload())
    for result in (first, second):
        assert result.pop("wall_time") > 0
    assert all(np.array_equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("change", [{"seed": 12}, {"chain": 3}, {"cycle": 6}])
def test_another_stream_gives_another_proposal(change):
    assert not np.array_equal(propose(payload())["positions"], propose(payload(**change))["positions"])


def test_the_energy_is_nearly_kept_and_the_atoms_move():
    result = propose(payload())
    start = payload()["positions"]
    assert result["divergent"] is False
    assert result["reason"] == ""
    assert 5 <= result["n_steps"] <= 15
    assert np.abs(result["positions"] - start).max() > 0.01
    total = [result[f"potential_{end}"] + result[f"kinetic_{end}"] for end in ("start", "end")]
    assert abs(total[1] - total[0]) <= result["drift"] + 1e-12
    assert 0 < result["drift"] < 0.02
    # Kinetic energy of 12 degrees of freedom at 300 K: 0.155 eV, give or take.
    assert 0.02 < result["kinetic_start"] < 0.6


def test_a_divergent_trajectory_is_a_result_not_a_failure():
    result = propose(payload(timestep=60.0, length=50, length_law="fixed"))
    assert result["divergent"] is True
    assert result["reason"]
    assert math.isnan(result["potential_end"])
    assert math.isnan(result["kinetic_end"])
    assert np.array_equal(result["positions"], snap(payload()["positions"]))


NPT = {"ensemble": "NPT", "pressure": 1.0, "cell_kind": "isotropic", "cell_mass": 5e3}


@pytest.mark.parametrize("kind", ["isotropic", "orthorhombic", "flexible"])
def test_at_constant_pressure_the_cell_moves_too(kind):
    mass = 5e3 if kind != "flexible" else 400.0
    content = payload(**NPT | {"cell_kind": kind, "cell_mass": mass}, length=30)
    result = propose(content)
    assert result["divergent"] is False
    cell = result["cell"]
    assert 1e-4 < abs(np.linalg.det(cell) / np.linalg.det(content["cell"]) - 1) < 0.1
    lengths = cell[np.arange(3), np.arange(3)]
    assert np.ptp(lengths) == 0 if kind == "isotropic" else np.ptp(lengths) > 1e-4
    assert (np.abs(cell[np.tril_indices(3, -1)]).max() > 1e-4) == (kind == "flexible")
    for end in ("start", "end"):
        volume = np.linalg.det(cell if end == "end" else content["cell"])
        assert result[f"pressure_volume_{end}"] == pytest.approx(units.GPa * volume, rel=1e-8)
        assert result[f"cell_kinetic_{end}"] > 0
        power = -1 if kind == "flexible" else 1
        assert result[f"log_volume_{end}"] == pytest.approx(-power * 300.0 * units.kB * np.log(volume), rel=1e-8)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cell_mass": 0.0}, "'cell_mass' must be greater than 0"),
        ({"cell_mass": None}, "'cell_mass' must be given for NPT"),
        ({"pressure": math.nan}, "'pressure' must be a number of GPa"),
        ({"cell_kind": "cubic"}, "'cell_kind' must be one of isotropic, orthorhombic, flexible"),
        ({"ensemble": "NPH"}, "'ensemble' must be one of NVT, NPT"),
        ({"cell_kind": "flexible", "cell": np.eye(3)[::-1] * np.array([1, 1, -1]) * 3.6}, "lower-triangular"),
    ],
)
def test_bad_input_at_constant_pressure(change, says):
    with pytest.raises(TaskError, match=says) as caught:
        propose(payload(**NPT | change))
    assert caught.value.kind == "bad_input"


def test_a_surface_without_stress_cannot_move_a_cell():
    with pytest.raises(TaskError, match="needs a surface with a stress"):
        propose({**springs(), **NPT})


def test_lists_will_do_for_arrays():
    content = payload()
    plain = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in content.items()}
    assert np.array_equal(propose(plain)["positions"], propose(content)["positions"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"temperature": -300.0}, "'temperature' must be greater than 0, not -300.0 K"),
        ({"timestep": 0.0}, "'timestep' must be greater than 0"),
        ({"timestep": math.nan}, "'timestep' must be greater than 0"),
        ({"temperature": math.inf}, "'temperature' must be greater than 0"),
        ({"length": 0}, "'length' must be greater than 0"),
        ({"length_law": "gaussian"}, "'length_law' must be one of uniform, fixed, geometric"),
        ({"centre_of_mass": "lose"}, "'centre_of_mass' must be one of keep, remove"),
        ({"masses": np.ones(3)}, r"'masses' has the shape \(3,\) where \(4,\) is due"),
        ({"positions": np.full((4, 3), math.nan)}, "'positions' is not finite"),
        ({"cell": np.eye(2)}, "'cell' has the shape"),
        ({"potential": {"engine": "nobody"}}, "no engine 'nobody'"),
    ],
)
def test_bad_input_is_one_sentence(change, says):
    with pytest.raises(TaskError, match=says) as caught:
        propose(payload(**change))
    assert caught.value.kind == "bad_input"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["positions", "masses", "potential", "pbc", "seed", "temperature", "length_law"])
def test_a_payload_that_lacks_something(key):
    content = payload()
    del content[key]
    with pytest.raises(TaskError, match=f"lacks '{key}'") as caught:
        propose(content)
    assert caught.value.kind == "bad_input"
