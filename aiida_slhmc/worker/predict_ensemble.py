"""Task ``predict_ensemble``: energies, forces and stresses of frames with their standard deviations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .errors import need
from .graphs import collate
from .posterior.ensemble import Ensemble
from .predict import BATCH


def predict_ensemble(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Predict frames by a sampled posterior or a committee.

    :param payload: ``models`` (paths of the members, at least two), ``heads`` (path of their heads; without it a
        committee, which knows its spread only), ``head`` (of the models, optional) and ``frames`` (numbers (F, N),
        positions (F, N, 3) and cells (F, 3, 3) in Å, pbc (F, 3)).
    :returns: means over the members ``energies`` (F,) in eV, ``forces`` (F, N, 3) in eV/Å, ``stresses`` (F, 3, 3) in
        eV/Å³ (NaN where there is none), and their total standard deviations ``energy_sds``, ``force_sds``,
        ``stress_sds`` in the same shapes and units.
    :raises TaskError: ``bad_input`` if the members do not make an ensemble.
    """
    ensemble = Ensemble(need(payload, "models", "the payload"), payload.get("heads"), payload.get("head"))
    frames = need(payload, "frames", "the payload")
    n_frames, n_atoms = np.shape(frames["numbers"])
    energies, energy_sds = np.zeros(n_frames), np.zeros(n_frames)
    forces, force_sds = np.zeros((n_frames, n_atoms, 3)), np.zeros((n_frames, n_atoms, 3))
    stresses, stress_sds = np.full((n_frames, 3, 3), np.nan), np.full((n_frames, 3, 3), np.nan)
    periodic = np.all(np.asarray(frames["pbc"], dtype=bool), axis=1)
    for start in range(0, n_frames, BATCH):
        rows = range(start, min(start + BATCH, n_frames))
        graph = collate(
            [
                ensemble.build(frames["numbers"][row], frames["positions"][row], frames["cells"][row],
                               frames["pbc"][row])
                for row in rows
            ]
        )  # fmt: skip
        answer = ensemble.predict(graph)
        part = slice(start, rows.stop)
        energies[part], energy_sds[part] = answer.energy, answer.energy_sd
        forces[part] = answer.forces.reshape(len(rows), n_atoms, 3)
        force_sds[part] = answer.forces_sd.reshape(len(rows), n_atoms, 3)
        if answer.stress is not None and answer.stress_sd is not None:
            keep = periodic[part][:, None, None]
            stresses[part] = np.where(keep, answer.stress, np.nan)
            stress_sds[part] = np.where(keep, answer.stress_sd, np.nan)
    return {
        "energies": energies,
        "forces": forces,
        "stresses": stresses,
        "energy_sds": energy_sds,
        "force_sds": force_sds,
        "stress_sds": stress_sds,
    }
