"""Hashes of content."""

import numpy as np

from aiida_slhmc.data.content import arrays_hash, json_hash

ARRAYS = {"a": np.arange(6.0).reshape(2, 3), "b": np.array([1, 2], dtype=np.int64)}


def test_order_layout_and_byte_order_do_not_matter():
    same = {"b": ARRAYS["b"].astype(">i8"), "a": np.asfortranarray(ARRAYS["a"])}
    assert arrays_hash(same) == arrays_hash(ARRAYS)


def test_value_shape_type_and_name_do():
    others = [
        {**ARRAYS, "a": ARRAYS["a"] + np.eye(2, 3) * 1e-15},
        {**ARRAYS, "a": ARRAYS["a"].reshape(3, 2)},
        {**ARRAYS, "b": ARRAYS["b"].astype(np.int32)},
        {"a": ARRAYS["a"], "c": ARRAYS["b"]},
        {"a": ARRAYS["a"]},
    ]
    assert len({arrays_hash(arrays) for arrays in [ARRAYS, *others]}) == 6


def test_json_is_hashed_by_content():
    assert json_hash({"x": 1, "y": [2.0, None]}) == json_hash({"y": [2.0, None], "x": 1})
    assert json_hash({"x": 1}) != json_hash({"x": "1"})
