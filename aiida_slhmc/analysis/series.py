"""What series of one quantity from several chains say together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aiida_slhmc.numerics import diagnostics

from .statistics import MINIMUM_FOR_TAU, mean_of_chains

#: Level of the intervals of fractions: one standard error, like every other error bar.
CONFIDENCE = 0.68


def observable(chains: Sequence[ArrayLike], labels: int) -> dict[str, Any]:
    """Return what the chains of one law say of an observable.

    :param chains: one series a chain, a value a cycle. Chains known for less than half of the longest are left out, and
        the others cut at their beginnings to one length, so that they can be compared.
    :param labels: target evaluations that the chains cost.
    :returns: ``mean``, ``error``, ``tau`` and ``tau_error`` (cycles), ``ess`` (over all chains), ``ess_per_label``,
        ``rhat`` (rank-normalised and split); all but the mean None for chains below 8 values.
    """
    matrix = _aligned(chains)
    names = ("mean", "error", "tau", "tau_error", "ess", "ess_per_label", "rhat")
    result: dict[str, Any] = dict.fromkeys(names)
    if not matrix.size:
        return result
    result["mean"] = float(matrix.mean())
    if matrix.shape[1] < MINIMUM_FOR_TAU:
        return result
    tau, tau_error = diagnostics.autocorrelation_time_of_chains(matrix)
    tau = max(tau, 1.0)
    ess = matrix.size / tau
    moved = bool(np.ptp(matrix) > 0.0)
    return result | {
        "error": float(matrix.std(ddof=1) / math.sqrt(ess)) if moved else None,
        "tau": tau,
        "tau_error": known_or_none(tau_error),
        "ess": ess,
        "ess_per_label": ess / labels if labels else None,
        "rhat": known_or_none(diagnostics.rank_normalised_split_rhat(matrix)),
    }


def implied_error(probabilities: Mapping[float, Sequence[ArrayLike]]) -> tuple[float, float]:
    """Return the model's energy error that acceptance probabilities imply, and its standard error, in eV for the cell.

    :param probabilities: by temperature in K, one series a chain, of labelled proposals alone: a trajectory that
        diverged says nothing of the energies' errors.
    :returns: the root mean square over the temperatures; NaN where there is no proposal, or all are certain.
    """
    weights, squares, variances = [], [], []
    for temperature, series in probabilities.items():
        mean = mean_of_chains(series) if series else None
        if mean is None or not 0.0 < mean.value < 1.0:
            continue
        weights.append(mean.n)
        squares.append(diagnostics.implied_model_error(mean.value, temperature) ** 2)
        variances.append(diagnostics.implied_model_error_uncertainty(mean.value, mean.error, temperature) ** 2)
    if not weights:
        return math.nan, math.nan
    value, variance = np.average(squares, weights=weights), np.average(variances, weights=weights)
    return math.sqrt(value), math.sqrt(variance / len(weights))


def known_or_none(value: float) -> float | None:
    """Return a number as plain float, None for NaN.

    :param value: a number.
    """
    return None if math.isnan(value) else float(value)


def _aligned(chains: Sequence[ArrayLike]) -> NDArray[np.float64]:
    series = [np.asarray(chain, dtype=np.float64) for chain in chains]
    longest = max((len(one) for one in series), default=0)
    if longest == 0:
        return np.zeros((0, 0))
    kept = [one for one in series if 2 * len(one) >= longest]
    shortest = min(len(one) for one in kept)
    return np.stack([one[-shortest:] for one in kept])
