from __future__ import annotations

import itertools

import numpy as np
import pytest

from aiida_slhmc.numerics.limits import Distances, Limits
from aiida_slhmc.numerics.verlet import integrate

from .surfaces import CELL, UNIT_TIME, MeanFieldSolid

PERIODIC = (True, True, True)


def shortest_by_force(positions: np.ndarray, cell: np.ndarray, reach: int = 12) -> float:
    """Return the shortest distance by looking at many images: the skewed cell needs 7 translations."""
    shifts = np.array(list(itertools.product(range(-reach, reach + 1), repeat=3))) @ cell
    vectors = positions[:, None, None] - positions[None, :, None] + shifts
    lengths = np.linalg.norm(vectors, axis=-1)
    return float(lengths[lengths > 1e-9].min())


@pytest.mark.parametrize(
    "cell",
    [
        np.diag([6.0, 7.0, 8.0]),
        np.diag([4.6, 4.6, 2.96]),
        np.diag([1.5, 9.0, 9.0]),
        # So skewed that the nearest image is several translations from the folded one.
        np.array([[5.0, 0.0, 0.0], [12.0, 3.0, 0.0], [-9.0, 7.0, 2.5]]),
    ],
)
@pytest.mark.parametrize("n_atoms", [1, 4])
def test_shortest_distance_is_that_of_all_images(cell: np.ndarray, n_atoms: int) -> None:
    rng = np.random.default_rng(n_atoms)
    for _ in range(10):
        # Far outside the home cell: positions are never wrapped.
        positions = rng.uniform(-3, 3, size=(n_atoms, 3)) @ cell
        expected = shortest_by_force(positions - np.floor(positions @ np.linalg.inv(cell)) @ cell, cell)
        assert Distances(cell, PERIODIC, expected * 1.2).shortest(positions) == pytest.approx(expected, abs=1e-9)
        assert Distances(cell, PERIODIC, expected * 0.8).shortest(positions) > expected * 0.8


def test_images_only_along_periodic_vectors() -> None:
    positions = np.array([[0.2, 5.0, 5.0], [9.8, 5.0, 5.0]])
    cell = 10.0 * np.eye(3)
    assert Distances(cell, PERIODIC, 1.0).shortest(positions) == pytest.approx(0.4)
    assert Distances(cell, (False, True, True), 1.0).shortest(positions) == pytest.approx(9.6)
    assert Distances(np.diag([0.0, 10.0, 10.0]), PERIODIC, 1.0).shortest(positions) == pytest.approx(9.6)
    assert Distances(np.zeros((3, 3)), PERIODIC, 1.0).shortest(positions) == pytest.approx(9.6)


def test_a_lone_atom_without_images_is_close_to_nothing() -> None:
    assert Distances(np.zeros((3, 3)), PERIODIC, 1.0).shortest(np.zeros((1, 3))) == np.inf


@pytest.mark.parametrize(
    "limits", [Limits(min_distance=0.9), Limits(max_energy_change=0.9)], ids=["distance", "energy"]
)
def test_a_trajectory_is_rejected_exactly_if_its_reverse_is(limits: Limits) -> None:
    sites = np.zeros((3, 3))
    surface = MeanFieldSolid(sites, 1.0)
    masses = np.array([1.0, 2.0, 0.5])
    settings = {"cell": CELL, "masses": masses, "potential": surface, "timestep": 0.9 * UNIT_TIME, "n_steps": 6}
    rng = np.random.default_rng(5)
    verdicts = []
    for _ in range(300):
        positions, momenta = rng.standard_normal((2, 3, 3))
        end = integrate(positions, momenta, **settings)
        there = integrate(positions, momenta, **settings, limits=limits)
        back = integrate(end.positions, -end.momenta, **settings, limits=limits)
        assert there.divergent == back.divergent
        assert not end.divergent
        verdicts.append(there.divergent)
    assert 0.2 < np.mean(verdicts) < 0.8


def test_a_start_beyond_the_limit_is_rejected() -> None:
    # The atoms fly apart, so only the start is too close: the reverse ends there.
    positions = np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0]])
    momenta = np.array([[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    surface = MeanFieldSolid(np.zeros((2, 3)), 1e-6)
    masses = np.ones(2)
    path = integrate(
        positions, momenta, CELL, masses, surface, timestep=UNIT_TIME, n_steps=3, limits=Limits(min_distance=0.6)
    )
    assert path.divergent
    assert path.reason == "two atoms came closer than 0.6 Å"
    assert np.array_equal(path.positions, positions)


def test_an_atom_sees_its_own_image() -> None:
    cell = np.diag([1.2, 30.0, 30.0])
    surface = MeanFieldSolid(np.zeros((1, 3)), 1.0)
    for bound, divergent in ((1.1, False), (1.3, True)):
        path = integrate(
            np.zeros((1, 3)),
            np.ones((1, 3)),
            cell,
            np.ones(1),
            surface,
            timestep=UNIT_TIME,
            n_steps=2,
            limits=Limits(min_distance=bound),
        )
        assert path.divergent is divergent
