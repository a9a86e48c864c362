import numpy as np
import pytest

from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.models import read
from aiida_slhmc.worker.training import dataset

from ..rutile import MODEL, labelled, rattled


@pytest.fixture(scope="module")
def chunk():
    return labelled(rattled(3, seed=1))


def test_frames_go_where_the_split_says(chunk):
    parts = dataset.read_frames([chunk, chunk], [[0, 1, 0], [2, 0, 1]])
    energies = chunk["energies"]
    assert [f.energy for f in parts[dataset.TRAIN]] == [energies[0], energies[2], energies[1]]
    assert [f.energy for f in parts[dataset.VALID]] == [energies[1], energies[2]]
    assert [f.energy for f in parts[dataset.TEST]] == [energies[0]]


@pytest.mark.parametrize("name", ["energies", "forces", "stresses", "positions", "cells"])
def test_labels_that_are_not_finite_are_bad_input(chunk, name):
    damaged = {key: value.copy() for key, value in chunk.items()}
    damaged[name][1, ...] = damaged[name][1, ...] * 1.0
    damaged[name].reshape(3, -1)[1, 0] = np.nan
    with pytest.raises(TaskError, match="of frame 1 of chunk 0 is not finite") as caught:
        dataset.read_frames([damaged], [[0, 0, 1]])
    assert caught.value.kind == "bad_input"


def test_a_stress_of_nan_only_is_absent(chunk):
    without = {**chunk, "stresses": np.full((3, 3, 3), np.nan)}
    frames = dataset.read_frames([without], [[0, 0, 0]])[dataset.TRAIN]
    assert [f.stress for f in frames] == [None, None, None]
    graph = dataset.graphs(frames[:1], read(MODEL), 0)[0]
    assert float(graph.stress_weight) == 0.0
    assert float(dataset.graphs(dataset.read_frames([chunk], [[0, 0, 0]])[0], read(MODEL), 0)[0].stress_weight) == 1.0


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ([[0, 1]], "has 3 frames but its split assigns 2"),
        ([[0, 1, 3]], "holds 3"),
        ([[1, 1, 2]], "no training frame"),
        ([], "1 chunks of frames but 0 splits"),
    ],
)
def test_split_that_cannot_be(chunk, splits, message):
    with pytest.raises(TaskError, match=message) as caught:
        dataset.read_frames([chunk], splits)
    assert caught.value.kind == "bad_input"


def test_missing_array_is_named(chunk):
    with pytest.raises(TaskError, match="chunk 0 of the frames lacks forces"):
        dataset.read_frames([{k: v for k, v in chunk.items() if k != "forces"}], [[0, 0, 0]])


def test_graphs_carry_the_labels_in_the_models_precision(chunk):
    frames = dataset.read_frames([chunk], [[0, 0, 0]])[dataset.TRAIN]
    graph = dataset.graphs(frames, read(MODEL), 0)[2]
    np.testing.assert_array_equal(graph.forces.numpy(), chunk["forces"][2])
    np.testing.assert_array_equal(graph.stress[0].numpy(), chunk["stresses"][2])
    assert graph.energy.item() == chunk["energies"][2]


def test_foreign_element_is_named(chunk):
    foreign = {**chunk, "numbers": np.where(chunk["numbers"] == 22, 14, chunk["numbers"])}
    frames = dataset.read_frames([foreign], [[0, 0, 0]])[dataset.TRAIN]
    with pytest.raises(TaskError, match="does not know the element"):
        dataset.graphs(frames, read(MODEL), 0)
