"""Write the cell of the ladder experiment: rutile TiO2 with 24 atoms, nearly cubic, at the experimental lattice."""

from __future__ import annotations

from pathlib import Path

import ase.io
from ase.build import make_supercell

from aiida_slhmc.workflows.runfile import rutile

#: Four cells of six atoms: (a+b, b-a, 2c) keeps the fourfold axis.
SUPERCELL = [[1, 1, 0], [-1, 1, 0], [0, 0, 2]]

if __name__ == "__main__":
    atoms = make_supercell(rutile(), SUPERCELL)
    # Along x, y, z: an orthorhombic cell that moves is one along the axes.
    atoms.set_cell(atoms.cell.standard_form()[0], scale_atoms=True)
    atoms.wrap()
    ase.io.write(Path(__file__).with_name("rutile-24.extxyz"), atoms)
