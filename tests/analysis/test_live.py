"""Diagnostics from decisions alone: the same numbers as from the frames, also where chains exchange states."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from aiida_slhmc.analysis import live
from aiida_slhmc.analysis.chains import diagnose
from aiida_slhmc.numerics.diagnostics import implied_model_error

from .test_chains import KT, independence_chain


def decisions_of(endpoints: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the decisions behind endpoints; a cycle without a row diverged."""
    found = []
    for chain, first, last, _ in endpoints["spans"].tolist():
        rows = {
            int(endpoints["cycle"][row]): row for row in np.flatnonzero(endpoints["chain"] == chain).tolist()
        }  # fmt: skip
        energy = float(endpoints["energies"][rows[first - 1]])
        for cycle in range(first, last + 1):
            row = rows.get(cycle)
            accepted = row is not None and bool(endpoints["accepted"][row])
            record = {
                "chain": chain, "cycle": cycle, "accepted": accepted, "temperature": 300.0, "target_start": energy,
                "probability": 0.0 if row is None else float(endpoints["probability"][row]),
                "delta": None if row is None else float(endpoints["delta"][row]), "labelled": row is not None,
                "target_end": None if row is None else float(endpoints["energies"][row]),
            }  # fmt: skip
            energy = record["target_end"] if accepted else energy
            found.append(record)
    return found


def test_decisions_and_frames_say_the_same() -> None:
    endpoints = independence_chain(60, 3, sigma=KT, divergent=0.2, seed=1)
    report, seen = diagnose(**endpoints), live.judge(decisions_of(endpoints), production=True, temperature=300.0)
    assert report["divergent"]["count"] > 10
    for name in ("kind", "chains", "cycles", "labels", "divergent"):
        assert seen[name] == report[name]
    assert seen["creutz"] == pytest.approx(report["creutz"])
    energy = report["observables"]["energy"]
    assert {name: seen["observables"]["energy"][name] for name in energy if name != "unit"} == pytest.approx(
        {name: value for name, value in energy.items() if name != "unit"}
    )
    value, error = live.model_error(decisions_of(endpoints))
    assert (value, error) == pytest.approx((report["model_error"]["implied"], report["model_error"]["implied_error"]))


def test_the_order_of_the_decisions_does_not_matter() -> None:
    decisions = decisions_of(independence_chain(20, 2, sigma=KT))
    mixed = [decisions[index] for index in np.random.default_rng(0).permutation(len(decisions))]
    assert live.judge(mixed, production=True, temperature=300.0) == live.judge(
        decisions, production=True, temperature=300.0
    )


def test_states_that_chains_exchanged_are_followed() -> None:
    def row(chain: int, cycle: int, start: float, end: float, accepted: bool) -> dict[str, Any]:
        return {"chain": chain, "cycle": cycle, "target_start": start, "target_end": end, "accepted": accepted}

    # After cycle 0 the chains exchange their states of energies 2 and 10.
    decisions = [row(0, 0, 1.0, 2.0, True), row(1, 0, 10.0, 11.0, False)]
    decisions += [row(0, 1, 10.0, 12.0, False), row(1, 1, 2.0, 3.0, True)]
    assert live.state_energies(decisions) == {0: [10.0, 10.0], 1: [2.0, 3.0]}


def test_each_temperature_implies_the_error_by_its_own_kt() -> None:
    def row(chain: int, probability: float, temperature: float) -> dict[str, Any]:
        return {"chain": chain, "cycle": 0, "probability": probability, "temperature": temperature, "labelled": True}

    value, _ = live.model_error([row(0, 0.5, 300.0), row(1, 0.5, 600.0)])
    cold, hot = (implied_model_error(0.5, temperature) for temperature in (300.0, 600.0))
    assert value == pytest.approx(math.sqrt((cold**2 + hot**2) / 2))
    assert math.isnan(live.model_error([row(0, 1.0, 300.0)])[0])
    assert math.isnan(live.model_error([])[0])
