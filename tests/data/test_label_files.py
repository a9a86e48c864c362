"""Files of labels: what is written is read to the bit, and what is wrong is said in one sentence."""

import numpy as np
import pytest

from aiida_slhmc.data.label_files import format_frame, locate, read_labels
from aiida_slhmc.data.labels import as_stored


def frame(rng, stress=True):
    tensor = rng.normal(size=(3, 3))
    return {
        "numbers": np.array([[22, 8, 8]]),
        "positions": as_stored(rng.normal(size=(1, 3, 3))),
        "cells": as_stored(5.0 * np.eye(3) + 0.1 * rng.normal(size=(3, 3)))[None],
        "pbc": np.ones((1, 3), dtype=bool),
        "energies": rng.normal(size=1) * 100,
        "forces": rng.normal(size=(1, 3, 3)),
        "stresses": (tensor + tensor.T if stress else np.full((3, 3), np.nan))[None],
    }


@pytest.mark.parametrize("stress", [True, False])
def test_what_is_written_is_read_to_the_bit(tmp_path, stress):
    frames = [frame(np.random.default_rng(seed), stress) for seed in range(3)]
    path = tmp_path / "labels.extxyz"
    path.write_text("".join(format_frame(one, {"level_hash": "a" * 64}) for one in frames))
    found = read_labels(*locate(path))
    assert [label.level_hash for label in found] == ["a" * 64] * 3
    for label, given in zip(found, frames, strict=True):
        for name, values in given.items():
            assert np.array_equal(label.frame[name], values, equal_nan=name == "stresses"), name


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((" free_energy=", " other="), "energy"),
        ((":forces:R:3", ":speeds:R:3"), "forces"),
        (("Ti ", "Xx "), "labels.xyz"),
    ],
)
def test_a_file_that_lacks_something_is_refused_by_name(tmp_path, change, says):
    text = format_frame(frame(np.random.default_rng(0)), {})
    broken = text.replace(" energy=", " heat=") if change[0] == " free_energy=" else text
    path = tmp_path / "labels.xyz"
    path.write_text(broken.replace(*change))
    with pytest.raises(ValueError, match=says) as caught:
        read_labels(*locate(path))
    assert "\n" not in str(caught.value)


def test_where_the_labels_are(tmp_path):
    (tmp_path / "OUTCAR").touch()
    assert locate(tmp_path)[0].name == "OUTCAR"
    (tmp_path / "vasprun.xml").touch()
    # The exact one first: an OUTCAR has positions to five decimals.
    assert locate(tmp_path)[0].name == "vasprun.xml"
    for name, says in (("nowhere", "there is no file"), ("notes.txt", "no known kind")):
        if name == "notes.txt":
            (tmp_path / name).touch()
        with pytest.raises(ValueError, match=says):
            locate(tmp_path / name)
