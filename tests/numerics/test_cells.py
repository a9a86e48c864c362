"""Coordinates of cells: found again to the bit, their tangents, their weights."""

import numpy as np
import pytest
from ase import units

from aiida_slhmc.numerics.cells import Barostat, cell_mass, law_of

CELLS = {
    "isotropic": np.array([[4.6, 0.3, 0.0], [0.1, 4.7, 0.2], [0.0, 0.4, 2.9]]),
    "orthorhombic": np.diag([4.594, 4.61, 2.959]),
    "flexible": np.array([[4.6, 0.0, 0.0], [0.2, 4.7, 0.0], [-0.3, 0.4, 2.9]]),
}


@pytest.mark.parametrize("kind", CELLS)
def test_a_stored_cell_gives_its_coordinates_back_to_the_bit(kind):
    """AiiDA stores 14 digits; what is stored is where a chain goes on."""
    law = law_of(kind, CELLS[kind])
    rng = np.random.default_rng(1)
    start = law.coordinates(CELLS[kind])
    for _ in range(50):
        x = law.coordinates(law.cell(start + 0.02 * rng.standard_normal(start.shape)))
        stored = np.array([float(f"{value:.14g}") for value in law.cell(x).flat]).reshape(3, 3)
        assert np.array_equal(law_of(kind, stored).coordinates(stored), x)


@pytest.mark.parametrize("kind", CELLS)
def test_the_tangent_is_the_derivative(kind):
    law = law_of(kind, CELLS[kind])
    x, step = law.coordinates(CELLS[kind]), 1e-6
    for index, tangent in enumerate(law.tangent(x)):
        shift = step * np.eye(len(x))[index]
        numerical = (law.cell(x + shift) - law.cell(x - shift)) / (2 * step)
        assert np.allclose(tangent, numerical, atol=1e-8)


def test_isotropic_moves_the_logarithm_of_the_volume():
    law = law_of("isotropic", CELLS["isotropic"])
    x = law.coordinates(CELLS["isotropic"])
    ratio = np.linalg.det(law.cell(x + 0.1)) / np.linalg.det(law.cell(x))
    assert ratio == pytest.approx(np.exp(0.1), rel=1e-12)


@pytest.mark.parametrize(("kind", "keep"), [("isotropic", 1.0), ("orthorhombic", 1.0), ("flexible", -1.0)])
def test_the_power_of_the_volume_makes_up_for_the_measure(kind, keep):
    barostat = Barostat(0.0, kind, 1.0)
    assert (barostat.power("keep"), barostat.power("remove")) == (keep, keep + 1.0)
    assert Barostat(0.0, kind, 1.0, volume_power=0.5).power("remove") == 0.5


def test_the_mass_is_that_of_a_spring_with_the_period():
    """Near its minimum U = B (dV)²/2V = B V x²/2 in x = ln V: omega² = B V / W."""
    mass = cell_mass(200.0, 62.0, 80.0, "isotropic")
    omega = np.sqrt(200.0 * units.GPa * 62.0 / mass)
    assert 2 * np.pi / omega == pytest.approx(80.0)
    assert cell_mass(200.0, 62.0, 80.0, "flexible") == pytest.approx(mass / 62.0 ** (2 / 3))
    with pytest.raises(ValueError, match="period of the cell's mass"):
        cell_mass(200.0, 62.0, 0.0, "isotropic")


@pytest.mark.parametrize(
    ("kind", "cell", "says"),
    [
        ("orthorhombic", CELLS["flexible"], "along x, y and z"),
        ("flexible", CELLS["isotropic"], "lower-triangular"),
        ("isotropic", -np.eye(3), "right-handed"),
        ("cubic", np.eye(3), "no cell 'cubic'"),
    ],
)
def test_a_cell_that_the_law_does_not_make_is_refused(kind, cell, says):
    with pytest.raises(ValueError, match=says):
        law_of(kind, cell)
