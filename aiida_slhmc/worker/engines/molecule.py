"""PySCF: Hartree-Fock and density functionals for molecules, in Gaussian bases."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.units import Bohr, Hartree
from numpy.typing import ArrayLike

from aiida_slhmc.numerics.potential import Array, Evaluation
from aiida_slhmc.worker.calculators import needs, quiet
from aiida_slhmc.worker.errors import TaskError, need

#: PySCF's names of the functionals.
FUNCTIONALS = {"HF": "HF", "PBE": "PBE", "r2SCAN": "R2SCAN", "B3LYP": "B3LYP", "PBE0": "PBE0", "HSE06": "HSE06"}

#: Least distance (Å) between a molecule and its next image, where the box is periodic: what proposes must not see it.
LEAST_VACUUM = 6.0


class MoleculePotential:
    """Evaluate PySCF, from its own guess each time.

    The molecule stands alone. A periodic box is no more than a box: the molecule is put together over the boundary, and
    images that come close are refused. The gradient includes the response of the integration grid.

    :param level: level of theory with ``parameters``: basis, grid_level (0 to 9), conv_tol (Hartree), max_cycle, charge
        (e), spin (2S, the number of unpaired electrons; unrestricted if it is not 0).
    :param numbers: atomic numbers (N,).
    :param pbc: (3,).
    :param log: file of PySCF's own output; None: nowhere.
    :raises TaskError: ``missing_dependency``; ``bad_input``.
    """

    def __init__(self, level: Mapping[str, Any], numbers: ArrayLike, pbc: ArrayLike, log: str | None = None):
        self.functional = need(level, "functional", "the level of theory")
        self.parameters = need(level, "parameters", "the level of theory")
        self.numbers, self.pbc = np.asarray(numbers, dtype=np.int64), np.asarray(pbc, dtype=bool)
        self.log = log
        #: Iterations of the last self-consistent field.
        self.scf_steps: int | None = None
        if self.functional not in FUNCTIONALS:
            known = ", ".join(FUNCTIONALS)
            raise TaskError("bad_input", f"PySCF has no functional '{self.functional}' here; it has {known}.")
        with needs("pyscf"), quiet():
            import pyscf.dft  # noqa: F401

    def evaluate(self, positions: Array, cell: Array) -> Evaluation:
        """Evaluate one structure.

        :param positions: (N, 3) in Å.
        :param cell: (3, 3) in Å; seen only to put the molecule together.
        :returns: total energy and forces; no stress.
        :raises TaskError: ``unconverged``; ``bad_input`` for a basis or a number of electrons that cannot be.
        """
        value = self._value
        with tempfile.TemporaryDirectory() as folder, quiet():
            log = self.log or str(Path(folder) / "pyscf.txt")
            field = self._field(whole(positions, cell, self.pbc), log)
            field.conv_tol, field.max_cycle = value("conv_tol"), value("max_cycle")
            # No file for a restart: every label starts afresh.
            field.chkfile = None
            energy = field.kernel()
            self.scf_steps = int(field.cycles)
            if not field.converged:
                raise TaskError("unconverged", f"PySCF did not converge within {value('max_cycle')} iterations.")
            gradient = field.nuc_grad_method()
            if hasattr(gradient, "grid_response"):
                gradient.grid_response = True
            forces = -np.asarray(gradient.kernel()) * Hartree / Bohr
            field.mol.stdout.close()
        return Evaluation(float(energy) * Hartree, forces)

    def _value(self, name: str) -> Any:
        return need(self.parameters, name, "the level of theory for PySCF (write its defaults out with normalise)")

    def _field(self, positions: Array, log: str) -> Any:
        """Return the self-consistent field of a molecule, not yet solved.

        :param positions: (N, 3) in Å.
        :param log: file of PySCF's own output.
        """
        from pyscf import dft, gto, scf

        value = self._value
        # In Bohr, with ASE's: PySCF's own conversion differs in the 10th digit, and the forces with it.
        atoms = [(chemical_symbols[number], xyz) for number, xyz in zip(self.numbers, positions / Bohr, strict=True)]
        try:
            molecule = gto.M(
                atom=atoms, unit="Bohr", basis=value("basis"), charge=int(value("charge")), spin=int(value("spin")),
                output=log, verbose=4, parse_arg=False,
            )  # fmt: skip
        except (KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise TaskError("bad_input", f"PySCF cannot make this molecule: {reason}.") from error
        restricted = molecule.spin == 0
        if self.functional == "HF":
            return scf.RHF(molecule) if restricted else scf.UHF(molecule)
        field = dft.RKS(molecule) if restricted else dft.UKS(molecule)
        field.xc = FUNCTIONALS[self.functional]
        field.grids.level = int(value("grid_level"))
        return field


def whole(positions: ArrayLike, cell: ArrayLike, pbc: ArrayLike) -> Array:
    """Return the positions of a molecule put together over the boundaries of its box.

    From the first atom on, each next atom is the one nearest to those that are placed, at its nearest image.

    :param positions: (N, 3) in Å.
    :param cell: (3, 3) in Å.
    :param pbc: (3,).
    :returns: (N, 3) in Å.
    :raises TaskError: ``bad_input`` if an image of the molecule is within :data:`LEAST_VACUUM` of it.
    """
    positions, pbc = np.array(positions, dtype=np.float64), np.asarray(pbc, dtype=bool)
    if not pbc.any():
        return positions
    atoms = Atoms(f"H{len(positions)}", positions=positions, cell=cell, pbc=pbc)
    distances, vectors = atoms.get_all_distances(mic=True), atoms.get_all_distances(mic=True, vector=True)
    placed, waiting = [0], set(range(1, len(positions)))
    while waiting:
        anchor, atom = min(((a, b) for a in placed for b in waiting), key=lambda pair: distances[pair])
        positions[atom] = positions[anchor] + vectors[anchor, atom]
        placed.append(atom)
        waiting.remove(atom)
    shifts = np.stack(np.meshgrid(*([-1, 0, 1] if p else [0] for p in pbc), indexing="ij"), axis=-1).reshape(-1, 3)
    images = shifts[(shifts != 0).any(axis=1)] @ np.asarray(cell)
    apart = positions[:, None, None] - positions[None, :, None] + images
    nearest = float(np.linalg.norm(apart, axis=-1).min())
    if nearest < LEAST_VACUUM:
        raise TaskError(
            "bad_input",
            f"the molecule is {nearest:.1f} Å from its periodic image, closer than {LEAST_VACUUM:g} Å: PySCF here "
            "knows molecules alone; give it a larger box.",
        )
    return positions
