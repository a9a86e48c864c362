"""Chain diagnostics: how far a chain can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import units
from numpy.typing import ArrayLike
from scipy import special, stats

from .potential import Array


def integrated_autocorrelation_time(values: ArrayLike, window: float = 5.0) -> tuple[float, float]:
    """Return the integrated autocorrelation time and its error, in steps of the chain.

    tau = 1 + 2 sum_{t<=M} rho(t) with Sokal's window, the smallest M >= window max(tau, 1) (Sokal, Monte Carlo methods
    in statistical mechanics, 1996). The floor under the window keeps an antithetic chain, whose first term alone brings
    the sum near 0, from stopping there.

    :param values: (n,) of one chain, in order.
    :param window: factor of the window.
    :returns: tau, 1 for independent values, and its error tau sqrt(2(2M + 1)/n). Of fewer than 4 values nothing can be
        said: 1 and NaN. A chain that never moved has shown one value: n and NaN.
    """
    x = np.asarray(values, dtype=np.float64)
    n = len(x)
    if n < 4:
        return 1.0, math.nan
    if np.ptp(x) == 0.0:
        return float(n), math.nan
    x = x - x.mean()
    variance = float(x @ x) / n
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(x, size)
    rho = np.fft.irfft(spectrum * np.conj(spectrum), size)[:n] / n / variance
    tau = 1.0 + 2.0 * np.cumsum(rho[1:])
    inside = np.flatnonzero(np.arange(1, n) >= window * np.maximum(tau, 1.0))
    m = int(inside[0]) + 1 if len(inside) else n - 1
    estimate = float(tau[m - 1])
    return estimate, float(abs(estimate) * math.sqrt(2 * (2 * m + 1) / n))


def effective_sample_size(values: ArrayLike) -> float:
    """Return the number of independent samples that a chain is worth, n/max(tau, 1).

    An antithetic chain is worth more than its length; the estimate of tau is not good enough below 1 to count on it.

    :param values: (n,) of one chain, in order.
    """
    x = np.asarray(values, dtype=np.float64)
    return len(x) / max(integrated_autocorrelation_time(x)[0], 1.0)


def autocorrelation(chains: ArrayLike) -> Array:
    """Return the autocorrelation function of chains that sample one law, all of them taken together.

    rho(t) = 1 - (W - mean autocovariance(t))/var+, var+ = (n - 1)/n W + B/n (Vehtari et al., Bayesian Anal. 16, 667,
    2021, eq. 10). What keeps chains apart counts as correlation that does not decay; each chain about its own mean
    would not show it.

    :param chains: (m, n), of at least two values each.
    :returns: (n,) from lag 0, where it is 1; NaN if nothing moved.
    """
    x = np.atleast_2d(np.asarray(chains, dtype=np.float64))
    m, n = x.shape
    if np.ptp(x) == 0.0:
        return np.full(n, math.nan)
    centred = x - x.mean(axis=1, keepdims=True)
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(centred, size, axis=1)
    covariance = np.fft.irfft(spectrum * np.conj(spectrum), size, axis=1)[:, :n].mean(axis=0) / n
    within = covariance[0] * n / (n - 1)
    between = x.mean(axis=1).var(ddof=1) if m > 1 else 0.0
    rho = 1.0 - (within - covariance) / ((n - 1) / n * within + between)
    rho[0] = 1.0
    return np.asarray(rho)


def autocorrelation_time_of_chains(chains: ArrayLike) -> tuple[float, float]:
    """Return the integrated autocorrelation time of chains that sample one law, and its error, in steps.

    Chains are halved, so that a drift counts as correlation too, and the sum over :func:`autocorrelation` ends by
    Geyer's initial monotone sequence (Statist. Sci. 7, 473, 1992; Vehtari et al. 2021, eq. 11). Chains that stand
    apart get a long time: their joint mean is known no better than the number of chains allows. The number of
    independent samples is m n/max(tau, 1).

    :param chains: (m, n); of an odd n the value in the middle is left out.
    :returns: tau, at most n, and its error tau sqrt(2(2M + 1)/(m n)), M the last lag. Of chains of fewer than 4 values
        nothing can be said: 1 and NaN. Chains none of which moved: n and NaN.
    """
    x = np.atleast_2d(np.asarray(chains, dtype=np.float64))
    m, n = x.shape
    if n < 4:
        return 1.0, math.nan
    if np.all(np.ptp(x, axis=1) == 0.0):
        return float(n), math.nan
    half = n // 2
    rho = autocorrelation(np.concatenate([x[:, :half], x[:, -half:]]))
    pairs = rho[: 2 * (half // 2)].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs < 0.0)
    count = max(1, int(negative[0]) if len(negative) else len(pairs))
    tau = min(2.0 * float(np.minimum.accumulate(pairs[:count]).sum()) - 1.0, float(n))
    return tau, abs(tau) * math.sqrt(2 * (2 * (2 * count - 1) + 1) / (m * n))


def mean_with_error(values: ArrayLike) -> tuple[float, float]:
    """Return the mean of a chain and its standard error, sd sqrt(max(tau, 1)/n).

    :param values: (n,) of one chain, in order.
    :returns: mean and error; the error of a single value, or of a chain that never moved, is NaN: nothing is known.
    """
    x = np.asarray(values, dtype=np.float64)
    if len(x) < 2 or np.ptp(x) == 0.0:
        return float(x.mean()), math.nan
    return float(x.mean()), float(x.std(ddof=1) / math.sqrt(effective_sample_size(x)))


def rhat(chains: ArrayLike) -> float:
    """Return the potential scale reduction factor (Gelman and Rubin, Statist. Sci. 7, 457, 1992).

    R = sqrt([(n - 1)/n W + B/n]/W), W the mean of the chains' variances, B/n the variance of their means.

    :param chains: (m, n), at least two of at least two values.
    :returns: R; NaN if no chain moved and all stand at the same value, infinity if they stand at different ones.
    """
    x = np.asarray(chains, dtype=np.float64)
    n = x.shape[1]
    between = n * x.mean(axis=1).var(ddof=1)
    within = x.var(axis=1, ddof=1).mean()
    if np.all(np.ptp(x, axis=1) == 0.0):
        return math.nan if np.ptp(x) == 0.0 else math.inf
    return float(math.sqrt(((n - 1) / n * within + between / n) / within))


def split_rhat(chains: ArrayLike) -> float:
    """Return R-hat after halving every chain, which also shows a drift (Vehtari et al., Bayesian Anal. 16, 667, 2021).

    :param chains: (m, n) with n at least 4; of an odd number the value in the middle is left out.
    :raises ValueError: for shorter chains.
    """
    x = np.asarray(chains, dtype=np.float64)
    half = x.shape[1] // 2
    if half < 2:
        raise ValueError(f"chains of {x.shape[1]} values are too short to be halved")
    return rhat(np.concatenate([x[:, :half], x[:, -half:]]))


def rank_normalised_split_rhat(chains: ArrayLike) -> float:
    """Return the larger of the rank-normalised split R-hat of the values and of their folded distances.

    Vehtari et al., Bayesian Anal. 16, 667 (2021), eqs. 12 to 14.

    :param chains: (m, n).
    """
    x = np.asarray(chains, dtype=np.float64)

    def normalised(values: Array) -> Array:
        ranks = stats.rankdata(values, method="average").reshape(values.shape)
        return np.asarray(special.ndtri((ranks - 0.375) / (values.size + 0.25)))

    return max(split_rhat(normalised(x)), split_rhat(normalised(np.abs(x - np.median(x)))))


def creutz(deltas: ArrayLike, temperature: float) -> tuple[float, float, float]:
    """Return <exp(-delta/kT)>, its error, and its deviation from 1 in errors.

    The mean over the proposals, accepted and rejected, of a frozen stationary chain is exactly 1 (Creutz, Phys. Rev. D
    38, 1228, 1988). Trajectories that were rejected unseen are left out: their reverses would be too, and over the
    symmetric rest the identity holds by itself; counted as zeros they would pull the mean down by their fraction.
    Heavy tails make the error bar unreliable for acceptances below about 0.3.

    :param deltas: (n,) in eV; infinity for a proposal without an endpoint.
    :param temperature: in K.
    :returns: mean, standard error (with the autocorrelation time), t; NaN without a finite delta.
    """
    values = np.asarray(deltas, dtype=np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return math.nan, math.nan, math.nan
    with np.errstate(over="ignore"):
        weights = np.exp(-values / (units.kB * temperature))
    mean, error = mean_with_error(weights)
    return mean, error, (mean - 1.0) / error if error > 0 else math.nan


def acceptance_interval(accepted: int, cycles: int, confidence: float = 0.68) -> tuple[float, float]:
    """Return the interval of an acceptance (Wilson, J. Am. Stat. Assoc. 22, 209, 1927).

    :param accepted: number of accepted proposals.
    :param cycles: number of proposals.
    :param confidence: of the interval.
    :raises ValueError: without a proposal.
    """
    if cycles < 1:
        raise ValueError("an acceptance needs at least one proposal")
    interval: Any = stats.binomtest(accepted, cycles).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def implied_model_error(acceptance: float, temperature: float) -> float:
    """Return the standard deviation of the model's energy error that an acceptance implies, in eV for the whole cell.

    With delta Gaussian, <P> = erfc(sqrt(v/8)), v = Var(delta/kT) (Gupta et al., Phys. Lett. B 242, 437, 1990); and
    v = 2 (sigma/kT)² for ends whose model errors are independent and a negligible time-step error. To be read next to
    the RMSE of the model's energies, less its mean.

    :param acceptance: mean acceptance probability, above 0 and at most 1.
    :param temperature: in K.
    :raises ValueError: for another acceptance.
    """
    if not 0.0 < acceptance <= 1.0:
        raise ValueError(f"an acceptance of {acceptance} implies no model error")
    v = 8.0 * float(special.erfcinv(acceptance)) ** 2
    return math.sqrt(v / 2.0) * units.kB * temperature


def implied_model_error_uncertainty(acceptance: float, acceptance_error: float, temperature: float) -> float:
    """Return the standard error of :func:`implied_model_error` that comes from that of the acceptance, in eV.

    sigma = 2 kT erfcinv(P), hence dsigma = kT sqrt(pi) exp(erfcinv(P)²) dP.

    :param acceptance: mean acceptance probability, above 0 and at most 1.
    :param acceptance_error: its standard error.
    :param temperature: in K.
    """
    slope = math.sqrt(math.pi) * math.exp(float(special.erfcinv(acceptance)) ** 2)
    return slope * acceptance_error * units.kB * temperature


def chains_agree(chains: Sequence[ArrayLike], limit: float = 1.05) -> bool:
    """Return whether the rank-normalised split R-hat of chains of equal length is below a limit.

    :param chains: m chains of n values.
    :param limit: 1.05 suits short chains with expensive labels; 1.01 long ones.
    """
    return rank_normalised_split_rhat(np.array([np.asarray(chain) for chain in chains])) < limit
