from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from aiida_slhmc.analysis import uncertainty
from aiida_slhmc.numerics.calibration import Calibration

N = 40_000


def calibrated(n: int = N, factor: float = 1.0, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return Gaussian errors whose spread is ``factor`` times the one predicted."""
    rng = np.random.default_rng(seed)
    sds = np.exp(0.5 * rng.normal(size=n))
    return factor * sds * rng.normal(size=n), sds


def test_calibrated_errors_are_covered_as_expected() -> None:
    """At every level within 4 binomial standard errors; so are those of any shape."""
    errors, sds = calibrated()
    curve = uncertainty.coverage(errors, sds)
    assert (np.abs(curve.observed - curve.expected) < 4 * curve.error).all()
    again = uncertainty.coverage(errors.reshape(-1, 8), sds.reshape(-1, 8))
    np.testing.assert_array_equal(curve.observed, again.observed)


@pytest.mark.parametrize("factor", [0.5, 2.0, 5.0])
def test_coverage_of_a_wrong_spread_in_closed_form(factor: float) -> None:
    """Errors c times as large as predicted: the level p covers 2 Phi(z_p/c) - 1."""
    errors, sds = calibrated(factor=factor)
    curve = uncertainty.coverage(errors, sds, [0.5, 0.9, 0.95])
    exact = 2.0 * stats.norm.cdf(stats.norm.ppf(0.5 + curve.expected / 2.0) / factor) - 1.0
    assert (np.abs(curve.observed - exact) < 4 * np.sqrt(exact * (1 - exact) / N)).all()


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0, 5.0])
def test_area_of_a_wrong_spread_in_closed_form(factor: float) -> None:
    """The mean level is (2/pi) arctan c, and the curve lies on one side: the area is its distance from 1/2."""
    errors, sds = calibrated(factor=factor)
    exact = abs(2.0 / math.pi * math.atan(factor) - 0.5)
    # A level has a standard deviation of at most 0.4.
    assert uncertainty.miscalibration_area(errors, sds) == pytest.approx(exact, abs=4 * 0.4 / math.sqrt(N))


def test_area_is_the_integral_of_the_curve() -> None:
    errors, sds = calibrated(n=25, factor=1.3)
    fine = (np.arange(200_000) + 0.5) / 200_000
    curve = uncertainty.coverage(errors, sds, fine)
    area = np.mean(np.abs(curve.observed - curve.expected))
    assert uncertainty.miscalibration_area(errors, sds) == pytest.approx(area, abs=1e-5)


def test_area_of_few_by_hand() -> None:
    """One error at its median: |1/2 - t| integrates to 1/4. One far out: 1/2; none at all: 1/2 too."""
    median = stats.norm.ppf(0.75)
    assert uncertainty.miscalibration_area([median], [1.0]) == pytest.approx(0.25, abs=1e-12)
    assert uncertainty.miscalibration_area([1e9, -1e9], [1.0, 1.0]) == pytest.approx(0.5)
    assert uncertainty.miscalibration_area([0.0, 0.0], [1.0, 1.0]) == pytest.approx(0.5)


def test_expected_area_of_the_calibrated() -> None:
    """Mean over 2000 sets of 50, within 4 standard errors and the finite set's 2 %."""
    areas = [uncertainty.miscalibration_area(*calibrated(50, seed=seed)) for seed in range(2000)]
    assert np.mean(areas) == pytest.approx(
        uncertainty.calibrated_area(50),
        abs=4 * np.std(areas) / math.sqrt(2000) + 0.02 * uncertainty.calibrated_area(50),
    )


def test_student_errors_need_their_degrees() -> None:
    """Errors drawn from the calibrated predictive law: covered as expected by it, not by a Gaussian."""
    calibration = Calibration().update([0.5, -1.2, 0.3], [1.0, 1.0, 1.0])
    rng = np.random.default_rng(8)
    _, sds = calibrated()
    errors = calibration.predictive(sds).rvs(random_state=rng)
    scales = sds * math.sqrt(calibration.beta / calibration.alpha)
    degrees = 2.0 * calibration.alpha
    curve = uncertainty.coverage(errors, scales, degrees=degrees)
    assert (np.abs(curve.observed - curve.expected) < 4 * curve.error).all()
    wrong = uncertainty.coverage(errors, scales)
    assert np.abs(wrong.observed - wrong.expected).max() > 10 * wrong.error.max()
    assert uncertainty.log_density(errors, scales, degrees) > uncertainty.log_density(errors, scales)


def test_constant_spread_separates_nothing() -> None:
    errors, _ = calibrated(n=100)
    assert uncertainty.auroc(errors, np.full(100, 0.3), 0.5) == 0.5
    found = uncertainty.correlations(errors, np.full(100, 0.3))
    assert math.isnan(found["spearman"])
    assert math.isnan(found["pearson"])


def test_perfect_and_reversed_ranking() -> None:
    errors = np.array([0.1, -0.2, 0.3, -0.4, 0.5])
    assert uncertainty.auroc(errors, np.abs(errors), 0.25) == 1.0
    assert uncertainty.auroc(errors, 1.0 - np.abs(errors), 0.25) == 0.0
    assert uncertainty.correlations(errors, 2 * np.abs(errors)) == pytest.approx({"spearman": 1.0, "pearson": 1.0})
    assert uncertainty.correlations(errors, np.abs(errors) ** 9)["spearman"] == pytest.approx(1.0)
    assert uncertainty.correlations(errors, 1.0 - np.abs(errors))["pearson"] == pytest.approx(-1.0)
    assert uncertainty.auroc(errors, [0.1, 0.2, np.inf, np.inf, np.inf], 0.25) == 1.0


def test_auroc_of_two_spreads_in_closed_form() -> None:
    """Half the errors N(0, 1), half N(0, 9), both known: (1 + P(wide|large) - P(wide|small))/2, within 4 sigma."""
    rng = np.random.default_rng(2)
    sds = np.where(rng.random(N) < 0.5, 1.0, 3.0)
    errors = sds * rng.normal(size=N)
    beyond = {s: 2.0 * stats.norm.sf(2.0 / s) for s in (1.0, 3.0)}
    wide_large = beyond[3.0] / (beyond[1.0] + beyond[3.0])
    wide_small = (1 - beyond[3.0]) / (2 - beyond[1.0] - beyond[3.0])
    exact = (1.0 + wide_large - wide_small) / 2.0
    large = np.mean(np.abs(errors) > 2.0)
    error = 0.5 * math.sqrt(
        wide_large * (1 - wide_large) / (N * large) + wide_small * (1 - wide_small) / (N * (1 - large))
    )
    assert uncertainty.auroc(errors, sds, 2.0) == pytest.approx(exact, abs=4 * error)


def test_auroc_is_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="the extra [worker] brings scikit-learn")
    errors, sds = calibrated(n=300)
    sds = np.round(sds, 1)
    expected = metrics.roc_auc_score(np.abs(errors) > 0.7, sds)
    assert uncertainty.auroc(errors, sds, 0.7) == pytest.approx(expected, rel=1e-12)


def test_auroc_needs_errors_on_both_sides() -> None:
    assert math.isnan(uncertainty.auroc([0.1, 0.2], [1.0, 2.0], 1.0))
    assert math.isnan(uncertainty.auroc([0.1, 0.2], [1.0, 2.0], 0.0))


def test_log_density_is_highest_for_the_right_spread() -> None:
    errors, sds = calibrated()
    values = {factor: uncertainty.log_density(errors, factor * sds) for factor in (0.7, 1.0, 1.4)}
    assert values[1.0] == max(values.values())
    entropy = -0.5 * math.log(2 * math.pi * math.e) - float(np.mean(np.log(sds)))
    assert values[1.0] == pytest.approx(entropy, abs=4 * math.sqrt(0.5 / N))
    assert uncertainty.log_density([1.0], [0.0]) == -math.inf


def test_levels_where_there_is_no_spread() -> None:
    assert uncertainty.levels([1.0, 0.0, 0.0], [0.0, 0.0, 1.0]).tolist() == [1.0, 0.0, 0.0]


def test_score_holds_it_all() -> None:
    errors, sds = calibrated()
    result = uncertainty.score(errors, sds, 1.0)
    assert result["n"] == N
    assert result["z"] == pytest.approx(1.0, abs=4 * math.sqrt(0.5 / N))
    assert result["rmse"] == pytest.approx(math.sqrt(np.mean(errors**2)))
    assert result["sd"] == pytest.approx(math.sqrt(np.mean(sds**2)))
    assert result["miscalibration_area"] < 5 * result["miscalibration_floor"]
    assert result["auroc"] == uncertainty.auroc(errors, sds, 1.0) > 0.6
    assert result["above"] == np.count_nonzero(np.abs(errors) > 1.0)
    assert result["spearman"] > 0.2
    assert len(result["coverage"]["expected"]) == len(result["coverage"]["observed"]) == 19


@pytest.mark.parametrize(
    ("errors", "sds", "message"),
    [
        ([1.0, 2.0], [1.0], "make no pairs"),
        ([], [], "make no pairs"),
        ([np.nan], [1.0], "must be finite"),
        ([1.0], [-1.0], "at least 0"),
        ([1.0], [np.nan], "at least 0"),
    ],
)
def test_what_cannot_be_scored_is_refused(errors, sds, message) -> None:
    for call in (uncertainty.levels, uncertainty.miscalibration_area, uncertainty.correlations):
        with pytest.raises(ValueError, match=message):
            call(errors, sds)
    with pytest.raises(ValueError, match=message):
        uncertainty.auroc(errors, sds, 1.0)


def test_levels_of_the_curve_are_checked() -> None:
    with pytest.raises(ValueError, match="above 0 and below 1"):
        uncertainty.coverage([1.0], [1.0], [0.0, 0.5])
