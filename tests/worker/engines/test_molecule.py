"""PySCF on nitrogen: two bases, finite differences, and a box that is no more than a box."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from aiida_slhmc.targets.contract import check_target
from aiida_slhmc.targets.level import normalise, validate
from aiida_slhmc.targets.registry import get_target
from aiida_slhmc.worker.engines.molecule import whole
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.potentials import build_potential

pytest.importorskip("pyscf", reason="PySCF is not installed: pip install 'aiida-slhmc[molecules]'")

BOX = np.eye(3) * 15.0


def level(functional: str = "PBE", **parameters) -> dict:
    return normalise({"engine": "pyscf", "functional": functional, "parameters": {"basis": "STO-3G", **parameters}})


def nitrogen(pbc: bool = False, distance: float = 1.25) -> Atoms:
    """Return N2, tilted and stretched."""
    axis = np.array([0.2, 0.1, 1.0]) / np.linalg.norm([0.2, 0.1, 1.0])
    return Atoms("N2", positions=[[5.0, 5.0, 5.0], [5.0, 5.0, 5.0] + distance * axis], cell=BOX, pbc=pbc)


@pytest.mark.parametrize("functional", ["HF", "PBE", "r2SCAN", "B3LYP", "PBE0", "HSE06"])
def test_every_functional_keeps_the_contract(functional):
    report = check_target(level(functional), nitrogen(), directions=1)
    # Threads add in an order of their own.
    assert report.repeat_error < 1e-9
    assert report.force_error < 5e-4
    assert np.isnan(report.stress_error)


@pytest.mark.parametrize("basis", ["STO-3G", "def2-TZVP"])
def test_two_bases_are_two_surfaces(basis):
    report = check_target(level("PBE", basis=basis), nitrogen(), directions=1)
    assert report.force_error < 5e-4
    # Measured here: the larger basis is 40 eV lower.
    assert report.energy == pytest.approx({"STO-3G": -2937.0, "def2-TZVP": -2976.9}[basis], abs=0.6)


def test_hartree_fock_in_the_least_basis_is_the_textbook_number():
    """Szabo and Ostlund, Modern Quantum Chemistry, table 3.12: N2 at 2.074 Bohr in STO-3G, -107.496 Hartree."""
    from ase.units import Bohr, Hartree

    atoms = nitrogen(distance=2.074 * Bohr)
    answer = build_potential(level("HF"), atoms.numbers, atoms.pbc).evaluate(atoms.positions, BOX)
    assert answer.energy / Hartree == pytest.approx(-107.496, abs=1e-3)


def test_a_box_changes_nothing():
    alone, boxed = nitrogen(), nitrogen(pbc=True)
    shifted = np.mod(boxed.positions + np.array([0.0, 0.0, 9.5]), 15.0)
    assert np.abs(shifted[0] - shifted[1]).max() > 10  # cut in two by the boundary
    evaluate = [
        build_potential(level("HF"), atoms.numbers, atoms.pbc).evaluate(positions, BOX)
        for atoms, positions in ((alone, alone.positions), (boxed, boxed.positions), (boxed, shifted))
    ]
    for answer in evaluate[1:]:
        assert answer.energy == pytest.approx(evaluate[0].energy, abs=1e-7)
        np.testing.assert_allclose(answer.forces, evaluate[0].forces, atol=1e-5)
        assert answer.stress is None


def test_a_crystal_is_refused():
    with pytest.raises(TaskError, match=r"2\.0 Å from its periodic image") as caught:
        whole([[0.0, 0.0, 0.0]], np.eye(3) * 2.0, [True] * 3)
    assert caught.value.kind == "bad_input"


def test_an_ion_with_a_spin():
    atoms = nitrogen()
    energies = [
        build_potential(level("HF", charge=c, spin=c), atoms.numbers, atoms.pbc).evaluate(atoms.positions, BOX).energy
        for c in (0, 1)
    ]
    assert 10 < energies[1] - energies[0] < 20


def test_what_does_not_converge_says_so(capfd):
    atoms = nitrogen()
    potential = build_potential(level(max_cycle=1), atoms.numbers, atoms.pbc)
    with pytest.raises(TaskError, match="did not converge within 1 iterations") as caught:
        potential.evaluate(atoms.positions, BOX)
    assert caught.value.kind == "unconverged"
    assert capfd.readouterr() == ("", "")


def test_an_unknown_basis():
    potential = build_potential(level(basis="no-such"), [7, 7], [False] * 3)
    with pytest.raises(TaskError, match=r"cannot make this molecule: .*basis name no-such") as caught:
        potential.evaluate(nitrogen().positions, BOX)
    assert caught.value.kind == "bad_input"


def test_the_iterations_are_counted():
    atoms = nitrogen()
    potential = build_potential(level("HF"), atoms.numbers, atoms.pbc)
    potential.evaluate(atoms.positions, BOX)
    assert 2 < potential.scf_steps < 20


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"basis": ""}, "PySCF's name of a basis"),
        ({"grid_level": 12}, "from 0 to 9, not 12"),
        ({"conv_tol": -1}, "greater than 0"),
        ({"charge": "one"}, "whole number"),
        ({"cutoff": 300}, "no parameter 'cutoff'"),
    ],
)
def test_a_wrong_level_is_refused(parameters, says):
    with pytest.raises(ValueError, match=says):
        validate({"engine": "pyscf", "parameters": parameters})


def test_a_spin_that_cannot_be():
    with pytest.raises(ValueError, match="14 electrons cannot have spin = 1"):
        get_target("pyscf").validate(level(spin=1), [7, 7], BOX)
    get_target("pyscf").validate(level(spin=2), [7, 7], BOX)
