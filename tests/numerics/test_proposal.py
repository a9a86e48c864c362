"""Proposals: what is drawn, what is kept of a trajectory, and what undoes it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from ase import units

from aiida_slhmc.numerics import lattice, npt
from aiida_slhmc.numerics.analytic import EinsteinCrystal
from aiida_slhmc.numerics.cells import Barostat
from aiida_slhmc.numerics.limits import Limits
from aiida_slhmc.numerics.proposal import CellTerms, Settings, place, propose
from aiida_slhmc.numerics.verlet import integrate

from .surfaces import CELL, UNIT_TEMPERATURE, UNIT_TIME, MeanFieldSolid

SITES = np.random.default_rng(0).uniform(0.0, 8.0, size=(4, 3))
MASSES = np.array([1.0, 2.0, 3.0, 4.0])
MODEL = EinsteinCrystal(SITES, 1.7)
SETTINGS = Settings(UNIT_TEMPERATURE, 0.3 * UNIT_TIME, 6)
STREAM = {"seed": 1, "chain": 0, "cycle": 7}


def test_a_proposal_is_undone_by_its_reverse() -> None:
    move = propose(SITES, CELL, MASSES, MODEL, SETTINGS, seed=1, chain=0, cycle=7)
    back = integrate(
        move.positions, -move.momenta_end, CELL, MASSES, MODEL, timestep=SETTINGS.timestep, n_steps=move.n_steps
    )
    assert np.array_equal(back.positions, lattice.snap(SITES))
    assert np.array_equal(-back.momenta, move.momenta_start)


def test_a_divergent_proposal_names_its_reason() -> None:
    settings = dataclasses.replace(SETTINGS, limits=Limits(max_energy_change=1e-9))
    move = propose(SITES, CELL, MASSES, MODEL, settings, seed=1, chain=0, cycle=0)
    assert move.divergent
    assert move.reason == "the energy of the proposal model spread over more than 1e-09 eV"
    assert np.array_equal(move.positions, lattice.snap(SITES))
    assert math.isnan(move.potential_end)
    assert math.isnan(move.kinetic_end)


def test_removing_the_momentum_needs_a_surface_that_conserves_it() -> None:
    removing = dataclasses.replace(SETTINGS, centre_of_mass="remove")
    free = propose(SITES, CELL, MASSES, MeanFieldSolid(SITES, 1.0), removing, seed=1, chain=0, cycle=0)
    assert np.abs(free.momenta_end.sum(axis=0)).max() < 1e-9
    with pytest.raises(ValueError, match="not be reversible: use 'keep'"):
        propose(SITES + 0.3, CELL, MASSES, MODEL, removing, seed=1, chain=0, cycle=0)


def test_momenta_and_length_are_functions_of_seed_chain_and_cycle() -> None:
    move = propose(SITES, CELL, MASSES, MODEL, SETTINGS, **STREAM)
    again = propose(SITES, CELL, MASSES, MODEL, SETTINGS, **STREAM)
    assert np.array_equal(move.positions, again.positions)
    for change in ({"seed": 2}, {"chain": 1}, {"cycle": 8}):
        other = propose(SITES, CELL, MASSES, MODEL, SETTINGS, **STREAM | change)
        assert not np.array_equal(other.momenta_start, move.momenta_start)


def test_momenta_have_the_variance_of_their_mass_and_temperature() -> None:
    """Of 2000 proposals: <p²>/(m kT) = 1, whose standard error for n numbers is sqrt(2/n)."""
    short = dataclasses.replace(SETTINGS, length=1)
    drawn = np.array([
        propose(SITES, CELL, MASSES, MODEL, short, seed=5, chain=0, cycle=cycle).momenta_start for cycle in range(2000)
    ])  # fmt: skip
    kt = units.kB * UNIT_TEMPERATURE
    ratios = (drawn**2).mean(axis=(0, 2)) / (MASSES * kt)
    assert np.abs(ratios - 1.0).max() < 4 * math.sqrt(2 / (3 * 2000))


def test_the_length_is_drawn_within_its_law() -> None:
    lengths = {propose(SITES, CELL, MASSES, MODEL, SETTINGS, seed=1, chain=0, cycle=c).n_steps for c in range(100)}
    assert lengths == set(range(3, 10))


def test_a_fixed_cell_adds_nothing() -> None:
    move = propose(SITES, CELL, MASSES, MODEL, SETTINGS, **STREAM)
    assert move.cell_start == move.cell_end == CellTerms()
    assert move.cell_start.total == 0.0
    assert CellTerms(1.0, 2.0, -0.5).total == 2.5
    assert np.array_equal(move.cell, CELL)


def test_the_start_is_the_nearest_structure_of_exact_arithmetic() -> None:
    positions, cell = place(SITES, CELL, SETTINGS)
    assert np.array_equal(positions, lattice.snap(SITES))
    assert np.array_equal(cell, CELL)
    again, _ = place(positions, cell, SETTINGS)
    assert np.array_equal(again, positions)
    barostat = Barostat(pressure=1.0, mass=10.0, cell="isotropic")
    moving = dataclasses.replace(SETTINGS, barostat=barostat)
    for got, expected in zip(place(SITES, CELL, moving), npt.project(SITES, CELL, barostat), strict=True):
        assert np.array_equal(got, expected)
