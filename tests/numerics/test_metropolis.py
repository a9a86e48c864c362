from __future__ import annotations

import math

import numpy as np
import pytest
from ase import units

from aiida_slhmc.numerics.metropolis import Decision, decide

KT = 300.0 * units.kB


def decision(delta: float, log_uniform: float = -1.0, offset: float = 0.0) -> Decision:
    return decide(
        potential_start=offset,
        potential_end=offset + 2 * delta,
        kinetic_start=delta,
        kinetic_end=0.0,
        temperature=300.0,
        log_uniform=log_uniform,
    )


def test_probability_is_the_boltzmann_factor() -> None:
    result = decision(0.7 * KT)
    assert result.delta == pytest.approx(0.7 * KT)
    assert result.log_probability == pytest.approx(-0.7)
    assert result.probability == pytest.approx(math.exp(-0.7))
    assert decision(-3 * KT).probability == 1.0


@pytest.mark.parametrize(("log_uniform", "accepted"), [(-0.71, True), (-0.69, False), (0.0, False), (-math.inf, True)])
def test_accept_below_the_probability(log_uniform: float, accepted: bool) -> None:
    assert decision(0.7 * KT, log_uniform).accepted is accepted


def test_downhill_is_always_accepted() -> None:
    assert decision(-0.1, log_uniform=0.0).accepted
    assert decision(0.0, log_uniform=0.0).accepted


def test_huge_differences_neither_overflow_nor_round_to_chance() -> None:
    assert decision(-1e6).probability == 1.0
    assert decision(1e6, log_uniform=-700.0).probability == 0.0
    # ln u of a tiny u decides where exp would already be zero.
    assert decision(800 * KT, log_uniform=-801.0).accepted
    assert not decision(800 * KT, log_uniform=-799.0).accepted


def test_large_total_energies_keep_their_digits() -> None:
    # All numbers are exact in binary: nothing but the rule's own arithmetic can lose digits.
    start, change = -(2.0**17), 2.0**-30
    result = decide(
        potential_start=start,
        potential_end=start + change,
        kinetic_start=1.0 + 2.0**-40,
        kinetic_end=1.0,
        temperature=300.0,
        log_uniform=-1.0,
    )
    assert result.delta == change - 2.0**-40


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("which", ["potential_end", "kinetic_end"])
def test_an_end_that_is_not_finite_is_rejected(bad: float, which: str) -> None:
    numbers = {"potential_start": -1.0, "potential_end": -2.0, "kinetic_start": 1.0, "kinetic_end": 0.5, which: bad}
    result = decide(**numbers, temperature=300.0, log_uniform=-math.inf)
    assert result == Decision(False, math.inf, -math.inf, 0.0, -math.inf)


@pytest.mark.parametrize("change", [{"potential_start": math.nan}, {"kinetic_start": math.inf}, {"temperature": 0.0}])
def test_a_start_that_is_not_finite_is_an_error(change: dict[str, float]) -> None:
    numbers = {"potential_start": 0.0, "potential_end": 0.0, "kinetic_start": 0.0, "kinetic_end": 0.0}
    with pytest.raises(ValueError, match=r"finite energy|temperature"):
        decide(**{**numbers, "temperature": 300.0, "log_uniform": -1.0, **change})


def two_states(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Run a chain between two states of probabilities 0.8 and 0.2 that always proposes the other one."""
    energies = -KT * np.log([0.8, 0.2])
    state, states, accepted = 0, [], []
    for log_uniform in np.log1p(-np.random.default_rng(seed).random(n)):
        outcome = decide(
            potential_start=energies[state],
            potential_end=energies[1 - state],
            kinetic_start=0.0,
            kinetic_end=0.0,
            temperature=300.0,
            log_uniform=log_uniform,
        )
        state = 1 - state if outcome.accepted else state
        states.append(state)
        accepted.append(outcome.accepted)
    return np.array(states), np.array(accepted)


def test_repeats_count() -> None:
    states, accepted = two_states(40_000, seed=8)
    # tau of this chain: its second eigenvalue is 1 - 1/4 - 1 = -1/4, so tau = (1 - 1/4)/(1 + 1/4) = 0.6.
    assert abs(states.mean() - 0.2) < 4 * math.sqrt(0.16 * 0.6 / 40_000)
    # Every acceptance changes the state: the accepted states alternate, whatever the probabilities.
    assert abs(states[accepted].mean() - 0.5) < 1e-3


def test_a_choice_of_kernel_that_looks_at_the_state_is_biased() -> None:
    # Two states of equal energy. Either kernel keeps (1/2, 1/2): one proposes the other state every second time, one
    # every twentieth. Taken in turns by the state itself, they keep (1/11, 10/11).
    share = {0: 0.5, 1: 0.05}
    rng = np.random.default_rng(9)
    n, state, states = 40_000, 0, []
    for log_uniform in np.log1p(-rng.random(n)):
        if rng.random() < share[state]:
            assert decision(0.0, log_uniform).accepted
            state = 1 - state
        states.append(state)
    # Second eigenvalue 1 - 0.55.
    tau = 1.45 / 0.55
    assert abs(np.mean(states) - 10 / 11) < 4 * math.sqrt(10 / 121 * tau / n)
