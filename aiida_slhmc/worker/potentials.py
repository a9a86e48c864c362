"""Potentials of the engines behind the numerics' port; each a pure function of positions and cell."""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.data import chemical_symbols
from numpy.typing import ArrayLike

from aiida_slhmc.numerics.analytic import BreathingCrystal, EinsteinCrystal
from aiida_slhmc.numerics.potential import Array, Evaluation, Potential

from . import calculators
from .errors import TaskError, need

#: Engines that are built in, each with the package whose version counts.
ENGINES = {
    "mace": "mace-torch",
    "chgnet": "chgnet",
    "gpaw": "gpaw",
    "einstein": "aiida-slhmc",
    "breathing": "aiida-slhmc",
    "ase": "ase",
}
#: Entry points of further engines: ``(level, numbers, pbc) -> Potential``.
GROUP = "aiida_slhmc.potentials"


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
        except NotImplementedError as error:
            raise TaskError(
                "bad_input", f"the calculator {type(self.calc).__name__} cannot do this: {error}"
            ) from error
        return Evaluation(energy, forces, stress)


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


class ChgnetPotential:
    """Evaluate CHGNet's network on its own graph, in the network's precision.

    The same energy, forces and stress as CHGNet's ASE calculator; that one is bound to float32, whose rounding shakes
    the total energy by 5e-6 eV (6 atoms) to 2e-5 eV (48 atoms), and it is slower.

    :param level: level of theory.
    :param numbers: atomic numbers (N,).
    :param pbc: (3,).
    """

    def __init__(self, level: Mapping[str, Any], numbers: ArrayLike, pbc: ArrayLike):
        self.network = calculators.chgnet_network(level)
        self.precision = level.get("parameters", {}).get("precision", "float64")
        self.numbers = np.asarray(numbers, dtype=np.int64)
        self.pbc = (bool(np.asarray(pbc)[0]), bool(np.asarray(pbc)[1]), bool(np.asarray(pbc)[2]))
        if self.numbers.max() > 94:
            raise TaskError("bad_input", f"CHGNet knows the elements up to 94, not {self.numbers.max()}.")
        self.symbols = [chemical_symbols[number] for number in self.numbers]

    def evaluate(self, positions: Array, cell: Array) -> Evaluation:
        """Evaluate one structure.

        :param positions: (N, 3) in Å.
        :param cell: (3, 3) in Å.
        :raises TaskError: ``failed`` if an atom has no neighbour: CHGNet has no answer then.
        """
        import torch
        from pymatgen.core import Lattice, Structure

        lattice = Lattice(cell, pbc=self.pbc)
        structure = Structure(lattice, self.symbols, positions, coords_are_cartesian=True)
        try:
            graph = self.network.graph_converter(structure)
        except ValueError as error:
            raise TaskError("failed", f"CHGNet has no answer here: {error}") from error
        dtype = getattr(torch, self.precision)
        fractions = torch.tensor(np.linalg.solve(cell.T, positions.T).T, dtype=dtype, requires_grad=True)
        strain = torch.zeros(3, 3, dtype=dtype, requires_grad=True)
        graph.atom_frac_coord = fractions
        graph.lattice = torch.tensor(cell, dtype=dtype) @ (torch.eye(3, dtype=dtype) + strain)
        graph.neighbor_image = graph.neighbor_image.to(dtype)
        with calculators.quiet():
            # CHGNet answers per atom.
            energy = self.network([graph], task="e")["e"].sum() * len(self.numbers)
            by_fraction, by_strain = torch.autograd.grad(energy, [fractions, strain])
        # dE/dfraction = dE/dposition cell^T
        forces = -np.linalg.solve(cell, by_fraction.to(torch.float64).numpy().T).T
        stress = None
        if all(self.pbc):
            stress = by_strain.to(torch.float64).numpy() / abs(np.linalg.det(cell))
            stress = 0.5 * (stress + stress.T)
        return Evaluation(float(energy.item()), np.ascontiguousarray(forces), stress)


class Remembering:
    """Remember the last evaluations of a potential, which is a pure function.

    :param potential: the potential.
    :param size: how many to remember.
    """

    def __init__(self, potential: Potential, size: int = 64):
        self.potential = potential
        self.size = size
        self._known: OrderedDict[bytes, Evaluation] = OrderedDict()

    def evaluate(self, positions: Array, cell: Array) -> Evaluation:
        """Evaluate one structure.

        :param positions: (N, 3) in Å.
        :param cell: (3, 3) in Å.
        """
        key = np.asarray(positions).tobytes() + np.asarray(cell).tobytes()
        if key not in self._known:
            self._known[key] = self.potential.evaluate(positions, cell)
            if len(self._known) > self.size:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]


def einstein(level: Mapping[str, Any], numbers: ArrayLike) -> EinsteinCrystal:
    """Return the analytic Einstein crystal of a level of theory.

    :param level: with ``parameters``: sites (N, 3) in Å, spring_constant in eV/Å², one or (N,), offset in eV.
    :param numbers: atomic numbers (N,).
    :raises TaskError: ``bad_input`` if it has another number of atoms.
    """
    return EinsteinCrystal(*_springs(level, numbers, "the Einstein crystal"))


def breathing(level: Mapping[str, Any], numbers: ArrayLike) -> BreathingCrystal:
    """Return the analytic breathing crystal of a level of theory.

    :param level: with ``parameters``: sites (N, 3), fractional; spring_constant in eV/Å², one or (N,); bulk_modulus in
        GPa; volume in Å³; offset in eV.
    :param numbers: atomic numbers (N,).
    :raises TaskError: ``bad_input`` if it has another number of atoms.
    """
    what = "the breathing crystal"
    sites, springs, offset = _springs(level, numbers, what)
    parameters = level["parameters"]
    bulk_modulus, volume = (float(need(parameters, key, what)) for key in ("bulk_modulus", "volume"))
    return BreathingCrystal(sites, springs, bulk_modulus * units.GPa, volume, offset)


def _springs(level: Mapping[str, Any], numbers: ArrayLike, what: str) -> tuple[Array, Array, float]:
    if level.get("functional", "analytic") != "analytic":
        raise TaskError("bad_input", f"{what} has no functional '{level['functional']}'; it is analytic.")
    parameters = need(level, "parameters", "the level of theory")
    n_atoms = len(np.asarray(numbers))
    sites = np.asarray(need(parameters, "sites", what), dtype=np.float64)
    if sites.shape != (n_atoms, 3):
        raise TaskError("bad_input", f"{what} has {len(sites)} sites, but the structure has {n_atoms} atoms.")
    springs = np.asarray(need(parameters, "spring_constant", what), dtype=np.float64)
    if springs.shape not in ((), (n_atoms,)):
        raise TaskError("bad_input", f"{what} has {springs.size} springs for {n_atoms} atoms.")
    return sites, springs, float(parameters.get("offset", 0.0))


def _foreign(engine: str) -> EntryPoint | None:
    return next((point for point in entry_points(group=GROUP) if point.name == engine), None)


def engine_version(engine: str) -> str:
    """Return the version of the package behind an engine.

    :param engine: its name.
    """
    if engine in ENGINES:
        return calculators.version(ENGINES[engine]) or "unknown"
    point = _foreign(engine)
    return point.dist.version if point is not None and point.dist is not None else "unknown"


def build_potential(
    spec: Mapping[str, Any], numbers: ArrayLike, pbc: ArrayLike, *, log: str | None = None
) -> Potential:
    """Return the potential of a specification for one composition.

    :param spec: a level of theory, or ``{"engine": "mace", "file": path}``.
    :param numbers: atomic numbers (N,).
    :param pbc: (3,).
    :param log: file of the engine's own output, if it has any.
    :raises TaskError: if it cannot be had.
    """
    engine = need(spec, "engine", "the potential")
    if engine == "mace":
        # Its modules need torch.
        from .models import MacePotential

        numbers, pbc = np.asarray(numbers, dtype=np.int64), [bool(periodic) for periodic in np.asarray(pbc)]
        return MacePotential(need(spec, "file", "the potential"), numbers, pbc)
    if engine == "einstein":
        return einstein(spec, numbers)
    if engine == "breathing":
        return breathing(spec, numbers)
    if engine == "chgnet":
        return ChgnetPotential(spec, numbers, pbc)
    if engine == "gpaw":
        return GpawPotential(spec, numbers, pbc, log)
    if engine == "ase":
        return CalculatorPotential(calculators.ase_calculator(spec), numbers, pbc)
    point = _foreign(engine)
    if point is None:
        known = ", ".join(sorted({*ENGINES, *(point.name for point in entry_points(group=GROUP))}))
        raise TaskError("bad_input", f"there is no engine '{engine}' here; known are: {known}.")
    try:
        potential: Potential = point.load()(spec, numbers, pbc)
    except ImportError as error:
        raise TaskError("missing_dependency", f"the engine '{engine}' cannot be imported here: {error}.") from error
    return potential
