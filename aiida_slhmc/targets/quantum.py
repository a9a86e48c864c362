"""Quantum engines that install with pip: tight binding (tblite) and molecules (PySCF)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ase import Atoms
from ase.data import ground_state_magnetic_moments

from .port import Target, atom_in_a_box, positive


class TbliteTarget(Target):
    """tblite: GFN1-xTB or GFN2-xTB, at Γ alone."""

    name = "tblite"
    functionals = ("GFN1-xTB", "GFN2-xTB")
    default_functional = "GFN2-xTB"
    defaults = {
        # tblite's own is 1.0: the energy then moves by 2e-8 eV (6 atoms of rutile), at the same cost.
        "accuracy": 0.1,
        "electronic_temperature": 300.0,  # K
        "max_iterations": 250,
        "charge": 0.0,  # e
        "spin": 0,  # unpaired electrons
    }
    requires = "tblite"

    def check(self, level: Mapping[str, Any]) -> None:
        """Check a normalised level of theory.

        :param level: level of theory.
        :raises ValueError: with one sentence.
        """
        super().check(level)
        positive(level, "accuracy", "electronic_temperature")
        positive(level, "max_iterations", whole=True)
        _charge_and_spin(level)

    def validate(self, level: Mapping[str, Any], numbers: Sequence[int], cell: Any) -> None:
        """Check a level of theory against a structure.

        :param level: level of theory.
        :param numbers: atomic numbers (N,).
        :param cell: (3, 3) in Å.
        :raises ValueError: with one sentence.
        """
        super().validate(level, numbers, cell)
        foreign = [int(number) for number in numbers if not 1 <= number <= 86]
        if foreign:
            raise ValueError(f"tblite knows the elements up to 86, not {foreign[0]}.")

    def isolated_atom(self, level: Mapping[str, Any], number: int) -> tuple[dict[str, Any], Atoms]:
        """Return the level of theory and the structure for an isolated atom, with the spin of its ground state.

        :param level: normalised level of theory of the target.
        :param number: atomic number.
        """
        return _isolated_atom(level, number)


class PyscfTarget(Target):
    """PySCF: a molecule in a Gaussian basis."""

    name = "pyscf"
    functionals = ("HF", "PBE", "r2SCAN", "B3LYP", "PBE0", "HSE06")
    default_functional = "PBE"
    defaults = {
        "basis": "def2-TZVP",
        "grid_level": 3,
        "conv_tol": 1e-10,  # Hartree
        "max_cycle": 100,
        "charge": 0,  # e
        "spin": 0,  # 2S
    }
    requires = "molecules"

    def check(self, level: Mapping[str, Any]) -> None:
        """Check a normalised level of theory.

        :param level: level of theory.
        :raises ValueError: with one sentence.
        """
        super().check(level)
        positive(level, "conv_tol")
        positive(level, "max_cycle", whole=True)
        _charge_and_spin(level)
        basis, grid = level["parameters"]["basis"], level["parameters"]["grid_level"]
        if not isinstance(basis, str) or not basis:
            raise ValueError(f"the parameter 'basis' must be PySCF's name of a basis, not {basis!r}.")
        if not isinstance(grid, int) or isinstance(grid, bool) or not 0 <= grid <= 9:
            raise ValueError(f"the parameter 'grid_level' must be an integer from 0 to 9, not {grid!r}.")

    def validate(self, level: Mapping[str, Any], numbers: Sequence[int], cell: Any) -> None:
        """Check a level of theory against a structure.

        :param level: level of theory.
        :param numbers: atomic numbers (N,).
        :param cell: (3, 3) in Å.
        :raises ValueError: with one sentence.
        """
        super().validate(level, numbers, cell)
        charge, spin = level["parameters"]["charge"], level["parameters"]["spin"]
        electrons = sum(int(number) for number in numbers) - int(charge)
        if electrons < spin or (electrons - spin) % 2:
            raise ValueError(f"{electrons} electrons cannot have spin = {spin} (2S, the number of unpaired electrons).")

    def has_stress(self, level: Mapping[str, Any]) -> bool:
        """Return that there is no stress: a molecule has no cell.

        :param level: level of theory.
        """
        return False

    def isolated_atom(self, level: Mapping[str, Any], number: int) -> tuple[dict[str, Any], Atoms]:
        """Return the level of theory and the structure for an isolated atom, with the spin of its ground state.

        :param level: normalised level of theory of the target.
        :param number: atomic number.
        """
        return _isolated_atom(level, number)


def _isolated_atom(level: Mapping[str, Any], number: int) -> tuple[dict[str, Any], Atoms]:
    spin = round(float(ground_state_magnetic_moments[number]))
    parameters = {**level["parameters"], "charge": type(level["parameters"]["charge"])(0), "spin": spin}
    return {**level, "parameters": parameters}, atom_in_a_box(number, (12.0, 12.5, 13.0), pbc=False)


def _charge_and_spin(level: Mapping[str, Any]) -> None:
    charge, spin = level["parameters"]["charge"], level["parameters"]["spin"]
    if not isinstance(charge, (int, float)) or isinstance(charge, bool) or charge != int(charge):
        raise ValueError(f"the parameter 'charge' must be a whole number, not {charge!r}.")
    if not isinstance(spin, int) or isinstance(spin, bool) or spin < 0:
        raise ValueError(f"the parameter 'spin' must be an integer of at least 0 (unpaired electrons), not {spin!r}.")
