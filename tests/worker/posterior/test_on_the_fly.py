"""The parts together: predict, decide, label, calibrate, update, along a walk of structures."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from aiida_slhmc.numerics.calibration import Calibration
from aiida_slhmc.worker.posterior_update import posterior_update
from aiida_slhmc.worker.predict_ensemble import predict_ensemble

from ..rutile import MODEL, labelled, rutile

SETTINGS = {"members": 3, "steps_per_label": 60, "step_size": 2e-3}


def walk(count: int, seed: int) -> dict[str, np.ndarray]:
    """Return labelled cells of a stationary walk: displacements of 0.07 Å that forget each other in some ten steps."""
    rng = np.random.default_rng(seed)
    keep = math.exp(-1 / 10)
    displacement = 0.07 * rng.normal(size=(6, 3))
    cells = []
    for _ in range(count):
        displacement = keep * displacement + math.sqrt(1 - keep**2) * 0.07 * rng.normal(size=(6, 3))
        atoms = rutile()
        atoms.positions += displacement
        cells.append(atoms)
    return labelled(cells)


def select(chunk: dict[str, np.ndarray], rows: list[int]) -> dict[str, np.ndarray]:
    return {name: values[rows] for name, values in chunk.items()}


@pytest.mark.slow
def test_errors_of_what_was_not_labelled_stay_within_the_bound(tmp_path: Path) -> None:
    """Of 150 structures, those not labelled err by more than K in at most 5 %, and 3 binomial standard errors.

    By hand, with K = 15 meV: 14 labels, 1.5 % of the errors beyond K; it takes minutes.
    """
    bound = 0.05
    labels = walk(150, seed=6)
    calibration, known, result = Calibration(), [0], None
    errors: list[float] = []
    for row in range(150):
        if row > 0:
            frame = select(labels, [row])
            answer = predict_ensemble({"models": result["models"], "heads": result["heads"], "frames": frame})
            error, sd = answer["energies"] - frame["energies"], answer["energy_sds"]
            if not calibration.needs_label(sd, bound):
                errors.append(float(error[0]))
                continue
            calibration = calibration.update(error, sd)
            known.append(row)
        result = posterior_update({
            "model": str(MODEL), "frames": [select(labels, known)], "accuracy": bound, "seed": 1,
            "update": len(known) - 1, "hyperparameters": SETTINGS, "out": str(tmp_path / str(row)),
            **({} if result is None else {"chains": {"models": result["models"], "heads": result["heads"]}}),
        })  # fmt: skip
    beyond = np.mean(np.abs(errors) > bound)
    # It has to have run free for most of the walk, or nothing was tested.
    assert len(errors) > 75
    assert beyond < 0.05 + 3 * math.sqrt(0.05 * 0.95 / len(errors))
