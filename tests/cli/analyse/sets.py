"""Small sets of frames for the tests of the analyses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.spacegroup import crystal

A, C, U = 4.5937, 2.9587, 0.30478


def rutile() -> Atoms:
    return crystal(["Ti", "O"], [(0, 0, 0), (U, U, 0)], spacegroup=136, cellpar=[A, A, C, 90, 90, 90])


def ensemble(count: int, sd: float = 0.04, scale: float = 1.0, seed: int = 0, strain: float = 0.003) -> list[Atoms]:
    """Return rattled and strained rutile with labels of a harmonic law, and predictions that are off by known numbers.

    The predicted energy is 0.06 eV too high (10 meV/atom), each force component by 0.1 eV/Å, each stress by 0.001.
    """
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        atoms = rutile()
        atoms.set_cell(atoms.cell[:] * scale * np.exp(rng.normal(0.0, strain, 3))[:, None], scale_atoms=True)
        shift = rng.normal(0.0, sd, (6, 3))
        atoms.positions += shift
        forces, stress = -20.0 * shift, rng.normal(0.0, 0.01, 6)
        energy = -54.0 + 10.0 * float((shift**2).sum())
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, stress=stress)
        atoms.info |= {"MACE_energy": energy + 0.06, "MACE_stress": stress + 0.001}
        atoms.arrays["MACE_forces"] = forces + 0.1
        frames.append(atoms)
    return frames


def mixed() -> list[Atoms]:
    """Return a data set of two cells, a molecule and isolated atoms."""
    frames = [*ensemble(4), *(rutile() * (1, 1, 2) for _ in range(3)), molecule("H2O"), Atoms("Ti"), Atoms("O")]
    for index, atoms in enumerate(frames):
        atoms.rattle(0.03, seed=index)
        atoms.calc = SinglePointCalculator(atoms, energy=-9.0 * len(atoms), forces=np.zeros((len(atoms), 3)))
        atoms.info["MACE_energy"] = -9.01 * len(atoms)
        atoms.arrays["MACE_forces"] = np.full((len(atoms), 3), 0.05)
    return frames


def write_sets(folder: Path) -> None:
    """Write the files that the page of the documentation names.

    :param folder: where they go.
    """
    write(folder / "run.extxyz", ensemble(40, seed=1))
    write(folder / "other.traj", ensemble(40, sd=0.06, scale=1.05, seed=2))
    write(folder / "reference.xyz.gz", ensemble(50, seed=3), format="extxyz")
    # VASP's file has one block of atoms an element.
    write(folder / "XDATCAR", ensemble(12, seed=4), format="vasp-xdatcar")
    write(folder / "training.xyz", [*ensemble(8, seed=5), Atoms("Ti"), Atoms("O")], format="extxyz")
    write(folder / "test-set.xyz", mixed(), format="extxyz")
    predictions = ensemble(40, seed=1)
    for atoms in predictions:
        energy, forces = atoms.info["MACE_energy"], atoms.arrays["MACE_forces"]
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, stress=atoms.info["MACE_stress"])
    write(folder / "predictions.extxyz", predictions)
    values = np.random.default_rng(6).normal(size=80)
    rows = [
        "cycle,energy,pressure",
        *(f"{row},{value:.6f},{2 * value:.6f}" for row, value in enumerate(values)),
    ]
    for name in ("chain-1.csv", "chain-2.csv"):
        (folder / name).write_text("\n".join(rows) + "\n")
