"""Rutile cells and labels for the tests of the worker: small, seeded, made once a session."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import mace  # noqa: F401
import numpy as np
import torch
from ase import Atoms
from ase.build import make_supercell

from aiida_slhmc import models as shipped
from aiida_slhmc.worker.graphs import GraphBuilder, outputs
from aiida_slhmc.worker.models import read

MODEL = shipped.path("tio2-pbe-small")

#: Energy in eV by which the target's reference energies differ from the model's.
OFFSETS = {8: -2.0, 22: -3.5}


def rutile(a: float = 4.594, c: float = 2.959, u: float = 0.305, repeat: tuple[int, int, int] = (1, 1, 1)) -> Atoms:
    """Return rutile TiO2: a, c in Å."""
    fractions = [(0, 0, 0), (0.5, 0.5, 0.5), (u, u, 0), (-u, -u, 0), (0.5 + u, 0.5 - u, 0.5), (0.5 - u, 0.5 + u, 0.5)]
    atoms = Atoms("Ti2O4", scaled_positions=np.mod(fractions, 1.0), cell=[a, a, c], pbc=True)
    return make_supercell(atoms, np.diag(repeat)) if repeat != (1, 1, 1) else atoms


def rattled(count: int, seed: int, amplitude: float = 0.07, repeat: tuple[int, int, int] = (1, 1, 1)) -> list[Atoms]:
    """Return rattled cells; amplitude in Å."""
    rng = np.random.default_rng(seed)
    cells = []
    for _ in range(count):
        atoms = rutile(repeat=repeat)
        atoms.positions += rng.normal(0.0, amplitude, atoms.positions.shape)
        cells.append(atoms)
    return cells


@cache
def target() -> torch.nn.Module:
    """Return the target: the shipped model with somewhat other weights and reference energies."""
    model = read(MODEL)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += (
                0.15 * parameter.abs().mean() * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            )
        buffer = torch.atleast_2d(model.atomic_energies_fn.atomic_energies)
        for number, offset in OFFSETS.items():
            buffer[0, [int(z) for z in model.atomic_numbers].index(number)] += offset
    for parameter in model.parameters():
        parameter.requires_grad = False
    return model


def labelled(cells: list[Atoms], model: torch.nn.Module | None = None) -> dict[str, Any]:
    """Return a chunk of frames labelled by a model, the target unless told otherwise."""
    model = target() if model is None else model
    build = GraphBuilder(model)
    answers = [outputs(model, build(a.numbers, a.positions, a.cell[:], a.pbc)) for a in cells]
    return {
        "numbers": np.array([a.numbers for a in cells]),
        "positions": np.array([a.positions for a in cells]),
        "cells": np.array([a.cell[:] for a in cells]),
        "pbc": np.array([a.pbc for a in cells]),
        "energies": np.array([float(answer["energy"]) for answer in answers]),
        "forces": np.array([answer["forces"].detach().numpy() for answer in answers]),
        "stresses": np.array([answer["stress"][0].detach().numpy() for answer in answers]),
    }


def split_of(count: int, every: int = 4) -> np.ndarray:
    """Return a split in which each ``every``-th frame validates."""
    return np.array([1 if index % every == every - 1 else 0 for index in range(count)])


def payload(out: Path, count: int = 8, seed: int = 3, **changes: Any) -> dict[str, Any]:
    """Return the input of a short fine-tuning: ``changes`` are hyperparameters."""
    settings = {"protocol": "fast", "max_epochs": 2, **changes}
    return {
        "model": str(MODEL),
        "frames": [labelled(rattled(count, 11))],
        "split": [split_of(count)],
        "hyperparameters": settings,
        "seed": seed,
        "out": str(out),
    }
