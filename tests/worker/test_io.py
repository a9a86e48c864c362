"""Payloads come back from their files to the bit."""

from __future__ import annotations

import json
import math
import struct

import numpy as np
import pytest

from aiida_slhmc.worker import io


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def test_floats_come_back_to_the_bit(tmp_path):
    rng = np.random.default_rng(1)
    # Any bit pattern that is a finite double, subnormals included, beside the awkward ones.
    raw = rng.integers(0, 2**64, 500, dtype=np.uint64).view(np.float64)
    values = [*raw[np.isfinite(raw)].tolist(), 0.1, -0.0, 5e-324, 1.7976931348623157e308, 2.0**-1022, math.pi]
    io.write(tmp_path, {"values": values})
    assert [bits(value) for value in io.read(tmp_path)["values"]] == [bits(value) for value in values]


def test_infinity_and_nan_come_back(tmp_path):
    io.write(tmp_path, {"up": math.inf, "down": -math.inf, "none": math.nan, "drift": [math.inf, 1.5]})
    back = io.read(tmp_path)
    assert back["up"] == math.inf
    assert back["down"] == -math.inf
    assert math.isnan(back["none"])
    assert back["drift"] == [math.inf, 1.5]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.int32, bool, "U3"])
def test_arrays_keep_bits_type_and_shape(tmp_path, dtype):
    array = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)
    io.write(tmp_path, {"array": array, "empty": array[:0], "scalar": np.asarray(array[0, 0])})
    back = io.read(tmp_path)
    assert back["array"].dtype == array.dtype
    assert back["array"].tobytes() == array.tobytes()
    assert back["empty"].shape == (0, 3)
    assert back["scalar"].shape == ()


def test_array_with_nan_and_infinity(tmp_path):
    array = np.array([np.nan, np.inf, -np.inf, -0.0])
    io.write(tmp_path, {"array": array})
    assert io.read(tmp_path)["array"].tobytes() == array.tobytes()


def test_nested_values(tmp_path):
    payload = {
        "level": {"engine": "gpaw", "parameters": {"kpoints": [1, 1, 1], "setups": None}},
        "chunks": [{"energies": np.array([1.0, 2.0])}, {"energies": np.array([3.0])}],
        "text": 'Å ü \n "quoted"',
        "flag": True,
        "count": 2**60,
    }
    io.write(tmp_path, payload)
    back = io.read(tmp_path)
    assert back["level"] == payload["level"]
    assert [chunk["energies"].tolist() for chunk in back["chunks"]] == [[1.0, 2.0], [3.0]]
    assert (back["text"], back["flag"], back["count"]) == (payload["text"], True, 2**60)
    assert isinstance(back["flag"], bool)


def test_numpy_scalars_become_plain(tmp_path):
    io.write(tmp_path, {"a": np.float32(0.1), "b": np.int64(3), "c": np.bool_(True), "d": np.float64(0.1)})
    back = io.read(tmp_path)
    assert back == {"a": float(np.float32(0.1)), "b": 3, "c": True, "d": 0.1}
    assert type(back["c"]) is bool


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", 1j, np.longdouble(1), np.array([object()])])
def test_what_cannot_be_written_is_refused_before_a_file_is_there(tmp_path, value):
    with pytest.raises(TypeError, match="cannot"):
        io.write(tmp_path, {"value": value})
    assert list(tmp_path.iterdir()) == []


def test_the_name_of_an_array_cannot_be_forged(tmp_path):
    with pytest.raises(TypeError, match="__array__"):
        io.write(tmp_path, {"value": {"__array__": "a00000"}, "array": np.zeros(2)})


def test_a_failed_second_write_leaves_no_whole_payload(tmp_path, monkeypatch):
    io.write(tmp_path, {"a": np.zeros(3)}, "output")

    def full(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(io.np, "savez", full)
    with pytest.raises(OSError, match="no space"):
        io.write(tmp_path, {"a": np.ones(3)}, "output")
    with pytest.raises(FileNotFoundError):
        io.read(tmp_path, "output")


@pytest.mark.parametrize("keep", [0, 10, 100])
def test_a_truncated_array_file_is_a_value_error(tmp_path, keep):
    io.write(tmp_path, {"a": np.arange(100.0)})
    file = tmp_path / "input.npz"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"npz|pickle|broken"):
        io.read(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '{"a": {"__array__": "a00007"}}'])
def test_a_broken_text_file_is_a_value_error(tmp_path, text):
    io.write(tmp_path, {"a": np.arange(3)})
    (tmp_path / "input.json").write_text(text)
    with pytest.raises(ValueError, match=r"."):
        io.read(tmp_path)


def test_two_payloads_share_a_folder(tmp_path):
    io.write(tmp_path, {"a": 1, "x": np.zeros(1)}, "input")
    io.write(tmp_path, {"a": 2, "x": np.ones(1)}, "output")
    assert io.read(tmp_path)["a"] == 1
    assert io.read(tmp_path, "output")["x"] == 1.0
    assert json.loads((tmp_path / "output.json").read_text())["a"] == 2
