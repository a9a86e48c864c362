"""Massive Nosé-Hoover chains: what is conserved, what is reversible, and whether a harmonic solid is sampled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aiida_slhmc.numerics import nose_hoover
from aiida_slhmc.numerics.analytic import AnharmonicCrystal, EinsteinCrystal
from aiida_slhmc.numerics.nose_hoover import Bath, Chains, Phase
from aiida_slhmc.numerics.potential import Array, Potential
from tests.statistics_plugin import ZScores

from .surfaces import CELL, UNIT_TEMPERATURE, UNIT_TIME

MASSES = np.array([1.0, 1.5, 2.0, 3.0])
SITES = np.random.default_rng(5).normal(0.0, 2.0, (4, 3))
SURFACE = AnharmonicCrystal(SITES, 1.0, 0.3, 0.2)


def begin(bath: Bath, surface: Potential = SURFACE, masses: Array = MASSES) -> Phase:
    rng = np.random.default_rng(7)
    return nose_hoover.start(SITES + rng.normal(0.0, 0.5, SITES.shape), CELL, masses, surface, bath, rng)


def turned(phase: Phase) -> Phase:
    """Return the point with all velocities reversed."""
    chains = Chains(phase.chains.positions, -phase.chains.velocities)
    return replace(phase, momenta=-phase.momenta, cell_momenta=-phase.cell_momenta, chains=chains)


def spread(bath: Bath, timestep: float, n_steps: int) -> float:
    """Return the largest change of the conserved quantity along a trajectory."""
    phase = begin(bath)
    first = nose_hoover.conserved(phase, MASSES, bath)
    largest = 0.0
    for _ in range(n_steps):
        phase = nose_hoover.step(phase, MASSES, SURFACE, bath, timestep * UNIT_TIME)
        largest = max(largest, abs(nose_hoover.conserved(phase, MASSES, bath) - first))
    return largest


@pytest.mark.parametrize("length", [1, 2, 4])
def test_the_conserved_quantity_moves_with_the_square_of_the_time_step(length):
    bath = Bath(UNIT_TEMPERATURE, UNIT_TIME, length)
    coarse, middle, fine = (spread(bath, 0.08 / 2**power, 50 * 2**power) for power in range(3))
    assert coarse > 1e-3
    assert coarse / middle == pytest.approx(4.0, abs=0.3)
    assert middle / fine == pytest.approx(4.0, abs=0.1)


@pytest.mark.parametrize("length", [1, 4])
def test_reversed_velocities_lead_back(length):
    bath = Bath(UNIT_TEMPERATURE, 0.5 * UNIT_TIME, length)
    start = phase = begin(bath)
    for _ in range(100):
        phase = nose_hoover.step(phase, MASSES, SURFACE, bath, 0.05 * UNIT_TIME)
    assert np.abs(phase.positions - start.positions).max() > 0.1
    phase = turned(phase)
    for _ in range(100):
        phase = nose_hoover.step(phase, MASSES, SURFACE, bath, 0.05 * UNIT_TIME)
    phase = turned(phase)
    assert np.abs(phase.positions - start.positions).max() < 1e-10
    assert np.abs(phase.momenta - start.momenta).max() < 1e-10
    assert np.abs(phase.chains.positions - start.chains.positions).max() < 1e-10
    assert np.abs(phase.chains.velocities - start.chains.velocities).max() < 1e-10


def test_a_short_coupling_is_that_of_the_equations():
    """The increments over a short interval are the right sides of the equations."""
    rng = np.random.default_rng(3)
    bath = Bath(2.0 * UNIT_TEMPERATURE, 0.7 * UNIT_TIME, 3)
    p, masses = rng.normal(size=5), rng.uniform(1.0, 3.0, 5)
    chains = nose_hoover.draw_chains(5, bath, rng)
    v, q, kt, t = chains.velocities, 2.0 * 0.7**2, 2.0, 1e-6
    after, moved = nose_hoover.couple(p, masses, chains, bath, t)
    assert bath.mass == pytest.approx(q)
    expected = [(p**2 / masses - kt) / q - v[1] * v[0], v[0] ** 2 - kt / q - v[2] * v[1], v[1] ** 2 - kt / q]
    np.testing.assert_allclose((after - p) / t, -v[0] * p, atol=1e-4)
    np.testing.assert_allclose((moved.velocities - v) / t, expected, atol=1e-4)
    np.testing.assert_allclose(moved.positions / t, v, atol=1e-4)


def test_one_evaluation_a_step_and_the_right_one():
    bath = Bath(UNIT_TEMPERATURE, UNIT_TIME)
    phase = nose_hoover.step(begin(bath), MASSES, SURFACE, bath, 0.05 * UNIT_TIME)
    assert phase.evaluation.energy == SURFACE.evaluate(phase.positions, CELL).energy


@pytest.mark.parametrize("bad", [{"temperature": 0.0}, {"time": -1.0}, {"time": np.nan}, {"length": 0}])
def test_a_bath_that_cannot_be(bad):
    with pytest.raises(ValueError, match=r"must be positive|at least 1 link"):
        Bath(**{"temperature": 300.0, "time": 50.0, "length": 4, **bad})


def oscillators(length: int, seed: int, n_steps: int) -> tuple[Array, Array, Array, Array]:
    """Return the time means of w²x², p², w⁴x⁴ and p⁴ of 402 oscillators that start at rest."""
    count, dt = 134, 0.05
    rng = np.random.default_rng(seed)
    springs = np.linspace(0.7, 1.4, count) ** 2
    surface = EinsteinCrystal(np.zeros((count, 3)), springs)
    masses = np.ones(count)
    bath = Bath(UNIT_TEMPERATURE, UNIT_TIME, length)
    # Far from equilibrium: a law that is only kept, but not reached, must not pass.
    phase = nose_hoover.start(np.full((count, 3), 0.3), CELL, masses, surface, bath, rng)
    phase = replace(phase, momenta=np.zeros_like(phase.momenta))
    # What velocity Verlet keeps beside p² is w²(1 - w²dt²/4) x².
    scale = (springs * (1.0 - 0.25 * springs * dt**2))[:, None]
    sums = np.zeros((4, count, 3))
    burn = n_steps // 10
    for index in range(burn + n_steps):
        phase = nose_hoover.step(phase, masses, surface, bath, dt * UNIT_TIME)
        if index >= burn:
            x2, p2 = scale * phase.positions**2, phase.momenta**2
            sums += (x2, p2, x2**2, p2**2)
    means = (sums / n_steps).reshape(4, -1)
    return means[0], means[1], means[2], means[3]


@pytest.mark.statistics
def test_oscillators_are_sampled_by_chains_of_four(zscore: ZScores, seed: int):
    x2, p2, x4, p4 = oscillators(4, seed, 20000)
    zscore.chains("massive NHC, M = 4, oscillators: mean w²x²/kT", x2, 1.0)
    zscore.chains("massive NHC, M = 4, oscillators: mean p²/mkT", p2, 1.0)
    zscore.chains("massive NHC, M = 4, oscillators: kurtosis of x", x4, 3.0)
    zscore.chains("massive NHC, M = 4, oscillators: kurtosis of p", p4, 3.0)


@pytest.mark.statistics
def test_a_chain_of_one_link_is_not_ergodic(zscore: ZScores, seed: int):
    x2, _, x4, _ = oscillators(1, seed, 20000)
    zscore.wrong("massive NHC, M = 1, oscillators: kurtosis of x (not ergodic)", x4, 3.0)
    # Each oscillator stays on a torus of its own: time does not make their means agree. With M = 4: 0.05.
    assert x2.std() > 0.15
