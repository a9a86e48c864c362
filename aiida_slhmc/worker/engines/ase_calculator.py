"""Any ASE calculator behind the numerics' port."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import packages_distributions
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike

from aiida_slhmc.numerics.potential import Array, Evaluation
from aiida_slhmc.worker import calculators
from aiida_slhmc.worker.errors import TaskError


class CalculatorPotential:
    """Evaluate an ASE calculator.

    :param calc: the calculator.
    :param numbers: atomic numbers (N,).
    :param pbc: (3,).
    :param stress: whether to ask for the stress.
    """

    def __init__(self, calc: Any, numbers: ArrayLike, pbc: ArrayLike, stress: bool = True):
        self.calc = calc
        self.numbers = np.asarray(numbers, dtype=np.int64)
        self.pbc = np.asarray(pbc, dtype=bool)
        self.stress = stress and bool(self.pbc.all()) and "stress" in getattr(calc, "implemented_properties", ())

    @property
    def version(self) -> str:
        """Return the version of ASE, and of the package that brings the calculator."""
        versions = calculators.version("ase") or "unknown"
        package = type(self.calc).__module__.partition(".")[0]
        if package == "ase":
            return versions
        own = calculators.version(packages_distributions().get(package, [package])[0])
        return f"{versions}, {package} {own or 'unknown'}"

    def evaluate(self, positions: Array, cell: Array) -> Evaluation:
        """Evaluate one structure.

        :param positions: (N, 3) in Å.
        :param cell: (3, 3) in Å.
        :raises TaskError: ``bad_input`` if the calculator does not know an element or a property.
        """
        if hasattr(self.calc, "reset"):
            # Neighbour lists with a skin and guesses from the last structure would make the result depend on history.
            self.calc.reset()
        atoms = Atoms(self.numbers, positions=positions, cell=cell, pbc=self.pbc)
        atoms.calc = self.calc
        # The forces are the gradient of the free energy where electrons are smeared; not every calculator names it.
        smeared = "free_energy" in getattr(self.calc, "implemented_properties", ())
        try:
            energy = float(atoms.get_potential_energy(force_consistent=smeared))
            forces = np.array(atoms.get_forces(), dtype=np.float64)
            stress = np.array(atoms.get_stress(voigt=False), dtype=np.float64) if self.stress else None
        # What ASE's calculators raise for a property, and some for an element, that they do not know.
        except NotImplementedError as error:
            raise TaskError(
                "bad_input", f"the calculator {type(self.calc).__name__} cannot do this: {error}"
            ) from error
        return Evaluation(energy, forces, stress)


def build(spec: Mapping[str, Any], numbers: ArrayLike, pbc: ArrayLike, log: str | None = None) -> CalculatorPotential:
    """Return the potential of the engine ``ase``.

    :param spec: level of theory.
    :param numbers: atomic numbers (N,).
    :param pbc: (3,).
    :param log: not used.
    """
    return CalculatorPotential(calculators.ase_calculator(spec), numbers, pbc)
