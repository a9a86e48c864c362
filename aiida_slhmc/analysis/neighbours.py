"""Neighbours in periodic cells of any size and shape."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matscipy.neighbours import neighbour_list
from numpy.typing import ArrayLike, NDArray

from .distances import lattices, species_indices

#: By how much the sphere is widened that does not yet hold the neighbours that are asked for.
GROWTH = 1.4


def neighbour_pairs(
    positions: ArrayLike, cell: ArrayLike, cutoff: float, pbc: ArrayLike = (True, True, True)
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return all ordered pairs of atoms within a distance, every periodic image a pair of its own.

    :param positions: (N, 3) in Å.
    :param cell: (3, 3) in Å, complete.
    :param cutoff: in Å.
    :param pbc: periodic along each lattice vector, (3,).
    :returns: first and second atom (P,), and their distance (P,) in Å.
    """
    first, second, distance = neighbour_list(
        "ijd",
        positions=np.asarray(positions, dtype=np.float64),
        cell=np.asarray(cell, dtype=np.float64),
        pbc=np.broadcast_to(np.asarray(pbc, dtype=bool), (3,)),
        cutoff=float(cutoff),
    )
    return first.astype(np.int64), second.astype(np.int64), distance


def coordination_numbers(
    positions: ArrayLike,
    cells: ArrayLike,
    numbers: ArrayLike,
    *,
    centre: str,
    neighbour: str,
    cutoff: float,
    pbc: ArrayLike = (True, True, True),
) -> NDArray[np.float64]:
    """Return the mean number of atoms of one element within a distance of those of another, frame by frame.

    :param positions: (F, N, 3) in Å.
    :param cells: (F, 3, 3) or (3, 3) in Å.
    :param numbers: atomic numbers, (N,).
    :param centre: symbol of the atoms in the middle.
    :param neighbour: symbol of the atoms that are counted.
    :param cutoff: in Å.
    :param pbc: periodic along each lattice vector, (3,).
    :returns: (F,).
    """
    coordinates = _frames(positions)
    lattice = lattices(cells, len(coordinates))
    middle, around = (_mask(numbers, symbol) for symbol in (centre, neighbour))
    counts = np.empty(len(coordinates))
    for row, frame in enumerate(coordinates):
        first, second, _ = neighbour_pairs(frame, lattice[row], cutoff, pbc)
        counts[row] = np.count_nonzero(middle[first] & around[second])
    return counts / middle.sum()


def nearest_neighbours(
    positions: ArrayLike,
    cells: ArrayLike,
    numbers: ArrayLike,
    *,
    centre: str,
    neighbour: str,
    count: int,
    pbc: ArrayLike = (True, True, True),
) -> NDArray[np.float64]:
    """Return the distances to the nearest atoms of an element, in ascending order.

    :param positions: (F, N, 3) in Å.
    :param cells: (F, 3, 3) or (3, 3) in Å.
    :param numbers: atomic numbers, (N,).
    :param centre: symbol of the atoms that distances are counted from.
    :param neighbour: symbol of the atoms that are looked for.
    :param count: how many of them; images count.
    :param pbc: periodic along each lattice vector, (3,).
    :returns: (F, A, count) in Å.
    :raises ValueError: if there are not so many.
    """
    coordinates = _frames(positions)
    lattice = lattices(cells, len(coordinates))
    middle, around = (_mask(numbers, symbol) for symbol in (centre, neighbour))
    own = np.flatnonzero(middle)
    found = np.empty((len(coordinates), own.size, count))
    density = around.sum() / np.abs(np.linalg.det(lattice[0]))
    cutoff = 1.2 * float((count / density * 3.0 / (4.0 * np.pi)) ** (1.0 / 3.0))
    for row, frame in enumerate(coordinates):
        while True:
            first, second, distance = neighbour_pairs(frame, lattice[row], cutoff, pbc)
            keep = middle[first] & around[second]
            atoms, lengths = first[keep], distance[keep]
            enough = np.bincount(atoms, minlength=len(middle))[own].min() >= count
            if enough:
                break
            if not np.any(pbc) and cutoff > 2.0 * np.ptp(frame, axis=0).sum():
                raise ValueError(f"not every {centre} has {count} neighbours {neighbour}")
            cutoff *= GROWTH
        order = np.lexsort((lengths, atoms))
        starts = np.searchsorted(atoms[order], own)
        found[row] = lengths[order][starts[:, None] + np.arange(count)]
    return found


def shell_means(distances: ArrayLike, sizes: Sequence[int]) -> NDArray[np.float64]:
    """Return the mean distance in every part of a shell of neighbours, and in the whole shell, frame by frame.

    At finite temperature the order itself makes the first part shorter and the last longer than the equilibrium bonds:
    only samples treated alike may be compared.

    :param distances: (F, A, K) in Å, ascending along the last axis.
    :param sizes: numbers of neighbours of the parts, from the nearest on; for rutile (4, 2).
    :returns: (F, parts + 1) in Å, the whole shell last.
    :raises ValueError: if there are fewer neighbours than the parts have.
    """
    values = np.asarray(distances, dtype=np.float64)
    total = sum(sizes)
    if values.shape[-1] < total or min(sizes, default=0) < 1:
        raise ValueError(f"parts of {list(sizes)} neighbours cannot be made of {values.shape[-1]}")
    ends = np.cumsum(sizes)
    parts = [values[..., end - size : end] for size, end in zip(sizes, ends, strict=True)]
    return np.stack([part.mean(axis=(1, 2)) for part in [*parts, values[..., :total]]], axis=1)


def _frames(positions: ArrayLike) -> NDArray[np.float64]:
    coordinates = np.asarray(positions, dtype=np.float64)
    return coordinates.reshape(-1, *coordinates.shape[-2:])


def _mask(numbers: ArrayLike, symbol: str) -> NDArray[np.bool_]:
    mask = np.zeros(len(np.asarray(numbers)), dtype=bool)
    mask[species_indices(numbers, symbol)] = True
    return mask
