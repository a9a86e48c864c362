"""The engines that come with the package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from ase import Atoms

from aiida_slhmc.worker.calculators import calculator_class, gpaw_has_stress

from .port import Target, atom_in_a_box, positive

#: SHA-256 of CHGNet's pretrained weights (chgnet 0.4.2) by functional: a name alone would not pin the surface.
CHGNET_WEIGHTS = {
    "PBE": "d14ab7c0f093efe64b60a7bcd540bca10e74fb7f46c86108a079af60524659d1",
    "r2SCAN": "8eba3db0f35a2788bb3ae22885ad340591e27996f213c6643af522a633b50dad",
}


class ChgnetTarget(Target):
    """CHGNet as a teacher: its PBE or r2SCAN surface plays the target functional."""

    name = "chgnet"
    functionals = ("PBE", "r2SCAN")
    default_functional = "r2SCAN"
    # In float32 the total energy is rough by 5e-6 (6 atoms) to 2e-5 eV (48 atoms): at 300 K that is 2e-4 to 1e-3 kT.
    defaults = {"precision": "float64", "weights": ""}
    requires = "worker"

    def complete(self, functional: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters with every default written out.

        :param functional: names the weights.
        :param parameters: as the user gives them.
        """
        return {**self.defaults, "weights": CHGNET_WEIGHTS.get(functional, ""), **parameters}

    def check(self, level: Mapping[str, Any]) -> None:
        """Check a normalised level of theory.

        :param level: level of theory.
        :raises ValueError: with one sentence.
        """
        # Written before the weights were pinned, or by hand: any weights of the functional's name.
        super().check({**level, "parameters": self.complete(level.get("functional", ""), level.get("parameters", {}))})
        precision = level.get("parameters", {}).get("precision", "float64")
        if precision not in ("float64", "float32"):
            raise ValueError(f"the parameter 'precision' must be float64 or float32, not {precision!r}.")

    def validate(self, level: Mapping[str, Any], numbers: Sequence[int], cell: Any) -> None:
        """Check a level of theory against a structure.

        :param level: level of theory.
        :param numbers: atomic numbers (N,).
        :param cell: (3, 3) in Å.
        :raises ValueError: with one sentence.
        """
        super().validate(level, numbers, cell)
        foreign = [int(number) for number in numbers if not 1 <= number <= 94]
        if foreign:
            raise ValueError(f"CHGNet knows the elements up to 94, not {foreign[0]}.")


class GpawTarget(Target):
    """GPAW with plane waves: true DFT that installs from the package registries."""

    name = "gpaw"
    functionals = ("PBE", "r2SCAN", "HSE06")
    default_functional = "PBE"
    defaults = {
        "cutoff": 520.0,  # eV
        "kpoints": [1, 1, 1],  # fixed, Γ-centred
        "smearing": 0.05,  # eV, Gaussian
        "energy_convergence": 1e-6,  # eV a valence electron
        # GPAW's own; the energy is then good to 1e-9 eV and forces to 3e-4 eV/Å (6 atoms of rutile).
        "density_convergence": 1e-4,  # electrons a valence electron
        "eigenstates_convergence": 4e-8,  # eV² a valence electron
        "max_iterations": 333,
        "setups": "gpaw-data 1.2.1",
        # For isolated atoms alone: the moment of Hund's rules.
        "spin": False,
    }
    default_executor = "job"
    requires = "dft"

    def check(self, level: Mapping[str, Any]) -> None:
        """Check a normalised level of theory.

        :param level: level of theory.
        :raises ValueError: with one sentence.
        """
        super().check(level)
        names = ("energy_convergence", "density_convergence", "eigenstates_convergence")
        positive(level, "cutoff", "smearing", *names)
        positive(level, "max_iterations", whole=True)
        mesh = level["parameters"]["kpoints"]
        if not isinstance(mesh, (list, tuple)) or len(mesh) != 3 or not all(map(_is_count, mesh)):
            raise ValueError(f"the parameter 'kpoints' must be three positive integers (a fixed mesh), not {mesh!r}.")
        setups = level["parameters"]["setups"]
        if setups is not None and not isinstance(setups, str):
            raise ValueError(f"the parameter 'setups' must name a package and version, or be null, not {setups!r}.")
        if not isinstance(level["parameters"]["spin"], bool):
            raise ValueError(f"the parameter 'spin' must be true or false, not {level['parameters']['spin']!r}.")

    def validate(self, level: Mapping[str, Any], numbers: Sequence[int], cell: Any) -> None:
        """Check a level of theory against a structure.

        :param level: level of theory.
        :param numbers: atomic numbers (N,).
        :param cell: (3, 3) in Å.
        :raises ValueError: with one sentence.
        """
        super().validate(level, numbers, cell)
        if level["parameters"]["spin"] and len(numbers) > 1:
            raise ValueError("the parameter 'spin' of 'gpaw' is for a single atom: Hund's rules are its own.")

    def isolated_atom(self, level: Mapping[str, Any], number: int) -> tuple[dict[str, Any], Atoms]:
        """Return the level of theory and the structure for an isolated atom: spin-polarised, in a skewed box.

        :param level: normalised level of theory of the target.
        :param number: atomic number.
        """
        # Little smearing: the entropy of a half-filled shell does not belong to the energy of the atom.
        parameters = {**level["parameters"], "spin": True, "kpoints": [1, 1, 1], "smearing": 0.01}
        return {**level, "parameters": parameters}, atom_in_a_box(number, (9.0, 9.5, 10.0))

    def has_stress(self, level: Mapping[str, Any]) -> bool:
        """Return whether the stress can be trusted: not of a hybrid, and not at a low cut-off.

        :param level: level of theory.
        """
        return gpaw_has_stress(level)


class EinsteinTarget(Target):
    """Atoms on springs: a target whose ensemble is known in closed form."""

    name = "einstein"
    functionals = ("analytic",)
    default_functional = "analytic"
    defaults = {"offset": 0.0}  # eV
    required: ClassVar[tuple[str, ...]] = ("sites", "spring_constant")

    def check(self, level: Mapping[str, Any]) -> None:
        """Check a normalised level of theory.

        :param level: level of theory.
        :raises ValueError: with one sentence.
        """
        super().check({**level, "parameters": {**self.defaults, **level.get("parameters", {})}})
        try:
            sites = np.asarray(level["parameters"]["sites"], dtype=float)
            springs = np.asarray(level["parameters"]["spring_constant"], dtype=float)
        except (TypeError, ValueError):
            raise ValueError("the parameters 'sites' and 'spring_constant' must be numbers.") from None
        if sites.ndim != 2 or sites.shape[1] != 3 or not np.isfinite(sites).all():
            raise ValueError("the parameter 'sites' must be a list of positions (N, 3) in Å.")
        if springs.shape not in ((), (len(sites),)):
            raise ValueError(
                f"the parameter 'spring_constant' must be one number, or {len(sites)}, not {springs.size}."
            )
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


class BreathingTarget(EinsteinTarget):
    """Atoms on springs to sites that move with the cell, and a volume on a spring: known under pressure too."""

    name = "breathing"
    required: ClassVar[tuple[str, ...]] = ("sites", "spring_constant", "bulk_modulus", "volume")

    def check(self, level: Mapping[str, Any]) -> None:
        """Check a normalised level of theory.

        :param level: level of theory.
        :raises ValueError: with one sentence.
        """
        super().check(level)
        for key, unit in (("bulk_modulus", "GPa"), ("volume", "Å³")):
            value = level["parameters"][key]
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not value > 0:
                raise ValueError(f"the parameter '{key}' ({unit}) must be a number greater than 0, not {value!r}.")

    def has_stress(self, level: Mapping[str, Any]) -> bool:
        """Return that there is a stress.

        :param level: level of theory.
        """
        return True


class AseTarget(Target):
    """Any calculator that ASE knows by name, or ``package.module:Class``; the functional is a label for the reader."""

    name = "ase"
    default_functional = "ase"
    defaults = {"arguments": {}}
    required = ("calculator",)

    def check(self, level: Mapping[str, Any]) -> None:
        """Check a normalised level of theory.

        :param level: level of theory.
        :raises ValueError: with one sentence.
        """
        super().check({**level, "parameters": {**self.defaults, **level.get("parameters", {})}})
        name, arguments = level["parameters"]["calculator"], level["parameters"].get("arguments", {})
        if not isinstance(name, str) or not name:
            raise ValueError(f"the parameter 'calculator' must be ASE's name of a calculator, not {name!r}.")
        if not isinstance(arguments, Mapping):
            raise ValueError(f"the parameter 'arguments' must be a mapping, not {arguments!r}.")

    def names_code(self, level: Mapping[str, Any]) -> bool:
        """Return that it does: a class of any package, and arguments that may hold a command.

        :param level: level of theory.
        """
        return True

    def has_stress(self, level: Mapping[str, Any]) -> bool:
        """Return whether the calculator says that it has a stress.

        :param level: level of theory.
        """
        try:
            calculator = calculator_class(level["parameters"]["calculator"])
        except ImportError:
            # Its package may be on the computing machine alone.
            return True
        return "stress" in getattr(calculator, "implemented_properties", ("stress",))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
