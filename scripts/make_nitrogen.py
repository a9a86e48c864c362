"""Make the foundation model of the N2 tutorial: a small MACE fitted to Hartree–Fock in a minimal basis (STO-3G).

Usage: ``python scripts/make_nitrogen.py [--epochs N] [--out FOLDER]``. Writes ``n2-hf-sto3g.model`` and ``.json`` in
about a minute. The seeds fix bond lengths, orientations, initial weights and order; the bytes differ between machines.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import make_foundation
import numpy as np

from aiida_slhmc.targets.level import normalise
from aiida_slhmc.targets.registry import get_target
from aiida_slhmc.worker.potentials import build_potential
from aiida_slhmc.worker.training.dataset import Frame

NAME = "n2-hf-sto3g"
SEED = 20261
LEVEL = normalise({"engine": "pyscf", "functional": "HF", "parameters": {"basis": "STO-3G"}})
#: Bond lengths in Å that the model learns: on its own surface it is good far beyond what 500 K visits.
SHORTEST, LONGEST = 0.95, 1.45
COUNT = 150
R_MAX = 3.5
BOX = np.eye(3) * 15.0


def atom() -> float:
    """Return the energy of the isolated, spin-polarised nitrogen atom in eV."""
    level, atoms = get_target("pyscf").isolated_atom(LEVEL, 7)
    return build_potential(level, atoms.numbers, atoms.pbc).evaluate(atoms.positions, atoms.cell[:]).energy


def make_frames(rng: np.random.Generator) -> list[Frame]:
    """Return labelled molecules of even bond lengths and random orientations, in a random order.

    :param rng: source of randomness.
    """
    numbers = np.array([7, 7], dtype=np.int64)
    potential = build_potential(LEVEL, numbers, [False] * 3)
    frames = []
    for length in rng.permutation(np.linspace(SHORTEST, LONGEST, COUNT)):
        axis = rng.normal(size=3)
        half = 0.5 * length * axis / np.linalg.norm(axis)
        positions = BOX.sum(axis=0) / 2 + np.array([-half, half])
        answer = potential.evaluate(positions, BOX)
        frames.append(Frame(numbers, positions, BOX, (True, True, True), answer.energy, answer.forces, None))
    return frames


def main() -> None:
    """Label, train, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "aiida_slhmc" / "models")
    options = parser.parse_args()
    started = time.perf_counter()
    frames = make_frames(np.random.default_rng(SEED))
    parts = {"test": frames[:15], "valid": frames[15:30], "train": frames[30:]}
    settings = {
        "learning_rate": 0.01,
        "scheduler": "cosine",
        "scheduler_floor": 0.002,
        "max_epochs": options.epochs,
        "patience": options.epochs,
        "batch_size": 8,
        "valid_batch_size": 32,
        "ema_decay": 0.99,
        "energy_weight": 500.0,
        "forces_weight": 100.0,
        "stress_weight": 0.0,
    }
    card = {
        "name": NAME,
        "licence": "MIT; labels from PySCF",
        "teacher": "Hartree–Fock in the minimal basis STO-3G (PySCF)",
        "trained_elements": ["N"],
        "system": f"the molecule N2, bond lengths from {SHORTEST} to {LONGEST} Å",
        "recipe": f"python scripts/make_nitrogen.py --epochs {options.epochs}",
    }
    labelled = time.perf_counter() - started
    model = make_foundation.new_model(parts["train"], SEED, {7: atom()}, R_MAX, channels=8, interactions=1)
    make_foundation.fit(parts, model, settings, card, options.out, SEED, labelled, "pyscf")


if __name__ == "__main__":
    main()
