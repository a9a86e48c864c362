"""CHGNet, without its ASE calculator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import ArrayLike

from aiida_slhmc.numerics.potential import Array, Evaluation
from aiida_slhmc.worker import calculators
from aiida_slhmc.worker.errors import TaskError


class ChgnetPotential:
    """Evaluate CHGNet's network on its own graph, in the network's precision.

    The same energy, forces and stress as CHGNet's ASE calculator; that one is bound to float32, whose rounding shakes
    the total energy by 5e-6 eV (6 atoms) to 2e-5 eV (48 atoms), and it is slower.

    :param level: level of theory.
    :param numbers: atomic numbers (N,).
    :param pbc: (3,).
    :param log: not used.
    """

    def __init__(self, level: Mapping[str, Any], numbers: ArrayLike, pbc: ArrayLike, log: str | None = None):
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
