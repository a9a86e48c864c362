"""Calibration of a model's uncertainty by the errors that labels have shown, and the decision to ask for a label.

An error is Gaussian with the predicted standard deviation but for a factor that all predictions share, and the factor
has a conjugate prior: Rensmeyer, Kramer and Niggemann, on-the-fly Bayesian fine-tuning (2025), "uncertainty
calibration". The law of the next error then is a Student t.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

#: Chance of an error beyond the bound that is put up with.
TOLERANCE = 0.05


@dataclass(frozen=True)
class Calibration:
    """Hold what is known of the factor lambda in e ~ N(0, s²/lambda), lambda ~ Gamma(a, rate b).

    The defaults are the paper's for MACE: before any error the predicted spread is held to be sqrt(b/a) = 2.6 times too
    small.

    :param a: shape of the prior.
    :param b: rate of the prior.
    :param n: errors seen; a fraction if errors were counted in part.
    :param sum_squares: sum of e²/s² over them.
    :raises ValueError: for numbers that make no Gamma law.
    """

    a: float = 1.5
    b: float = 10.0
    n: float = 0.0
    sum_squares: float = 0.0

    def __post_init__(self) -> None:
        for name, positive in (("a", True), ("b", True), ("n", False), ("sum_squares", False)):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0.0 or (positive and value == 0.0):
                raise ValueError(
                    f"{name} of a calibration must be {'positive' if positive else 'at least 0'} and finite,"
                    f" not {value}"
                )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Return a calibration from its values by name.

        :param values: as of :meth:`to_dict`; those left out take their defaults.
        :raises ValueError: for another name.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        foreign = sorted(set(values) - known)
        if foreign:
            raise ValueError(f"a calibration has no '{foreign[0]}'; it has {', '.join(sorted(known))}")
        return cls(**{name: float(value) for name, value in values.items()})

    def to_dict(self) -> dict[str, float]:
        """Return a, b, n and sum_squares by name."""
        return dataclasses.asdict(self)

    @property
    def alpha(self) -> float:
        """Shape of the posterior, a + n/2."""
        return self.a + self.n / 2.0

    @property
    def beta(self) -> float:
        """Rate of the posterior, b + (sum of e²/s²)/2."""
        return self.b + self.sum_squares / 2.0

    def update(self, errors: ArrayLike, sigmas: ArrayLike, weight: float = 1.0) -> Calibration:
        """Return the calibration after more errors.

        :param errors: predicted minus labelled values, any shape and unit.
        :param sigmas: the standard deviations that were predicted for them, same shape and unit.
        :param weight: what each error counts: 1 for independent errors. The 3N force components of one structure are
            not independent; with 1/(3N) they count as one error together.
        :raises ValueError: for a number that is not finite, a spread that is not positive, or shapes that differ.
        """
        error, sigma = np.asarray(errors, dtype=np.float64), np.asarray(sigmas, dtype=np.float64)
        if error.shape != sigma.shape:
            raise ValueError(f"errors of shape {error.shape} do not fit standard deviations of shape {sigma.shape}")
        if not np.isfinite(error).all() or not np.isfinite(sigma).all() or not np.all(sigma > 0.0):
            raise ValueError("errors must be finite, and predicted standard deviations positive and finite")
        if not 0.0 < weight <= 1.0:
            raise ValueError(f"the weight of an error lies above 0 and is at most 1, not {weight}")
        squares = weight * float(np.sum((error / sigma) ** 2))
        return dataclasses.replace(self, n=self.n + weight * error.size, sum_squares=self.sum_squares + squares)

    def exceedance(self, sigma: ArrayLike, bound: float) -> NDArray[np.float64]:
        """Return P(|e| > K), the chance that the next error lies beyond a bound.

        I_y(alpha, 1/2) with y = 2 s² beta / (K² + 2 s² beta), the complement of I_x(1/2, alpha): equal to the
        hypergeometric form of the paper, which is no number for many errors, and accurate also where it is tiny.

        :param sigma: predicted standard deviations s, any shape.
        :param bound: K > 0, in the same unit.
        :returns: of the shape of ``sigma``.
        :raises ValueError: for a spread that is negative or no number, or a bound that is not positive and finite.
        """
        if not (math.isfinite(bound) and bound > 0.0):
            raise ValueError(f"the bound on an error must be positive and finite, not {bound}")
        scale = np.asarray(sigma, dtype=np.float64) / bound
        if not np.all(scale >= 0.0):
            raise ValueError("a predicted standard deviation is negative or no number")
        with np.errstate(divide="ignore", over="ignore"):
            y = 1.0 / (1.0 + (1.0 / scale) ** 2 / (2.0 * self.beta))
        return np.asarray(special.betainc(self.alpha, 0.5, y), dtype=np.float64)

    def probability(self, sigma: ArrayLike, bound: float) -> NDArray[np.float64]:
        """Return P(|e| < K), the chance that the next error lies within a bound.

        :param sigma: predicted standard deviations s, any shape.
        :param bound: K > 0, in the same unit.
        :returns: of the shape of ``sigma``.
        :raises ValueError: as :meth:`exceedance`.
        """
        return 1.0 - self.exceedance(sigma, bound)

    def predictive(self, sigma: ArrayLike) -> Any:
        """Return the law of the next error: Student's t of 2 alpha degrees and scale s sqrt(beta/alpha).

        :param sigma: predicted standard deviations s > 0, any shape.
        :returns: a frozen ``scipy.stats.t``: pdf, cdf, interval, rvs.
        """
        scale = np.asarray(sigma, dtype=np.float64) * math.sqrt(self.beta / self.alpha)
        return stats.t(df=2.0 * self.alpha, scale=scale)

    def factor(self) -> float:
        """Return what a predicted standard deviation is multiplied by to be calibrated, 1/sqrt(lambda).

        Lambda is taken at its most probable value (alpha - 1)/beta, as in the paper's figure 5.

        :raises ValueError: while alpha is at most 1: then lambda has no mode.
        """
        if self.alpha <= 1.0:
            raise ValueError(f"the factor has no most probable value while a + n/2 = {self.alpha:g} is at most 1")
        return math.sqrt(self.beta / (self.alpha - 1.0))

    def largest_sigma(self, bound: float, tolerance: float = TOLERANCE) -> float:
        """Return the predicted standard deviation at which P(|e| > K) equals the tolerance.

        :param bound: K, in any unit.
        :param tolerance: above 0 and below 1.
        :returns: in the unit of the bound.
        :raises ValueError: for a tolerance or bound that cannot be.
        """
        _check_tolerance(tolerance)
        if not (math.isfinite(bound) and bound > 0.0):
            raise ValueError(f"the bound on an error must be positive and finite, not {bound}")
        # The root of the incomplete beta function, then s from y = 1/(1 + K²/(2 s² beta)).
        y = float(special.betaincinv(self.alpha, 0.5, tolerance))
        one_minus_y = float(special.betainccinv(0.5, self.alpha, tolerance))
        return bound * math.sqrt(y / (one_minus_y * 2.0 * self.beta))

    def needs_label(self, sigma: ArrayLike, bound: float, tolerance: float = TOLERANCE) -> bool:
        """Return whether any of the predictions may be wrong by more than a bound with more than a tolerated chance.

        :param sigma: predicted standard deviation s of an energy, or those of several numbers of which all must be
            trusted.
        :param bound: K, in the same unit.
        :param tolerance: largest P(|e| > K) that is put up with.
        :raises ValueError: as :meth:`exceedance`.
        """
        _check_tolerance(tolerance)
        return bool(np.any(self.exceedance(sigma, bound) > tolerance))


def _check_tolerance(tolerance: float) -> None:
    if not 0.0 < tolerance < 1.0:
        raise ValueError(f"the tolerance is a probability above 0 and below 1, not {tolerance}")
