"""Payloads as files: plain values in JSON, arrays beside them, every float to the bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

#: Key of a JSON object that stands for an array in the .npz file.
ARRAY = "__array__"


def write(folder: Path, payload: Mapping[str, Any], name: str = "input") -> None:
    """Write a payload as ``name.json`` and ``name.npz``.

    :param folder: where to.
    :param payload: nested mappings and lists of plain values and arrays; infinity and NaN are allowed.
    :param name: of the files.
    :raises TypeError: for a value that is neither plain nor an array.
    """
    arrays: dict[str, np.ndarray] = {}

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            if value.dtype == object:
                raise TypeError("an array of objects cannot be written")
            key = f"a{len(arrays):05d}"
            arrays[key] = value
            return {ARRAY: key}
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise TypeError(f"a payload cannot hold a {type(value).__name__}")

    text = json.dumps(plain(payload), indent=1)
    np.savez(folder / f"{name}.npz", **arrays)  # type: ignore[arg-type]
    (folder / f"{name}.json").write_text(text)


def read(folder: Path, name: str = "input") -> dict[str, Any]:
    """Read a payload; the inverse of :func:`write`, but for tuples, which come back as lists.

    :param folder: where from.
    :param name: of the files.
    :raises OSError: if a file is missing.
    :raises ValueError: if a file is broken.
    """
    arrays: dict[str, np.ndarray] = {}
    file = folder / f"{name}.npz"
    if file.exists():
        with np.load(file, allow_pickle=False) as content:
            arrays = {key: content[key] for key in content.files}

    def restore(item: dict[str, Any]) -> Any:
        return arrays[item[ARRAY]] if set(item) == {ARRAY} else item

    return dict(json.loads((folder / f"{name}.json").read_text(), object_hook=restore))
