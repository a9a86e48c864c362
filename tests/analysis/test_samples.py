"""The plan of a comparison follows from its reference, and an analysis gives the numbers of known crystals."""

import numpy as np
import pytest
from ase.build import bulk
from ase.spacegroup import crystal

from aiida_slhmc.analysis.samples import Plan, analyse, default_pair, kept_histograms, make_plan, units_of

SETTINGS = {
    "pair": None, "cutoff": None, "windows": None, "shell": None, "multiples": [1, 1, 1], "rdf_range": 6.0,
}  # fmt: skip


def sample(atoms, frames=6, noise=0.0, seed=1):
    """Return frames of a crystal whose atoms are displaced by a normal law (Å)."""
    random = np.random.default_rng(seed)
    positions = atoms.positions + noise * random.standard_normal((frames, len(atoms), 3))
    return {"positions": positions, "cells": np.tile(atoms.cell[:], (frames, 1, 1)), "numbers": atoms.numbers}


def rutile():
    return crystal(
        ["Ti", "O"], [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136, cellpar=[4.594, 4.594, 2.959, 90, 90, 90]
    ).repeat((2, 2, 3))


def rocksalt():
    return bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(2)


def pair_of(atoms):
    one = sample(atoms, frames=1)
    return default_pair(one["numbers"], one["positions"], one["cells"])


def test_the_pair_is_the_rarest_element_and_its_nearest():
    assert pair_of(rutile()) == ("Ti", "O")
    # Equally rare: the heavier is the centre.
    assert pair_of(rocksalt()) == ("Cl", "Na")
    assert pair_of(bulk("Cu", cubic=True).repeat(2)) == ("Cu", "Cu")


def test_the_cutoff_ends_the_first_shell():
    plan = make_plan(sample(rocksalt(), noise=0.05), SETTINGS, temperature=300.0, moves=True)
    low, high = plan.windows["Cl-Na"]
    assert low < 5.64 / 2 < high
    # The second shell of unlike ions is √3 times as far.
    assert 5.64 / 2 + 0.2 < plan.cutoff < 5.64 / 2 * np.sqrt(3) - 0.1
    assert Plan.from_dict(plan.as_dict()) == plan


def test_what_is_given_is_kept_and_what_cannot_be_is_refused():
    given = {**SETTINGS, "pair": ["O", "Ti"], "cutoff": 2.4, "windows": {"Ti-O": [1.6, 2.2]}, "shell": [2, 1]}
    plan = make_plan(sample(rutile(), noise=0.03), given, temperature=300.0, moves=False)
    assert (plan.pair, plan.cutoff, plan.windows["O-Ti"], plan.shell) == (("O", "Ti"), 2.4, (1.6, 2.2), (2, 1))
    with pytest.raises(ValueError, match="a window is given for H-O, but the pairs are O-O, O-Ti, Ti-Ti"):
        make_plan(sample(rutile()), {**SETTINGS, "windows": {"O-H": [1, 2]}}, temperature=300.0, moves=False)
    with pytest.raises(ValueError, match=r"no O-Ti pair is closer than 1\.5 Å"):
        make_plan(sample(rutile()), {**SETTINGS, "rdf_range": 1.5}, temperature=300.0, moves=False)


def test_the_numbers_of_a_crystal():
    atoms = rutile()
    plan = make_plan(
        sample(atoms), {**SETTINGS, "multiples": [2, 2, 3], "shell": [4, 2]}, temperature=300.0, moves=True
    )
    found = analyse(sample(atoms), plan)
    # Four short bonds and two long ones (Å), of a, c and u.
    short, long = np.hypot(np.sqrt(2) * (0.5 - 0.305) * 4.594, 2.959 / 2), np.sqrt(2) * 0.305 * 4.594
    np.testing.assert_allclose(found["distances"], short, rtol=1e-9)
    np.testing.assert_allclose(found["shells"][:, 0], short, rtol=1e-9)
    np.testing.assert_allclose(found["shells"][:, 1], long, rtol=1e-9)
    np.testing.assert_allclose(found["coordination"], 6.0)
    np.testing.assert_allclose(found["lengths"], [[4.594, 4.594, 2.959]] * 6)
    np.testing.assert_allclose(found["volumes"], 4.594**2 * 2.959 / 2)
    assert np.isnan(found["pressures"]).all()
    running = found["running_O_Ti"]
    np.testing.assert_allclose(running[np.searchsorted(found["rdf_edges"], 2.4)], 3.0, atol=1e-9)  # Ti around O


def test_what_is_kept_block_by_block_adds_up_to_the_whole():
    atoms = rutile()
    one = sample(atoms, frames=8, noise=0.05)
    found = analyse(one, make_plan(one, SETTINGS, temperature=300.0, moves=False))
    kept = kept_histograms(found, atoms.numbers, "counts")
    assert kept.frames.sum() == 8
    pairs = kept.counts["O-Ti"].sum()
    density, shell = 24 / atoms.get_volume(), 4 / 3 * np.pi * found["rdf_edges"][-1] ** 3
    # Of an ideal gas as dense: the crystal has within a tenth as many within 6 Å.
    assert pairs / 8 == pytest.approx(48 * density * shell, rel=0.1)


def test_formula_units():
    assert units_of(rutile().numbers) == "TiO2"
    assert units_of(bulk("Cu").numbers) == "Cu"
