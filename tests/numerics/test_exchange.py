"""Chains that swap their states: every rung keeps its ensemble, and swaps are as frequent as they must be."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from ase import units
from scipy import special

from aiida_slhmc.numerics import exchange, hmc
from aiida_slhmc.numerics.analytic import BreathingCrystal, EinsteinCrystal
from aiida_slhmc.numerics.cells import Barostat
from aiida_slhmc.numerics.exchange import SwapDecision, decide_swap, pairs, run_ladder
from aiida_slhmc.numerics.limits import Limits
from aiida_slhmc.numerics.potential import Array, Potential
from tests.statistics_plugin import ZScores

from .surfaces import CELL, UNIT_TEMPERATURE, UNIT_TIME, IdealGas, thermal
from .test_prefetch import assert_equal

#: Independent ladders of each statistical test.
N_LADDERS = 24
MASSES = np.array([1.0, 2.0])
ORIGIN = np.zeros((2, 3))
#: Two atoms, six oscillators; the model is wrong.
TARGET, MODEL = EinsteinCrystal(ORIGIN, 1.0), EinsteinCrystal(ORIGIN + 0.1, 0.8)


def thermostat(kt: float, **changes: Any) -> hmc.Settings:
    """Return settings at a temperature in eV."""
    return dataclasses.replace(hmc.Settings(kt * UNIT_TEMPERATURE, 0.35 * UNIT_TIME, 5), **changes)


def barostat(kt: float, pressure: float, **changes: Any) -> hmc.Settings:
    """Return settings at a temperature in eV and a pressure in eV/Å³."""
    box = Barostat(pressure / units.GPa, "isotropic", 9.0 * kt / units.fs**2)
    return thermostat(kt, timestep=0.3 * UNIT_TIME / math.sqrt(kt), length=4, barostat=box, **changes)


def acceptance(scale_i: float, scale_j: float, shape: float) -> float:
    """Return the exact mean swap probability of two gamma variables of one shape and different scales.

    The mean of min(1, ratio) is twice the probability that the variable of the smaller scale is the larger one; their
    quotient follows a beta law (Kofke, J. Chem. Phys. 117, 6911, 2002).
    """
    low, high = sorted((scale_i, scale_j))
    return float(2.0 * special.betainc(shape, shape, low / (low + high)))


# Ordinary -------------------------------------------------------------------------------------------------------------


def ladder(n_cycles: int = 40, every: int = 1, **changes: Any) -> exchange.LadderRecord:
    rungs = [thermostat(kt) for kt in (1.0, 1.6, 2.5, 4.0)]
    starts = [(position, CELL) for position in thermal(4, ORIGIN, 1.0, 3)]
    arguments = {"starts": starts, "rungs": rungs, "seed": 9, **changes}
    starts, rungs = arguments.pop("starts"), arguments.pop("rungs")
    return run_ladder(starts, MASSES, TARGET, MODEL, rungs, n_cycles=n_cycles, every=every, **arguments)


def test_the_probability_of_a_swap_by_hand() -> None:
    # (1.0 - 0.5)(3 - 5) + (1.0 * 0.2 - 0.5 * 0.6)(10 - 14) = -1.0 + 0.4.
    numbers = (1.0, 0.5, 3.0, 5.0, 0.2, 0.6, 10.0, 14.0)
    decision = decide_swap(*numbers, -0.59)
    assert (decision.log_ratio, decision.probability) == pytest.approx((-0.6, math.exp(-0.6)))
    assert not decision.accepted
    assert decide_swap(*numbers, -0.61).accepted
    # Seen from the other side it is the same; the swap back has the inverse ratio.
    assert decide_swap(0.5, 1.0, 5.0, 3.0, 0.6, 0.2, 14.0, 10.0, -0.1).log_ratio == pytest.approx(-0.6)
    back = decide_swap(1.0, 0.5, 5.0, 3.0, 0.2, 0.6, 14.0, 10.0, 0.0)
    assert back.log_ratio == pytest.approx(0.6)
    assert (back.log_probability, back.probability, back.accepted) == (0.0, 1.0, True)
    # The higher energy goes to the higher temperature.
    assert decide_swap(1.0, 0.5, 9.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0).probability == 1.0
    # Nothing overflows.
    assert decide_swap(1.0, 0.5, 1e6, -1e6, 0.0, 0.0, 1.0, 1.0, 0.0).probability == 1.0
    assert decide_swap(1.0, 0.5, -1e6, 1e6, 0.0, 0.0, 1.0, 1.0, -700.0).probability == 0.0
    for broken in ((0.0, 0.5, 3.0, 5.0), (1.0, -0.5, 3.0, 5.0)):
        with pytest.raises(ValueError, match="must be positive"):
            decide_swap(*broken, 0.2, 0.6, 10.0, 14.0, -0.1)
    with pytest.raises(ValueError, match="no finite energy or volume"):
        decide_swap(1.0, 0.5, math.nan, 5.0, 0.2, 0.6, 10.0, 14.0, -0.1)


def test_the_schedule_depends_on_the_cycle_alone() -> None:
    assert [pairs(5, attempt) for attempt in range(3)] == [[(0, 1), (2, 3)], [(1, 2), (3, 4)], [(0, 1), (2, 3)]]
    assert [pairs(4, attempt) for attempt in range(2)] == [[(0, 1), (2, 3)], [(1, 2)]]
    # Two rungs would have nothing to do every second time.
    assert pairs(2, 0) == pairs(2, 1) == [(0, 1)]
    assert pairs(1, 0) == pairs(1, 1) == []
    assert [exchange.attempt_after(cycle, 3) for cycle in range(7)] == [None, None, 0, None, None, 1, None]
    assert exchange.attempt_after(4, 0) is None
    record = ladder(every=3)
    assert [(swap.cycle, swap.lower) for swap in record.swaps[:5]] == [(2, 0), (2, 2), (5, 1), (8, 0), (8, 2)]


def test_without_swaps_the_rungs_are_chains() -> None:
    record = ladder(30, every=0, first_cycle=4)
    assert record.swaps == ()
    assert np.isnan(record.swap_rates()).all()
    for rung, start in enumerate(thermal(4, ORIGIN, 1.0, 3)):
        settings = thermostat((1.0, 1.6, 2.5, 4.0)[rung])
        chain = hmc.run_chain(
            start, CELL, MASSES, TARGET, MODEL, settings, n_cycles=30, seed=9, chain=rung, first_cycle=4
        )
        assert_equal(record.rungs[rung], chain)


def states_before_swaps(record: exchange.LadderRecord, starts: Array) -> Array:
    """Return the states that the trajectories alone lead to, (C, R, N, 3)."""
    after = np.stack([rung.positions for rung in record.rungs], axis=1)
    before = np.concatenate([starts[None], after[:-1]])
    for cycle, rung in np.ndindex(before.shape[:2]):
        if record.rungs[rung].accepted[cycle]:
            before[cycle, rung] = record.rungs[rung].endpoints[cycle]
    return before


def test_a_rung_records_what_it_holds_after_the_swap() -> None:
    record = ladder(200)
    starts = np.stack([hmc.place(start, CELL, thermostat(1.0))[0] for start in thermal(4, ORIGIN, 1.0, 3)])
    expected = states_before_swaps(record, starts)
    replicas = np.tile(np.arange(4), (200, 1))
    for swap in record.swaps:
        i, j = swap.lower, swap.lower + 1
        energies = [TARGET.evaluate(expected[swap.cycle, rung], CELL).energy for rung in (i, j)]
        betas = [1.0 / (1.0, 1.6, 2.5, 4.0)[rung] for rung in (i, j)]
        ratio = (betas[0] - betas[1]) * (energies[0] - energies[1])
        assert swap.decision.log_ratio == pytest.approx(ratio, abs=1e-12)
        assert swap.decision.accepted == (exchange.draw_log_uniform(9, i, swap.cycle) <= ratio)
        if swap.decision.accepted:
            expected[swap.cycle, [i, j]] = expected[swap.cycle, [j, i]]
            replicas[swap.cycle :, [i, j]] = replicas[swap.cycle :, [j, i]]
    # Every attempt has a number of its own, and none is one that decided a move.
    numbers = {swap.decision.log_uniform for swap in record.swaps}
    numbers |= {hmc.draw_log_uniform(9, rung, cycle) for rung in range(4) for cycle in range(200)}
    assert len(numbers) == len(record.swaps) + 800
    accepted = np.mean([swap.decision.accepted for swap in record.swaps])
    assert 0.2 < accepted < 0.9
    np.testing.assert_array_equal(record.replicas, replicas)
    assert len(set(record.replicas[:, 0].tolist())) == 4
    for number, rung in enumerate(record.rungs):
        np.testing.assert_array_equal(rung.positions, expected[:, number])
        for cycle in range(200):
            answer = TARGET.evaluate(rung.positions[cycle], rung.cells[cycle])
            assert rung.energies[cycle] == rung.evaluations[cycle].energy == answer.energy
            np.testing.assert_array_equal(rung.evaluations[cycle].forces, answer.forces)
    for lower, rate in enumerate(record.swap_rates()):
        tried = [swap.decision.probability for swap in record.swaps if swap.lower == lower]
        assert rate == pytest.approx(np.mean(tried))


def test_a_ladder_in_two_parts_is_the_ladder_in_one() -> None:
    whole, first = ladder(20, every=3), ladder(13, every=3)
    starts = [(rung.positions[-1], rung.cells[-1]) for rung in first.rungs]
    second = ladder(7, every=3, first_cycle=13, starts=starts)
    assert whole.swaps == first.swaps + second.swaps
    for all_, a, b in zip(whole.rungs, first.rungs, second.rungs, strict=True):
        np.testing.assert_array_equal(all_.positions, np.concatenate([a.positions, b.positions]))
    # A replica of the second part is where the first part left it.
    np.testing.assert_array_equal(whole.replicas[13:], first.replicas[-1][second.replicas])


def test_cells_are_swapped_with_their_atoms() -> None:
    rungs = [barostat(1.0, 0.5), barostat(1.0, 0.6)]
    rng = np.random.default_rng(4)
    starts = [(rng.random((2, 3)) * size, size * np.eye(3)) for size in (2.0, 1.8)]
    target = BreathingCrystal(rng.random((2, 3)), 5.0, 1.0, 7.0)
    record = run_ladder(starts, MASSES, target, target, rungs, n_cycles=60, every=1, seed=1)
    assert 10 < sum(swap.decision.accepted for swap in record.swaps) < 60
    for rung in record.rungs:
        for positions, cell, energy in zip(rung.positions, rung.cells, rung.energies, strict=True):
            assert target.evaluate(positions, cell).energy == energy


@pytest.mark.parametrize(
    ("rungs", "cells", "words"),
    [
        ([thermostat(1.0), thermostat(2.0, centre_of_mass="remove")], [CELL, CELL], "these differ in more"),
        ([thermostat(1.0), thermostat(2.0, limits=Limits(min_distance=1.0))], [CELL, CELL], "these differ in more"),
        ([thermostat(1.0), barostat(2.0, 1.0)], [CELL, CELL], "these differ in more"),
        (
            [barostat(1.0, 1.0), thermostat(1.0, barostat=Barostat(1.0, "isotropic", 1.0, 0.0))],
            [CELL, CELL],
            "these differ in more",
        ),
        ([thermostat(1.0), thermostat(2.0)], [CELL, 1.01 * CELL], "start with the same one"),
        ([barostat(1.0, 1.0), barostat(2.0, 1.0)], [CELL, np.diag([50.0, 50.0, 51.0])], "start with the same one"),
        ([thermostat(1.0)], [CELL, CELL], "as many starts, not 2"),
        ([], [], "at least one rung"),
    ],
)
def test_rungs_of_different_ensembles_are_refused(rungs: list[hmc.Settings], cells: list[Array], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        exchange.check_ladder(rungs, cells)


def test_rungs_may_move_differently() -> None:
    first, second = barostat(1.0, 0.5), barostat(2.0, 0.9, limits=Limits(max_energy_change=5.0))
    second = dataclasses.replace(second, length=9, length_law="fixed")
    exchange.check_ladder([first, second], [CELL, 0.7 * CELL])


# Statistics -----------------------------------------------------------------------------------------------------------


def sample(seed: int, n_cycles: int, temperatures: tuple[float, ...] = (1.0, 2.0)) -> list[exchange.LadderRecord]:
    """Run independent ladders of the oscillators, from starts of their laws."""
    rungs = [thermostat(kt) for kt in temperatures]
    starts = [thermal(N_LADDERS, ORIGIN, 1.0, seed + rung, kt) for rung, kt in enumerate(temperatures)]
    return [
        run_ladder(
            [(start[index], CELL) for start in starts], MASSES, TARGET, MODEL, rungs,
            n_cycles=n_cycles, every=2, seed=seed * 100 + index,
        )
        for index in range(N_LADDERS)
    ]  # fmt: skip


def energies(records: list[exchange.LadderRecord], rung: int) -> Array:
    return np.array([record.rungs[rung].energies.mean() for record in records])


@pytest.mark.statistics
def test_every_rung_has_its_temperature(zscore: ZScores, seed: int) -> None:
    temperatures = (1.0, 1.7, 3.0)
    records = sample(seed, 200, temperatures)
    for rung, kt in enumerate(temperatures):
        name = f"ladder of temperatures, kT = {kt:g} eV"
        zscore.chains(f"{name}: mean U (eV)", energies(records, rung), 3.0 * kt)
        spread = [np.mean((record.rungs[rung].energies - 3.0 * kt) ** 2) for record in records]
        zscore.chains(f"{name}: variance U (eV²)", np.array(spread), 3.0 * kt**2)
    rates = np.array([record.swap_rates() for record in records])
    for lower in range(2):
        exact = acceptance(*temperatures[lower : lower + 2], 3.0)
        zscore.chains(f"ladder of temperatures: swap probability {lower}-{lower + 1}", rates[:, lower], exact)
        made = [np.mean([s.decision.accepted for s in record.swaps if s.lower == lower]) for record in records]
        zscore.chains(f"ladder of temperatures: swaps {lower}-{lower + 1}", np.array(made), exact)


@pytest.mark.statistics
def test_a_wrong_sign_of_the_swap_is_caught(zscore: ZScores, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def turned(beta_i: float, beta_j: float, energy_i: float, energy_j: float, *rest: float) -> SwapDecision:
        return decide_swap(beta_i, beta_j, energy_j, energy_i, *rest)

    monkeypatch.setattr(exchange, "decide_swap", turned)
    records = sample(seed, 100)
    zscore.wrong("sign of the swap turned: mean U, cold (eV)", energies(records, 0), 3.0)
    zscore.wrong("sign of the swap turned: mean U, warm (eV)", energies(records, 1), 6.0)


@pytest.mark.statistics
def test_swapping_always_is_caught(zscore: ZScores, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def always(*arguments: float) -> SwapDecision:
        return dataclasses.replace(decide_swap(*arguments), accepted=True)

    monkeypatch.setattr(exchange, "decide_swap", always)
    zscore.wrong("swapped always: mean U, cold (eV)", energies(sample(seed, 100), 0), 3.0)


def gases(rungs: list[tuple[float, float]], target: Potential, seed: int) -> list[exchange.LadderRecord]:
    """Run independent ladders of eight atoms at (kT, P), from starts of the ideal gas's law."""
    rng = np.random.default_rng(seed)
    records = []
    for index in range(N_LADDERS):
        sizes = [rng.gamma(9.0, kt / pressure) ** (1 / 3) for kt, pressure in rungs]
        starts = [(rng.random((8, 3)) * size, size * np.eye(3)) for size in sizes]
        records.append(
            run_ladder(
                starts, np.ones(8), target, IdealGas(tension=0.03), [barostat(*rung) for rung in rungs],
                n_cycles=120, every=1, seed=seed * 100 + index,
            )
        )  # fmt: skip
    return records


def mean_volumes(records: list[exchange.LadderRecord], rung: int) -> Array:
    return np.array([np.linalg.det(record.rungs[rung].cells).mean() for record in records])


#: kT and P of the rungs: pressures alone; both, so that each term of the swap is wrong without the other.
GASES = {"pressures": [(1.0, 0.5), (1.0, 0.8)], "both": [(1.0, 0.5), (1.6, 1.0)]}


@pytest.mark.statistics
@pytest.mark.parametrize("name", GASES)
def test_every_rung_has_its_pressure(name: str, zscore: ZScores, seed: int) -> None:
    # The walls of the target pull with 0.1 eV/Å³, which is U = 0.1 V: V ~ Gamma(9, kT/(P + 0.1)).
    rungs = GASES[name]
    records = gases(rungs, IdealGas(tension=0.1), seed)
    scales = [kt / (pressure + 0.1) for kt, pressure in rungs]
    for rung, scale in enumerate(scales):
        zscore.chains(f"ladder of {name}, rung {rung}: mean V (Å³)", mean_volumes(records, rung), 9.0 * scale)
    rates = np.array([record.swap_rates()[0] for record in records])
    zscore.chains(f"ladder of {name}: swap probability", rates, acceptance(*scales, 9.0))


@pytest.mark.statistics
def test_a_forgotten_volume_is_caught(zscore: ZScores, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_volume(*arguments: float) -> SwapDecision:
        return decide_swap(*arguments[:6], 0.0, 0.0, arguments[8])

    monkeypatch.setattr(exchange, "decide_swap", without_volume)
    records = gases(GASES["pressures"], IdealGas(), seed)
    zscore.wrong("P V forgotten in the swap: mean V (Å³)", mean_volumes(records, 0), 18.0, bound=8.0)
