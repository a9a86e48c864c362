"""Coordination and shells: rutile's closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.spacegroup import crystal

from aiida_slhmc.analysis.neighbours import coordination_numbers, nearest_neighbours, shell_means

A, C, U = 4.5937, 2.9587, 0.30478
TI_O = {"centre": "Ti", "neighbour": "O"}


def rutile() -> Atoms:
    return crystal(
        ["Ti", "O"], [(0, 0, 0), (U, U, 0)], spacegroup=136, cellpar=[A, A, C, 90, 90, 90], primitive_cell=False
    )


def test_perfect_rutile_is_six_coordinated() -> None:
    atoms = rutile()
    counts = coordination_numbers(atoms.positions, atoms.cell[:], atoms.numbers, **TI_O, cutoff=2.4)
    assert counts.tolist() == [6.0]
    reverse = coordination_numbers(
        atoms.positions, atoms.cell[:], atoms.numbers, centre="O", neighbour="Ti", cutoff=2.4
    )
    assert reverse.tolist() == [3.0]


def test_short_and_long_bonds_have_their_closed_forms() -> None:
    atoms = rutile()
    nearest = nearest_neighbours(atoms.positions, atoms.cell[:], atoms.numbers, **TI_O, count=6)
    assert nearest.shape == (1, 2, 6)
    short, long, whole = shell_means(nearest, (4, 2))[0]
    assert short == pytest.approx(np.sqrt(2 * (0.5 - U) ** 2 * A**2 + C**2 / 4), abs=1e-12)
    assert short == pytest.approx(1.948567, abs=1e-6)
    assert long == pytest.approx(np.sqrt(2) * U * A, abs=1e-12)
    assert long == pytest.approx(1.979995, abs=1e-6)
    assert whole == pytest.approx(1.959043, abs=1e-6)


def test_neighbours_are_found_however_far_they_are() -> None:
    cell = np.diag([3.0, 3.0, 30.0])
    found = nearest_neighbours(np.zeros((1, 1, 3)), cell, [29], centre="Cu", neighbour="Cu", count=8)
    assert found[0, 0] == pytest.approx([3.0] * 4 + [3.0 * np.sqrt(2)] * 4)
    molecule = np.array([[[0.0, 0, 0], [0, 0, 0.96], [0.93, 0, -0.24]]])
    bonds = nearest_neighbours(
        molecule, np.zeros((3, 3)), [8, 1, 1], centre="O", neighbour="H", count=2, pbc=(False,) * 3
    )
    assert bonds[0, 0] == pytest.approx([0.96, np.hypot(0.93, 0.24)])
    with pytest.raises(ValueError, match="not every O has 3"):
        nearest_neighbours(molecule, np.zeros((3, 3)), [8, 1, 1], centre="O", neighbour="H", count=3, pbc=(False,) * 3)


def test_parts_of_a_shell_need_their_neighbours() -> None:
    with pytest.raises(ValueError, match="cannot be made of 4"):
        shell_means(np.ones((1, 2, 4)), (4, 2))
