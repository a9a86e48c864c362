"""Samples of several ensembles against that of a reference: pressure and nearest-neighbour distances."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .distances import nearest_distances
from .distributions import Comparison, compare
from .pressure import mean_pressure, split_chains
from .statistics import Estimate

Sample = Mapping[str, NDArray[Any]]


def sample_distances(sample: Sample, pair: tuple[str, str]) -> list[NDArray[np.float64]]:
    """Return the nearest-neighbour distances of a sample, one table a chain.

    :param sample: ``numbers`` (N,), ``positions`` (S, N, 3) in Å, ``cells`` (S, 3, 3) in Å, and, with more than one
        chain, ``chain`` (S,).
    :param pair: symbol of the atoms that distances are counted from, and of the atoms that are looked for.
    :returns: (S_c, A) in Å for every chain c.
    """
    distances = nearest_distances(
        sample["positions"], sample["cells"], sample["numbers"], centre=pair[0], neighbour=pair[1]
    )
    return list(split_chains(distances, sample.get("chain")))


def sample_pressure(sample: Sample, temperature: float) -> Estimate:
    """Return the mean pressure of a sample, configurational and ideal part; NaN if a state has no stress.

    :param sample: ``positions`` (S, N, 3) and ``cells`` (S, 3, 3) in Å, ``stresses`` (S, 3, 3) in eV/Å³, ``chain``.
    :param temperature: in K.
    :returns: in GPa.
    """
    n_states, n_atoms = sample["positions"].shape[:2]
    if "stresses" not in sample or not np.isfinite(sample["stresses"]).all():
        return Estimate(math.nan, math.nan, 1.0, n_states)
    return mean_pressure(sample["stresses"], sample["cells"], n_atoms, temperature, chain=sample.get("chain"))


def compare_samples(
    samples: Mapping[str, Sample],
    *,
    reference: str,
    temperature: float,
    pair: tuple[str, str],
    seed: int,
    resamples: int = 200,
) -> dict[str, dict[str, Any]]:
    """Compare every sample with the reference sample, which must be statistically independent of them.

    :param samples: by name: ``numbers`` (N,), ``positions`` (S, N, 3) and ``cells`` (S, 3, 3) in Å, ``stresses``
        (S, 3, 3) in eV/Å³ without a kinetic part, and ``chain`` (S,) if there are several; states in the order of the
        cycles, repeats included.
    :param reference: name of the reference.
    :param temperature: in K.
    :param pair: element symbols of the distances: from every first to its nearest second.
    :param seed: of the bootstrap.
    :param resamples: of the bootstrap.
    :returns: by name: ``n_samples``; ``pressure``, ``pressure_error`` (GPa, configurational + ideal), ``pressure_tau``
        (states); ``distance``, ``distance_error`` (mean nearest distance, Å). Beside the reference's own also
        ``pressure_deviation``, ``distance_deviation`` (sample minus reference) with ``..._error``; ``w1``,
        ``w1_error``, ``floor``, ``floor_95``, ``floor_independent`` (Å); ``resolved``.
    :raises ValueError: if the reference is not among the samples.
    """
    if reference not in samples:
        raise ValueError(f"there is no sample '{reference}' to compare with")
    tables = {name: sample_distances(sample, pair) for name, sample in samples.items()}
    pressures = {name: sample_pressure(sample, temperature) for name, sample in samples.items()}
    rows: dict[str, dict[str, Any]] = {}
    # Sorted, and one stream a name: an additional sample does not change the numbers of the others.
    for name in sorted(samples):
        rng = np.random.default_rng([seed, *name.encode()])
        result = compare(tables[name], tables[reference], rng=rng, resamples=resamples)
        pressure = pressures[name]
        row: dict[str, Any] = {
            "n_samples": pressure.n,
            "pressure": pressure.value,
            "pressure_error": pressure.error,
            "pressure_tau": pressure.tau,
            "distance": result.mean,
            "distance_error": result.mean_error,
        }
        if name != reference:
            row |= _differences(pressure, pressures[reference], result)
        rows[name] = row
    return rows


def _differences(pressure: Estimate, reference: Estimate, result: Comparison) -> dict[str, Any]:
    return {
        "pressure_deviation": pressure.value - reference.value,
        "pressure_deviation_error": math.hypot(pressure.error, reference.error),
        "distance_deviation": result.mean - result.reference_mean,
        "distance_deviation_error": math.hypot(result.mean_error, result.reference_mean_error),
        "w1": result.w1,
        "w1_error": result.w1_error,
        "floor": result.floor,
        "floor_95": result.floor_95,
        "floor_independent": result.floor_independent,
        "resolved": result.resolved,
    }
