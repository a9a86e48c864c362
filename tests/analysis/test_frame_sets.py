"""Distances, cells and errors of sets of frames: closed forms, mixed sets, isolated atoms."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.spacegroup import crystal

from aiida_slhmc.analysis.distributions import Ragged
from aiida_slhmc.analysis.errors import concatenate, mean_absolute_errors, summarise
from aiida_slhmc.analysis.frame_sets import ErrorTotals, Values, cells, check_same, distances, values_of

A, C, U = 4.5937, 2.9587, 0.30478
SHORT, LONG = np.sqrt(2 * (0.5 - U) ** 2 * A**2 + C**2 / 4), np.sqrt(2) * U * A


def rutile() -> Atoms:
    return crystal(["Ti", "O"], [(0, 0, 0), (U, U, 0)], spacegroup=136, cellpar=[A, A, C, 90, 90, 90])


def test_rutile_has_its_closed_forms_in_any_cell():
    found = distances([rutile(), rutile() * (1, 1, 3)], ("Ti", "O"), 2.4, (4, 2))
    assert isinstance(found.values, Ragged)
    assert found.values.sizes.tolist() == [2, 6]
    np.testing.assert_allclose(found.means, SHORT, rtol=1e-12)
    np.testing.assert_allclose(found.coordination, 6.0)
    whole = (4 * SHORT + 2 * LONG) / 6
    np.testing.assert_allclose(found.shells, [[SHORT, LONG, whole]] * 2, rtol=1e-12)
    np.testing.assert_allclose([SHORT, LONG, whole], [1.948567, 1.979995, 1.959043], atol=1e-6)


def test_isolated_atoms_and_molecules_are_counted_not_crashed_on():
    frames = [rutile(), Atoms("Ti"), Atoms("O"), molecule("H2O"), rutile()]
    found = distances(frames, ("Ti", "O"), 2.4)
    assert len(found.values) == 2
    assert found.skipped == {"no O": 1, "no Ti": 2}
    water = distances([molecule("H2O"), Atoms("O")], ("O", "H"), 1.2)
    np.testing.assert_allclose(water.values, [[molecule("H2O").get_distance(0, 1)]], rtol=1e-9)
    np.testing.assert_allclose(water.coordination, [2.0])
    lone = distances([Atoms("O"), molecule("O2")], ("O", "O"), 2.0)
    assert lone.skipped == {"fewer than 1 O around O": 1}
    assert not len(distances([], ("O", "H"), 1.0).values)


def test_no_frame_is_kept():
    alive: list[weakref.ref[Atoms]] = []
    most = []

    def frames():
        for _ in range(30):
            atoms = rutile()
            alive.append(weakref.ref(atoms))
            most.append(sum(reference() is not None for reference in alive))
            yield atoms
            del atoms

    gc.collect()
    gc.disable()
    try:
        assert len(distances(frames(), ("Ti", "O"), 2.4).values) == 30
        assert len(cells(frames()).cells["Ti2O4"]) == 30
    finally:
        gc.enable()
    assert len(most) == 60
    assert max(most) <= 3


def test_cells_go_by_formula():
    frames = [rutile(), rutile() * (2, 2, 2), Atoms("O"), rutile()]
    found = cells(frames)
    assert {formula: len(own) for formula, own in found.cells.items()} == {"Ti2O4": 2, "Ti16O32": 1}
    assert found.skipped == 1
    for formula, multiples in (("Ti2O4", (1, 1, 1)), ("Ti16O32", (2, 2, 2))):
        series = found.series(formula, multiples)
        np.testing.assert_allclose(series.lengths, [[A, A, C]] * len(series.lengths))
        np.testing.assert_allclose(series.volumes, A * A * C / 2)


def labelled(**info) -> Atoms:
    atoms = Atoms("HO", [[0, 0, 0], [1, 0, 0]], cell=np.eye(3) * 5, pbc=True)
    atoms.info.update(info)
    return atoms


def test_values_are_found_wherever_they_stand():
    atoms = labelled(REF_energy=-3.0)
    assert values_of(atoms, None, "x") is None
    assert values_of(atoms, "REF_", "x") == Values(-3.0)
    atoms.arrays["REF_forces"] = np.ones((2, 3))
    atoms.info["REF_stress"] = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    found = values_of(atoms, "REF_", "x")
    np.testing.assert_array_equal(found.forces, np.ones((2, 3)))
    np.testing.assert_array_equal(found.stress, [[1, 6, 5], [6, 2, 4], [5, 4, 3]])
    atoms.calc = SinglePointCalculator(atoms, energy=1.0, free_energy=2.0)
    # The free energy is the one that the forces are the gradient of.
    assert values_of(atoms, None, "x").energy == 2.0


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"P_energy": "high"}, "'P_energy' is no number"),
        ({"P_energy": np.nan}, "'P_energy' is not finite"),
        ({"P_energy": np.zeros(3)}, "'P_energy' has 3 numbers"),
        ({"P_energy": 1.0, "P_forces": np.zeros(5)}, "'P_forces' has 5 numbers for 2 atoms"),
        ({"P_energy": 1.0, "P_stress": np.zeros(4)}, "'P_stress' has 4 numbers"),
    ],
)
def test_values_that_are_none_are_named(info, words):
    with pytest.raises(ValueError, match=words):
        values_of(labelled(**info), "P_", "frame 3 of 'x'")


def test_errors_by_hand():
    """Two frames, forces off by 1 and by -2 in one component of six, energies by 0.2 and -0.6 eV."""
    totals = ErrorTotals()
    for energy, force in ((0.2, 1.0), (-0.6, -2.0)):
        forces = np.zeros((2, 3))
        forces[1, 0] = force
        stress = np.diag([0.3, 0.0, 0.0])
        totals.add(labelled(), Values(-1.0, np.zeros((2, 3)), np.zeros((3, 3))), Values(-1.0 + energy, forces, stress))
    data = concatenate(totals.parts)
    found = summarise(data) | mean_absolute_errors(data)
    assert found["energy_rmse"] == pytest.approx(np.sqrt((0.1**2 + 0.3**2) / 2))
    assert found["energy_mae"] == pytest.approx(0.2)
    assert found["force_rmse"] == pytest.approx(np.sqrt(5.0 / 12.0))
    assert found["force_mae"] == pytest.approx(3.0 / 12.0)
    assert found["stress_rmse"] == pytest.approx(0.3 / np.sqrt(6.0))
    assert found["stress_mae"] == pytest.approx(0.05)
    squares, counts = totals.of_element("O")
    np.testing.assert_allclose(squares, [1.0, 4.0])
    np.testing.assert_allclose(counts, [3.0, 3.0])
    np.testing.assert_allclose(totals.of_element("H")[0], 0.0)


def test_frames_of_energies_alone_count_for_the_energy():
    totals = ErrorTotals()
    for _ in range(10):
        totals.add(labelled(), Values(-1.0, np.zeros((2, 3))), Values(-1.2, np.full((2, 3), 0.5)))
        totals.add(Atoms("O"), Values(-1.0), Values(-0.9))
    data = concatenate(totals.parts)
    found = summarise(data) | mean_absolute_errors(data)
    assert found["force_rmse"] == found["force_mae"] == pytest.approx(0.5)
    assert found["energy_mae"] == pytest.approx(0.1)
    assert found["energy_offset"] == pytest.approx(0.0, abs=1e-12)
    assert np.isfinite(found["force_mae_error"])
    assert np.isnan(found["stress_mae"])


def test_force_components_for_a_figure_stay_few():
    totals = ErrorTotals(components=60)
    for index in range(200):
        totals.add(labelled(), Values(0.0, np.full((2, 3), index)), Values(0.0, np.full((2, 3), index)))
    kept = np.array([part[0, 0] for part in totals.forces])
    assert 5 <= len(kept) <= 10
    # Evenly spread over all frames.
    assert len(set(np.diff(kept))) == 1
    assert kept[-1] >= 150


def test_other_structures_are_not_compared():
    one, other = labelled(), labelled()
    other.positions[0] += [5.0, -5.0, 10.0]
    check_same(one, other, "both")
    other.positions[0, 0] += 0.1
    with pytest.raises(ValueError, match=r"both are not the same structure: an atom is 0.1 Å off"):
        check_same(one, other, "both")
    other.set_cell(np.eye(3) * 6)
    with pytest.raises(ValueError, match="different cells"):
        check_same(one, other, "both")
    with pytest.raises(ValueError, match="hold HO and"):
        check_same(one, one[::-1], "both")
