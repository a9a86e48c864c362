"""Task ``predict``: energies, forces and stresses of frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .potentials import build_potential


def predict(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Predict frames.

    :param payload: ``potential`` and ``frames`` (numbers (F, N), positions (F, N, 3) and cells (F, 3, 3) in Å, pbc).
    :returns: energies (F,) in eV, forces (F, N, 3) in eV/Å, stresses (F, 3, 3) in eV/Å³ (NaN where there is none).
    :raises TaskError: if the potential cannot be had.
    """
    frames = payload["frames"]
    n_frames, n_atoms = frames["numbers"].shape
    energies = np.zeros(n_frames)
    forces = np.zeros((n_frames, n_atoms, 3))
    stresses = np.full((n_frames, 3, 3), np.nan)
    for row in range(n_frames):
        potential = build_potential(payload["potential"], frames["numbers"][row], frames["pbc"][row])
        answer = potential.evaluate(frames["positions"][row], frames["cells"][row])
        energies[row], forces[row] = answer.energy, answer.forces
        if answer.stress is not None:
            stresses[row] = answer.stress
    return {"energies": energies, "forces": forces, "stresses": stresses}
