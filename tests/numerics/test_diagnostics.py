from __future__ import annotations

import math

import numpy as np
import pytest
from ase import units

from aiida_slhmc.numerics import diagnostics as d

KT = 300.0 * units.kB


def autoregression(phi: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return stationary chains x_t = phi x_{t-1} + noise, of unit variance: tau = (1 + phi)/(1 - phi)."""
    noise = rng.standard_normal(shape) * math.sqrt(1 - phi**2)
    x = np.empty(shape)
    x[..., 0] = rng.standard_normal(shape[:-1])
    for t in range(1, shape[-1]):
        x[..., t] = phi * x[..., t - 1] + noise[..., t]
    return x


@pytest.mark.parametrize(("phi", "tau"), [(0.0, 1.0), (0.5, 3.0), (0.9, 19.0)])
def test_tau_of_an_autoregression(phi: float, tau: float) -> None:
    estimate, error = d.integrated_autocorrelation_time(autoregression(phi, (200_000,), np.random.default_rng(1)))
    assert abs(estimate - tau) < 4 * error
    assert error < 0.1 * tau


@pytest.mark.parametrize("phi", [-0.5, -0.9])
def test_an_antithetic_chain_is_not_worth_more_than_its_length(phi: float) -> None:
    # Its means are better than those of independent values, but a sum of alternating terms, cut off, does not know by
    # how much: at the window's edge it may be 0 or negative.
    x = autoregression(phi, (50_000,), np.random.default_rng(1))
    assert d.integrated_autocorrelation_time(x)[0] < 0.5
    assert d.effective_sample_size(x) == 50_000
    assert d.mean_with_error(x)[1] == pytest.approx(1 / math.sqrt(50_000), rel=0.02)


def test_tau_of_a_chain_with_rejections() -> None:
    # Independent proposals, a share r of them rejected: tau = (1 + r)/(1 - r), 1.78 at an acceptance of 0.72.
    rng = np.random.default_rng(2)
    accepted = rng.random(100_000) < 0.72
    accepted[0] = True
    fresh = rng.standard_normal(100_000)
    x = fresh[np.maximum.accumulate(np.where(accepted, np.arange(100_000), 0))]
    estimate, error = d.integrated_autocorrelation_time(x)
    assert abs(estimate - 1.28 / 0.72) < 4 * error
    assert d.effective_sample_size(x) == pytest.approx(100_000 / estimate)


def test_errors_of_means_cover() -> None:
    # 400 chains: (mean - 0)/se has to scatter like a standard normal number; without tau it would by sqrt(19) more.
    chains = autoregression(0.9, (400, 4000), np.random.default_rng(3))
    z = np.array([mean / error for mean, error in map(d.mean_with_error, chains)])
    assert abs(z.std() - 1.0) < 0.15
    assert abs(z.mean()) < 4 / math.sqrt(400)


def test_tau_where_there_is_nothing_to_see() -> None:
    tau, error = d.integrated_autocorrelation_time([1.0, 2.0, 1.5])
    assert tau == 1.0
    assert math.isnan(error)
    # A chain that never moved is worth one value, and nobody knows how good that is.
    tau, error = d.integrated_autocorrelation_time(np.full(50, 0.1))
    assert tau == 50.0
    assert math.isnan(error)
    assert d.effective_sample_size(np.full(50, 0.1)) == 1.0
    mean, error = d.mean_with_error(np.full(50, 0.1))
    assert mean == pytest.approx(0.1)
    assert math.isnan(error)


def test_rhat_by_hand() -> None:
    chains = [[1.0, 2.0, 3.0, 4.0], [2.0, 3.0, 4.0, 5.0]]
    assert d.rhat(chains) == pytest.approx(1.0246951, abs=1e-7)
    assert d.split_rhat(chains) == pytest.approx(1.9578900, abs=1e-7)


def test_split_rhat_leaves_out_the_middle() -> None:
    even = np.random.default_rng(4).standard_normal((3, 10))
    odd = np.insert(even, 5, 100.0, axis=1)
    assert d.split_rhat(odd) == d.split_rhat(even)


def test_rhat_sees_what_it_should() -> None:
    rng = np.random.default_rng(5)
    good = rng.standard_normal((4, 1000))
    trend = good + np.linspace(-1, 1, 1000)
    apart = good + np.array([0.0, 0.0, 0.0, 1.0])[:, None]
    wider = good * np.array([1.0, 1.0, 1.0, 3.0])[:, None]
    heavy = rng.standard_cauchy((4, 1000))
    assert d.rank_normalised_split_rhat(good) < 1.01
    assert d.rank_normalised_split_rhat(heavy) < 1.01
    assert d.rhat(trend) < 1.01
    assert d.split_rhat(trend) > 1.1
    assert d.rank_normalised_split_rhat(apart) > 1.05
    # Equal means, different widths: only the folded values show it.
    assert d.split_rhat(wider) < 1.01
    assert d.rank_normalised_split_rhat(wider) > 1.05
    assert d.chains_agree(list(good))
    assert not d.chains_agree(list(apart))


def test_rhat_of_chains_that_never_moved() -> None:
    assert math.isnan(d.rhat(np.full((2, 8), 0.3)))
    assert d.rhat(np.repeat([[0.3], [0.4]], 8, axis=1)) == math.inf
    assert not d.chains_agree(np.full((2, 8), 0.3))
    with pytest.raises(ValueError, match="too short"):
        d.split_rhat([[1.0, 2.0, 3.0]])


def test_creutz_of_gaussian_deltas() -> None:
    # Gaussian with variance v and mean v/2: the identity holds exactly.
    rng = np.random.default_rng(6)
    mean, error, t = d.creutz(KT * (0.4 + math.sqrt(0.8) * rng.standard_normal(50_000)), 300.0)
    assert abs(t) < 4
    assert error < 0.01
    assert t == pytest.approx((mean - 1) / error)
    assert abs(d.creutz(KT * (0.3 + math.sqrt(0.8) * rng.standard_normal(50_000)), 300.0)[2]) > 10


def test_creutz_leaves_out_what_was_rejected_unseen() -> None:
    deltas = KT * np.random.default_rng(7).standard_normal(100)
    assert d.creutz(np.append(deltas, np.inf), 300.0) == d.creutz(deltas, 300.0)
    assert np.isnan(d.creutz([np.inf, np.inf], 300.0)).all()


@pytest.mark.parametrize(
    ("accepted", "cycles", "confidence", "low", "high"),
    # Closed form: centre (k + z²/2)/(n + z²), half width z sqrt(k (n - k)/n + z²/4)/(n + z²); z = 1.959964.
    [(0, 10, 0.95, 0.0, 0.2775328), (7, 10, 0.95, 0.3967781, 0.8922087), (10, 10, 0.95, 0.7224672, 1.0)],
)
def test_interval_of_an_acceptance(accepted: int, cycles: int, confidence: float, low: float, high: float) -> None:
    assert d.acceptance_interval(accepted, cycles, confidence) == pytest.approx((low, high), abs=1e-6)


def test_interval_needs_a_proposal() -> None:
    with pytest.raises(ValueError, match="at least one"):
        d.acceptance_interval(0, 0)


@pytest.mark.parametrize(
    ("acceptance", "error"), [(0.75, 11.6e-3), (0.69, 14.6e-3), (0.651, 16.5e-3), (0.26, 41.2e-3), (0.19, 47.9e-3)]
)
def test_model_error_that_an_acceptance_implies(acceptance: float, error: float) -> None:
    assert d.implied_model_error(acceptance, 300.0) == pytest.approx(error, abs=6e-5)
    assert d.implied_model_error(acceptance, 600.0) == pytest.approx(2 * d.implied_model_error(acceptance, 300.0))


def test_model_error_recovers_what_made_the_acceptance() -> None:
    # Two independent model errors of 20 meV make delta; detailed balance fixes its mean at half its variance.
    v = 2 * (0.020 / KT) ** 2
    deltas = v / 2 + math.sqrt(v) * np.random.default_rng(8).standard_normal(400_000)
    acceptance = np.minimum(1.0, np.exp(-deltas)).mean()
    assert d.implied_model_error(acceptance, 300.0) == pytest.approx(0.020, rel=5e-3)


@pytest.mark.parametrize("acceptance", [0.0, -0.1, 1.1, math.nan])
def test_no_model_error_without_an_acceptance(acceptance: float) -> None:
    with pytest.raises(ValueError, match="implies no model error"):
        d.implied_model_error(acceptance, 300.0)


@pytest.mark.parametrize(("phi", "tau"), [(0.0, 1.0), (0.5, 3.0), (0.9, 19.0)])
def test_tau_of_several_autoregressions(phi: float, tau: float) -> None:
    estimate, error = d.autocorrelation_time_of_chains(autoregression(phi, (8, 25_000), np.random.default_rng(1)))
    assert abs(estimate - tau) < 4 * error
    assert error < 0.1 * tau


def test_autocorrelation_of_an_autoregression() -> None:
    rho = d.autocorrelation(autoregression(0.8, (50, 8000), np.random.default_rng(2)))
    assert rho[0] == 1.0
    np.testing.assert_allclose(rho[:10], 0.8 ** np.arange(10), atol=0.02)


def test_chains_apart_are_worth_as_many_values_as_there_are_chains() -> None:
    noise = 0.01 * np.random.default_rng(3).standard_normal((4, 200))
    together, apart = noise, noise + np.arange(4.0)[:, None]
    assert d.autocorrelation_time_of_chains(together)[0] < 1.5
    # Each by itself looks perfect: only their distance tells.
    assert max(d.integrated_autocorrelation_time(chain)[0] for chain in apart) < 2.0
    assert d.autocorrelation_time_of_chains(apart)[0] > 150.0
    assert np.isclose(d.autocorrelation(apart), 1.0, atol=1e-3).all()


def test_a_drift_counts_as_correlation() -> None:
    chain = np.random.default_rng(4).standard_normal(400) + np.linspace(-3, 3, 400)
    assert d.autocorrelation_time_of_chains(chain[None])[0] > 50.0


def test_error_of_the_mean_of_short_chains_covers() -> None:
    # 300 experiments of 4 chains of 10 tau each; each chain by itself cannot know its tau.
    chains = autoregression(0.5, (300, 4, 30), np.random.default_rng(5))
    z = []
    for x in chains:
        tau = max(1.0, d.autocorrelation_time_of_chains(x)[0])
        z.append(x.mean() / (x.std(ddof=1) * math.sqrt(tau / x.size)))
    assert 0.85 < np.std(z) < 1.25


def test_tau_of_chains_where_there_is_nothing_to_see() -> None:
    assert math.isnan(d.autocorrelation_time_of_chains([[1.0, 2.0, 1.5]])[1])
    for stuck in (np.full((3, 20), 0.3), np.repeat([[0.3], [0.4]], 20, axis=1)):
        tau, error = d.autocorrelation_time_of_chains(stuck)
        assert tau == 20.0
        assert math.isnan(error)
    assert np.isnan(d.autocorrelation(np.full((3, 20), 0.3))).all()


def test_uncertainty_of_the_implied_model_error_is_the_slope() -> None:
    low, high = (d.implied_model_error(0.6 + step, 300.0) for step in (1e-5, -1e-5))
    assert d.implied_model_error_uncertainty(0.6, 1e-5, 300.0) == pytest.approx((high - low) / 2, rel=1e-6)
