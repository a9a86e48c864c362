"""Measure the strategies of fine-tuning side by side: what each learns, what it forgets, and what it costs.

The shipped model toward CHGNet's r2SCAN surface of rutile TiO2: ``python benchmarks/finetuning_strategies.py --out
FOLDER [--labels 40] [--seeds 3] [NAME ...]`` writes a JSON file for each training, and prints the table of all that are
there; what is there already is not computed again.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np

from aiida_slhmc import models
from aiida_slhmc.targets.level import normalise
from aiida_slhmc.workflows.runfile import rutile

LEVEL = normalise({"engine": "chgnet", "functional": "r2SCAN"})
KEYS = ("numbers", "positions", "cells", "pbc", "energies", "forces", "stresses")
#: The trainings: hyperparameters by name.
CASES: dict[str, dict[str, Any]] = {
    "naive, balanced": {"protocol": "balanced"},
    "naive": {"protocol": "naive"},
    "frozen, embedding": {"protocol": "frozen", "frozen_layers": "embedding"},
    "frozen, interactions": {"protocol": "frozen"},
    "frozen, products": {"protocol": "frozen", "frozen_layers": "products"},
    "lora, rank 4": {"protocol": "lora"},
    "lora, rank 16": {"protocol": "lora", "lora_rank": 16},
    "scratch": {"protocol": "scratch"},
    "multihead, 10:1": {"protocol": "multihead"},
    "multihead, 1:1": {"protocol": "multihead", "replay_weight": 1.0},
    "multihead, 10:1, 1e-3": {"protocol": "multihead", "learning_rate": 1e-3},
    "paper": {"protocol": "paper"},
    "wong-yang": {"protocol": "wong-yang"},
}


def geometry() -> dict[str, Any]:
    """Return the 6-atom cell as a worker takes it."""
    atoms = rutile()
    return {
        "numbers": atoms.numbers,
        "positions": atoms.positions,
        "cell": atoms.cell[:],
        "pbc": atoms.pbc,
        "masses": atoms.get_masses(),
    }


def foundation() -> dict[str, Any]:
    """Return the potential specification of the foundation model."""
    return {"engine": "mace", "file": str(models.path("tio2-pbe-small"))}


def labelled(frames: dict[str, Any]) -> dict[str, Any]:
    """Return frames with the target's labels.

    :param frames: structures.
    """
    from aiida_slhmc.worker.predict import predict

    return {**{name: frames[name] for name in KEYS[:4]}, **predict({"potential": LEVEL, "frames": frames})}


def data(labels: int, folder: Path) -> dict[str, dict[str, Any]]:
    """Return frames to train on, to test on, far ones with both labels; computed once.

    :param labels: how many to train on.
    :param folder: where they are kept.
    """
    from aiida_slhmc.worker.dynamics import dynamics
    from aiida_slhmc.worker.replay_frames import replay_frames
    from aiida_slhmc.workflows.protocol import protocol_inputs

    file = folder / f"data-{labels}.npz"
    if not file.exists():
        settings = {
            "method": "langevin", "temperature": 300.0, "timestep": 1.0, "thermostat_time": 50.0, "thinning": 40,
            "discard": 10, "min_distance": 0.7, "max_volume_change": None, "chain": 0, "potential": foundation(),
        }  # fmt: skip
        near = {}
        for name, seed, count in (("train", 1, labels), ("test", 2, 60)):
            path = dynamics({**geometry(), **settings, "seed": seed, "samples": count})
            tile = {key: np.tile(geometry()[key], (count, 1)) for key in ("numbers", "pbc")}
            near[name] = labelled({**tile, "positions": path["positions"], "cells": path["cells"]})
        inputs = protocol_inputs("balanced", None, "replay_set")["replay_set"]
        made = {
            name: replay_frames({**geometry(), **inputs, "potential": foundation(), "seed": seed, "number": 0})
            for name, seed in (("replay", 3), ("far", 4))
        }
        near |= made | {"far_target": labelled(made["far"])}
        np.savez(file, **{f"{part}/{key}": values[key] for part, values in near.items() for key in KEYS})
    with np.load(file) as content:
        parts = {name.split("/")[0] for name in content.files}
        return {part: {key: content[f"{part}/{key}"] for key in KEYS} for part in parts}


def errors(file: str, frames: dict[str, Any], head: str | None = None) -> dict[str, float]:
    """Return RMSE of energies (meV/atom, less their mean offset too), forces (meV/Å).

    :param file: of the model.
    :param frames: labelled.
    :param head: of the model.
    """
    from aiida_slhmc.worker.predict import predict

    said = predict({"potential": {"engine": "mace", "file": file, "head": head}, "frames": frames})
    energy = 1e3 * (said["energies"] - frames["energies"]) / frames["numbers"].shape[1]
    forces = 1e3 * (said["forces"] - frames["forces"])
    return {
        "energy": float(np.sqrt(np.mean(energy**2))),
        "energy_less_offset": float(energy.std()),
        "forces": float(np.sqrt(np.mean(forces**2))),
    }


def train(values: dict[str, Any], seed: int, frames: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Train once and return what came out.

    :param values: hyperparameters.
    :param seed: of the training.
    :param frames: as of :func:`data`.
    """
    from aiida_slhmc.worker.finetune import finetune

    count = len(frames["train"]["energies"])
    split = np.zeros(count, dtype=int)
    split[np.random.default_rng(seed).permutation(count)[: count // 5]] = 1
    far = len(frames["far"]["energies"])
    replay = {
        "frames": [frames["replay"], frames["far"]],
        "split": [np.zeros(len(frames["replay"]["energies"]), dtype=int), np.ones(far, dtype=int)],
    }
    with tempfile.TemporaryDirectory() as folder:
        result = finetune({
            "model": foundation()["file"], "frames": [frames["train"]], "split": [split], "hyperparameters": values,
            "seed": seed, "out": str(Path(folder) / "new.model"), "replay": replay,
        })  # fmt: skip
        return {
            "test": errors(result["model"], frames["test"]),
            "far_target": errors(result["model"], frames["far_target"]),
            "far_foundation": result["replay"],
            **{key: result[key] for key in ("trainable", "wall_time", "epochs", "best_epoch")},
        }


def table(folder: Path, labels: int) -> str:
    """Return the table of all trainings in a folder: means over seeds, and half their range.

    :param folder: of the results.
    :param labels: how many were trained on.
    """
    rows = ["| strategy | weights | test: meV/atom | test: meV/Å | far, target: meV/Å | far, foundation: meV/Å"
            " (replayed head) | epochs | s |", "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for name in ("foundation", *CASES):
        found = [json.loads(file.read_text()) for file in sorted(folder.glob(f"{slug(name)}-{labels}-*.json"))]
        if not found:
            continue

        def mean(get: Any, digits: int = 0, found: Any = found) -> str:
            values = [get(row) for row in found]
            spread = f" ± {(max(values) - min(values)) / 2:.{digits}f}" if len(values) > 1 else ""
            return f"{sum(values) / len(values):.{digits}f}{spread}"

        head = ""
        if "head" in found[0]["far_foundation"]:
            head = f" ({mean(lambda row: row['far_foundation']['head']['forces_mev_per_angstrom'])})"
        rows.append(
            f"| {name} | {found[0]['trainable']} | {mean(lambda row: row['test']['energy'], 1)} |"
            f" {mean(lambda row: row['test']['forces'])} | {mean(lambda row: row['far_target']['forces'])} |"
            f" {mean(lambda row: row['far_foundation']['result']['forces_mev_per_angstrom'])}{head} |"
            f" {mean(lambda row: row['epochs'])} | {mean(lambda row: row['wall_time'])} |"
        )
    return "\n".join(rows)


def slug(name: str) -> str:
    """Return a name as a file has it.

    :param name: of a training.
    """
    return "".join(letter if letter.isalnum() else "-" for letter in name)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the results.")
@click.option("--labels", type=int, default=40, show_default=True, help="Labels to train on, a fifth to judge by.")
@click.option("--seeds", type=int, default=3, show_default=True, help="Trainings of each strategy.")
@click.argument("names", nargs=-1)
def main(out: Path, labels: int, seeds: int, names: tuple[str, ...]) -> None:
    """Train with every strategy, or those that NAMES name, and print the table."""
    out.mkdir(parents=True, exist_ok=True)
    frames = data(labels, out)
    base = foundation()["file"]
    start = {
        "test": errors(base, frames["test"]), "far_target": errors(base, frames["far_target"]), "trainable": 0,
        "far_foundation": {"result": {"forces_mev_per_angstrom": 0.0}}, "wall_time": 0.0, "epochs": 0,
    }  # fmt: skip
    (out / f"foundation-{labels}-0.json").write_text(json.dumps(start))
    for seed in range(1, seeds + 1):
        for name in names or CASES:
            file = out / f"{slug(name)}-{labels}-{seed}.json"
            if not file.exists():
                row = train(CASES[name], seed, frames)
                file.write_text(json.dumps(row, indent=1))
                click.echo(f"{name}, seed {seed}: {row['test']['forces']:.0f} meV/Å, {row['wall_time']:.0f} s")
    click.echo(table(out, labels))


if __name__ == "__main__":
    main()
