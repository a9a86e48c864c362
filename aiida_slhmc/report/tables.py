"""The numbers behind the figures, one dictionary a row, in the units of the axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from aiida_slhmc.numerics.diagnostics import acceptance_interval, autocorrelation

Block = Mapping[str, Any]
Row = dict[str, Any]

#: From eV to meV.
MILLI = 1000.0
#: Level of the interval of an acceptance: one standard error, like every other error bar.
CONFIDENCE = 0.68


def number(value: Any) -> float:
    """Return a number; NaN for a missing one.

    :param value: a number or None.
    """
    return math.nan if value is None else float(value)


def block_rows(blocks: Sequence[Block], chains: int = 1) -> list[Row]:
    """Return cycles, acceptance and proposal length block by block.

    :param blocks: rows of the history: ``cycles`` (over all chains), ``accepted``, ``length`` (steps), ``production``.
    :param chains: number of chains, each of which ran ``cycles / chains`` of them.
    :returns: ``block``, ``first_cycle``, ``last_cycle`` (of every chain), ``proposals``, ``accepted``, ``acceptance``,
        ``acceptance_low`` and ``acceptance_high`` (interval of level ``CONFIDENCE``), ``cumulative_acceptance``,
        ``proposal_length``, ``frozen``.
    :raises ValueError: without a block.
    """
    if not blocks:
        raise ValueError("there is no block to show")
    rows: list[Row] = []
    cycle, proposals, accepted = 0, 0, 0
    for index, block in enumerate(blocks):
        n_cycles = int(block["cycles"]) // chains
        proposals += int(block["cycles"])
        accepted += int(block["accepted"])
        low, high = acceptance_interval(int(block["accepted"]), int(block["cycles"]), CONFIDENCE)
        rows.append(
            {
                "block": index,
                "first_cycle": cycle + 1,
                "last_cycle": cycle + n_cycles,
                "proposals": int(block["cycles"]),
                "accepted": int(block["accepted"]),
                "acceptance": int(block["accepted"]) / int(block["cycles"]),
                "acceptance_low": low,
                "acceptance_high": high,
                "cumulative_acceptance": accepted / proposals,
                "proposal_length": int(block["length"]),
                "frozen": bool(block.get("production", False)),
            }
        )
        cycle += n_cycles
    return rows


def proposal_rows(endpoints: Mapping[str, ArrayLike]) -> list[Row]:
    """Return every proposal in the order of the cycles, with the acceptance up to it.

    A divergent trajectory has no label and no row: where there are such, the block's acceptance counts them and the
    running one does not.

    :param endpoints: ``cycle`` (F,) from 0 (-1: a starting state, left out), ``accepted`` (F,), ``length`` (F,) steps;
        ``chain`` (F,) if there are several.
    :returns: ``cycle`` (from 1), ``chain``, ``accepted``, ``steps``, and ``cumulative_acceptance``: that of all
        chains at the end of the cycle.
    """
    cycle = np.asarray(endpoints["cycle"], dtype=int)
    chain = np.asarray(endpoints.get("chain", np.zeros(cycle.size)), dtype=int)
    accepted = np.asarray(endpoints["accepted"], dtype=bool)
    steps = np.asarray(endpoints["length"], dtype=int)
    order = np.lexsort((chain, cycle))
    order = order[(steps[order] > 0) & (cycle[order] >= 0)]
    upto = np.searchsorted(cycle[order], cycle[order], side="right")
    cumulative = np.cumsum(accepted[order])[upto - 1] / upto if order.size else np.zeros(0)
    return [
        {
            "cycle": int(cycle[row]) + 1,
            "chain": int(chain[row]),
            "accepted": bool(accepted[row]),
            "steps": int(steps[row]),
            "cumulative_acceptance": float(running),
        }
        for row, running in zip(order, cumulative, strict=True)
    ]


def error_rows(blocks: Sequence[Block], chains: int = 1) -> list[Row]:
    """Return the prequential errors block by block: each model on labels that it was not trained on.

    :param blocks: rows of the history with ``errors`` (the current model's) and ``foundation_errors``: ``force_rmse``
        (eV/Å), ``energy_rmse_offset_removed`` (eV/atom), each with ``..._error``. Until a block has foundation errors,
        the current model is the foundation model.
    :param chains: number of chains.
    :returns: ``block``, ``first_cycle``, ``last_cycle``, ``frozen``, ``model`` (``adapted`` or ``foundation``),
        ``force_rmse`` and ``force_rmse_error`` (meV/Å), ``energy_rmse`` and ``energy_rmse_error`` (meV/atom, offset
        removed).
    :raises ValueError: if no block has errors.
    """
    rows: list[Row] = []
    untrained = True
    for place, block in zip(block_rows(blocks, chains), blocks, strict=True):
        untrained = untrained and not block.get("foundation_errors")
        foundation = block.get("errors") if untrained else block.get("foundation_errors")
        for model, errors in (("foundation", foundation), ("adapted", block.get("errors"))):
            if not errors:
                continue
            rows.append(
                {
                    **{name: place[name] for name in ("block", "first_cycle", "last_cycle", "frozen")},
                    "model": model,
                    "force_rmse": MILLI * number(errors["force_rmse"]),
                    "force_rmse_error": MILLI * number(errors["force_rmse_error"]),
                    "energy_rmse": MILLI * number(errors["energy_rmse_offset_removed"]),
                    "energy_rmse_error": MILLI * number(errors["energy_rmse_offset_removed_error"]),
                }
            )
    if not rows:
        raise ValueError("no block has prequential errors")
    return rows


def density_rows(samples: Mapping[str, ArrayLike], bin_width: float) -> list[Row]:
    """Return the distributions of distances as densities on common bins.

    :param samples: by name, any shape, in Å.
    :param bin_width: in Å; the bins begin at a multiple of it.
    :returns: ``left``, ``right`` (Å) and, for every sample, ``density_<name>`` (1/Å).
    :raises ValueError: without a sample, or with an empty one.
    """
    values = {name: np.asarray(sample, dtype=np.float64).ravel() for name, sample in samples.items()}
    if not values or any(sample.size == 0 for sample in values.values()):
        raise ValueError("a distribution needs at least one value")
    first = math.floor(min(sample.min() for sample in values.values()) / bin_width) - 1
    last = math.floor(max(sample.max() for sample in values.values()) / bin_width) + 2
    edges = np.arange(first, last + 1) * bin_width
    densities = {name: np.histogram(sample, edges, density=True)[0] for name, sample in values.items()}
    return [
        {
            "left": float(edges[index]),
            "right": float(edges[index + 1]),
            **{f"density_{name}": float(density[index]) for name, density in densities.items()},
        }
        for index in range(len(edges) - 1)
    ]


def diagnostics_rows(report: Mapping[str, Any]) -> list[Row]:
    """Return the diagnostics of chains, one number a row.

    :param report: of :func:`aiida_slhmc.analysis.chains.diagnose`, or what a run's ``diagnostics`` node holds.
    :returns: ``quantity``, ``value``, ``error`` (NaN where there is none), ``unit``.
    """
    acceptance, errors, creutz = report["acceptance"], report["model_error"], report["creutz"]
    low, high = acceptance["interval"]
    moved, divergent = report["displacement"], report["divergent"]
    implied_error = errors["implied_error"]
    if implied_error is not None:
        implied_error *= MILLI / report["n_atoms"]
    found: list[tuple[str, Any, Any, str]] = [
        ("acceptance", acceptance["value"], (high - low) / 2, ""),
        ("mean acceptance probability", acceptance["mean_probability"], acceptance["mean_probability_error"], ""),
        ("<exp(-delta/kT)>", creutz["mean"], creutz["error"], ""),
        ("model error implied by the acceptance", errors["implied_per_atom"], implied_error, "meV/atom"),
        ("measured energy RMSE", errors["measured_per_atom"], None, "meV/atom"),
        ("cycles without a label", divergent["fraction"], None, ""),
        ("displacement per DFT call", moved["per_label"], None, "Å"),
    ]
    if "volume" in report["observables"]:
        found.append(("|change of ln V| per DFT call", moved["log_volume_per_label"], None, ""))
    for name, group in report["observables"].items():
        what = name.replace("_", " ")
        found += [
            (f"{what}: mean", group["mean"], group["error"], group["unit"]),
            (f"{what}: autocorrelation time", group["tau"], group["tau_error"], "cycles"),
            (f"{what}: effective samples", group["ess"], None, ""),
            (f"{what}: effective samples per DFT call", group["ess_per_label"], None, ""),
            (f"{what}: R-hat", group["rhat"], None, ""),
        ]
    return [
        {"quantity": name, "value": number(value), "error": number(error), "unit": unit}
        for name, value, error, unit in found
    ]


def trace_rows(chain: ArrayLike, cycle: ArrayLike, energies: ArrayLike) -> list[Row]:
    """Return the energy of the state after every cycle, repeats included.

    :param chain: (S,).
    :param cycle: (S,) from 0.
    :param energies: (S,) in eV.
    :returns: ``chain``, ``cycle`` (from 1), ``energy`` (eV), ``deviation`` (eV) from the mean of all.
    :raises ValueError: without a state.
    """
    values = np.asarray(energies, dtype=float)
    if not values.size:
        raise ValueError("there is no state to show")
    mean = float(values.mean())
    order = np.lexsort((np.asarray(cycle), np.asarray(chain)))
    return [
        {
            "chain": int(np.asarray(chain)[row]),
            "cycle": int(np.asarray(cycle)[row]) + 1,
            "energy": float(values[row]),
            "deviation": float(values[row]) - mean,
        }
        for row in order
    ]


def autocorrelation_rows(traces: Sequence[Row]) -> list[Row]:
    """Return the autocorrelation function of the energy, all chains together, and its noise.

    :param traces: of :func:`trace_rows`, of chains at one temperature.
    :returns: ``lag`` (cycles), ``autocorrelation``, ``noise``: standard deviation of the estimate for independent
        states; no row for chains of fewer than four cycles, or that never moved.
    """
    chains = [
        [row["energy"] for row in traces if row["chain"] == chain] for chain in sorted({row["chain"] for row in traces})
    ]
    n = min(len(chain) for chain in chains)
    if n < 4:
        return []
    rho = autocorrelation([chain[-n:] for chain in chains])
    if not np.isfinite(rho).all():
        return []
    noise = 1.0 / math.sqrt(n * len(chains))
    # Beyond half the length there is little but noise.
    return [{"lag": lag, "autocorrelation": float(rho[lag]), "noise": noise} for lag in range(n // 2 + 1)]


def distance_rows(comparison: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Return mean distance and Wasserstein distance of every sample, with the noise floor.

    :param comparison: by name: ``distance``, ``distance_error``, and beside the reference ``w1``, ``w1_error``,
        ``floor``, ``floor_95`` (Å).
    """
    keys = ("distance", "distance_error", "w1", "w1_error", "floor", "floor_95")
    return [{"sample": name, **{key: number(row.get(key)) for key in keys}} for name, row in comparison.items()]


def pressure_rows(comparison: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Return the mean pressure of every sample that has one.

    :param comparison: by name: ``pressure``, ``pressure_error`` (GPa).
    :raises ValueError: if no sample has a pressure.
    """
    rows = [
        {"sample": name, "pressure": number(row["pressure"]), "pressure_error": number(row["pressure_error"])}
        for name, row in comparison.items()
        if math.isfinite(number(row.get("pressure")))
    ]
    if not rows:
        raise ValueError("no sample has a pressure")
    return rows
