"""Sampling of a frozen surface as a node: every method, both ensembles, and settings that cannot be."""

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_slhmc.calculations.dynamics import DynamicsCalculation, dynamics_local, payload
from aiida_slhmc.numerics.cells import cell_mass
from aiida_slhmc.workflows.protocol import dynamics_settings
from aiida_slhmc.workflows.settings import check
from tests.fixtures import BULK, RIGHT, VOLUME, breathing, einstein

NVT = {"ensemble": "NVT", "temperature": 300.0, "pressure": None, "cell": None}
NPT = {"ensemble": "NPT", "temperature": 300.0, "pressure": 5.0, "cell": "orthorhombic"}


def inputs(structure, name="exact", law=NVT, level=None, **changes):
    changes = {"samples": 6, "discard": 2, **changes}
    return {
        "model": orm.Dict(level or einstein(RIGHT)),
        "structure": structure,
        "ensemble": orm.Dict(law),
        "settings": orm.Dict(dynamics_settings(name, **changes)),
        "seed": orm.Int(5),
    }


@pytest.mark.parametrize("law", [NVT, NPT])
@pytest.mark.parametrize(("name", "changes"), [("exact", {}), ("paper", {"thinning": 2})])
def test_every_kind_of_run_is_recorded(structure, law, name, changes):
    level = breathing(RIGHT) if law is NPT else einstein(RIGHT)
    results, node = run_get_node(dynamics_local, **inputs(structure, name, law, level, **changes))
    assert node.is_finished_ok, node.exit_message
    samples, info = results["trajectory"], results["dynamics_info"].get_dict()
    for array, shape in (("positions", (6, 6, 3)), ("cells", (6, 3, 3)), ("temperatures", (6,)), ("volumes", (6,))):
        assert samples.get_array(array).shape == shape
    assert np.isfinite(samples.get_array("temperatures")).all()
    assert np.isfinite(samples.get_array("pressures")).all() == (law is NPT)
    assert (np.ptp(samples.get_array("volumes")) > 0) == (law is NPT)
    assert samples.get_array("numbers").tolist() == [22, 22, 8, 8, 8, 8]
    assert info["method"] == ("hmc" if name == "exact" else "nose-hoover")
    assert info["checks"]["temperature"]["expected"] == 300.0
    assert (info["checks"]["pressure"] is None) == (law is NVT)
    assert isinstance(info["checks"]["warnings"], list)
    assert (info["conserved_drift"] is None) == (name == "exact")


def test_the_mass_of_the_cell_for_hmc(structure):
    def mass(law=NPT, name="exact", **changes):
        nodes = inputs(structure, name, law, breathing(RIGHT), **changes)
        return payload({}, **nodes)["cell_mass"]

    volume = structure.get_cell_volume()
    assert mass() == pytest.approx(cell_mass(200.0, volume, 2 * 10 * 1.0, "orthorhombic"))
    assert mass(cell_period=70.0) == pytest.approx(cell_mass(200.0, volume, 70.0, "orthorhombic"))
    assert mass(cell_mass=123.0) == 123.0
    assert mass(NVT) is None
    assert mass(name="paper") is None


def test_a_job_does_what_the_process_does(structure, code):
    """A level whose volume is known: V0 (1 - P/B); from the job the same numbers as from this process."""
    nodes = inputs(structure, "paper", NPT, breathing(RIGHT), samples=8, thinning=5)
    local, _ = run_get_node(dynamics_local, **nodes)
    results, job = run_get_node(DynamicsCalculation, code=code, **nodes)
    assert job.is_finished_ok, job.exit_message
    for array in ("positions", "cells", "energies", "temperatures", "pressures"):
        np.testing.assert_allclose(
            results["trajectory"].get_array(array), local["trajectory"].get_array(array), rtol=1e-10, atol=1e-10
        )
    assert local["trajectory"].get_array("volumes") == pytest.approx(VOLUME * (1 - 5.0 / BULK), rel=0.1)


def test_a_run_that_stops_says_where(structure):
    _, node = run_get_node(dynamics_local, **inputs(structure, "paper", timestep=500.0, samples=50))
    assert node.exit_status in (510, 511)
    assert "stopped at step" in node.exit_message


def test_the_settings_of_the_paper():
    settings = dynamics_settings("paper")
    assert settings["method"] == "nose-hoover"
    assert settings["samples"] == 500
    assert settings["thinning"] * settings["samples"] * settings["timestep"] == 5000
    assert settings["chain_length"] == 4


@pytest.mark.parametrize("name", ["exact", "paper"])
def test_presets_are_complete(name):
    assert check("dynamics", dynamics_settings(name)) is None


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("exact", {"thinning": 5}, "dynamics.thinning is given, but has no effect with the method 'hmc'"),
        ("exact", {"length": None}, "dynamics.length is missing, which the method 'hmc' needs"),
        ("paper", {"chain_length": None}, "dynamics.chain_length is missing, which the method 'nose-hoover' needs"),
        ("paper", {"length": 10}, "dynamics.length is given, but has no effect"),
        (
            "paper",
            {"method": "langevin"},
            "dynamics.barostat_time is given, but has no effect with the method 'langevin'",
        ),
        ("paper", {"method": "mtk", "barostat_time": None}, "dynamics.barostat_time is missing"),
        ("paper", {"method": "verlet"}, "must be one of hmc, nose-hoover, langevin, mtk"),
        ("paper", {"thermostat_time": -1.0}, "dynamics.thermostat_time"),
    ],
)
def test_settings_that_cannot_be(name, changes, says):
    assert says in check("dynamics", dynamics_settings(name, **changes))


def test_names_that_do_not_exist():
    with pytest.raises(ValueError, match="Did you mean 'paper'"):
        dynamics_settings("papper")
    with pytest.raises(ValueError, match="Did you mean 'thinning'"):
        dynamics_settings("paper", thining=3)
