"""Diagnostics of the chains of a block or a phase: how far their states can be trusted, and what they cost."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import atomic_masses
from numpy.typing import ArrayLike, NDArray

from aiida_slhmc.numerics import diagnostics

from .distances import nearest_distances
from .doubts import ADAPTIVE, warnings_of
from .series import CONFIDENCE, implied_error, known_or_none, observable
from .states import StateIndices, state_indices
from .statistics import mean_of_chains

#: Units of the observables.
UNITS = {"energy": "eV", "volume": "Å³", "nearest_distance": "Å"}
#: Frames whose pair distances are in memory at once.
BATCH = 64
#: Relative change of the volume below which the cell counts as fixed.
FIXED_VOLUME = 1e-9

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Endpoints:
    """Hold the labelled endpoints of a block or phase.

    :param chain: (F,) chain of every endpoint.
    :param cycle: (F,) its cycle; a starting state stands at the cycle before its chain's first.
    :param accepted: (F,) whether it was accepted.
    :param probability: (F,) acceptance probability.
    :param delta: (F,) change of the Hamiltonian in eV.
    :param length: (F,) steps of the trajectory; 0: a starting state, no proposal.
    :param energies: (F,) of the target in eV.
    :param positions: (F, N, 3) in Å, not wrapped.
    :param cells: (F, 3, 3) in Å, rows are lattice vectors.
    :param numbers: (N,) atomic numbers.
    :param spans: (C, 4), a row a chain or a piece of one: chain, first cycle, last cycle, production flag.
    :param temperature: (F,) of every endpoint's chain in K.
    :param swaps: (W, 4) of replica exchange: cycle after which, one chain, the other, accepted.
    """

    chain: Integers
    cycle: Integers
    accepted: NDArray[np.bool_]
    probability: Floats
    delta: Floats
    length: Integers
    energies: Floats
    positions: Floats
    cells: Floats
    numbers: Integers
    spans: Integers
    temperature: Floats
    swaps: Integers

    @property
    def proposed(self) -> NDArray[np.bool_]:
        """Return which rows are endpoints of proposals (F,)."""
        return np.asarray(self.length > 0)

    def cycles_of(self, index: int) -> int:
        """Return how many cycles a chain ran, those without a label included.

        :param index: of the chain.
        """
        own = self.spans[self.spans[:, 0] == index]
        return int((own[:, 2] - own[:, 1] + 1).sum())


def diagnose(
    *,
    chain: ArrayLike,
    cycle: ArrayLike,
    accepted: ArrayLike,
    probability: ArrayLike,
    delta: ArrayLike,
    length: ArrayLike,
    energies: ArrayLike,
    positions: ArrayLike,
    cells: ArrayLike,
    numbers: ArrayLike,
    spans: ArrayLike,
    temperature: float,
    temperatures: ArrayLike | None = None,
    swaps: ArrayLike | None = None,
    energy_rmse: float | None = None,
    force_rmse: float | None = None,
    label_failures: int = 0,
) -> dict[str, Any]:
    """Return the diagnostics of the chains of a block or phase.

    The states are those after every cycle, repeats included. A block that goes on from another does not hold its
    chains' starting states: their states are unknown until their first acceptance, and left out. A cycle of the spans
    without a row had no label: its trajectory diverged, or its label failed and the run's policy is to reject.

    :param chain: see :class:`Endpoints`, likewise the other arrays.
    :param cycle: (F,).
    :param accepted: (F,).
    :param probability: (F,).
    :param delta: (F,) in eV.
    :param length: (F,) steps.
    :param energies: (F,) in eV.
    :param positions: (F, N, 3) in Å.
    :param cells: (F, 3, 3) in Å.
    :param numbers: (N,).
    :param spans: (C, 4).
    :param temperature: of the ensemble in K.
    :param temperatures: (F,) in K, where chains have temperatures of their own (replica exchange). Observables are then
        those of the chains at ``temperature``, or else at the lowest; ``rungs`` tells of all.
    :param swaps: (W, 4).
    :param energy_rmse: measured error of the model's energy in eV for the whole cell, its mean removed.
    :param force_rmse: measured error of a force component in eV/Å.
    :param label_failures: cycles that were rejected because their label failed.
    :returns: nested plain values, None where the data cannot tell; energies in eV, lengths in Å, autocorrelation times
        in cycles; ``warnings``: sentences that say what not to trust.
    :raises ValueError: for spans of adaptive and production blocks in one, or none.
    """
    rows = np.asarray(energies, dtype=np.float64).shape[0]
    endpoints = Endpoints(
        np.asarray(chain, dtype=np.int64), np.asarray(cycle, dtype=np.int64), np.asarray(accepted, dtype=bool),
        np.asarray(probability, dtype=np.float64), np.asarray(delta, dtype=np.float64),
        np.asarray(length, dtype=np.int64), np.asarray(energies, dtype=np.float64),
        np.asarray(positions, dtype=np.float64), np.asarray(cells, dtype=np.float64),
        np.asarray(numbers, dtype=np.int64), np.atleast_2d(np.asarray(spans, dtype=np.int64)),
        np.full(rows, temperature) if temperatures is None else np.asarray(temperatures, dtype=np.float64),
        np.zeros((0, 4), dtype=np.int64) if swaps is None else np.asarray(swaps, dtype=np.int64).reshape(-1, 4),
    )  # fmt: skip
    flags = set(endpoints.spans[:, 3].tolist()) if endpoints.spans.size else set()
    if len(flags) != 1:
        raise ValueError("chains of adaptive and of production blocks, or none, cannot be diagnosed as one")
    production = bool(flags.pop())
    ladder = _ladder(endpoints, temperature)
    shown = min(ladder, key=lambda rung: (not math.isclose(rung, temperature), rung))
    chains = sorted({int(index) for index in endpoints.spans[:, 0]})
    cycles, labels = sum(endpoints.cycles_of(index) for index in chains), int(endpoints.proposed.sum())
    states, known = _states(endpoints)
    series = _series(endpoints, states, known)
    report: dict[str, Any] = {
        "kind": "production" if production else "adaptive",
        "temperature": shown,
        "n_atoms": int(endpoints.positions.shape[1]) if rows else None,
        "chains": len(chains),
        "cycles": cycles,
        "labels": labels,
        "states": int(known.sum()),
        "divergent": {
            "count": cycles - labels,
            "fraction": (cycles - labels) / cycles,
            "interval": list(diagnostics.acceptance_interval(cycles - labels, cycles, CONFIDENCE)),
        },
        "label_failed": {"count": label_failures},
        "acceptance": _acceptance(endpoints, chains),
        "creutz": _creutz(endpoints, temperature),
        "model_error": _model_error(endpoints, ladder, energy_rmse, force_rmse),
        "observables": _observables(series, ladder[shown], endpoints),
        "displacement": _displacement(endpoints, states, known, labels),
    }
    if len(ladder) > 1:
        report["rungs"] = [
            {
                "temperature": rung,
                "chains": len(own),
                "acceptance": _acceptance(endpoints, own),
                "observables": _observables(series, own, endpoints),
            }
            for rung, own in sorted(ladder.items())
        ]
    if len(endpoints.swaps):
        tried, taken = len(endpoints.swaps), int(endpoints.swaps[:, 3].sum())
        report["swaps"] = {"tried": tried, "accepted": taken, "acceptance": taken / tried}
    report["warnings"] = ([] if production else [ADAPTIVE]) + warnings_of(report)
    return report


def mean_nearest_distance(positions: ArrayLike, cells: ArrayLike) -> Floats:
    """Return the distance of an atom to its nearest neighbour of any species, its own images included, averaged over
    the atoms, in every frame.

    :param positions: (F, N, 3) in Å.
    :param cells: (F, 3, 3) in Å, periodic along all three.
    :returns: (F,) in Å.
    """
    points, lattice = np.asarray(positions, dtype=np.float64), np.asarray(cells, dtype=np.float64)
    # To look for neighbours of any species, let all atoms be of one.
    same = np.ones(points.shape[1], dtype=np.int64)
    parts = [
        nearest_distances(
            points[start : start + BATCH], lattice[start : start + BATCH], same, centre="H", neighbour="H"
        ).mean(axis=1)
        for start in range(0, len(points), BATCH)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def _ladder(endpoints: Endpoints, temperature: float) -> dict[float, list[int]]:
    """Return the chains of every temperature in K; a chain without a proposal counts to the ensemble's."""
    rungs: dict[float, list[int]] = {}
    for index in sorted({int(number) for number in endpoints.spans[:, 0]}):
        own = endpoints.temperature[(endpoints.chain == index) & endpoints.proposed]
        rungs.setdefault(float(own[0]) if own.size else temperature, []).append(index)
    return rungs


def _states(endpoints: Endpoints) -> tuple[StateIndices, NDArray[np.bool_]]:
    """Return the row of every state, and whether it is known."""
    rows = len(endpoints.chain)
    first: dict[int, int] = {}
    for index, begin in endpoints.spans[:, :2].tolist():
        first[index] = min(begin, first.get(index, begin))
    present = set(zip(endpoints.chain.tolist(), endpoints.cycle.tolist(), strict=True))
    missing = [(index, begin - 1) for index, begin in first.items() if (index, begin - 1) not in present]
    extra = np.array(missing, dtype=np.int64).reshape(-1, 2)
    states = state_indices(
        np.concatenate([endpoints.chain, extra[:, 0]]),
        np.concatenate([endpoints.cycle, extra[:, 1]]),
        np.concatenate([endpoints.accepted, np.ones(len(extra), dtype=bool)]),
        spans=endpoints.spans,
        swaps=endpoints.swaps,
    )
    return states, np.asarray(states.row < rows)


def _series(endpoints: Endpoints, states: StateIndices, known: NDArray[np.bool_]) -> dict[str, dict[int, Floats]]:
    """Return, by observable and chain, its value in every known state."""
    values: dict[str, Floats] = {"energy": endpoints.energies}
    if len(endpoints.energies):
        volumes = np.abs(np.linalg.det(endpoints.cells))
        if np.ptp(volumes) > FIXED_VOLUME * volumes.max():
            values["volume"] = volumes
        used = np.unique(states.row[known])
        distance = np.full(len(volumes), np.nan)
        distance[used] = mean_nearest_distance(endpoints.positions[used], endpoints.cells[used])
        values["nearest_distance"] = distance
    chains = sorted({int(index) for index in states.chain})
    return {
        name: {index: array[states.row[known & (states.chain == index)]] for index in chains}
        for name, array in values.items()
    }


def _observables(series: dict[str, dict[int, Floats]], chains: list[int], endpoints: Endpoints) -> dict[str, Any]:
    labels = int((endpoints.proposed & np.isin(endpoints.chain, chains)).sum())
    return {
        name: {"unit": UNITS[name], **observable([own[index] for index in chains if index in own], labels)}
        for name, own in series.items()
    }


def _acceptance(endpoints: Endpoints, chains: list[int]) -> dict[str, Any]:
    counts, series = [], []
    for index in chains:
        own = np.flatnonzero((endpoints.chain == index) & endpoints.proposed)
        own = own[np.argsort(endpoints.cycle[own], kind="stable")]
        cycles = endpoints.cycles_of(index)
        counts.append({"chain": index, "cycles": cycles, "accepted": int(endpoints.accepted[own].sum())})
        # What had no label was rejected for certain.
        series.append(np.concatenate([endpoints.probability[own], np.zeros(cycles - len(own))]))
    accepted, total = sum(row["accepted"] for row in counts), sum(row["cycles"] for row in counts)
    mean = mean_of_chains(series)
    return {
        "accepted": accepted,
        "value": accepted / total,
        "interval": list(diagnostics.acceptance_interval(accepted, total, CONFIDENCE)),
        "confidence": CONFIDENCE,
        "mean_probability": mean.value,
        "mean_probability_error": known_or_none(mean.error),
        "by_chain": counts,
    }


def _creutz(endpoints: Endpoints, temperature: float) -> dict[str, Any]:
    own = np.flatnonzero(endpoints.proposed)
    own = own[np.lexsort((endpoints.cycle[own], endpoints.chain[own]))]
    # Chains of other temperatures in units of this one.
    deltas = endpoints.delta[own] * temperature / endpoints.temperature[own]
    mean, error, z = diagnostics.creutz(deltas, temperature)
    return {"mean": known_or_none(mean), "error": known_or_none(error), "z": known_or_none(z)}


def _model_error(
    endpoints: Endpoints, ladder: dict[float, list[int]], energy_rmse: float | None, force_rmse: float | None
) -> dict[str, Any]:
    """Set the error that the acceptance implies beside the measured one."""
    series = {}
    for rung, chains in ladder.items():
        own = endpoints.proposed & np.isin(endpoints.chain, chains)
        values = [endpoints.probability[own & (endpoints.chain == index)] for index in chains]
        series[rung] = [one for one in values if len(one)]
    implied, error = implied_error(series)
    n_atoms = int(endpoints.positions.shape[1])
    measured = math.nan if energy_rmse is None else float(energy_rmse)
    return {
        "implied": known_or_none(implied),
        "implied_error": known_or_none(error),
        "implied_per_atom": known_or_none(1000.0 * implied / n_atoms),
        "measured": known_or_none(measured),
        "measured_per_atom": known_or_none(1000.0 * measured / n_atoms),
        "force_rmse": None if force_rmse is None else known_or_none(float(force_rmse)),
    }


def _displacement(
    endpoints: Endpoints, states: StateIndices, known: NDArray[np.bool_], labels: int
) -> dict[str, float | None]:
    """Return how far the chains move: in Å, a cycle and a label; of ln V likewise.

    Displacements are those of the scaled coordinates in the mean of the two cells, centre of mass taken out: a cell
    that breathes carries its atoms along, which is no displacement of theirs.
    """
    names = ("per_cycle", "per_label", "log_volume_per_label")
    row_of = {key: row for row, key in enumerate(zip(endpoints.chain.tolist(), endpoints.cycle.tolist(), strict=True))}
    steps = []
    for index in np.unique(states.chain).tolist():
        own = states.chain == index
        start = row_of.get((index, int(states.cycle[own][0]) - 1))
        rows = [*([] if start is None else [start]), *states.row[own & known].tolist()]
        steps += list(itertools.pairwise(rows))
    if not steps:
        return dict.fromkeys(names)
    before, after = np.array(steps).T
    cells, masses = endpoints.cells, atomic_masses[endpoints.numbers]
    scaled = endpoints.positions @ np.linalg.inv(cells)
    moved = (scaled[after] - scaled[before]) @ ((cells[before] + cells[after]) / 2)
    moved -= np.average(moved, axis=1, weights=masses)[:, None]
    square = float((moved**2).sum(axis=2).mean(axis=1).sum())
    logarithm = np.log(np.abs(np.linalg.det(cells)))
    values = (
        math.sqrt(square / len(steps)),
        math.sqrt(square / labels) if labels else None,
        float(np.abs(logarithm[after] - logarithm[before]).sum()) / labels if labels else None,
    )
    return dict(zip(names, values, strict=True))
