"""tblite: extended tight binding, a quantum-chemical surface in fractions of a second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase.units import Bohr, Hartree, kB
from numpy.typing import ArrayLike

from aiida_slhmc.numerics.potential import Array, Evaluation
from aiida_slhmc.worker.calculators import needs
from aiida_slhmc.worker.errors import TaskError, need


class TightBindingPotential:
    """Evaluate GFN1-xTB or GFN2-xTB, from the atoms' superposition each time, at Γ alone.

    S. Grimme et al., J. Chem. Theory Comput. 13, 1989 (2017) (GFN1); C. Bannwarth et al., ibid. 15, 1652 (2019) (GFN2).
    The energy holds the entropy of the smeared electrons: it is the free energy, which the forces are the gradient of.

    :param level: level of theory with ``parameters``: accuracy, electronic_temperature (K), max_iterations, charge (e),
        spin (number of unpaired electrons).
    :param numbers: atomic numbers (N,).
    :param pbc: (3,).
    :param log: not used.
    :raises TaskError: ``missing_dependency``; ``bad_input``.
    """

    def __init__(self, level: Mapping[str, Any], numbers: ArrayLike, pbc: ArrayLike, log: str | None = None):
        self.method = need(level, "functional", "the level of theory")
        self.parameters = need(level, "parameters", "the level of theory")
        self.numbers, self.pbc = np.asarray(numbers, dtype=np.int64), np.asarray(pbc, dtype=bool)
        with needs("tblite"):
            from tblite.interface import Calculator
        if self.method not in Calculator._loader:
            raise TaskError("bad_input", f"tblite has no functional '{self.method}'; it has GFN1-xTB, GFN2-xTB.")
        self._calculator = Calculator

    def evaluate(self, positions: Array, cell: Array) -> Evaluation:
        """Evaluate one structure.

        :param positions: (N, 3) in Å.
        :param cell: (3, 3) in Å.
        :returns: free energy, forces, and the stress if all directions are periodic.
        :raises TaskError: ``unconverged``, or ``failed`` with tblite's reason.
        """
        parameters = self.parameters
        try:
            calculator = self._calculator(
                self.method,
                self.numbers,
                np.asarray(positions) / Bohr,
                float(need(parameters, "charge", "the level of theory")),
                int(need(parameters, "spin", "the level of theory")),
                np.asarray(cell) / Bohr if self.pbc.any() else None,
                self.pbc if self.pbc.any() else None,
            )
            calculator.set("verbosity", 0)
            calculator.set("accuracy", need(parameters, "accuracy", "the level of theory"))
            temperature = need(parameters, "electronic_temperature", "the level of theory")
            calculator.set("temperature", temperature * kB / Hartree)
            calculator.set("max-iter", need(parameters, "max_iterations", "the level of theory"))
            answer = calculator.singlepoint()
        except RuntimeError as error:
            reason = " ".join(str(error).split()).rstrip(".")
            kind = "unconverged" if "not converged" in reason else "failed"
            raise TaskError(kind, f"tblite gave no answer: {reason}.") from error
        stress = None
        if self.pbc.all():
            stress = np.asarray(answer["virial"]) * Hartree / abs(np.linalg.det(cell))
            stress = 0.5 * (stress + stress.T)
        forces = -np.asarray(answer["gradient"]) * Hartree / Bohr
        return Evaluation(float(answer["energy"]) * Hartree, forces, stress)
