"""GPAW with plane waves."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from aiida_slhmc.numerics.potential import Array, Evaluation
from aiida_slhmc.worker import calculators
from aiida_slhmc.worker.errors import TaskError

from .ase_calculator import CalculatorPotential


class GpawPotential:
    """Evaluate GPAW, from the atoms' superposition each time: a kept density would make the result depend on history.

    :param level: level of theory.
    :param numbers: atomic numbers (N,).
    :param pbc: (3,).
    :param log: file of GPAW's own output; None: a temporary one.
    """

    def __init__(self, level: Mapping[str, Any], numbers: ArrayLike, pbc: ArrayLike, log: str | None = None):
        self.level = level
        self.numbers, self.pbc, self.log = numbers, pbc, log
        #: Iterations of the last self-consistent field.
        self.scf_steps: int | None = None
        # Here already: a level that cannot be fails before anything is computed.
        calculators.gpaw_calculator(level, None)

    def evaluate(self, positions: Array, cell: Array) -> Evaluation:
        """Evaluate one structure: the free energy, its forces, and the stress if it can be trusted.

        :param positions: (N, 3) in Å.
        :param cell: (3, 3) in Å.
        :raises TaskError: ``unconverged``, or ``missing_dependency`` for an element without a PAW setup.
        """
        from gpaw import ConvergenceError

        stress = calculators.gpaw_has_stress(self.level)
        with tempfile.TemporaryDirectory() as folder, calculators.quiet():
            log = self.log or str(Path(folder) / "gpaw.txt")
            calc = calculators.gpaw_calculator(self.level, log)
            try:
                answer = CalculatorPotential(calc, self.numbers, self.pbc, stress).evaluate(positions, cell)
                self.scf_steps = int(calc.get_number_of_iterations())
            except ConvergenceError as error:
                limit = self.level["parameters"]["max_iterations"]
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                raise TaskError("unconverged", f"GPAW did not converge within {limit} iterations: {reason}") from error
            except FileNotFoundError as error:
                raise TaskError(
                    "missing_dependency", f"GPAW has no PAW setup: {str(error).splitlines()[0]} pip install gpaw-data."
                ) from error
        return answer
