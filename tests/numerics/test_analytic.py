from __future__ import annotations

import numpy as np
import pytest

from aiida_slhmc.numerics.analytic import AnharmonicCrystal, EinsteinCrystal
from aiida_slhmc.numerics.potential import Potential

from .surfaces import CELL, MeanFieldSolid

SITES = np.random.default_rng(0).uniform(0.0, 8.0, size=(5, 3))
SURFACES = {
    "einstein": EinsteinCrystal(SITES, 2.5, offset=-40.0),
    "einstein, a spring an atom": EinsteinCrystal(SITES, np.linspace(0.5, 4.0, 5)),
    "anharmonic": AnharmonicCrystal(SITES, 1.5, 3.0, 0.7),
    "mean field": MeanFieldSolid(SITES, 2.0),
}


@pytest.mark.parametrize("name", SURFACES)
def test_forces_are_the_gradient(name: str) -> None:
    surface: Potential = SURFACES[name]
    positions = SITES + 0.3 * np.random.default_rng(1).standard_normal(SITES.shape)
    h = 1e-4
    numerical = np.empty_like(positions)
    for index in np.ndindex(positions.shape):
        shift = np.zeros_like(positions)
        shift[index] = h
        up, down = (surface.evaluate(positions + sign * shift, CELL).energy for sign in (1, -1))
        numerical[index] = -(up - down) / (2 * h)
    assert surface.evaluate(positions, CELL).forces == pytest.approx(numerical, abs=1e-6)


def test_einstein_energy_by_hand() -> None:
    positions = SITES.copy()
    positions[0] += [3.0, 0.0, 4.0]
    positions[3] += [0.0, 2.0, 0.0]
    # 2.5 eV/Å² (25 + 4) Å² / 2 above the offset.
    assert SURFACES["einstein"].evaluate(positions, CELL).energy == pytest.approx(-40.0 + 36.25)
    springs = np.linspace(0.5, 4.0, 5)
    expected = 0.5 * (springs[0] * 25 + springs[3] * 4)
    assert SURFACES["einstein, a spring an atom"].evaluate(positions, CELL).energy == pytest.approx(expected)


def test_mean_field_solid_does_not_feel_translation() -> None:
    positions = SITES + 0.3 * np.random.default_rng(2).standard_normal(SITES.shape)
    here, there = (SURFACES["mean field"].evaluate(positions + shift, CELL) for shift in (0.0, 5.0))
    assert here.energy == pytest.approx(there.energy)
    assert np.abs(here.forces.sum(axis=0)).max() < 1e-12
