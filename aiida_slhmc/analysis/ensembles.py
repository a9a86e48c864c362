"""Ensembles side by side: mean pressure and nearest-neighbour distances against a reference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .distances import nearest_distances
from .distributions import compare
from .pressure import mean_pressure, split_chains

Sample = Mapping[str, NDArray[Any]]


def compare_samples(
    samples: Mapping[str, Sample],
    *,
    reference: str,
    temperature: float,
    pair: tuple[str, str],
    seed: int,
    resamples: int = 200,
) -> dict[str, Any]:
    """Compare samples of ensembles with one of them.

    :param samples: by name: ``positions`` (S, N, 3) in Å, ``cells`` (S, 3, 3) in Å, ``numbers`` (N,), ``stresses``
        (S, 3, 3) in eV/Å³ with ASE's sign and no kinetic part, and perhaps ``chain`` (S,).
    :param reference: name of the sample that the others are held against.
    :param temperature: in K.
    :param pair: symbols of the atoms counted from and of the neighbours looked for.
    :param seed: of the bootstrap.
    :param resamples: of the bootstrap.
    :returns: by name of the sample: ``n_samples``, ``pressure`` and ``pressure_error`` (GPa), ``distance`` and
        ``distance_error`` (Å), and, but for the reference, ``pressure_deviation`` with its error and ``z``, and
        ``w1``, its error, ``floor`` and ``floor_95`` (Å).
    :raises ValueError: if the pair is not in the structure.
    """
    distances = {name: _distances(sample, pair) for name, sample in samples.items()}
    rows: dict[str, Any] = {}
    for name, sample in samples.items():
        estimate = mean_pressure(
            sample["stresses"], sample["cells"], len(sample["numbers"]), temperature, chain=sample.get("chain")
        )
        rows[name] = {"n_samples": len(sample["positions"]), "pressure": estimate.value, "pressure_error": estimate.error}
    for name in samples:
        outcome = compare(
            distances[name], distances[reference], rng=np.random.default_rng(seed), resamples=resamples
        )
        rows[name] |= {"distance": outcome.mean, "distance_error": outcome.mean_error}
        if name == reference:
            continue
        deviation = rows[name]["pressure"] - rows[reference]["pressure"]
        error = math.hypot(rows[name]["pressure_error"], rows[reference]["pressure_error"])
        rows[name] |= {
            "pressure_deviation": deviation,
            "pressure_deviation_error": error,
            "pressure_z": deviation / error if error > 0 else math.nan,
            "w1": outcome.w1,
            "w1_error": outcome.w1_error,
            "floor": outcome.floor,
            "floor_95": outcome.floor_95,
        }
    return rows


def _distances(sample: Sample, pair: tuple[str, str]) -> list[NDArray[np.float64]]:
    values = nearest_distances(
        sample["positions"], sample["cells"], sample["numbers"], centre=pair[0], neighbour=pair[1]
    )
    return list(split_chains(values, sample.get("chain")))
