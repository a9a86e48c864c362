"""Chain diagnostics: chains of known law, autocorrelation and cost, and when a warning is due."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from ase import units
from scipy.special import erfc

from aiida_slhmc.analysis import chains, doubts
from aiida_slhmc.analysis.chains import diagnose, mean_nearest_distance
from aiida_slhmc.analysis.series import observable

KT = 300.0 * units.kB
CELL = np.diag([4.0, 5.0, 6.0])


def independence_chain(
    cycles: int = 400,
    n_chains: int = 4,
    *,
    production: bool = True,
    sigma: float = 0.0,
    reject: float = 0.0,
    seed: int = 0,
    first: int = 0,
    start: bool = True,
    divergent: float = 0.0,
) -> dict[str, Any]:
    """Return the endpoints of chains whose proposals are exact draws of the target, spoilt as asked for.

    Two atoms, of energies and positions drawn anew for every proposal. A share ``reject`` is rejected whatever it is;
    otherwise delta is the difference of two independent errors of ``sigma`` (eV), the Metropolis test decides.
    """
    rng = np.random.default_rng(seed)
    rows: dict[str, list[Any]] = {name: [] for name in (
        "chain", "cycle", "accepted", "probability", "delta", "length", "energies", "positions", "cells"
    )}  # fmt: skip

    def add(chain: int, cycle: int, accepted: bool, probability: float, delta: float, length: int, x: float) -> None:
        points = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 2.0 + 0.1 * rng.standard_normal()]])
        values = (chain, cycle, accepted, probability, delta, length, x, points, CELL)
        for name, value in zip(rows, values, strict=True):
            rows[name].append(value)

    for chain in range(n_chains):
        # Metropolis for exp(-(E + e)): the error e of the state is drawn of its own law, exp(-e/kT) times a Gaussian.
        error = sigma * rng.standard_normal() - sigma**2 / KT
        if start:
            add(chain, first - 1, True, 1.0, 0.0, 0, rng.standard_normal())
        for cycle in range(first, first + cycles):
            if rng.random() < divergent:
                continue
            proposed = sigma * rng.standard_normal()
            delta = proposed - error
            probability = (1.0 - reject) * min(1.0, math.exp(-delta / KT))
            accepted = rng.random() < probability
            error = proposed if accepted else error
            add(chain, cycle, accepted, probability, delta, 10, rng.standard_normal())
    spans = [[chain, first, first + cycles - 1, int(production)] for chain in range(n_chains)]
    return {name: np.array(column) for name, column in rows.items()} | {
        "numbers": np.array([22, 8]), "spans": np.array(spans), "temperature": 300.0,
    }  # fmt: skip


@pytest.fixture(scope="module")
def good() -> dict[str, Any]:
    return independence_chain(sigma=0.6 * KT)


def test_a_good_production_run_raises_no_warning(good: dict[str, Any]) -> None:
    report = diagnose(**good, energy_rmse=0.6 * KT)
    assert report["warnings"] == []
    assert report["kind"] == "production"
    assert (report["chains"], report["cycles"], report["labels"], report["states"]) == (4, 1600, 1600, 1600)
    assert report["divergent"]["count"] == 0
    assert "volume" not in report["observables"]


def test_acceptance_implied_error_and_creutz_identity_are_those_of_the_law(good: dict[str, Any]) -> None:
    report = diagnose(**good, energy_rmse=0.6 * KT, force_rmse=0.1)
    # v = 2 (sigma/kT)², <P> = erfc(sqrt(v/8)).
    acceptance = report["acceptance"]
    exact = erfc(math.sqrt(2 * 0.36 / 8))
    assert abs(acceptance["mean_probability"] - exact) < 4 * acceptance["mean_probability_error"]
    assert acceptance["mean_probability_error"] < 0.02
    low, high = acceptance["interval"]
    assert low < acceptance["value"] < high
    assert sum(row["accepted"] for row in acceptance["by_chain"]) == acceptance["accepted"]
    assert abs(report["creutz"]["z"]) < 4
    error = report["model_error"]
    assert abs(error["implied"] - 0.6 * KT) < 4 * error["implied_error"]
    assert error["implied_error"] < 0.1 * error["implied"]
    assert error["implied_per_atom"] == pytest.approx(1000 * error["implied"] / 2)
    assert error["measured_per_atom"] == pytest.approx(1000 * 0.6 * KT / 2)
    assert error["force_rmse"] == 0.1


def test_autocorrelation_time_and_cost_of_a_chain_with_rejections() -> None:
    # Independent proposals, a share r rejected: tau = (1 + r)/(1 - r), here 3.
    report = diagnose(**independence_chain(3000, reject=0.5))
    energy = report["observables"]["energy"]
    assert abs(energy["tau"] - 3.0) < 4 * energy["tau_error"]
    assert energy["tau_error"] < 0.4
    assert energy["ess"] == pytest.approx(12000 / energy["tau"])
    assert energy["ess_per_label"] == pytest.approx(1 / energy["tau"])
    assert energy["error"] == pytest.approx(1 / math.sqrt(energy["ess"]), rel=0.05)
    assert abs(energy["mean"]) < 4 * energy["error"]
    assert energy["rhat"] < 1.01


def test_displacement_counts_repeats_and_leaves_out_the_drift() -> None:
    numbers = np.array([1, 1])
    still = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    stretched = still + np.array([[0.0, 0.0, -0.3], [0.0, 0.0, 0.3]])
    report = diagnose(
        chain=[0] * 4, cycle=[-1, 0, 1, 2], accepted=[True, True, False, True], probability=[1.0, 1.0, 0.2, 0.9],
        delta=[0.0, 0.0, 0.05, 0.01], length=[0, 5, 5, 5], energies=[0.0, 1.0, 2.0, 3.0],
        positions=[still, stretched, still, stretched + 5.0], cells=[CELL] * 4, numbers=numbers,
        spans=[[0, 0, 3, 1]], temperature=300.0,
    )  # fmt: skip
    # Of four cycles (the last without a label) one moved both atoms by 0.3 Å; the last accepted one drifted only.
    assert report["displacement"]["per_cycle"] == pytest.approx(0.3 / 2)
    assert report["displacement"]["per_label"] == pytest.approx(0.3 / math.sqrt(3))
    assert report["displacement"]["log_volume_per_label"] == 0.0
    assert report["divergent"] == {"count": 1, "fraction": 0.25, "interval": report["divergent"]["interval"]}
    assert report["observables"]["energy"]["mean"] == pytest.approx((1.0 + 1.0 + 3.0 + 3.0) / 4)
    assert report["acceptance"]["mean_probability"] == pytest.approx(2.1 / 4)


def test_a_cell_that_breathes_moves_its_volume_and_not_its_atoms() -> None:
    scaled = np.array([[0.1, 0.2, 0.3], [0.6, 0.7, 0.8]])
    cells = np.array([CELL, 1.02 * CELL, CELL])
    report = diagnose(
        chain=[0] * 3, cycle=[-1, 0, 1], accepted=[True] * 3, probability=[1.0] * 3, delta=[0.0] * 3, length=[0, 5, 5],
        energies=[0.0, 1.0, 2.0], positions=scaled @ cells, cells=cells, numbers=[22, 8], spans=[[0, 0, 1, 1]],
        temperature=300.0,
    )  # fmt: skip
    assert report["displacement"]["per_cycle"] == pytest.approx(0.0, abs=1e-12)
    assert report["displacement"]["log_volume_per_label"] == pytest.approx(3 * math.log(1.02))
    assert report["observables"]["volume"]["mean"] == pytest.approx(120 * (1.02**3 + 1) / 2)


def test_nearest_neighbour_of_any_species_sees_periodic_images() -> None:
    # Along the short axis of 2 Å an atom's own image is nearest; along 9 Å the two are 1.5 Å apart through the wall.
    points = np.array([[[0.0, 0.0, 0.5], [0.0, 0.0, 8.0]], [[0.0, 0.0, 0.5], [0.0, 0.0, 4.0]]])
    cells = np.array([np.diag([9.0, 9.0, 9.0]), np.diag([2.0, 9.0, 9.0])])
    assert mean_nearest_distance(points, cells) == pytest.approx([1.5, 2.0])
    many = np.repeat(points[:1], 2 * chains.BATCH + 3, axis=0)
    assert mean_nearest_distance(many, np.repeat(cells[:1], len(many), axis=0)) == pytest.approx([1.5] * len(many))


def test_a_block_that_goes_on_is_known_from_the_first_acceptance() -> None:
    whole = independence_chain(60, 3, reject=0.6, production=False, first=10)
    without = {
        name: value[whole["cycle"] > 9]
        if name in chains.Endpoints.__dataclass_fields__ and len(value) == 183
        else value
        for name, value in whole.items()
        if name not in ("temperature", "spans", "numbers")
    } | {name: whole[name] for name in ("temperature", "spans", "numbers")}
    one, other = diagnose(**whole), diagnose(**without)
    lost = one["states"] - other["states"]
    leading = [np.flatnonzero(whole["accepted"][(whole["chain"] == c) & (whole["cycle"] > 9)])[0] for c in range(3)]
    assert lost == sum(leading)
    assert other["acceptance"] == one["acceptance"]
    assert other["cycles"] == one["cycles"] == 180


def test_a_block_without_any_frame() -> None:
    nothing = np.zeros(0)
    report = diagnose(
        chain=nothing, cycle=nothing, accepted=nothing, probability=nothing, delta=nothing, length=nothing,
        energies=nothing, positions=np.zeros((0, 1, 3)), cells=np.zeros((0, 3, 3)), numbers=[], temperature=300.0,
        spans=[[0, 5, 34, 0]],
    )  # fmt: skip
    assert report["divergent"]["fraction"] == 1.0
    assert report["observables"]["energy"]["mean"] is None
    assert report["displacement"]["per_label"] is None
    assert report["creutz"]["z"] is None
    assert any("30 of 30 cycles (100 %)" in warning for warning in report["warnings"])


def test_adaptive_and_production_blocks_do_not_mix(good: dict[str, Any]) -> None:
    mixed = good["spans"].copy()
    mixed[0, 3] = 0
    with pytest.raises(ValueError, match="adaptive and of production"):
        diagnose(**good | {"spans": mixed})


def test_replicas_are_judged_temperature_by_temperature() -> None:
    cold, hot = independence_chain(300, 2, seed=1), independence_chain(300, 2, seed=2)
    hot["chain"] = hot["chain"] + 2
    hot["spans"] = hot["spans"] + np.array([2, 0, 0, 0])
    hot["energies"] = hot["energies"] + 50.0
    both = {name: np.concatenate([cold[name], hot[name]]) for name in cold if name not in ("numbers", "temperature")}
    both |= {"numbers": cold["numbers"], "temperature": 300.0}
    temperatures = np.repeat([300.0, 600.0], len(cold["chain"]))
    swaps = [[0, 0, 1, 1], [1, 2, 3, 0]]
    report = diagnose(**both, temperatures=temperatures, swaps=swaps)
    assert report["observables"]["energy"]["mean"] == pytest.approx(
        cold["energies"][cold["cycle"] >= 0].mean(), abs=0.1
    )
    assert report["observables"]["energy"]["rhat"] < 1.05
    assert [rung["temperature"] for rung in report["rungs"]] == [300.0, 600.0]
    assert report["rungs"][1]["observables"]["energy"]["mean"] == pytest.approx(50.0, abs=0.2)
    assert report["swaps"] == {"tried": 2, "accepted": 1, "acceptance": 0.5}
    # As chains of one temperature they would disagree.
    assert diagnose(**both)["observables"]["energy"]["rhat"] > 1.5


def test_series_are_cut_to_one_length_and_those_hardly_known_left_out() -> None:
    rng = np.random.default_rng(3)
    long, shorter, stub = rng.standard_normal(100), rng.standard_normal(80), np.full(3, 1e9)
    found = observable([long, shorter, stub], 10)
    assert found["mean"] == pytest.approx(np.mean([long[-80:], shorter]))
    assert observable([], 10)["mean"] is None
    short = observable([[1.0, 2.0, 3.0]], 3)
    assert short["mean"] == 2.0
    assert short["rhat"] is short["ess"] is short["tau"] is short["error"] is None


# Warnings -------------------------------------------------------------------------------------------------------------


def report_of(**changes: Any) -> dict[str, Any]:
    """Return a report that is beyond doubt, changed."""
    return {
        "kind": "production", "chains": 4, "cycles": 800, "labels": 800,
        "divergent": {"count": 0, "fraction": 0.0, "interval": [0.0, 0.001]},
        "acceptance": {"accepted": 560, "value": 0.7, "interval": [0.68, 0.72]},
        "creutz": {"mean": 1.01, "error": 0.02, "z": 0.5},
        "model_error": {"implied": 0.015, "implied_error": 0.001, "measured": 0.018},
        "observables": {"energy": {"rhat": 1.005, "ess": 300.0, "tau": 2.7}},
    } | changes  # fmt: skip


def energy(**values: float) -> dict[str, Any]:
    return {"energy": {"rhat": 1.005, "ess": 300.0, "tau": 2.7} | values}


def test_a_report_beyond_doubt() -> None:
    assert doubts.warnings_of(report_of()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"observables": energy(rhat=1.31)}, "R-hat is above 1.05 (1.01 is the strict bound): energy 1.31."),
        ({"observables": energy(rhat=math.inf)}, "energy inf"),
        ({"observables": energy(ess=21.0, tau=38.0)}, "Fewer than 50 independent samples: energy 21."),
        ({"observables": energy(ess=60.0, tau=13.3)}, "chains of 200 cycles are shorter than 20 autocorrelation times"),
        ({"acceptance": {"accepted": 24, "value": 0.03, "interval": [0.02, 0.04]}}, "acceptance is 0.03 (24 of 800)"),
        ({"divergent": {"count": 80, "fraction": 0.1, "interval": [0.09, 0.11]}}, "80 of 800 cycles (10 %)"),
        ({"creutz": {"mean": 1.2, "error": 0.02, "z": 10.0}}, "10.0 errors from 1"),
        (
            {"model_error": {"implied": 0.05, "implied_error": 0.002, "measured": 0.018}},
            "50.0 meV a cell, the measured energy RMSE is 18.0 meV a cell, less by more than a factor 2",
        ),
        (
            {"model_error": {"implied": 0.005, "implied_error": 0.001, "measured": 0.018}},
            "more by more than a factor 2",
        ),
    ],
)
def test_every_doubt_names_its_number(changes: dict[str, Any], words: str) -> None:
    warnings = doubts.warnings_of(report_of(**changes))
    assert len(warnings) == 1
    assert words in warnings[0]


def test_what_is_not_known_gives_no_warning() -> None:
    blank = {"rhat": None, "ess": None, "tau": None}
    silent = report_of(
        creutz={"mean": None, "error": None, "z": None}, model_error={}, observables={"energy": blank}, divergent={}
    )
    assert doubts.warnings_of(silent) == []
    # An error bar that is not known makes nothing significant.
    unsure = {"implied": 0.05, "implied_error": None, "measured": 0.018}
    assert doubts.warnings_of(report_of(model_error=unsure)) == []


def test_the_creutz_identity_is_judged_where_it_holds() -> None:
    off = {"mean": 1.2, "error": 0.02, "z": 10.0}
    assert doubts.warnings_of(report_of(creutz=off, kind="adaptive")) == []
    low = {"accepted": 200, "value": 0.25, "interval": [0.23, 0.27]}
    assert doubts.warnings_of(report_of(creutz=off, acceptance=low)) == []


def test_short_adaptive_blocks_are_called_short_and_nothing_else() -> None:
    short = independence_chain(8, 2, sigma=KT, production=False)
    report = diagnose(**short, energy_rmse=KT)
    assert len(report["warnings"]) == 2
    assert "target-guided" in report["warnings"][0]
    assert report["warnings"][1].startswith("8 cycles a chain are too few")


def test_adaptive_blocks_are_no_samples_and_not_judged_as_such() -> None:
    block = diagnose(**independence_chain(30, 2, sigma=KT, production=False, seed=5))
    assert block["observables"]["energy"]["ess"] < 50
    assert block["warnings"] == [doubts.ADAPTIVE]
    apart = {"observables": energy(rhat=1.6), "kind": "adaptive"}
    assert "R-hat" in doubts.warnings_of(report_of(**apart))[0]


def test_false_alarms_are_rare() -> None:
    """Good chains of 75 autocorrelation times: what is said of them is true, not noise."""
    said: list[str] = []
    for seed in range(40):
        said += diagnose(**independence_chain(150, 4, sigma=0.6 * KT, seed=seed), energy_rmse=0.6 * KT)["warnings"]
    assert len(said) <= 2, said


def test_a_wrong_acceptance_is_noticed() -> None:
    # Proposals of too low a probability to be so by the model's error: half are rejected for no reason.
    report = diagnose(**independence_chain(400, 4, sigma=0.1 * KT, reject=0.5), energy_rmse=0.1 * KT)
    assert any("something else than the model's error rejects" in warning for warning in report["warnings"])


def test_a_chain_that_stands_apart_is_noticed(good: dict[str, Any]) -> None:
    shifted = good["energies"] + 1.5 * (good["chain"] == 3)
    warnings = diagnose(**good | {"energies": shifted})["warnings"]
    assert any(warning.startswith("R-hat is above 1.05") for warning in warnings)
