import numpy as np
import pytest
from aiida.common import ValidationError

from aiida_slhmc.data import DatasetData, FramesData


def arrays(n=2, energy=0.0):
    return {
        "numbers": np.full((n, 2), 8),
        "positions": np.arange(n * 6, dtype=float).reshape(n, 2, 3),
        "cells": np.repeat(np.eye(3)[None] * 5, n, axis=0),
        "pbc": np.ones((n, 3), dtype=bool),
        "energies": np.full(n, energy),
        "forces": np.zeros((n, 2, 3)),
        "stresses": np.full((n, 3, 3), np.nan),
    }


def test_equal_content_has_equal_hash_whatever_the_labels_were_called(aiida_profile):
    one = FramesData(arrays(), level_hash="l", label_uuids=["a", "b"]).store()
    two = FramesData(arrays(), level_hash="l", label_uuids=["c", "d"]).store()
    other = FramesData(arrays(energy=1e-9), level_hash="l", label_uuids=["a", "b"]).store()
    assert one.base.caching.get_hash() == two.base.caching.get_hash()
    assert one.base.caching.get_hash() != other.base.caching.get_hash()
    assert one.content_sha256 == two.content_sha256 != other.content_sha256


def test_arrays_come_back_to_the_bit(aiida_profile, rng):
    frames = arrays()
    frames["positions"] = rng.standard_normal((2, 2, 3))
    node = FramesData(frames, level_hash="l").store()
    for name, value in frames.items():
        assert np.array_equal(node.get_array(name), value, equal_nan=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"forces": np.zeros((2, 3, 3))}, "forces"),
        ({"energies": np.array([0.0, np.nan])}, "energies"),
        ({"positions": np.full((2, 2, 3), np.inf)}, "positions"),
    ],
)
def test_broken_frames_cannot_be_stored(aiida_profile, change, message):
    with pytest.raises(ValidationError, match=message):
        FramesData(arrays() | change, level_hash="l").store()


def test_a_missing_array_is_named(aiida_profile):
    frames = arrays()
    del frames["stresses"]
    with pytest.raises(ValidationError, match="stresses"):
        FramesData(frames, level_hash="l").store()


def test_a_block_of_two_frames_has_no_single_energy(aiida_profile):
    with pytest.raises(ValueError, match="2 frames"):
        _ = FramesData(arrays(), level_hash="l").energy


def test_dataset_hash_does_not_depend_on_where_its_chunks_lie(aiida_profile):
    entry = {"content_sha256": "x", "n_frames": 2, "level_hash": "l", "split": [0, 1]}
    one, two = (DatasetData([entry], [uuid]).store() for uuid in ("a", "b"))
    assert one.base.caching.get_hash() == two.base.caching.get_hash()


def test_dataset_refuses_a_chunk_of_other_content(aiida_profile):
    chunk = FramesData(arrays(), level_hash="l").store()
    entry = {"content_sha256": "not it", "n_frames": 2, "level_hash": "l", "split": [0, 1]}
    with pytest.raises(ValueError, match="content"):
        DatasetData([entry], [chunk.uuid]).frames()
