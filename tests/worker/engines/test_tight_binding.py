"""tblite against what is known of it: its own ASE calculator, finite differences, the free energy."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from aiida_slhmc.targets.contract import check_target
from aiida_slhmc.targets.level import normalise, validate
from aiida_slhmc.targets.registry import get_target
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.potentials import build_potential
from tests.worker.rutile import rutile

pytest.importorskip("tblite", reason="tblite is not installed: pip install 'aiida-slhmc[tblite]'")


def level(functional: str = "GFN1-xTB", **parameters) -> dict:
    return normalise({"engine": "tblite", "functional": functional, "parameters": parameters})


def strained() -> Atoms:
    atoms = rutile()
    atoms.set_cell(atoms.cell[:] * 0.98, scale_atoms=True)
    atoms.rattle(0.06, seed=1)
    return atoms


@pytest.mark.parametrize("functional", ["GFN1-xTB", "GFN2-xTB"])
def test_it_keeps_the_contract(functional):
    report = check_target(level(functional), strained())
    # Threads add in an order of their own.
    assert report.repeat_error < 1e-9
    assert report.force_error < 5e-4
    assert report.stress_error < 1e-4


def test_the_energy_is_the_free_energy():
    """Hot electrons: without their entropy the forces would be those of another energy."""
    report = check_target(level(electronic_temperature=5000.0), strained())
    assert report.force_error < 5e-4
    cold = check_target(level(), strained())
    assert report.energy < cold.energy - 0.1


def test_it_is_what_its_own_calculator_says():
    from tblite.ase import TBLite

    atoms = strained()
    atoms.calc = TBLite(method="GFN2-xTB", accuracy=0.1, verbosity=0)
    answer = build_potential(level("GFN2-xTB"), atoms.numbers, atoms.pbc).evaluate(atoms.positions, atoms.cell[:])
    assert answer.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
    np.testing.assert_allclose(answer.forces, atoms.get_forces(), atol=1e-7)
    np.testing.assert_allclose(answer.stress, atoms.get_stress(voigt=False), atol=1e-8)


def test_a_molecule_has_no_stress_and_a_charge():
    water = molecule("H2O")
    energies = {}
    for charge in (0, 1):
        theory = level("GFN2-xTB", charge=charge, spin=charge)
        answer = build_potential(theory, water.numbers, [False] * 3).evaluate(water.positions, np.eye(3) * 15)
        assert answer.stress is None
        energies[charge] = answer.energy
    # Measured: 12.6 eV.
    assert 9 < energies[1] - energies[0] < 20


def test_what_does_not_converge_says_so(capfd):
    atoms = strained()
    potential = build_potential(level(max_iterations=2), atoms.numbers, atoms.pbc)
    with pytest.raises(TaskError, match="not converged in 2 cycles") as caught:
        potential.evaluate(atoms.positions, atoms.cell[:])
    assert caught.value.kind == "unconverged"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"accuracy": 0.0}, "'accuracy' must be a number greater than 0"),
        ({"max_iterations": 1.5}, "an integer greater than 0"),
        ({"charge": 0.5}, "'charge' must be a whole number"),
        ({"spin": -1}, "at least 0"),
        ({"kpoints": [2, 2, 2]}, "no parameter 'kpoints'"),
    ],
)
def test_a_wrong_level_is_refused(parameters, says):
    with pytest.raises(ValueError, match=says):
        validate({"engine": "tblite", "parameters": parameters})


def test_an_element_beyond_tblite():
    with pytest.raises(ValueError, match="up to 86, not 92"):
        get_target("tblite").validate(level(), [8, 92], np.eye(3))
