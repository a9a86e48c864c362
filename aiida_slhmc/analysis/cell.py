"""Metrics of a cell that moves: lengths, angles and volume, with their fluctuations and covariances."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from ase.geometry import cell_to_cellpar
from numpy.typing import ArrayLike, NDArray

from .statistics import Estimate, mean_of_chains

#: Names of the lengths and angles of a cell.
LENGTHS, ANGLES = ("a", "b", "c"), ("alpha", "beta", "gamma")


@dataclass(frozen=True)
class CellSeries:
    """The cell of every frame.

    :param lengths: (F, 3) in Å, each divided by its multiple.
    :param angles: (F, 3) in degrees.
    :param volumes: (F,) in Å³ a formula unit.
    """

    lengths: NDArray[np.float64]
    angles: NDArray[np.float64]
    volumes: NDArray[np.float64]


def formula_units(numbers: ArrayLike) -> int:
    """Return how many formula units atoms are: the greatest common divisor of the numbers of every element.

    :param numbers: atomic numbers, (N,).
    :raises ValueError: without an atom.
    """
    _, counts = np.unique(np.asarray(numbers, dtype=int), return_counts=True)
    if not counts.size:
        raise ValueError("there is no atom")
    return reduce(math.gcd, counts.tolist())


def cell_series(cells: ArrayLike, numbers: ArrayLike, multiples: Sequence[float] = (1.0, 1.0, 1.0)) -> CellSeries:
    """Return lengths, angles and volume of the cell of every frame.

    :param cells: (F, 3, 3) in Å, rows are lattice vectors.
    :param numbers: atomic numbers, (N,): the volume is that of a formula unit.
    :param multiples: what the lengths are divided by, such as (2, 2, 2) for a supercell.
    :raises ValueError: if a multiple is not above zero.
    """
    factors = np.asarray(multiples, dtype=np.float64)
    if factors.shape != (3,) or not (factors > 0).all():
        raise ValueError(f"the lengths of a cell have three multiples above zero, not {list(multiples)}")
    matrices = np.asarray(cells, dtype=np.float64).reshape(-1, 3, 3)
    parameters = np.array([cell_to_cellpar(cell) for cell in matrices])
    volumes = np.abs(np.linalg.det(matrices)) / formula_units(numbers)
    return CellSeries(parameters[:, :3] / factors, parameters[:, 3:], volumes)


def diagonal_volume_spread(lengths: ArrayLike, spreads: ArrayLike) -> tuple[float, float]:
    """Return volume and volume spread of an orthogonal cell from its lengths as if they fluctuated independently.

    sigma_V = V sqrt((s_a/a)^2 + (s_b/b)^2 + (s_c/c)^2), as in arXiv 2605.25032. What the lengths have in common is left
    out: beside it the spread of V(t) itself says what that means.

    :param lengths: (3,) in Å.
    :param spreads: (3,) in Å: standard deviations, or standard errors.
    :returns: both in Å³.
    """
    values, errors = np.asarray(lengths, dtype=np.float64), np.asarray(spreads, dtype=np.float64)
    volume = float(values.prod())
    return volume, volume * float(np.sqrt(np.sum((errors / values) ** 2)))


def cell_metrics(chains: Sequence[CellSeries]) -> Mapping[str, Any]:
    """Return means, errors, fluctuations and covariances of a cell from the frames of its chains.

    :param chains: one series a chain.
    :returns: for ``a``, ``b``, ``c`` (Å), ``alpha``, ``beta``, ``gamma`` (degrees), ``volume`` (Å³ a formula unit):
        ``value``, ``error``, ``tau`` (frames), ``n``, ``sd``; ``covariance`` (4, 4) of a, b, c and volume;
        ``volume_sd_diagonal``: the spread of the volume if the lengths were independent.
    """
    series: dict[str, list[NDArray[np.float64]]] = {"volume": [chain.volumes for chain in chains]}
    for index in range(3):
        series[LENGTHS[index]] = [chain.lengths[:, index] for chain in chains]
        series[ANGLES[index]] = [chain.angles[:, index] for chain in chains]
    found = {name: _metric(values) for name, values in series.items()}
    table = np.stack([np.concatenate(series[name]) for name in (*LENGTHS, "volume")])
    covariance = np.cov(table) if table.shape[1] > 1 else np.full((4, 4), math.nan)
    lengths = [found[name]["value"] for name in LENGTHS]
    product, spread = diagonal_volume_spread(lengths, [found[name]["sd"] for name in LENGTHS])
    return {
        **found,
        "covariance": covariance.tolist(),
        # Relative, so that it holds for multiples and formula units alike.
        "volume_sd_diagonal": spread / product * found["volume"]["value"],
    }


def _metric(values: Sequence[NDArray[np.float64]]) -> dict[str, float]:
    estimate: Estimate = mean_of_chains(values)
    together = np.concatenate(list(values))
    return {**estimate.as_dict(), "sd": float(together.std(ddof=1)) if together.size > 1 else math.nan}
