"""The numbers behind the figures, one dictionary a row, in the units of the axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


def label_rows(blocks: Sequence[Block]) -> list[Row]:
    """Return the place of every block among the labels of a run without chains, as if a label were a cycle.

    :param blocks: rows of the history: ``labels``.
    :returns: ``block``, ``first_cycle``, ``last_cycle``, ``frozen``, as of :func:`block_rows`; a block without a label
        ends where it begins.
    """
    rows: list[Row] = []
    spent = 0
    for index, block in enumerate(blocks):
        first = spent + 1
        spent += int(block["labels"])
        rows.append({"block": index, "first_cycle": first, "last_cycle": max(first, spent), "frozen": False})
    return rows


def places(blocks: Sequence[Block], chains: int) -> list[Row]:
    """Return where the blocks of a history stand on the horizontal axis.

    :param blocks: rows of the history.
    :param chains: number of chains; 0: the run has none, and its labels are counted instead of cycles.
    """
    return block_rows(blocks, chains) if chains else label_rows(blocks)


def error_rows(blocks: Sequence[Block], chains: int = 1) -> list[Row]:
    """Return the prequential errors block by block: each model on labels that it was not trained on.

    :param blocks: rows of the history with ``errors`` (the current model's) and ``foundation_errors``: ``force_rmse``
        (eV/Å), ``energy_rmse_offset_removed`` (eV/atom), each with ``..._error``. Until a block has foundation errors,
        the current model is the foundation model.
    :param chains: number of chains; 0: the run has none, and its labels are counted instead of cycles.
    :returns: ``block``, ``first_cycle``, ``last_cycle``, ``frozen``, ``model`` (``adapted`` or ``foundation``),
        ``force_rmse`` and ``force_rmse_error`` (meV/Å), ``energy_rmse`` and ``energy_rmse_error`` (meV/atom, offset
        removed).
    :raises ValueError: if no block has errors.
    """
    rows: list[Row] = []
    untrained = True
    for place, block in zip(places(blocks, chains), blocks, strict=True):
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


@dataclass(frozen=True)
class Diagnostic:
    """Name a number of the diagnostics of chains.

    :param quantity: as it is shown.
    :param at: its place in the report: keys, joined by dots.
    :param unit: as it is shown.
    :param error: place of its error, or of the lower and upper end of its interval.
    :param factor: of the number that is shown over the stored one.
    :param error_factor: likewise of the error; None: the same.
    :param digits: after the point, where there is no error.
    """

    quantity: str
    at: str
    unit: str = ""
    error: str = ""
    factor: float = 1.0
    error_factor: float | None = None
    digits: int = 3


def diagnostics(report: Mapping[str, Any]) -> list[Diagnostic]:
    """Return the numbers that the diagnostics of chains hold, in the order in which they are shown.

    :param report: of :func:`aiida_slhmc.analysis.chains.diagnose`, or what a run's ``diagnostics`` node holds.
    """
    an_atom = MILLI / report["n_atoms"] if report["n_atoms"] else math.nan
    found = [
        Diagnostic("acceptance", "acceptance.value", error="acceptance.interval"),
        Diagnostic("mean acceptance probability", "acceptance.mean_probability",
                   error="acceptance.mean_probability_error"),
        Diagnostic("<exp(-delta/kT)>", "creutz.mean", error="creutz.error"),
        Diagnostic("model error implied by the acceptance", "model_error.implied_per_atom", "meV/atom",
                   "model_error.implied_error", error_factor=an_atom),
        Diagnostic("measured energy RMSE", "model_error.measured_per_atom", "meV/atom"),
        Diagnostic("cycles without a label", "divergent.fraction"),
        Diagnostic("displacement per DFT call", "displacement.per_label", "Å"),
    ]  # fmt: skip
    if "volume" in report["observables"]:
        found.append(Diagnostic("|change of ln V| per DFT call", "displacement.log_volume_per_label"))
    for name, group in report["observables"].items():
        what, at = name.replace("_", " "), f"observables.{name}"
        found += [
            Diagnostic(f"{what}: mean", f"{at}.mean", group["unit"], f"{at}.error"),
            Diagnostic(f"{what}: autocorrelation time", f"{at}.tau", "cycles", f"{at}.tau_error"),
            Diagnostic(f"{what}: effective samples", f"{at}.ess", digits=1),
            Diagnostic(f"{what}: effective samples per DFT call", f"{at}.ess_per_label", digits=2),
            Diagnostic(f"{what}: R-hat", f"{at}.rhat"),
        ]
    return found


def diagnostics_rows(report: Mapping[str, Any]) -> list[Row]:
    """Return the diagnostics of chains, one number a row.

    :param report: of :func:`aiida_slhmc.analysis.chains.diagnose`, or what a run's ``diagnostics`` node holds.
    :returns: ``quantity``, ``value``, ``error`` (NaN where there is none), ``unit``.
    """
    rows = []
    for one in diagnostics(report):
        error = _at(report, one.error) if one.error else None
        if isinstance(error, Sequence):
            error = (error[1] - error[0]) / 2
        factor = one.factor if one.error_factor is None else one.error_factor
        value = one.factor * number(_at(report, one.at))
        rows.append({"quantity": one.quantity, "value": value, "error": factor * number(error), "unit": one.unit})
    return rows


def _at(report: Mapping[str, Any], place: str) -> Any:
    found: Any = report
    for key in place.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


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
