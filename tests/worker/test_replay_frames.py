"""Frames for a replay set: seeded, far from equilibrium, labelled by the model itself."""

import numpy as np
import pytest

from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.predict import predict
from aiida_slhmc.worker.replay_frames import replay_frames

from .rutile import MODEL, rutile

SETTINGS = {
    "temperature": 600.0, "samples": 2, "discard": 0, "thinning": 2, "timestep": 1.0, "thermostat_time": 50.0,
    "displaced": 6, "rattle": 0.15, "strain": 0.08, "min_distance": 1.0, "max_force": 1000.0,
}  # fmt: skip


def made(seed=1, number=7, atoms=None, **changes):
    atoms = rutile() if atoms is None else atoms
    geometry = {
        "numbers": atoms.numbers, "positions": atoms.positions, "cell": atoms.cell[:], "pbc": atoms.pbc,
        "masses": atoms.get_masses(), "potential": {"engine": "mace", "file": str(MODEL)},
    }  # fmt: skip
    return replay_frames({**geometry, **SETTINGS, "seed": seed, "number": number, **changes})


def test_every_frame_has_the_models_own_label():
    result = made()
    assert result["origin"].tolist() == [0, 0] + [1] * 6
    assert result["left_out"] == 0
    frames = {name: result[name] for name in ("numbers", "positions", "cells", "pbc")}
    said = predict({"potential": {"engine": "mace", "file": str(MODEL)}, "frames": frames})
    for name in ("energies", "forces", "stresses"):
        assert np.array_equal(said[name], result[name])


def test_displaced_cells_are_strained_and_rattled_as_asked():
    result = made(samples=0, displaced=60)
    cell, start = rutile().cell[:], rutile().positions
    strains, moves = [], []
    for positions, strained in zip(result["positions"], result["cells"], strict=True):
        matrix = np.linalg.solve(cell, strained)
        strains.append(matrix - np.eye(3))
        moves.append(positions - start @ matrix)
    strains = np.array(strains)
    assert np.allclose(strains, strains.transpose(0, 2, 1), atol=1e-12)
    assert 0.06 < np.abs(strains).max() <= 0.08
    # 1080 draws of 0.15 Å: their standard deviation is known to 2 %.
    assert np.std(moves) == pytest.approx(0.15, rel=0.08)


def test_frames_follow_from_seed_and_structure():
    runs = [made(**changes)["positions"] for changes in ({}, {}, {"seed": 2}, {"number": 8})]
    assert np.array_equal(runs[0], runs[1])
    for other in runs[2:]:
        assert not np.isclose(runs[0], other).all(axis=(1, 2)).any()


def test_frames_with_absurd_forces_are_left_out_and_counted():
    free = made(samples=0, displaced=20)
    limit = float(np.median(np.abs(free["forces"]).max(axis=(1, 2))))
    held = made(samples=0, displaced=20, max_force=limit)
    assert held["left_out"] == 10
    assert len(held["energies"]) == 10
    assert np.abs(held["forces"]).max() <= limit


def test_a_molecule_is_rattled_but_not_strained():
    atoms = rutile()[:3]
    atoms.pbc = False
    atoms.positions = [[0, 0, 0], [1.9, 0, 0], [0, 1.9, 0]]
    result = made(atoms=atoms, samples=0)
    assert np.array_equal(result["cells"], np.tile(atoms.cell[:], (6, 1, 1)))
    assert np.isnan(result["stresses"]).all()


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"samples": 0, "displaced": 0}, "bad_input", "nothing to make"),
        ({"samples": 0, "min_distance": 2.2}, "bad_input", "lower rattle or strain"),
        ({"samples": 0, "max_force": 1e-6}, "not_finite", "no frame has forces below"),
    ],
)
def test_what_cannot_be_made_is_said(changes, kind, says):
    with pytest.raises(TaskError, match=says) as caught:
        made(**changes)
    assert caught.value.kind == kind
