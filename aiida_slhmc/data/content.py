"""Hash numerical content so that equal content has an equal hash, whatever node holds it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def arrays_hash(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of named arrays, independent of their order and memory layout.

    :param arrays: arrays by name; name, dtype (little-endian), shape and bytes enter the hash.
    :returns: hexadecimal digest.
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def json_hash(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON (sorted keys, no spaces) of a value.

    :param value: anything that JSON can hold.
    :returns: hexadecimal digest.
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
