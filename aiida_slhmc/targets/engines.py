"""The engines that come with the package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .port import Target, positive


class ChgnetTarget(Target):
    """CHGNet as a teacher: its PBE or r2SCAN surface plays the target functional."""

    name = "chgnet"
    functionals = ("PBE", "r2SCAN")
    default_functional = "r2SCAN"


class GpawTarget(Target):
    """GPAW with plane waves: true DFT that installs without a licence."""

    name = "gpaw"
    functionals = ("PBE", "r2SCAN", "HSE06")
    default_functional = "PBE"
    defaults = {
        "cutoff": 520.0,  # eV
        "kpoints": [1, 1, 1],
        "smearing": 0.05,  # eV, Gaussian
        "energy_convergence": 1e-6,  # eV per valence electron
        "max_iterations": 333,
    }
    default_executor = "job"

    def check(self, level: Mapping[str, Any]) -> None:
        """Check a normalised level of theory.

        :param level: level of theory.
        :raises ValueError: with one sentence.
        """
        super().check(level)
        positive(level, "cutoff", "smearing", "energy_convergence", "max_iterations")
        mesh = level["parameters"]["kpoints"]
        if len(mesh) != 3 or not all(isinstance(number, int) and number >= 1 for number in mesh):
            raise ValueError(f"the parameter 'kpoints' must be three positive integers (a fixed mesh), not {mesh!r}.")

    def has_stress(self, level: Mapping[str, Any]) -> bool:
        """Return whether the stress can be trusted: GPAW's lacks the exchange part for hybrids, without an error.

        :param level: level of theory.
        """
        return bool(level["functional"] != "HSE06")


class EinsteinTarget(Target):
    """Atoms on springs: a target whose ensemble is known in closed form."""

    name = "einstein"
    functionals = ("analytic",)
    default_functional = "analytic"
    defaults = {"offset": 0.0}  # eV
    required = ("sites", "spring_constant")

    def check(self, level: Mapping[str, Any]) -> None:
        """Check a normalised level of theory.

        :param level: level of theory.
        :raises ValueError: with one sentence.
        """
        super().check(level)
        springs = np.asarray(level["parameters"]["spring_constant"], dtype=float)
        if not (springs > 0).all():
            raise ValueError("the parameter 'spring_constant' (eV/Å²) must be greater than 0.")

    def validate(self, level: Mapping[str, Any], numbers: Sequence[int], cell: Any) -> None:
        """Check a level of theory against a structure.

        :param level: level of theory.
        :param numbers: atomic numbers (N,).
        :param cell: (3, 3) in Å.
        :raises ValueError: with one sentence.
        """
        super().validate(level, numbers, cell)
        sites = len(level["parameters"]["sites"])
        if sites != len(numbers):
            raise ValueError(f"the target has {sites} atoms, but the structure has {len(numbers)}.")

    def has_stress(self, level: Mapping[str, Any]) -> bool:
        """Return that there is no stress: the springs do not see the cell.

        :param level: level of theory.
        """
        return False


class AseTarget(Target):
    """Any calculator that ASE knows by name."""

    name = "ase"
    functionals = ()
    default_functional = "ase"
    defaults = {"arguments": {}}
    required = ("calculator",)
