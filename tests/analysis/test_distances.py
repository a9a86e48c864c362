"""Nearest-neighbour distances: rutile's closed forms, and small and skewed cells against brute force."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from ase import Atoms
from ase.spacegroup import crystal

from aiida_slhmc.analysis.distances import nearest_distances, species_indices

A, C, U = 4.5937, 2.9587, 0.30478


def rutile() -> Atoms:
    return crystal(
        ["Ti", "O"], [(0, 0, 0), (U, U, 0)], spacegroup=136, cellpar=[A, A, C, 90, 90, 90], primitive_cell=False
    )


def brute_force(atoms: Atoms, centre: str, neighbour: str, reach: int) -> np.ndarray:
    """Return nearest distances from an explicit list of images, one pair at a time."""
    shifts = np.array(list(product(range(-reach, reach + 1), repeat=3))) @ atoms.cell[:]
    found = []
    for i in species_indices(atoms.numbers, centre):
        images = [atoms.positions[j] + shifts for j in species_indices(atoms.numbers, neighbour)]
        distances = np.linalg.norm(np.concatenate(images) - atoms.positions[i], axis=1)
        found.append(distances[distances > 1e-9].min())
    return np.array(found)


def test_rutile_unit_cell_has_its_closed_form() -> None:
    atoms = rutile()
    distances = nearest_distances(atoms.positions, atoms.cell[:], atoms.numbers, centre="Ti", neighbour="O")
    short = np.sqrt(2 * (0.5 - U) ** 2 * A**2 + C**2 / 4)
    assert short == pytest.approx(1.948567, abs=1e-6)
    assert distances.shape == (1, 2)
    np.testing.assert_allclose(distances, short, rtol=1e-12)


def test_supercell_and_unit_cell_agree() -> None:
    cell, large = rutile(), rutile().repeat((2, 2, 2))
    for pair in (("Ti", "O"), ("O", "O"), ("Ti", "Ti"), ("O", "Ti")):
        small = nearest_distances(cell.positions, cell.cell[:], cell.numbers, centre=pair[0], neighbour=pair[1])
        big = nearest_distances(large.positions, large.cell[:], large.numbers, centre=pair[0], neighbour=pair[1])
        assert small.shape[1] * 8 == big.shape[1]
        np.testing.assert_allclose(big, small[0, 0], rtol=1e-12)


def test_titanium_finds_its_own_image_along_the_short_axis() -> None:
    atoms = rutile()
    distances = nearest_distances(atoms.positions, atoms.cell[:], atoms.numbers, centre="Ti", neighbour="Ti")
    np.testing.assert_allclose(distances, C, rtol=1e-12)


def test_lone_atom_in_a_periodic_box_sees_its_image() -> None:
    cell = np.diag([3.0, 4.0, 5.0])
    assert nearest_distances(np.zeros((1, 3)), cell, [29], centre="Cu", neighbour="Cu")[0, 0] == pytest.approx(3.0)
    along_c = nearest_distances(np.zeros((1, 3)), cell, [29], centre="Cu", neighbour="Cu", pbc=(False, False, True))
    assert along_c[0, 0] == pytest.approx(5.0)


@pytest.mark.parametrize("seed", range(6))
def test_random_skewed_cells_agree_with_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # A sheared, flat cell: the nearest image lies several cells away along the short direction.
    cell = np.array([[4.0, 0, 0], [rng.uniform(4, 9), 2.5, 0], [rng.uniform(-6, 6), rng.uniform(-3, 3), 1.1]])
    atoms = Atoms("Ti2O3", scaled_positions=rng.random((5, 3)) * 4 - 2, cell=cell, pbc=True)
    for centre, neighbour in (("Ti", "O"), ("O", "O")):
        ours = nearest_distances(atoms.positions, cell, atoms.numbers, centre=centre, neighbour=neighbour)[0]
        np.testing.assert_allclose(ours, brute_force(atoms, centre, neighbour, 12), rtol=1e-12)


def test_frames_with_their_own_cells() -> None:
    atoms, rng = rutile(), np.random.default_rng(1)
    frames = atoms.positions + rng.normal(scale=0.1, size=(7, 6, 3))
    cells = atoms.cell[:] * rng.uniform(0.95, 1.05, size=(7, 1, 1))
    together = nearest_distances(frames, cells, np.tile(atoms.numbers, (7, 1)), centre="Ti", neighbour="O")
    for row, frame, cell in zip(together, frames, cells, strict=True):
        single = nearest_distances(frame, cell, atoms.numbers, centre="Ti", neighbour="O")
        np.testing.assert_allclose(row, single[0], rtol=1e-12)


def test_wrapping_atoms_changes_nothing() -> None:
    atoms = rutile()
    atoms.rattle(0.1, seed=3)
    moved = (
        atoms.positions
        + np.array([[3, -2, 7], [0, 0, 0], [1, 1, -1], [-4, 0, 2], [0, 5, 0], [2, 2, 2]]) @ atoms.cell[:]
    )
    one, two = (
        nearest_distances(positions, atoms.cell[:], atoms.numbers, centre="Ti", neighbour="O")
        for positions in (atoms.positions, moved)
    )
    np.testing.assert_allclose(one, two, atol=1e-12)


def test_molecule_without_a_cell() -> None:
    positions = np.array([[0, 0, 0], [0, 0, 0.96], [0.93, 0, -0.24]])
    ours = nearest_distances(positions, np.zeros((3, 3)), [8, 1, 1], centre="O", neighbour="H", pbc=False)
    assert ours[0, 0] == pytest.approx(0.96)


def test_bad_input_is_named() -> None:
    cell = np.eye(3) * 5
    with pytest.raises(ValueError, match="holds no O"):
        nearest_distances(np.zeros((1, 3)), cell, [22], centre="Ti", neighbour="O")
    with pytest.raises(ValueError, match="not a chemical symbol"):
        species_indices([22], "Xx1")
    with pytest.raises(ValueError, match="lone Ti"):
        nearest_distances(np.zeros((1, 3)), cell, [22], centre="Ti", neighbour="Ti", pbc=False)
    with pytest.raises(ValueError, match="same atoms"):
        nearest_distances(np.zeros((2, 2, 3)), cell, [[22, 8], [8, 22]], centre="Ti", neighbour="O")
    with pytest.raises(ValueError, match="no volume"):
        nearest_distances(np.zeros((1, 2, 3)), np.ones((3, 3)), [22, 8], centre="Ti", neighbour="O")
