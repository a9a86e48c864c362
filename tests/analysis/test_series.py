"""What chains say together of one quantity."""

import math

import numpy as np
import pytest

from aiida_slhmc.analysis.series import implied_error, known_or_none, observable


def test_independent_values_are_all_effective():
    chains = np.random.default_rng(2).normal(3.0, 2.0, (4, 500))
    found = observable(list(chains), labels=2000)
    assert found["tau"] == pytest.approx(1.0, abs=0.2)
    assert found["ess"] == pytest.approx(2000, rel=0.2)
    assert found["error"] == pytest.approx(2.0 / math.sqrt(2000), rel=0.15)
    assert abs(found["mean"] - 3.0) < 4 * found["error"]
    assert found["rhat"] == pytest.approx(1.0, abs=0.01)
    assert found["ess_per_label"] == pytest.approx(found["ess"] / 2000)


def test_a_chain_with_memory_has_the_time_of_its_law():
    """AR(1) with coefficient a: tau = (1 + a) / (1 - a)."""
    rng, a = np.random.default_rng(3), 0.8
    chains = np.zeros((4, 4000))
    for step in range(1, 4000):
        chains[:, step] = a * chains[:, step - 1] + rng.standard_normal(4)
    found = observable(list(chains), labels=1)
    assert found["tau"] == pytest.approx(9.0, abs=4 * found["tau_error"])


def test_chains_that_disagree_have_a_large_rhat():
    rng = np.random.default_rng(4)
    assert observable([rng.normal(0, 1, 200), rng.normal(5, 1, 200)], labels=1)["rhat"] > 1.5


def test_what_cannot_be_known_is_none():
    assert observable([], labels=0)["mean"] is None
    short = observable([[1.0, 2.0, 3.0]], labels=3)
    assert short["mean"] == 2.0
    assert short["tau"] is None
    still = observable([np.ones(50)], labels=0)
    assert (still["error"], still["ess_per_label"]) == (None, None)
    assert known_or_none(math.nan) is None


def test_chains_are_cut_at_their_beginnings_and_short_ones_left_out():
    long, middle, short = np.arange(10.0), np.arange(100.0, 108.0), np.full(3, 1e6)
    assert observable([long, middle, short], labels=1)["mean"] == np.mean([*long[2:], *middle])


def test_the_implied_error_is_that_of_the_closed_form():
    """PHYSICS 1.5: 0.69 at 300 K says 14.6 meV, at 600 K twice that."""
    series = np.r_[np.ones(69), np.zeros(31)]
    assert implied_error({300.0: [series]})[0] == pytest.approx(0.0146, abs=1e-4)
    assert implied_error({600.0: [series]})[0] == pytest.approx(0.0292, abs=2e-4)
    assert math.isnan(implied_error({300.0: [np.ones(10)]})[0])
