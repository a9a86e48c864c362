"""Analysed samples beside that of a reference: every number with its error, every distance with its noise floor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import rdf
from .cell import LENGTHS, CellSeries, cell_metrics
from .distributions import compare as compare_distributions
from .distributions import frame_correlation
from .pressure import split_chains
from .samples import Arrays, Plan, kept_histograms
from .statistics import Estimate, block_bootstrap, block_indices, block_length_for, mean_of_chains

#: How many standard errors apart counts as a difference.
SIGMAS = 2.0
#: Numbers that differ by less than this fraction are one number, rounded.
ROUNDING = 1e-9
#: Blocks of the error that arXiv 2605.25032 quotes, in frames, and its number of resamples.
PAPER_BLOCK, PAPER_RESAMPLES = 10, 400
#: Fewer correlation times than these in a sample, and its errors are hardly known.
FEW = 20
#: Errors on a test set that replicas are averaged of.
ERRORS = ("energy_rmse", "energy_rmse_offset_removed", "force_rmse", "stress_rmse")

Entry = dict[str, Any]


def entry(value: float, error: float, unit: str, **more: Any) -> Entry:
    """Return a number with its error and unit.

    :param value: the number.
    :param error: its standard error.
    :param unit: of both.
    :param more: further numbers.
    """
    return {"value": float(value), "error": float(error), "unit": unit, **more}


def quantities(
    analysis: Arrays, numbers: ArrayLike, plan: Plan, *, rng: np.random.Generator, resamples: int
) -> dict[str, Entry]:
    """Return the numbers that a sample gives.

    :param analysis: of :func:`.samples.analyse`.
    :param numbers: atomic numbers, (N,).
    :param plan: how it was analysed.
    :param rng: source of the bootstrap.
    :param resamples: of the bootstrap.
    :returns: by name ``value``, ``error``, ``unit`` and where it is known ``tau`` (frames): ``distance`` (Å; with
        ``error_blocks``, the bootstrap over blocks of 10 frames), ``coordination``, ``peak <A-B>`` (Å); ``shell 1``,
        ..., ``shell`` (Å) if the shell is split; ``pressure`` (GPa) of a cell that stands still and has stresses;
        ``a``, ``b``, ``c`` (Å), ``volume`` (Å³ a formula unit; with ``sd`` and ``sd_diagonal``) of one that moves.
    """
    chain = analysis["chain"]
    means = analysis["distances"].mean(axis=1)
    blocks = math.nan
    if len(means) >= 2 * PAPER_BLOCK:
        blocks = block_bootstrap(means, np.mean, rng=rng, block_length=PAPER_BLOCK, resamples=PAPER_RESAMPLES)
    found = {
        "distance": _mean(means, chain, "Å", error_blocks=blocks),
        "coordination": _mean(analysis["coordination"], chain, ""),
    }
    if plan.shell:
        names = [f"shell {index + 1}" for index in range(len(plan.shell))]
        for index, name in enumerate([*names, "shell"]):
            found[name] = _mean(analysis["shells"][:, index], chain, "Å")
    histograms = kept_histograms(analysis, numbers, "counts")
    for pair in plan.windows:
        found[f"peak {pair}"] = _peak(histograms, pair, plan.windows[pair], correlation(analysis), rng, resamples)
    if not plan.moves:
        if np.isfinite(analysis["pressures"]).all():
            found["pressure"] = _mean(analysis["pressures"], chain, "GPa")
        return found
    cells = cell_metrics(_cells(analysis))
    for name in LENGTHS:
        found[name] = entry(cells[name]["value"], cells[name]["error"], "Å", tau=cells[name]["tau"])
    volume = cells["volume"]
    found["volume"] = entry(
        volume["value"], volume["error"], "Å³", tau=volume["tau"],
        sd=volume["sd"], sd_diagonal=cells["volume_sd_diagonal"],
    )  # fmt: skip
    return found


def correlation(analysis: Arrays) -> float:
    """Return the longest autocorrelation time, in frames, of the series that the comparison is about.

    :param analysis: of :func:`.samples.analyse`.
    """
    series = [analysis["distances"], analysis["volumes"]]
    return max(frame_correlation(part) for values in series for part in split_chains(values, analysis["chain"]))


def _mean(series: NDArray[np.float64], chain: NDArray[np.int64], unit: str, **more: float) -> Entry:
    estimate: Estimate = mean_of_chains(split_chains(series, chain))
    return entry(estimate.value, estimate.error, unit, tau=estimate.tau, **more)


def _cells(analysis: Arrays) -> list[CellSeries]:
    chain = analysis["chain"]
    parts = [split_chains(analysis[name], chain) for name in ("lengths", "angles", "volumes")]
    return [CellSeries(*part) for part in zip(*parts, strict=True)]


def _draws(n_blocks: int, size: int, tau: float, rng: np.random.Generator, resamples: int) -> NDArray[np.int64]:
    """Return which blocks make every resample, (R, size), in runs that outlast the correlation."""
    frames = block_length_for(tau, n_blocks * rdf.BLOCK)
    return block_indices(n_blocks, size, max(1, math.ceil(frames / rdf.BLOCK)), rng=rng, resamples=resamples)


def _peak(
    histograms: rdf.PairHistograms,
    pair: str,
    window: tuple[float, float],
    tau: float,
    rng: np.random.Generator,
    resamples: int,
) -> Entry:
    counts, edges = histograms.counts[pair], histograms.edges
    peak = rdf.first_peak(counts.sum(axis=0), edges, window)
    draws = _draws(len(counts), len(counts), tau, rng, resamples)
    error = rdf.peak_error(counts, edges, window, draws)
    return entry(peak.position, error, "Å", at_edge=peak.at_edge)


def compare(
    analysis: Arrays,
    reference: Arrays,
    numbers: ArrayLike,
    plan: Plan,
    *,
    generator: Callable[[str], np.random.Generator],
    resamples: int = 200,
) -> dict[str, dict[str, Entry]]:
    """Compare an analysed sample with that of the reference, which must be statistically independent of it.

    :param analysis: of :func:`.samples.analyse`.
    :param reference: likewise.
    :param numbers: atomic numbers, (N,).
    :param plan: how both were analysed.
    :param generator: gives the source of the bootstraps of ``sample``, ``reference``, ``distances``: the reference's
        numbers then do not depend on what it is compared with.
    :param resamples: of every bootstrap.
    :returns: ``quantities``: those of :func:`quantities` with ``reference``, ``reference_error``, ``deviation``,
        ``deviation_error``, ``resolved``; ``distances``: ``w1`` (Å, of nearest-neighbour distances), ``rdf <A-B>`` (Å),
        ``w1 volume`` (Å³, if the cell moves) with ``value``, ``error``, ``floor``, ``floor_95``, ``resolved``.
    """
    own = quantities(analysis, numbers, plan, rng=generator("sample"), resamples=resamples)
    theirs = quantities(reference, numbers, plan, rng=generator("reference"), resamples=resamples)
    for name, row in own.items():
        if name in theirs:
            own[name] = against(row, theirs[name]["value"], theirs[name]["error"])
    rng = generator("distances")
    distances = {"w1": _w1(analysis, reference, "distances", "Å", rng, resamples)}
    for pair in plan.windows:
        distances[f"rdf {pair}"] = _rdf(analysis, reference, numbers, pair, rng, resamples)
    if plan.moves:
        distances["w1 volume"] = _w1(analysis, reference, "volumes", "Å³", rng, resamples)
    return {"quantities": own, "distances": distances}


def against(row: Entry, reference: float, reference_error: float) -> Entry:
    """Return a number with its deviation from a reference, and whether it stands out of the noise of both.

    :param row: ``value``, ``error``.
    :param reference: the reference's value.
    :param reference_error: its standard error.
    """
    deviation, error = row["value"] - reference, math.hypot(row["error"], reference_error)
    return {
        **row,
        "reference": reference,
        "reference_error": reference_error,
        "deviation": deviation,
        "deviation_error": error,
        "resolved": bool(abs(deviation) > SIGMAS * error + ROUNDING * abs(reference)) if math.isfinite(error) else None,
    }


def _w1(analysis: Arrays, reference: Arrays, name: str, unit: str, rng: np.random.Generator, resamples: int) -> Entry:
    samples = [list(split_chains(arrays[name], arrays["chain"])) for arrays in (analysis, reference)]
    result = compare_distributions(samples[0], samples[1], rng=rng, resamples=resamples)
    return entry(
        result.w1, result.w1_error, unit,
        floor=result.floor, floor_95=result.floor_95, floor_independent=result.floor_independent,
        floor_split=result.floor_split, resolved=result.resolved,
    )  # fmt: skip


def _rdf(
    analysis: Arrays, reference: Arrays, numbers: ArrayLike, pair: str, rng: np.random.Generator, resamples: int
) -> Entry:
    """Return the integral of |g - g_reference|, its error, and what two samples of the reference would show."""
    one, two = (kept_histograms(arrays, numbers, "weighted") for arrays in (analysis, reference))
    tau = max(correlation(analysis), correlation(reference))
    n, m = len(one.frames), len(two.frames)
    curves = [rdf.distribution_function(part, pair) for part in (one, two)]
    value = rdf.rdf_distance(curves[0], curves[1], one.width)

    def resampled(first: rdf.PairHistograms, second: rdf.PairHistograms) -> NDArray[np.float64]:
        drawn = [
            rdf.distribution_function(part, pair, _draws(len(part.frames), size, tau, rng, resamples))
            for part, size in ((first, n), (second, m))
        ]
        return np.asarray(np.abs(drawn[0] - drawn[1]).sum(axis=1) * one.width)

    floors = resampled(two, two)
    floor_95 = float(np.quantile(floors, 0.95))
    return entry(
        value, float(np.std(resampled(one, two), ddof=1)), "Å",
        floor=float(floors.mean()), floor_95=floor_95, resolved=bool(value > floor_95),
    )  # fmt: skip


def sampling_warnings(analysis: Arrays) -> list[str]:
    """Return in words what makes the errors of a sample doubtful.

    :param analysis: of :func:`.samples.analyse`.
    """
    tau, frames = correlation(analysis), len(analysis["chain"])
    if frames >= FEW * tau:
        return []
    return [
        f"the sample has {frames} frames, {frames / tau:.0f} autocorrelation times of {tau:.1f} frames: its errors and "
        "noise floors are too small; sample longer"
    ]


def over_replicas(rows: Sequence[Mapping[str, Any]]) -> Entry:
    """Return one entry of a table from those of replicas, which differ in their seed alone.

    The error is that of the mean over the replicas, and not less than what their own errors make of it: two or three
    replicas may agree by chance.

    :param rows: ``value``, ``error``, and of a comparison ``reference``, ``reference_error``, or ``floor``,
        ``floor_95``; those without a value are left out.
    :returns: the same names, ``n`` replicas and ``spread``, their standard deviation; None as value if there is none.
    """
    known = [row for row in rows if row.get("value") is not None and math.isfinite(row["value"])]
    if not known:
        return {"value": None, "error": None, "n": 0}
    n = len(known)
    values = np.array([row["value"] for row in known], dtype=float)
    errors = np.array([_number(row.get("error")) for row in known])
    within = math.sqrt(float(np.sum(errors**2))) / n
    spread = float(values.std(ddof=1)) if n > 1 else math.nan
    between = spread / math.sqrt(n)
    error = within if n == 1 else float(np.nanmax([within, between]))
    result: Entry = {"value": float(values.mean()), "error": error, "n": n, "spread": spread}
    if "unit" in known[0]:
        result["unit"] = known[0]["unit"]
    if known[0].get("reference") is not None:
        return against(result, known[0]["reference"], _number(known[0]["reference_error"]))
    if known[0].get("floor_95") is not None:
        for name in ("floor", "floor_95"):
            result[name] = float(np.mean([row[name] for row in known]))
        result["resolved"] = bool(result["value"] > result["floor_95"])
    return result


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def by_protocol(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return one row a protocol from those of its replicas.

    :param rows: by candidate: ``protocol``; ``quantities``, ``distances``, ``errors`` (by test set) where they are
        known; ``labels``, ``training``.
    :returns: by protocol ``members``, ``problems`` (by member), ``quantities``, ``distances``, ``errors``, and of
        ``labels`` and ``training`` the means; entries of :func:`over_replicas`.
    """
    groups: dict[str, list[str]] = {}
    for name, row in rows.items():
        groups.setdefault(row["protocol"], []).append(name)
    return {protocol: _group({name: rows[name] for name in sorted(members)}) for protocol, members in groups.items()}


def _group(members: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    rows = list(members.values())
    found: dict[str, Any] = {
        "members": list(members),
        "problems": {name: row["problem"] for name, row in members.items() if row.get("problem")},
    }
    for part in ("quantities", "distances"):
        names = [name for row in rows for name in row.get(part) or {}]
        found[part] = {
            name: over_replicas([row[part][name] for row in rows if name in (row.get(part) or {})])
            for name in dict.fromkeys(names)
        }
    tests = dict.fromkeys(test for row in rows for test in row.get("errors") or {})
    found["errors"] = {
        test: {
            name: over_replicas([_of_errors(row["errors"][test], name) for row in rows if test in row["errors"]])
            for name in ERRORS
        }
        for test in tests
    }
    for part, keys in (("labels", ("spent", "trained_on", "calls")), ("training", ("wall_time",))):
        found[part] = {key: over_replicas([_plain(row.get(part) or {}, key) for row in rows]) for key in keys}
    return found


def _of_errors(errors: Mapping[str, Any], name: str) -> Entry:
    return {"value": errors.get(name), "error": errors.get(f"{name}_error")}


def _plain(values: Mapping[str, Any], name: str) -> Entry:
    return {"value": values.get(name), "error": 0.0}
