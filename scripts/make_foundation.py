"""Make the foundation model of the package: a small MACE distilled from CHGNet's PBE surface of rutile TiO2.

Usage: ``python scripts/make_foundation.py [--epochs N] [--out FOLDER]``. Writes ``tio2-pbe-small.model`` and ``.json``.
The seeds fix frames, initial weights and order: running it again gives a model of the same quality. It need not give
the same bytes, since rounding differs between processors, thread counts and versions of torch.
"""

from __future__ import annotations

import argparse
import json
import pickle
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mace  # noqa: F401
import numpy as np
import torch
from ase import Atoms, units
from ase.build import make_supercell
from e3nn import o3
from mace import modules
from pymatgen.core import Structure

from aiida_slhmc.worker.graphs import default_dtype
from aiida_slhmc.worker.hyperparameters import Hyperparameters
from aiida_slhmc.worker.models import describe, save
from aiida_slhmc.worker.training.dataset import Frame, graphs
from aiida_slhmc.worker.training.loop import Errors, evaluate, train

NAME = "tio2-pbe-small"
SEED = 20260
#: Round values of the size of isolated atoms' PBE energies in eV; H and N are declared but never trained.
REFERENCE_ENERGIES = {1: -1.12, 7: -3.12, 8: -1.55, 22: -2.55}
R_MAX = 4.5
#: PBE lattice of rutile in Å, and the oxygen coordinate.
LATTICE = (4.65, 2.966)
OXYGEN = 0.305


def rutile(a: float = LATTICE[0], c: float = LATTICE[1], u: float = OXYGEN) -> Atoms:
    """Return the 6-atom conventional cell of rutile.

    :param a: lattice parameter in Å.
    :param c: lattice parameter in Å.
    :param u: oxygen coordinate, fraction of a.
    """
    fractions = [(0, 0, 0), (0.5, 0.5, 0.5), (u, u, 0), (-u, -u, 0), (0.5 + u, 0.5 - u, 0.5), (0.5 - u, 0.5 + u, 0.5)]
    return Atoms("Ti2O4", scaled_positions=np.mod(fractions, 1.0), cell=[a, a, c], pbc=True)


def strained(rng: np.random.Generator, largest: float, shear: float) -> Atoms:
    """Return a rutile cell with random strains.

    :param rng: source of randomness.
    :param largest: largest strain of each edge.
    :param shear: standard deviation of the off-diagonal strains.
    """
    atoms = rutile(u=OXYGEN + rng.normal(0.0, 0.004))
    strain = np.diag(rng.uniform(-largest, largest, 3))
    off = rng.normal(0.0, shear, 3)
    strain += np.array([[0, off[0], off[1]], [off[0], 0, off[2]], [off[1], off[2], 0]])
    atoms.set_cell(atoms.cell[:] @ (np.eye(3) + strain), scale_atoms=True)
    return atoms


class Teacher:
    """Label structures with CHGNet 0.3.0 (PBE).

    :param batch_size: structures at a time.
    """

    def __init__(self, batch_size: int = 16):
        from chgnet.model.model import CHGNet

        self._model = CHGNet.load(model_name="0.3.0", use_device="cpu", verbose=False)
        self._batch_size = batch_size

    def label(self, structures: list[Atoms]) -> list[Frame]:
        """Return labelled frames.

        :param structures: what to label.
        """
        cells = [Structure(a.cell[:], a.get_chemical_symbols(), a.get_scaled_positions()) for a in structures]
        answers = self._model.predict_structure(cells, task="efs", batch_size=self._batch_size)
        answers = [answers] if isinstance(answers, dict) else answers
        return [
            Frame(
                numbers=np.asarray(atoms.numbers, dtype=np.int64),
                positions=atoms.get_positions(),
                cell=np.asarray(atoms.cell[:]),
                pbc=(True, True, True),
                energy=float(answer["e"]) * len(atoms),
                forces=np.asarray(answer["f"], dtype=float),
                # CHGNet gives GPa, tension positive, as ASE does.
                stress=np.asarray(answer["s"], dtype=float) * units.GPa,
            )
            for atoms, answer in zip(structures, answers, strict=True)
        ]

    def trajectories(self, rng: np.random.Generator, runs: int, draws: int, steps: int, keep: int) -> list[Frame]:
        """Return labelled frames of Verlet trajectories at 300 to 1000 K, all walkers side by side.

        :param rng: source of randomness.
        :param runs: walkers.
        :param draws: how often the momenta are drawn anew.
        :param steps: of 2 fs, between two draws.
        :param keep: one frame of so many steps is kept.
        """
        walkers = [strained(rng, 0.04, 0.0) for _ in range(runs)]
        temperatures = rng.uniform(300.0, 1000.0, runs)
        step = 2.0 * units.fs
        frames = self.label(walkers)
        kept = []
        for _ in range(draws):
            momenta = [
                rng.normal(size=(len(w), 3)) * np.sqrt(units.kB * t * w.get_masses())[:, None]
                for w, t in zip(walkers, temperatures, strict=True)
            ]
            for count in range(steps):
                for walker, momentum, frame in zip(walkers, momenta, frames, strict=True):
                    momentum += 0.5 * step * frame.forces
                    walker.positions += step * momentum / walker.get_masses()[:, None]
                frames = self.label(walkers)
                for momentum, frame in zip(momenta, frames, strict=True):
                    momentum += 0.5 * step * frame.forces
                if count % keep == keep - 1:
                    kept += frames
        return kept


def make_frames(teacher: Teacher, rng: np.random.Generator, scale: float) -> list[Frame]:
    """Return the whole data set, in a random order.

    :param teacher: what labels.
    :param rng: source of randomness.
    :param scale: factor on the number of frames.
    """
    structures = []
    for shape, count, largest, amplitude in (
        ((1, 1, 1), 170, 0.06, 0.12),
        ((1, 1, 2), 40, 0.06, 0.12),
        ((2, 1, 2), 24, 0.05, 0.10),
        ((1, 1, 1), 30, 0.06, 0.0),
    ):
        for _ in range(max(1, int(count * scale))):
            atoms = make_supercell(strained(rng, largest, 0.01), np.diag(shape))
            atoms.positions += rng.normal(0.0, rng.uniform(0.0, 1.0) * amplitude, atoms.positions.shape)
            structures.append(atoms)
    frames = teacher.label(structures) + teacher.trajectories(rng, 8, max(1, int(2 * scale)), 20, 4)
    return [frames[index] for index in rng.permutation(len(frames))]


def new_model(
    frames: list[Frame],
    seed: int,
    references: dict[int, float] = REFERENCE_ENERGIES,
    r_max: float = R_MAX,
    channels: int = 16,
    interactions: int = 2,
) -> torch.nn.Module:
    """Return an untrained model with the statistics of the frames.

    :param frames: training frames.
    :param seed: of the initial weights.
    :param references: energies of isolated atoms in eV by atomic number.
    :param r_max: cut-off in Å.
    :param channels: scalars of a node.
    :param interactions: layers.
    """
    interaction = [
        (frame.energy - sum(references[int(z)] for z in frame.numbers)) / len(frame.numbers) for frame in frames
    ]
    scale = float(np.sqrt(np.mean(np.concatenate([frame.forces.ravel() for frame in frames]) ** 2)))
    with default_dtype(torch.float64), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = modules.ScaleShiftMACE(
            r_max=r_max,
            num_bessel=8,
            num_polynomial_cutoff=5,
            max_ell=2,
            interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
            interaction_cls_first=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
            num_interactions=interactions,
            num_elements=len(references),
            hidden_irreps=o3.Irreps(f"{channels}x0e"),
            MLP_irreps=o3.Irreps("16x0e"),
            atomic_energies=np.array(list(references.values())),
            avg_num_neighbors=neighbours(frames, r_max),
            atomic_numbers=list(references),
            correlation=2,
            gate=torch.nn.functional.silu,
            radial_MLP=[64, 64, 64],
            atomic_inter_scale=scale,
            atomic_inter_shift=float(np.mean(interaction)),
            heads=["Default"],
        )
    return model


def neighbours(frames: list[Frame], r_max: float) -> float:
    """Return the mean number of neighbours within the cut-off.

    :param frames: training frames.
    :param r_max: cut-off in Å.
    """
    from mace.data.neighborhood import get_neighborhood

    counts = [
        get_neighborhood(f.positions.copy(), r_max, f.pbc, f.cell.copy())[0].shape[1] / len(f.numbers) for f in frames
    ]
    return float(np.mean(counts))


def rows(errors: Errors) -> dict[str, float]:
    """Return errors with four digits, those that there are.

    :param errors: the errors.
    """
    finite = {key: value for key, value in errors.to_dict().items() if key != "loss" and np.isfinite(value)}
    return {key: float(f"{value:.4g}") for key, value in finite.items()}


def main() -> None:
    """Label, train, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the number of frames")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "aiida_slhmc" / "models")
    parser.add_argument("--frames", type=Path, help="keep the labelled frames in this file, and take them from it")
    options = parser.parse_args()
    started = time.perf_counter()
    if options.frames is not None and options.frames.exists():
        frames = pickle.loads(options.frames.read_bytes())
    else:
        frames = make_frames(Teacher(), np.random.default_rng(SEED), options.scale)
        if options.frames is not None:
            options.frames.write_bytes(pickle.dumps(frames))
    n_test = max(2, len(frames) // 10)
    parts = {"test": frames[:n_test], "valid": frames[n_test : 2 * n_test], "train": frames[2 * n_test :]}
    labelled = time.perf_counter()
    print({name: len(part) for name, part in parts.items()}, f"labelled in {labelled - started:.0f} s", flush=True)
    settings: dict[str, Any] = {
        "learning_rate": 0.01,
        "scheduler": "cosine",
        "scheduler_floor": 0.005,
        "max_epochs": options.epochs,
        "patience": options.epochs,
        "batch_size": 5,
        "valid_batch_size": 32,
        "ema_decay": 0.99,
        "energy_weight": 500.0,
        "forces_weight": 100.0,
        "stress_weight": 20000.0,
    }
    card = {
        "name": NAME,
        "licence": "MIT; labels from CHGNet's weights (modified BSD): see NOTICE.md",
        "teacher": "CHGNet 0.3.0 (PBE and PBE+U of the Materials Project trajectories)",
        "trained_elements": ["O", "Ti"],
        "system": "rutile TiO2: cells of 6, 12 and 24 atoms, strains up to 6 %, displacements up to about 0.3 Å",
        "recipe": f"python scripts/make_foundation.py --epochs {options.epochs} --scale {options.scale:g}",
    }
    fit(parts, new_model(parts["train"], SEED), settings, card, options.out, SEED, round(labelled - started), "chgnet")


def fit(
    parts: dict[str, list[Frame]],
    model: torch.nn.Module,
    settings: dict[str, Any],
    card: dict[str, Any],
    out: Path,
    seed: int,
    labelling: float,
    teacher: str,
) -> None:
    """Train a model, and write it with its card.

    :param parts: frames by 'train', 'valid' and 'test'.
    :param model: untrained.
    :param settings: hyperparameters.
    :param card: what is known before: ``name``, ``licence``, ``teacher``, ``trained_elements``, ``system``, ``recipe``.
    :param out: folder.
    :param seed: of the training.
    :param labelling: seconds that the labels took.
    :param teacher: package that labelled.
    """
    started = time.perf_counter()
    hyperparameters = Hyperparameters.from_dict(settings)
    data = {name: graphs(part, model, 0) for name, part in parts.items()}

    def progress(epoch: int, row: dict[str, float]) -> None:
        if epoch % 5 == 0 or epoch == 1:
            print(f"{epoch:4d} " + " ".join(f"{k.removeprefix('valid_')}={v:.4g}" for k, v in row.items()), flush=True)

    outcome = train(model, data["train"], data["valid"], hyperparameters, seed, progress)
    errors = {name: rows(evaluate(model, part, hyperparameters)) for name, part in data.items()}
    file = out / f"{card['name']}.model"
    save(model, file)
    card = {
        **card,
        "seed": seed,
        "frames": {name: len(part) for name, part in parts.items()},
        "hyperparameters": hyperparameters.to_dict(),
        "best_epoch": outcome.best_epoch,
        "errors": errors,
        "seconds": {"labels": round(labelling), "training": round(time.perf_counter() - started)},
        "libraries": {
            name: version(name) for name in ("mace-torch", "torch", "e3nn", teacher, "ase", "numpy", "matscipy")
        }
        | {"python": platform.python_version()},
        **describe(file),
    }
    (out / f"{card['name']}.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(errors, indent=1), outcome.best_epoch)


if __name__ == "__main__":
    main()
