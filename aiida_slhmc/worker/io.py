"""Payloads as files: plain values in JSON, arrays beside them, every float to the bit."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

#: Key of a JSON object that stands for an array in the .npz file.
ARRAY = "__array__"


def write(folder: Path, payload: Mapping[str, Any], name: str = "input") -> None:
    """Write a payload as ``name.json`` and ``name.npz``.

    The JSON file is put in place last and in one step: where it exists, the payload is whole.

    :param folder: where to.
    :param payload: nested mappings and lists of plain values and arrays; infinity and NaN are allowed.
    :param name: of the files.
    :raises TypeError: for a value that is neither plain nor an array.
    """
    arrays: dict[str, np.ndarray] = {}

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            if value.dtype.hasobject:
                raise TypeError("an array of objects cannot be written")
            key = f"a{len(arrays):05d}"
            arrays[key] = value
            return {ARRAY: key}
        # numpy's float64 and str_ are Python's too; the others have to be converted, if they can be.
        if isinstance(value, np.generic) and not isinstance(value, np.longdouble):
            value = value.item()
        if isinstance(value, Mapping):
            if ARRAY in value:
                raise TypeError(f"a payload cannot hold the key '{ARRAY}'")
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise TypeError(f"a payload cannot hold a {type(value).__name__}")

    # json writes the shortest text that reads back as the same double, and Infinity and NaN by name.
    text = json.dumps(plain(payload), indent=1)
    file, draft = folder / f"{name}.json", folder / f".{name}.json.part"
    file.unlink(missing_ok=True)
    np.savez(folder / f"{name}.npz", **arrays)  # type: ignore[arg-type]
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, file)


def read(folder: Path, name: str = "input") -> dict[str, Any]:
    """Read a payload; the inverse of :func:`write`, but for tuples, which come back as lists.

    :param folder: where from.
    :param name: of the files.
    :raises OSError: if a file is missing.
    :raises ValueError: if a file is broken.
    """
    text = (folder / f"{name}.json").read_text(encoding="utf-8")
    arrays: dict[str, np.ndarray] = {}
    file = folder / f"{name}.npz"
    if file.exists():
        try:
            with np.load(file, allow_pickle=False) as content:
                arrays = {key: content[key] for key in content.files}
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise ValueError(f"{file.name} is broken: {error}") from error

    def restore(item: dict[str, Any]) -> Any:
        if ARRAY not in item:
            return item
        if item[ARRAY] not in arrays:
            raise ValueError(f"{file.name} lacks the array {item[ARRAY]!r} that {name}.json names")
        return arrays[item[ARRAY]]

    payload = json.loads(text, object_hook=restore)
    if not isinstance(payload, dict):
        raise ValueError(f"{name}.json holds a {type(payload).__name__}, not a mapping")
    return payload
