"""Sampling of one surface: exact, reproducible, and no dearer than it must be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ase import units
from ase.build import bulk

from aiida_slhmc.numerics.cells import cell_mass
from aiida_slhmc.numerics.diagnostics import mean_with_error
from aiida_slhmc.numerics.momenta import draw
from aiida_slhmc.numerics.potential import Evaluation
from aiida_slhmc.numerics.randomness import Purpose, generator
from aiida_slhmc.worker import checks
from aiida_slhmc.worker import dynamics as module
from aiida_slhmc.worker.dynamics import dynamics
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.potentials import build_potential

from .rutile import MODEL, rutile

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


# Molecular dynamics.

MD = {
    "thinning": 2,
    "thermostat_time": 50.0,
    "chain_length": 4,
    "barostat_time": 500.0,
    "max_volume_change": 1.5,
    "timestep": 2.0,
}


def md(method: str, make=payload, **changes) -> dict:
    return make(**{"method": method, **MD, **changes})


def at_pressure(make=copper, **changes) -> dict:
    return make(**{"ensemble": "NPT", "pressure": 1e-4, "cell_kind": "orthorhombic", **changes})


ALL = [("nose-hoover", "NVT"), ("nose-hoover", "NPT"), ("langevin", "NVT"), ("mtk", "NPT")]


def of(method: str, ensemble: str, **changes) -> dict:
    return md(method, copper if ensemble == "NVT" else at_pressure, **changes)


@pytest.mark.parametrize(("method", "ensemble"), ALL)
def test_frames_of_molecular_dynamics(method, ensemble):
    result = dynamics(of(method, ensemble, samples=6, discard=2))
    assert result["method"] == method
    for name, shape in (
        ("positions", (6, 4, 3)),
        ("cells", (6, 3, 3)),
        ("energies", (6,)),
        ("stresses", (6, 3, 3)),
        ("temperatures", (6,)),
        ("pressures", (6,)),
        ("volumes", (6,)),
    ):
        assert result[name].shape == shape
        assert np.isfinite(result[name]).all()
    surface = build_potential(copper()["potential"], [29] * 4, [True] * 3)
    for row in range(6):
        answer = surface.evaluate(result["positions"][row], result["cells"][row])
        assert answer.energy == pytest.approx(result["energies"][row], abs=1e-12)
        np.testing.assert_allclose(answer.stress, result["stresses"][row], atol=1e-12)
    np.testing.assert_allclose(result["volumes"], np.linalg.det(result["cells"]), rtol=1e-12)
    moved = np.ptp(result["volumes"]) > 0
    assert moved == (ensemble == "NPT")


@pytest.mark.parametrize(("method", "ensemble"), ALL)
def test_molecular_dynamics_replays_and_thinning_only_drops_points(method, ensemble):
    every = dynamics(of(method, ensemble, samples=12, discard=0, thinning=1))
    some = dynamics(of(method, ensemble, samples=3, discard=1, thinning=3))
    for name in ("positions", "cells", "energies", "temperatures", "pressures"):
        assert np.array_equal(every[name][5::3], some[name])
    for change in ({"seed": 4}, {"chain": 1}):
        other = dynamics(of(method, ensemble, samples=3, discard=1, thinning=3, **change))
        assert not np.array_equal(other["positions"], some["positions"])


@pytest.mark.parametrize("method", ["nose-hoover", "langevin"])
def test_the_first_momenta_are_those_of_the_stream(method):
    content = md(method, copper, samples=1, discard=0, thinning=1, timestep=1e-6, thermostat_time=1e6)
    drawn = draw(content["masses"], 300.0, generator(3, 0, 0, Purpose.DYNAMICS))
    expected = float((drawn**2 / content["masses"][:, None]).sum()) / (12 * units.kB)
    assert dynamics(content)["temperatures"][0] == pytest.approx(expected, rel=1e-4)


def test_temperatures_and_pressures_count_the_right_degrees_of_freedom():
    """At a vanishing step the momenta are those that were drawn: 3N of our own, 3N - 3 of ASE's MTK."""
    for method, treatment, dof in (("nose-hoover", "keep", 12), ("mtk", "remove", 9)):
        change = {"samples": 1, "discard": 0, "thinning": 1, "timestep": 1e-6, "barostat_time": 1e6}
        result = dynamics(of(method, "NPT", thermostat_time=1e6, **change))
        masses = copper()["masses"]
        drawn = draw(masses, 300.0, generator(3, 0, 0, Purpose.DYNAMICS), treatment)
        twice = float((drawn**2 / masses[:, None]).sum())
        assert result["temperatures"][0] == pytest.approx(twice / (dof * units.kB), rel=1e-4)
        pressure = twice / (3 * result["volumes"][0]) - np.trace(result["stresses"][0]) / 3
        assert result["pressures"][0] == pytest.approx(pressure / units.GPa, rel=1e-4)


@pytest.mark.parametrize("method", ["nose-hoover", "langevin"])
def test_molecular_dynamics_of_springs(method):
    result = dynamics(md(method, samples=1500, discard=50, timestep=5.0, thinning=4, thermostat_time=20.0))
    kt = units.kB * 300.0
    mean, error = mean_with_error((result["energies"] + 7.0) / kt)
    assert abs(mean - 6.0) < 4 * error
    assert error < 0.4
    temperature = result["checks"]["temperature"]
    assert temperature["expected"] == 300.0
    assert abs(temperature["sigmas"]) < 4
    assert result["checks"]["warnings"] == []
    assert result["checks"]["pressure"] is None
    if method == "nose-hoover":
        assert abs(result["conserved_drift"]) < checks.DRIFT
        assert result["checks"]["drift"]["slope"] == result["conserved_drift"]
    else:
        assert math.isnan(result["conserved_drift"])
        assert result["checks"]["drift"] is None


BREATHING = {
    "potential": {
        "engine": "breathing",
        "functional": "analytic",
        "parameters": {
            "sites": (SITES / 8.0).tolist(), "spring_constant": 2.0, "bulk_modulus": 20.0, "volume": 512.0,
        },
    },
    "ensemble": "NPT",
    "pressure": 0.5,
    "cell_kind": "isotropic",
}  # fmt: skip


def test_a_breathing_crystal_under_pressure_by_every_method():
    """<V> = V0 (1 - P/B) = 499.2 Å³, Var V = V0 kT/B = 106 Å⁶."""
    kernel = {"cell_mass": cell_mass(20.0, 512.0, 400.0, "isotropic"), "timestep": 10.0, "length": 10, "samples": 600}
    for content in (
        payload(**BREATHING, **kernel, discard=20),
        md("nose-hoover", **BREATHING, timestep=6.0, thinning=5, samples=1000, discard=100, barostat_time=600.0),
    ):
        result = dynamics(content)
        assert result["cells"].shape == (content["samples"], 3, 3)
        mean, error = mean_with_error(result["volumes"])
        assert abs(mean - 499.2) < 4 * error
        assert error < 2.0
        assert result["volumes"].std() == pytest.approx(math.sqrt(512 * units.kB * 300 / (20 * units.GPa)), rel=0.2)
        assert abs(result["checks"]["pressure"]["sigmas"]) < 4
        assert result["checks"]["pressure"]["expected"] == 0.5


def test_hmc_tells_temperature_and_pressure_too():
    for treatment in ("keep", "remove"):
        result = dynamics(copper(samples=60, discard=0, length=2, centre_of_mass=treatment))
        assert abs(result["checks"]["temperature"]["sigmas"]) < 4
        assert result["checks"]["temperature"]["error"] < 30.0
        ideal = 4 * units.kB * 300 / result["volumes"][0]
        expected = (ideal - np.trace(result["stresses"], axis1=1, axis2=2) / 3) / units.GPa
        np.testing.assert_allclose(result["pressures"], expected, rtol=1e-12)
        assert math.isnan(result["conserved_drift"])
    assert np.isnan(dynamics(payload(samples=3))["pressures"]).all()


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        ({"method": "verlet"}, "bad_input", "'method' must be one of hmc, nose-hoover, langevin, mtk"),
        ({"method": "mtk"}, "bad_input", "cannot do NVT"),
        ({"ensemble": "NPH"}, "bad_input", "'ensemble' must be one of"),
        ({"thinning": 0}, "bad_input", "'thinning' must be"),
        ({"thinning": None}, "bad_input", "'thinning' must be"),
        ({"thermostat_time": math.nan}, "bad_input", "'thermostat_time' must be greater than 0"),
        ({"chain_length": None}, "bad_input", "'chain_length' must be greater than 0"),
        ({"positions": np.full((4, 3), 1e200)}, "not_finite", "at the start: the energy"),
        (
            {"min_distance": 3.5},
            "absurd",
            r"at the start: two atoms are 3\.00 Å apart, closer than min_distance = 3\.5",
        ),
        ({"timestep": 1e4, "samples": 200}, "not_finite", r"at step \d+: .*shorter timestep"),
    ],
)
def test_molecular_dynamics_that_cannot_be(change, kind, says):
    with pytest.raises(TaskError, match=says) as caught:
        dynamics(payload(**{**MD, "method": "nose-hoover", "positions": SITES, **change}))
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pressure": None}, "'pressure' must be a number of GPa"),
        ({"cell_kind": "round"}, "'cell_kind' must be one of"),
        ({"barostat_time": None}, "'barostat_time' must be greater than 0"),
        ({"potential": payload()["potential"]}, "needs a stress"),
    ],
)
def test_constant_pressure_that_cannot_be(change, says):
    with pytest.raises(TaskError, match=says) as caught:
        dynamics(md("nose-hoover", at_pressure, **change))
    assert caught.value.kind == "bad_input"


@pytest.mark.parametrize(
    ("method", "ensemble", "what"),
    [
        (method, ensemble, what)
        for method, ensemble in ALL
        for what in ("nan", "close", "collapse", "explode")
        if (what, ensemble) != ("collapse", "NVT")
    ],
)
def test_a_surface_gone_mad_stops_the_run_before_the_next_question(monkeypatch, method, ensemble, what):
    """A neighbour list of NaN positions, or of a collapsed cell, must never be made; the message names the step."""
    asked = []

    class Mad:
        def __init__(self, potential):
            self.potential = potential

        def evaluate(self, positions, cell):
            assert np.isfinite(positions).all()
            assert np.isfinite(cell).all()
            asked.append(1)
            answer = self.potential.evaluate(positions, cell)
            if len(asked) < 5:
                return answer
            forces, stress = np.array(answer.forces), np.array(answer.stress)
            if what == "nan":
                forces = np.full_like(forces, np.nan)
            elif what == "explode":
                forces = 1e30 * np.array([[1.0], [-1.0], [1.0], [-1.0]]) * np.ones(3)
            elif what == "close":
                forces = 60.0 * (positions.mean(axis=0) - positions)
                forces -= forces.mean(axis=0)
            else:
                stress = 30.0 * np.eye(3)
            return Evaluation(answer.energy, forces, stress)

    monkeypatch.setattr(module, "build_potential", lambda *args: Mad(build_potential(*args)))
    with pytest.raises(TaskError, match=r"stopped at step [1-9]\d*: ") as caught:
        dynamics(of(method, ensemble, samples=50, min_distance=1.0, barostat_time=200.0))
    kinds = {"nan": ["not_finite"], "close": ["absurd"]}.get(what, ["not_finite", "absurd"])
    assert caught.value.kind in kinds
    assert len(asked) < 25


def test_what_a_check_says():
    rng = np.random.default_rng(0)
    good, times = 300.0 + 30.0 * rng.standard_normal(400), np.arange(400) * 0.01
    nothing = np.full(400, np.nan)
    assert checks.assess(good, 300.0, nothing, None)["warnings"] == []
    hot = checks.assess(good + 20.0, 300.0, nothing, None)
    assert len(hot["warnings"]) == 1
    assert "The mean temperature is 3" in hot["warnings"][0]
    assert hot["temperature"]["sigmas"] > 10
    pressed = checks.assess(good, 300.0, rng.standard_normal(400), 2.0)
    assert "mean pressure" in pressed["warnings"][0]
    assert "too few frames" in checks.assess(good[:1], 300.0, nothing[:1], None)["warnings"][0]
    # 10 atoms, 0.01 eV/ps in all: 1e-3 eV/atom/ps.
    waves = 0.002 * np.sin(times * 40)
    slope, error = checks.drift(times, 0.01 * times + waves, 10)
    assert slope == pytest.approx(1e-3, rel=0.1)
    assert "drifts by 0.001" in checks.assess(good, 300.0, nothing, None, slope, error)["warnings"][0]
    # The waves of a short run are no drift.
    slope, error = checks.drift(times[:8], waves[:8], 10)
    assert abs(slope) > checks.DRIFT
    assert checks.assess(good, 300.0, nothing, None, slope, error)["warnings"] == []
    assert math.isnan(checks.drift(times[:2], waves[:2], 10)[0])
    assert math.isnan(checks.drift(times, nothing, 10)[0])


def titania(repeat: tuple[int, int, int], **changes) -> dict:
    atoms = rutile(repeat=repeat)
    structure = {
        "numbers": atoms.numbers,
        "positions": atoms.get_positions(),
        "cell": np.array(atoms.cell[:]),
        "pbc": atoms.pbc,
        "masses": atoms.get_masses(),
        "potential": {"engine": "mace", "file": str(MODEL)},
    }
    return payload(**{**structure, "timestep": 1.0, "min_distance": 0.7, **changes})


@pytest.mark.parametrize(("method", "ensemble"), ALL)
def test_rutile_on_the_shipped_model(method, ensemble):
    extra = {"ensemble": "NPT", "pressure": 1e-4, "cell_kind": "orthorhombic"} if ensemble == "NPT" else {}
    steps = {"samples": 3, "discard": 0, "thinning": 2, "timestep": 1.0, "barostat_time": 1000.0}
    result = dynamics(titania((2, 2, 2), method=method, **{**MD, **steps, **extra}))
    assert result["positions"].shape == (3, 48, 3)
    assert np.isfinite(result["stresses"]).all()
    assert ((result["temperatures"] > 100) & (result["temperatures"] < 500)).all()
    # Some fs from the sites: the cell is not blown up, and the atoms are where they were.
    assert np.abs(result["positions"] - titania((2, 2, 2))["positions"]).max() < 0.3
    assert result["volumes"] == pytest.approx(np.linalg.det(titania((2, 2, 2))["cell"]), rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "ensemble"), ALL)
def test_rutile_of_216_atoms(method, ensemble):
    extra = {"ensemble": "NPT", "pressure": 1e-4, "cell_kind": "orthorhombic"} if ensemble == "NPT" else {}
    steps = {"samples": 4, "discard": 0, "thinning": 5, "timestep": 1.0, "barostat_time": 1000.0}
    result = dynamics(titania((3, 3, 4), method=method, **{**MD, **steps, **extra}))
    assert result["positions"].shape == (4, 216, 3)
    assert ((result["temperatures"] > 100) & (result["temperatures"] < 500)).all()
    if method != "langevin":
        assert result["checks"]["drift"]["error"] > 0
