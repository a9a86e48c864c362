"""Potentials of the engines behind the numerics' port."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike

from aiida_slhmc.numerics.analytic import EinsteinCrystal
from aiida_slhmc.numerics.potential import Array, Evaluation, Potential

from .calculators import calculator, full_stress
from .errors import TaskError


class CalculatorPotential:
    """Evaluate an ASE calculator.

    :param calc: the calculator.
    :param numbers: atomic numbers (N,).
    :param pbc: (3,).
    :param stress: whether to ask for the stress.
    """

    def __init__(self, calc: Any, numbers: ArrayLike, pbc: ArrayLike, stress: bool = True):
        self.calc = calc
        self.numbers = np.asarray(numbers)
        self.pbc = np.asarray(pbc, dtype=bool)
        self.stress = stress

    def evaluate(self, positions: Array, cell: Array) -> Evaluation:
        """Evaluate one structure.

        :param positions: (N, 3) in Å.
        :param cell: (3, 3) in Å.
        """
        atoms = Atoms(self.numbers, positions=positions, cell=cell, pbc=self.pbc)
        atoms.calc = self.calc
        # The forces are the gradient of the free energy where electrons are smeared; not every calculator names it.
        smeared = "free_energy" in self.calc.implemented_properties
        energy = float(atoms.get_potential_energy(force_consistent=smeared))
        forces = np.asarray(atoms.get_forces(), dtype=np.float64)
        stress = full_stress(atoms.get_stress(voigt=False)) if self.stress and self.pbc.all() else None
        return Evaluation(energy, forces, stress)


def einstein(level: Mapping[str, Any], numbers: ArrayLike) -> EinsteinCrystal:
    """Return the analytic Einstein crystal of a level of theory.

    :param level: with ``parameters``: sites (N, 3) in Å, spring_constant in eV/Å², offset in eV.
    :param numbers: atomic numbers (N,).
    :raises TaskError: if it has another number of atoms.
    """
    parameters = level["parameters"]
    sites = np.asarray(parameters["sites"], dtype=np.float64)
    if sites.shape != (len(np.asarray(numbers)), 3):
        raise TaskError(
            "bad_input",
            f"the Einstein crystal has {len(sites)} sites, but the structure has {len(np.asarray(numbers))} atoms.",
        )
    springs = np.asarray(parameters["spring_constant"], dtype=np.float64)
    return EinsteinCrystal(sites, springs, float(parameters.get("offset", 0.0)))


def build_potential(spec: Mapping[str, Any], numbers: ArrayLike, pbc: ArrayLike) -> Potential:
    """Return the potential of a specification for one composition.

    :param spec: a level of theory, or ``{"engine": "mace", "file": path}``.
    :param numbers: atomic numbers (N,).
    :param pbc: (3,).
    :raises TaskError: if it cannot be had.
    """
    engine = spec.get("engine")
    if engine == "mace":
        from .models import MacePotential

        return MacePotential(spec["file"], numbers, pbc, sha256=spec.get("sha256"))
    if engine == "einstein":
        return einstein(spec, numbers)
    calc = calculator(spec)
    stress = "stress" in getattr(calc, "implemented_properties", ()) and not (
        engine == "gpaw" and spec["functional"] == "HSE06"
    )
    return CalculatorPotential(calc, numbers, pbc, stress)
