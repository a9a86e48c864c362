"""Nearest-neighbour distances in periodic cells of any size."""

from __future__ import annotations

from itertools import product

import numpy as np
from ase.data import atomic_numbers
from ase.geometry import complete_cell
from numpy.typing import ArrayLike, NDArray


def species_indices(numbers: ArrayLike, symbol: str) -> NDArray[np.int64]:
    """Return the indices of the atoms of one element.

    :param numbers: atomic numbers, (N,).
    :param symbol: chemical symbol.
    :returns: (A,).
    :raises ValueError: if the symbol is unknown or no atom has it.
    """
    if symbol not in atomic_numbers:
        raise ValueError(f"'{symbol}' is not a chemical symbol")
    indices = np.flatnonzero(np.asarray(numbers) == atomic_numbers[symbol])
    if indices.size == 0:
        raise ValueError(f"the structure holds no {symbol}")
    return indices.astype(np.int64)


def nearest_distances(
    positions: ArrayLike,
    cells: ArrayLike,
    numbers: ArrayLike,
    *,
    centre: str,
    neighbour: str,
    pbc: ArrayLike = (True, True, True),
) -> NDArray[np.float64]:
    """Return the distance from every atom of one element to the nearest atom of another, in every frame.

    All periodic images that can hold the nearest atom are searched, so that a cell shorter than twice the distance, or
    a strongly skewed one, is treated right: with the atom brought to fractional offsets within [-1/2, 1/2] some
    neighbour lies at a distance D; an image shifted by n cells along an axis of height h is at least (n - 1/2) h away,
    hence n <= D/h + 1/2. Where both elements are the same an atom is not its own neighbour, but its images are.

    :param positions: (F, N, 3) or (N, 3) in Å.
    :param cells: (F, 3, 3) or (3, 3) in Å, rows are lattice vectors; zero rows are allowed where not periodic.
    :param numbers: atomic numbers, (N,), or (F, N) with equal rows.
    :param centre: symbol of the atoms that the distances are counted from.
    :param neighbour: symbol of the atoms that are looked for.
    :param pbc: periodic along each lattice vector, (3,).
    :returns: (F, A) in Å, A the number of centre atoms; F = 1 for a single structure.
    :raises ValueError: for an element that is not there, frames of different composition, a cell of no volume along a
        periodic direction, or a lone atom without images.
    """
    coordinates = np.asarray(positions, dtype=np.float64)
    coordinates = coordinates.reshape(-1, *coordinates.shape[-2:])
    n_frames, n_atoms = coordinates.shape[:2]
    species = _composition(numbers, n_atoms)
    periodic = np.broadcast_to(np.asarray(pbc, dtype=bool), (3,))
    lattice = lattices(cells, n_frames)
    first, second = species_indices(species, centre), species_indices(species, neighbour)

    offsets = coordinates[:, None, second] - coordinates[:, first, None]
    fractional = np.einsum("fabi,fij->fabj", offsets, np.linalg.inv(lattice))
    fractional -= np.where(periodic, np.round(fractional), 0.0)
    offsets = np.einsum("fabi,fij->fabj", fractional, lattice)
    same = first[:, None] == second[None, :]
    nearest = np.where(same, np.inf, np.sum(offsets**2, axis=-1))

    bound = np.sqrt(nearest.min(axis=2))
    if centre == neighbour and periodic.any():
        own_image = np.linalg.norm(lattice[:, periodic], axis=2).min(axis=1)
        bound = np.minimum(bound, own_image[:, None])
    if not np.isfinite(bound).all():
        raise ValueError(f"a lone {centre} atom without periodic images has no nearest {neighbour}")
    heights = 1.0 / np.linalg.norm(np.linalg.inv(lattice), axis=1)
    reach = np.where(periodic, np.floor(bound.max(axis=1)[:, None] / heights + 0.5), 0.0).max(axis=0).astype(int)

    # One image at a time: memory stays that of a single minimum-image table however many images are needed.
    for shift in product(*(range(-n, n + 1) for n in reach)):
        if shift == (0, 0, 0):
            continue
        translation = np.asarray(shift, dtype=np.float64) @ lattice
        np.minimum(nearest, np.sum((offsets + translation[:, None, None]) ** 2, axis=-1), out=nearest)
    return np.asarray(np.sqrt(nearest.min(axis=2)), dtype=np.float64)


def _composition(numbers: ArrayLike, n_atoms: int) -> NDArray[np.int64]:
    species = np.atleast_2d(np.asarray(numbers, dtype=np.int64))
    if species.shape[1] != n_atoms:
        raise ValueError(f"{species.shape[1]} atomic numbers for {n_atoms} atoms")
    if (species != species[0]).any():
        raise ValueError("the frames do not all hold the same atoms in the same order")
    return np.asarray(species[0])


def lattices(cells: ArrayLike, n_frames: int) -> NDArray[np.float64]:
    """Return one cell a frame, completed where it is not periodic.

    :param cells: (F, 3, 3) or (3, 3) in Å, rows are lattice vectors; zero rows are allowed where not periodic.
    :param n_frames: F.
    :returns: (F, 3, 3) in Å.
    :raises ValueError: if their number is another, or the vectors span no volume.
    """
    lattice = np.asarray(cells, dtype=np.float64)
    lattice = lattice.reshape(-1, 3, 3)
    if len(lattice) not in (1, n_frames):
        raise ValueError(f"{len(lattice)} cells for {n_frames} frames")
    if (np.linalg.norm(lattice, axis=2) == 0.0).any():
        lattice = np.stack([complete_cell(cell) for cell in lattice])
    if (np.abs(np.linalg.det(lattice)) < 1e-12).any():
        raise ValueError("the lattice vectors span no volume")
    return np.broadcast_to(lattice, (n_frames, 3, 3))
