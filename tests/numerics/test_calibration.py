from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, optimize, special, stats

from aiida_slhmc.numerics.calibration import Calibration

#: Bound K, spread s, errors seen n, their sum of e²/s², a, b, and P(|e| < K).
PROBABILITIES = [
    (1, 0.2, 0, 0, 1.5, 10, 0.851779853788),
    (1, 0.2, 0, 0, 3, 10, 0.966202212500),
    (0.5, 0.1, 10, 25, 1.5, 10, 0.981364433285),
    (0.5, 0.05, 65, 260, 3, 10, 0.999996523583),
    (5, 1, 285, 1140, 1.5, 10, 0.986711751576),
    (6, 2.685, 30, 36, 1.5, 10, 0.904354574612),
    (1, 1, 0, 0, 0.5, 0.5, 0.5),
]
#: a, n, M and the threshold s/K at which P = 0.95, for b = 10.
THRESHOLDS = [
    (1.5, 0, 0, 0.121698),
    (1.5, 1, 1, 0.157192),
    (1.5, 5, 1, 0.245310),
    (1.5, 20, 1, 0.366560),
    (1.5, 100, 1, 0.467140),
    (3, 0, 0, 0.223842),
    (3, 20, 1, 0.392223),
    (3, 100, 1, 0.474054),
]


@pytest.mark.parametrize(("bound", "sigma", "n", "squares", "a", "b", "expected"), PROBABILITIES)
def test_probability_in_closed_form(bound, sigma, n, squares, a, b, expected) -> None:
    calibration = Calibration(a, b, n, squares)
    assert float(calibration.probability(sigma, bound)) == pytest.approx(expected, abs=6e-13)
    assert float(calibration.exceedance(sigma, bound)) == pytest.approx(1.0 - expected, abs=6e-13)


@pytest.mark.parametrize(("bound", "sigma", "n", "squares", "a", "b", "expected"), PROBABILITIES)
def test_three_other_forms_agree(bound, sigma, n, squares, a, b, expected) -> None:
    """The paper's hypergeometric form, Student's t, and the integral of its density."""
    calibration = Calibration(a, b, n, squares)
    alpha, spread = calibration.alpha, 2.0 * sigma**2 * calibration.beta
    paper = (
        2.0
        * bound
        / math.sqrt(math.pi * spread)
        * math.exp(special.gammaln(alpha + 0.5) - special.gammaln(alpha))
        * special.hyp2f1(0.5, alpha + 0.5, 1.5, -(bound**2) / spread)
    )
    assert paper == pytest.approx(expected, abs=1e-9)
    law = calibration.predictive(sigma)
    assert 2.0 * law.cdf(bound) - 1.0 == pytest.approx(expected, abs=1e-11)
    assert integrate.quad(law.pdf, -bound, bound, epsabs=1e-12)[0] == pytest.approx(expected, abs=1e-9)
    for error in (0.0, 0.3 * bound, 2.0 * bound):
        density = (
            math.exp(special.gammaln(alpha + 0.5) - special.gammaln(alpha))
            / math.sqrt(math.pi * spread)
            * (1.0 + error**2 / spread) ** -(alpha + 0.5)
        )
        assert law.pdf(error) == pytest.approx(density, rel=1e-10)


def test_where_the_hypergeometric_form_fails() -> None:
    n, sigma = 2000, 1e-3
    calibration = Calibration(1.5, 10.0, n, float(n))
    assert not np.isfinite(special.hyp2f1(0.5, calibration.alpha + 0.5, 1.5, -1.0 / (2 * sigma**2 * calibration.beta)))
    assert float(calibration.probability(sigma, 1.0)) == 1.0


@pytest.mark.parametrize("n", [0, 1, 1000, 10**7])
@pytest.mark.parametrize("mean_square", [0.0, 1e-12, 1.0, 1e12])
def test_extremes_are_finite_and_in_order(n: int, mean_square: float) -> None:
    calibration = Calibration(1.5, 10.0, n, n * mean_square)
    sigmas = np.array([0.0, 1e-300, 1e-12, 1e-3, 1.0, 1e3, 1e12, 1e300, np.inf])
    p = calibration.probability(sigmas, 1.0)
    assert np.isfinite(p).all()
    assert (p >= 0).all()
    assert (p <= 1).all()
    assert (np.diff(p) <= 1e-12).all()
    assert p[0] == 1.0
    assert p[-1] == 0.0
    threshold = calibration.largest_sigma(1.0)
    assert 0.0 < threshold < math.inf
    assert float(calibration.exceedance(threshold, 1.0)) == pytest.approx(0.05, rel=1e-6)


@pytest.mark.parametrize(("a", "n", "mean_square", "expected"), THRESHOLDS)
def test_threshold_of_the_spread(a, n, mean_square, expected) -> None:
    calibration = Calibration(a, 10.0, n, n * mean_square)
    assert calibration.largest_sigma(1.0) == pytest.approx(expected, abs=5.1e-7)
    assert calibration.largest_sigma(7.0) == pytest.approx(7.0 * calibration.largest_sigma(1.0), rel=1e-14)
    root = optimize.brentq(lambda s: float(calibration.exceedance(s, 1.0)) - 0.05, 1e-6, 10.0, xtol=1e-14)
    assert calibration.largest_sigma(1.0) == pytest.approx(root, rel=1e-10)


@pytest.mark.parametrize(("mean_square", "expected"), [(1.0, 0.510213), (4.0, 0.255107)])
def test_threshold_after_many_errors_is_the_gaussian_one(mean_square: float, expected: float) -> None:
    n = 10**8
    assert Calibration(1.5, 10.0, n, n * mean_square).largest_sigma(1.0) == pytest.approx(expected, abs=5e-7)
    assert 1.0 / (stats.norm.ppf(0.975) * math.sqrt(mean_square)) == pytest.approx(expected, abs=5e-7)


def test_first_free_step_leaves_little_to_the_ensemble() -> None:
    """With the energy head's 0.1 K in quadrature the members may differ by 0.0694 K (the sheet cuts off to 0.0693)."""
    threshold = Calibration().largest_sigma(1.0)
    assert math.sqrt(threshold**2 - 0.1**2) == pytest.approx(0.06936, abs=5e-6)


def test_decision() -> None:
    calibration = Calibration()
    threshold = calibration.largest_sigma(0.26)
    assert not calibration.needs_label(0.999 * threshold, 0.26)
    assert calibration.needs_label(1.001 * threshold, 0.26)
    assert calibration.needs_label([[0.1 * threshold, 0.2 * threshold, 1.001 * threshold]], 0.26)
    assert not calibration.needs_label(1.001 * threshold, 0.26, tolerance=0.06)
    assert calibration.needs_label(np.inf, 0.26)


def test_updates_add_up() -> None:
    errors, sigmas = np.array([0.3, -1.0, 2.0]), np.array([0.5, 0.5, 1.0])
    once = Calibration().update(errors, sigmas)
    assert (once.n, once.sum_squares) == (3.0, pytest.approx(0.36 + 4.0 + 4.0))
    assert (once.alpha, once.beta) == (3.0, pytest.approx(10.0 + 8.36 / 2))
    steps = Calibration()
    for error, sigma in zip(errors, sigmas, strict=True):
        steps = steps.update(error, sigma)
    assert steps.n == once.n
    assert steps.sum_squares == pytest.approx(once.sum_squares, rel=1e-15)
    assert Calibration.from_dict(once.to_dict()) == once
    forces = Calibration().update(np.ones((4, 3)), np.full((4, 3), 0.5), weight=1 / 12)
    assert (forces.n, forces.sum_squares) == (pytest.approx(1.0), pytest.approx(4.0))


def test_factor_is_the_posterior_mode() -> None:
    calibration = Calibration(1.5, 10.0, 20, 80.0)
    law = stats.gamma(calibration.alpha, scale=1.0 / calibration.beta)
    best = optimize.minimize_scalar(lambda value: -law.logpdf(value), bounds=(1e-3, 5.0), method="bounded")
    assert calibration.factor() == pytest.approx(1.0 / math.sqrt(best.x), rel=1e-5)
    assert Calibration(1.5, 10.0, 10**8, 4.0 * 10**8).factor() == pytest.approx(2.0, rel=1e-6)
    with pytest.raises(ValueError, match="no most probable value"):
        Calibration(0.5, 0.5).factor()


@pytest.mark.parametrize("n", [0, 1, 10, 100])
def test_ranks_of_the_true_factor_are_uniform(n: int) -> None:
    """Simulation-based calibration (Talts et al. 2018): 4000 data sets, 99 draws each, 20 bins; chi² below p = 1e-4."""
    a, b, runs, draws = 1.5, 10.0, 4000, 99
    rng = np.random.default_rng(41 + n)
    truth = rng.gamma(a, 1.0 / b, runs)
    ranks = np.empty(runs, dtype=int)
    places = np.empty(runs)
    for run in range(runs):
        sigmas = np.exp(rng.normal(size=n))
        errors = rng.normal(size=n) * sigmas / math.sqrt(truth[run])
        after = Calibration(a, b).update(errors, sigmas)
        ranks[run] = np.count_nonzero(rng.gamma(after.alpha, 1.0 / after.beta, draws) < truth[run])
        places[run] = after.predictive(2.0).cdf(rng.normal() * 2.0 / math.sqrt(truth[run]))
    counts = np.bincount(ranks // 5, minlength=20)
    assert stats.chisquare(counts).pvalue > 1e-4
    # The predicted law of the next error holds too.
    assert stats.kstest(places, "uniform").pvalue > 1e-4


def test_a_wrong_posterior_is_caught_by_its_ranks() -> None:
    """Counting every error twice: too sure, so that the true factor lies too often outside all draws."""
    rng = np.random.default_rng(5)
    truth = rng.gamma(1.5, 0.1, 2000)
    ranks = []
    for value in truth:
        errors = rng.normal(size=10) / math.sqrt(value)
        after = Calibration().update(errors, np.ones(10)).update(errors, np.ones(10))
        ranks.append(np.count_nonzero(rng.gamma(after.alpha, 1.0 / after.beta, 99) < value))
    assert stats.chisquare(np.bincount(np.array(ranks) // 5, minlength=20)).pvalue < 1e-10


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Calibration(a=0.0), "a of a calibration must be positive"),
        (lambda: Calibration(sum_squares=-1.0), "sum_squares of a calibration must be at least 0"),
        (lambda: Calibration.from_dict({"c": 1}), "has no 'c'"),
        (lambda: Calibration().update([1.0], [0.0]), "positive and finite"),
        (lambda: Calibration().update([np.nan], [1.0]), "must be finite"),
        (lambda: Calibration().update([1.0, 2.0], [1.0]), "do not fit"),
        (lambda: Calibration().update([1.0], [1.0], weight=0.0), "weight of an error"),
        (lambda: Calibration().needs_label(np.nan, 1.0), "negative or no number"),
        (lambda: Calibration().needs_label(1.0, 0.0), "bound on an error"),
        (lambda: Calibration().needs_label(1.0, 1.0, tolerance=1.0), "tolerance is a probability"),
        (lambda: Calibration().largest_sigma(np.inf), "bound on an error"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()
