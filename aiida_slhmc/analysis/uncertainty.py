"""Scores of predicted uncertainties on labels that are there: of an ensemble, a committee, or anything with a spread.

Errors and standard deviations come as arrays of one shape and unit, one entry per energy or per component. What is said
of standard errors takes the entries as independent; the components of one structure are not quite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

#: Levels of the curve of coverage that is drawn.
LEVELS = np.linspace(0.05, 0.95, 19)


@dataclass(frozen=True)
class Coverage:
    """Hold how often errors lie within the intervals that should hold them.

    :param expected: (L,) levels, the shares of errors that should lie within.
    :param observed: (L,) the shares that do.
    :param error: (L,) binomial standard errors of the observed shares if the expected ones are right.
    """

    expected: NDArray[np.float64]
    observed: NDArray[np.float64]
    error: NDArray[np.float64]


def levels(errors: ArrayLike, sds: ArrayLike, degrees: float = math.inf) -> NDArray[np.float64]:
    """Return for each error the level of the interval about the prediction that just holds it, P(|e*| < |e|).

    For calibrated uncertainties the levels are uniform on [0, 1].

    :param errors: predicted minus labelled values, any shape.
    :param sds: their predicted standard deviations (scales, with finite ``degrees``), same shape. Where one is 0 the
        level is 1, or 0 if the error is 0 too.
    :param degrees: of freedom of Student's t; infinity: Gaussian. For a
        :class:`~aiida_slhmc.numerics.calibration.Calibration` they are 2 alpha and the scale is s sqrt(beta/alpha).
    :returns: (n,), flattened.
    :raises ValueError: for shapes that differ, no entry, an error that is not finite or a spread that is negative.
    """
    error, sd = _pair(errors, sds)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error == 0.0, 0.0, np.abs(error) / sd)
    law = stats.norm if math.isinf(degrees) else stats.t(degrees)
    return np.asarray(1.0 - 2.0 * law.sf(ratio), dtype=np.float64)


def coverage(errors: ArrayLike, sds: ArrayLike, expected: ArrayLike = LEVELS, degrees: float = math.inf) -> Coverage:
    """Return the curve of calibration: expected against observed coverage.

    :param errors: predicted minus labelled values, any shape.
    :param sds: their predicted standard deviations, same shape.
    :param expected: (L,) levels above 0 and below 1.
    :param degrees: of freedom; see :func:`levels`.
    :raises ValueError: as :func:`levels`, or for a level out of its range.
    """
    wanted = np.atleast_1d(np.asarray(expected, dtype=np.float64))
    if not np.all((wanted > 0.0) & (wanted < 1.0)):
        raise ValueError("a level of coverage lies above 0 and below 1")
    found = np.sort(levels(errors, sds, degrees))
    observed = np.searchsorted(found, wanted, side="right") / len(found)
    return Coverage(wanted, observed, np.sqrt(wanted * (1.0 - wanted) / len(found)))


def miscalibration_area(errors: ArrayLike, sds: ArrayLike, degrees: float = math.inf) -> float:
    """Return the area between the curve of calibration and the diagonal, integrated exactly.

    Kuleshov, Fenner and Ermon (ICML 2018) draw the curve; the area is 0 for calibrated uncertainties (0.313/sqrt(n) is
    expected of n independent errors) and at most 1/2.

    :param errors: predicted minus labelled values, any shape.
    :param sds: their predicted standard deviations, same shape.
    :param degrees: of freedom; see :func:`levels`.
    :raises ValueError: as :func:`levels`.
    """
    found = np.sort(levels(errors, sds, degrees))
    # The step function's distance to the diagonal is the same along the other axis: n strips of height 1/n.
    edges = np.linspace(0.0, 1.0, len(found) + 1)
    signed = [(edge - found) * np.abs(edge - found) / 2.0 for edge in (edges[1:], edges[:-1])]
    return float(np.sum(signed[0] - signed[1]))


def auroc(errors: ArrayLike, sds: ArrayLike, threshold: float) -> float:
    """Return the chance that an error above a threshold was announced by a larger spread than one below it.

    The area under the receiver operating characteristic, by Mann and Whitney's statistic; ties count one half, so that
    a constant spread gives 1/2.

    :param errors: predicted minus labelled values, any shape.
    :param sds: their predicted standard deviations, same shape.
    :param threshold: of the absolute error.
    :returns: between 0 and 1; NaN if all errors lie on one side of the threshold.
    :raises ValueError: as :func:`levels`.
    """
    error, sd = _pair(errors, sds)
    large = np.abs(error) > threshold
    if large.all() or not large.any():
        return math.nan
    # Ranks in place of the values: an infinite spread is only the largest.
    ranks = stats.rankdata(sd)
    statistic = stats.mannwhitneyu(ranks[large], ranks[~large], method="asymptotic").statistic
    return float(statistic) / (int(large.sum()) * int((~large).sum()))


def correlations(errors: ArrayLike, sds: ArrayLike) -> dict[str, float]:
    """Return how absolute errors and spreads go together.

    :param errors: predicted minus labelled values, any shape.
    :param sds: their predicted standard deviations, same shape.
    :returns: ``spearman`` (of ranks) and ``pearson``; NaN for fewer than three entries, or where one is constant.
    :raises ValueError: as :func:`levels`.
    """
    error, sd = _pair(errors, sds)
    size = np.abs(error)
    if len(size) < 3 or np.ptp(size) == 0.0 or not np.ptp(sd) > 0.0:
        return {"spearman": math.nan, "pearson": math.nan}
    pearson = float(stats.pearsonr(size, sd).statistic) if np.isfinite(sd).all() else math.nan
    return {"spearman": float(stats.spearmanr(size, sd).statistic), "pearson": pearson}


def log_density(errors: ArrayLike, sds: ArrayLike, degrees: float = math.inf) -> float:
    """Return the mean log density of the errors: the proper score that is highest for the right spread.

    :param errors: predicted minus labelled values, any shape.
    :param sds: their predicted standard deviations, same shape; minus infinity where one is 0 and its error is not.
    :param degrees: of freedom; see :func:`levels`.
    :raises ValueError: as :func:`levels`.
    """
    error, sd = _pair(errors, sds)
    law = stats.norm if math.isinf(degrees) else stats.t(degrees)
    positive = sd > 0.0
    if not positive.all():
        return -math.inf
    return float(np.mean(law.logpdf(error / sd) - np.log(sd)))


def score(errors: ArrayLike, sds: ArrayLike, threshold: float, degrees: float = math.inf) -> dict[str, Any]:
    """Return all scores of one estimate of uncertainty.

    :param errors: predicted minus labelled values, any shape.
    :param sds: their predicted standard deviations, same shape.
    :param threshold: of the absolute error, for the AUROC.
    :param degrees: of freedom; see :func:`levels`.
    :returns: ``n``; ``rmse`` and ``sd`` (root mean squares, in the unit given); ``z`` (root mean square of error by
        spread, 1 if calibrated); ``coverage`` (expected, observed, error: lists); ``miscalibration_area`` and
        ``miscalibration_floor`` (expected of calibrated uncertainties); ``auroc``, ``threshold``, ``above`` (errors
        beyond the threshold); ``spearman``, ``pearson``; ``log_density``.
    :raises ValueError: as :func:`levels`.
    """
    error, sd = _pair(errors, sds)
    curve = coverage(error, sd, degrees=degrees)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error == 0.0, 0.0, error / sd)
    return {
        "n": len(error),
        "rmse": _rms(error),
        "sd": _rms(sd),
        "z": _rms(ratio),
        "coverage": {
            "expected": curve.expected.tolist(),
            "observed": curve.observed.tolist(),
            "error": curve.error.tolist(),
        },
        "miscalibration_area": miscalibration_area(error, sd, degrees),
        "miscalibration_floor": calibrated_area(len(error)),
        "auroc": auroc(error, sd, threshold),
        "threshold": float(threshold),
        "above": int(np.count_nonzero(np.abs(error) > threshold)),
        **correlations(error, sd),
        "log_density": log_density(error, sd, degrees),
    }


def calibrated_area(n: int) -> float:
    """Return the miscalibration area that n independent errors are expected to show if all is right.

    The mean absolute Brownian bridge, sqrt(2/pi) (pi/8)/sqrt(n).

    :param n: number of errors.
    """
    return math.sqrt(2.0 * math.pi) / 8.0 / math.sqrt(n)


def _pair(errors: ArrayLike, sds: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    error, sd = np.asarray(errors, dtype=np.float64), np.asarray(sds, dtype=np.float64)
    if error.shape != sd.shape or error.size == 0:
        raise ValueError(f"errors of shape {error.shape} and standard deviations of shape {sd.shape} make no pairs")
    if not np.isfinite(error).all() or not np.all(sd >= 0.0):
        raise ValueError("errors must be finite, and standard deviations at least 0")
    return error.ravel(), sd.ravel()


def _rms(values: NDArray[np.float64]) -> float:
    return math.sqrt(float(np.mean(values**2)))
