"""Task ``replay_frames``: structures far from equilibrium, labelled by the foundation model itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from aiida_slhmc.numerics.limits import Distances
from aiida_slhmc.numerics.potential import Array
from aiida_slhmc.numerics.randomness import Purpose, generator

from .dynamics import dynamics
from .errors import TaskError, need
from .predict import predict
from .propose import geometry

_WHAT = "the payload of 'replay_frames'"
#: Where a frame comes from.
DYNAMICS, DISPLACED = 0, 1
#: Draws of one displaced cell before it is given up.
ATTEMPTS = 200


def replay_frames(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Make frames of a replay set from one structure.

    Langevin dynamics on the model's surface, hot, and cells strained and rattled at random; the model labels them all
    (pseudo-labels: T. L. Tompa et al., arXiv:2606.12704). Frames with a force beyond the limit are left out: with a
    squared loss one of them would count as much as thousands.

    :param payload: structure (numbers, positions, cell, pbc, masses), ``potential``, ``seed``, ``number`` (of the
        structure), ``temperature`` (K), ``samples`` (frames of dynamics), ``discard`` (frames), ``thinning`` (steps),
        ``timestep`` and ``thermostat_time`` (fs), ``displaced`` (cells), ``rattle`` (Å, standard deviation of each
        coordinate), ``strain`` (largest component), ``min_distance`` (Å), ``max_force`` (eV/Å).
    :returns: numbers (F, N), positions (F, N, 3) and cells (F, 3, 3) in Å, pbc (F, 3), energies (F,) in eV, forces
        (F, N, 3) in eV/Å, stresses (F, 3, 3) in eV/Å³, origin (F,): 0 dynamics, 1 displaced; ``left_out`` (frames),
        ``checks`` of the dynamics, ``wall_time`` (s).
    :raises TaskError: ``bad_input``; what the dynamics raises; ``not_finite`` if no frame is left.
    """
    started = time.perf_counter()
    start, cell, _ = geometry(payload)
    number, samples = int(need(payload, "number", _WHAT)), int(need(payload, "samples", _WHAT))
    positions, cells = np.empty((0, *start.shape)), np.empty((0, 3, 3))
    checks = None
    if samples:
        path = dynamics({**payload, "method": "langevin", "chain": number, "max_volume_change": None})
        positions, cells, checks = path["positions"], path["cells"], path["checks"]
    displaced = _displaced(payload, start, cell, number)
    origin = np.array([DYNAMICS] * len(positions) + [DISPLACED] * len(displaced[0]), dtype=np.int64)
    positions, cells = np.concatenate([positions, displaced[0]]), np.concatenate([cells, displaced[1]])
    count = len(positions)
    if count == 0:
        raise TaskError("bad_input", "there is nothing to make: samples and displaced are both 0.")
    frames = {
        "numbers": np.tile(np.asarray(payload["numbers"], dtype=np.int64), (count, 1)),
        "positions": positions,
        "cells": cells,
        "pbc": np.tile(np.asarray(payload["pbc"], dtype=bool), (count, 1)),
    }
    answers = predict({"potential": need(payload, "potential", _WHAT), "frames": frames})
    with np.errstate(invalid="ignore"):
        largest = np.abs(answers["forces"]).max(axis=(1, 2))
        kept = np.isfinite(answers["energies"]) & (largest <= float(need(payload, "max_force", _WHAT)))
    if not kept.any():
        raise TaskError(
            "not_finite",
            f"no frame has forces below {payload['max_force']} eV/Å: lower temperature, rattle or strain.",
        )
    whole = {**frames, **answers, "origin": origin}
    return {
        **{name: array[kept] for name, array in whole.items()},
        "left_out": int(count - kept.sum()),
        "checks": checks,
        "wall_time": time.perf_counter() - started,
    }


def _displaced(payload: Mapping[str, Any], start: Array, cell: Array, number: int) -> tuple[Array, Array]:
    """Return strained and rattled cells: positions (F, N, 3) and cells (F, 3, 3) in Å."""
    rng = generator(int(need(payload, "seed", _WHAT)), number, 0, Purpose.REPLAY)
    count = int(need(payload, "displaced", _WHAT))
    strain, rattle = (float(need(payload, key, _WHAT)) for key in ("strain", "rattle"))
    closest, (a, b, c) = float(need(payload, "min_distance", _WHAT)), (bool(value) for value in payload["pbc"])
    positions, cells = np.empty((count, *start.shape)), np.empty((count, 3, 3))
    for row in range(count):
        for _ in range(ATTEMPTS):
            shear = rng.uniform(-strain, strain, (3, 3))
            # A molecule has no cell to strain.
            matrix = np.eye(3) + (shear + shear.T) / 2.0 if a and b and c else np.eye(3)
            cells[row] = cell @ matrix
            positions[row] = start @ matrix + rng.normal(0.0, rattle, start.shape)
            if Distances(cells[row], (a, b, c), closest).shortest(positions[row]) >= closest:
                break
        else:
            raise TaskError(
                "bad_input",
                f"of {ATTEMPTS} displaced cells every one has atoms closer than min_distance = {closest} Å: lower"
                " rattle or strain.",
            )
    return positions, cells
