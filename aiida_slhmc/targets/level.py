"""The level of theory: everything that changes the energy surface, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

#: Keys of a level of theory.
KEYS = ("engine", "functional", "parameters")


def validate(level: Mapping[str, Any]) -> None:
    """Check a level of theory, without looking at a structure.

    :param level: ``engine``, ``functional``, ``parameters``.
    :raises ValueError: with one sentence that says what is wrong.
    """
    from .registry import get_target

    unknown = sorted(set(level) - set(KEYS))
    if unknown:
        raise ValueError(f"a level of theory has the keys {', '.join(KEYS)}, not '{unknown[0]}'.")
    if "engine" not in level:
        raise ValueError("a level of theory needs the key 'engine'.")
    get_target(level["engine"]).check(normalise(level))


def normalise(level: Mapping[str, Any]) -> dict[str, Any]:
    """Return a level of theory with every default written out, so that it is recorded.

    :param level: as the user gives it.
    :raises ValueError: for an unknown engine, or parameters that are no mapping.
    """
    from .registry import get_target

    if not isinstance(level.get("engine"), str):
        raise ValueError("a level of theory needs the key 'engine', a string.")
    target = get_target(level["engine"])
    parameters = level.get("parameters", {})
    if not isinstance(parameters, Mapping):
        raise ValueError(f"'parameters' of a level of theory must be a mapping, not {parameters!r}.")
    return {
        "engine": level["engine"],
        "functional": level.get("functional", target.default_functional),
        "parameters": {**target.defaults, **parameters},
        **{key: value for key, value in level.items() if key not in KEYS},
    }


def level_hash(level: Mapping[str, Any]) -> str:
    """Return the content hash of a level of theory: the SHA-256 of its canonical JSON.

    :param level: normalised level of theory.
    """
    return hashlib.sha256(json.dumps(level, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
