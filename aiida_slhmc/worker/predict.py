"""Task ``predict``: energies, forces and stresses of frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

#: Frames that MACE evaluates at a time. More gain nothing on a CPU.
BATCH = 8


def predict(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Predict frames.

    :param payload: ``potential`` and ``frames`` (numbers (F, N), positions (F, N, 3) and cells (F, 3, 3) in Å, pbc).
    :returns: energies (F,) in eV, forces (F, N, 3) in eV/Å, stresses (F, 3, 3) in eV/Å³ (NaN where there is none).
    :raises TaskError: if the potential cannot be had.
    """
    spec, frames = payload["potential"], payload["frames"]
    n_frames, n_atoms = np.shape(frames["numbers"])
    result = {
        "energies": np.zeros(n_frames),
        "forces": np.zeros((n_frames, n_atoms, 3)),
        "stresses": np.full((n_frames, 3, 3), np.nan),
    }
    (_mace if spec.get("engine") == "mace" else _one_by_one)(spec, frames, result)
    return result


def _mace(spec: Mapping[str, Any], frames: Mapping[str, Any], result: dict[str, Any]) -> None:
    """Fill in what a MACE model says, batch by batch."""
    from .graphs import GraphBuilder, collate, outputs
    from .models import load

    model = load(spec["file"], spec.get("sha256"))
    build = GraphBuilder(model, spec.get("head"))
    n_frames, n_atoms = np.shape(frames["numbers"])
    for start in range(0, n_frames, BATCH):
        rows = range(start, min(start + BATCH, n_frames))
        graphs = [
            build(frames["numbers"][row], frames["positions"][row], frames["cells"][row], frames["pbc"][row])
            for row in rows
        ]
        answer = outputs(model, collate(graphs))
        result["energies"][start : rows.stop] = answer["energy"].detach().numpy()
        result["forces"][start : rows.stop] = answer["forces"].detach().numpy().reshape(len(rows), n_atoms, 3)
        for row, stress in zip(rows, answer["stress"].detach().numpy(), strict=True):
            if np.all(frames["pbc"][row]):
                result["stresses"][row] = stress


def _one_by_one(spec: Mapping[str, Any], frames: Mapping[str, Any], result: dict[str, Any]) -> None:
    """Fill in what any other potential says."""
    from .potentials import build_potential

    for row in range(len(frames["numbers"])):
        potential = build_potential(spec, frames["numbers"][row], frames["pbc"][row])
        answer = potential.evaluate(frames["positions"][row], frames["cells"][row])
        result["energies"][row], result["forces"][row] = answer.energy, answer.forces
        if answer.stress is not None:
            result["stresses"][row] = answer.stress
