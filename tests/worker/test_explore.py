"""The task that explores: when it asks, what it leaves, and how it goes on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from aiida_slhmc.numerics.calibration import Calibration
from aiida_slhmc.worker import io, models
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.explore import explore
from aiida_slhmc.worker.posterior.ensemble import Heads, stack
from aiida_slhmc.worker.posterior.likelihood import ForceHead

from .rutile import MODEL, labelled, rutile

ACCURACY = 0.1
#: A calibration that trusts the ensemble's spread.
SURE = Calibration(a=500.0, b=500.0).to_dict()


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory) -> dict[str, Any]:
    """Return two members that agree near the lattice and less so far from it."""
    folder = tmp_path_factory.mktemp("members")
    paths, heads = [], []
    for number in range(2):
        model = models.read(MODEL)
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for parameter in model.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
                parameter += 0.02 * parameter.abs().mean() * noise
        models.save(model, folder / f"{number}.model")
        heads.append(ForceHead(model, 0.005))
        paths.append(str(folder / f"{number}.model"))
    file = folder / "heads.npz"
    Heads(ACCURACY, 0.1 * ACCURACY, 3e-4, 0.005, stack(heads)).write(file)
    return {"models": paths, "heads": str(file)}


def given(members, **changes) -> dict[str, Any]:
    atoms = rutile()
    chunk = labelled([atoms])
    gate = {"decide": "energy", "tolerance": 0.05, "force_accuracy": None, "energy": SURE, "forces": SURE}
    payload = {
        "numbers": atoms.numbers, "masses": atoms.get_masses(), "pbc": atoms.pbc, **members,
        "state": {
            "positions": chunk["positions"][0], "cell": chunk["cells"][0], "energy": chunk["energies"],
            "forces": chunk["forces"][0], "stress": chunk["stresses"][0], "step": np.zeros(1, dtype=int),
        },
        "steps": 6, "thinning": 2, "gate": {**gate, **changes.pop("gate", {})}, "seed": 1,
        "ensemble": "NVT", "temperature": 300.0, "pressure": None, "cell_kind": None,
        "method": "nose-hoover", "timestep": 1.0, "thermostat_time": 50.0, "chain_length": 3, "barostat_time": None,
        "min_distance": 0.7, "max_volume_change": 1.5,
    }  # fmt: skip
    return {**payload, **changes}


#: At constant pressure.
NPT = {"ensemble": "NPT", "pressure": 0.0, "cell_kind": "orthorhombic", "barostat_time": 500.0}


@pytest.fixture(scope="module")
def free(ensemble):
    """Return a run that no doubt stops."""
    return explore(given(ensemble, gate={"tolerance": 0.999999}))


def test_runs_until_the_steps_are_spent(free):
    assert (free["reason"], free["step"]) == (None, 6)
    assert free["trace"]["steps"].tolist() == list(range(1, 7))
    assert free["frames"]["steps"].tolist() == [2, 4, 6]
    assert free["frames"]["positions"].shape == (3, 6, 3)
    np.testing.assert_array_equal(free["frames"]["positions"][-1], free["state"]["positions"])
    assert 50 < free["frames"]["temperatures"].mean() < 1000
    assert "prediction" not in free
    # The floor of the spread is a tenth of the accuracy.
    assert (free["trace"]["energy_sds"] >= 0.1 * ACCURACY).all()
    expected = Calibration.from_dict(SURE).exceedance(free["trace"]["energy_sds"], ACCURACY)
    np.testing.assert_array_equal(free["trace"]["exceedances"], expected)
    assert np.isnan(free["trace"]["force_exceedances"]).all()


@pytest.mark.parametrize(
    "changes", [{}, {"method": "langevin", "chain_length": None}, NPT], ids=["nvt", "langevin", "npt"]
)
def test_segments_are_one_run(ensemble, tmp_path, changes):
    quiet = {"gate": {"tolerance": 0.999999}, **changes}
    whole = explore(given(ensemble, **quiet, steps=3))
    first = explore(given(ensemble, **quiet, steps=2))
    io.write(tmp_path, first)
    rest = explore(given(ensemble, **quiet, steps=1, state=io.read(tmp_path)["state"]))
    for name, values in whole["state"].items():
        np.testing.assert_array_equal(rest["state"][name], values)
    assert rest["trace"]["steps"].tolist() == [3]
    np.testing.assert_array_equal(rest["trace"]["energy_sds"], whole["trace"]["energy_sds"][2:])


def test_asks_where_the_doubt_is_too_large_and_goes_on_with_the_label(ensemble, free):
    # A bound that the spread passes somewhere on the way, not at once.
    chances = free["trace"]["exceedances"]
    place = int(np.argmax(chances > np.median(chances)))
    tolerance = float(np.median(chances))
    asking = explore(given(ensemble, gate={"tolerance": tolerance}))
    assert asking["reason"] == "energy"
    assert asking["trace"]["steps"].tolist() == list(range(1, place + 2))
    assert (asking["step"], int(asking["state"]["step"][0])) == (place, place)
    assert asking["exceedance"] == chances[place] > tolerance
    assert asking["sigma"] == free["trace"]["energy_sds"][place] > asking["largest_sigma"]
    prediction = asking["prediction"]
    assert prediction["energy"][0] == pytest.approx(free["trace"]["energies"][place], abs=1e-9)
    # Also at constant volume: what the label's stress is compared with.
    assert np.isfinite(prediction["stress"]).all()
    assert (prediction["stress_sd"] > 0).all()

    label = {"energy": np.array([-1.0]), "forces": prediction["forces"] + 0.1, "stress": np.full((3, 3), np.nan)}
    label |= {name: asking[name] for name in ("positions", "cell")}
    state = {**asking["state"], **{f"next_{name}": value for name, value in label.items()}}
    on = explore(given(ensemble, gate={"tolerance": 0.999999}, state=state, steps=2))
    # The labelled step is made without asking anything, and not asked again.
    assert on["trace"]["steps"].tolist() == [place + 2]
    assert on["step"] == place + 2
    stay = explore(given(ensemble, gate={"tolerance": 0.999999}, state=state, steps=1))
    np.testing.assert_array_equal(stay["state"]["positions"], asking["positions"])
    np.testing.assert_array_equal(stay["state"]["forces"], label["forces"])
    assert "next_forces" not in stay["state"]


def test_a_label_of_another_structure_is_refused(ensemble, free):
    state = {
        **free["state"],
        **{f"next_{name}": free["state"][name] for name in ("positions", "energy", "forces", "stress")},
    }
    with pytest.raises(TaskError, match="away from the structure that was labelled"):
        explore(given(ensemble, state=state))


def test_forces_ask_too(ensemble):
    wide = {"decide": "forces", "force_accuracy": 10.0}
    assert explore(given(ensemble, gate=wide, steps=2))["reason"] is None
    narrow = explore(given(ensemble, gate={**wide, "force_accuracy": 1e-3}, steps=2))
    assert (narrow["reason"], narrow["step"]) == ("forces", 0)
    assert narrow["force_exceedance"] > 0.05
    both = explore(given(ensemble, gate={"decide": "both", "force_accuracy": 1e-3, "tolerance": 1e-9}, steps=2))
    assert both["reason"] == "both"


def test_a_run_that_flies_apart_is_stopped(ensemble):
    with pytest.raises(TaskError, match="the dynamics stopped at step") as caught:
        explore(given(ensemble, gate={"tolerance": 0.999999}, temperature=3e6, steps=50))
    assert caught.value.kind == "absurd"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"heads": None}, "needs its heads"),
        ({"steps": 0}, "steps and thinning must be at least 1, not 0 and 2"),
        ({"method": "mtk"}, "cannot go on from a stored point"),
        ({"gate": {"decide": "stress"}}, "a gate decides on"),
        ({"gate": {"energy": {"c": 1.0}}}, "a calibration has no 'c'"),
        ({"state": {"positions": np.zeros((6, 3))}}, "the state lacks 'cell'"),
    ],
)
def test_bad_input(ensemble, changes, says):
    with pytest.raises(TaskError, match=says) as caught:
        explore(given(ensemble, **changes))
    assert caught.value.kind == "bad_input"


def test_a_label_without_a_stress_cannot_move_a_cell(ensemble):
    first = explore(given(ensemble, **NPT, gate={"tolerance": 1e-12}, steps=1))
    label = {**first["prediction"], "stress": np.full((3, 3), np.nan), "positions": first["positions"]}
    state = {**first["state"], **{f"next_{name}": value for name, value in label.items()}}
    with pytest.raises(TaskError, match="the label has no stress"):
        explore(given(ensemble, **NPT, state=state))
