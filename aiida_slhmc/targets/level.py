"""The level of theory: everything that changes the energy surface, and nothing else.

A plain mapping, ``{"engine": ..., "functional": ..., "parameters": {...}}``. What is recorded is its normalised form:
every default written out, every number such that a database gives it back unchanged.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

#: Keys of a level of theory.
KEYS = ("engine", "functional", "parameters")

#: Significant digits of a number. AiiDA keeps 14 when it stores a node: what is used must be what is stored.
DIGITS = 14


def validate(level: Mapping[str, Any]) -> None:
    """Check a level of theory, without looking at a structure.

    :param level: ``engine``, ``functional``, ``parameters``; defaults may be left out.
    :raises ValueError: with one sentence that says what is wrong.
    """
    from .registry import get_target

    complete = normalise(level)
    get_target(complete["engine"]).check(complete)


def normalise(level: Mapping[str, Any]) -> dict[str, Any]:
    """Return a level of theory with every default written out, so that it is recorded.

    A functional is spelled as its engine spells it, an integer or a text such as ``1e-6`` (which YAML takes for text)
    becomes the float that its default is, and floats keep 14 digits. Unknown parameters are kept, for :func:`validate`.

    :param level: as the user gives it.
    :raises ValueError: for an unknown engine or key, or a value that cannot be recorded.
    """
    from .registry import get_target

    if not isinstance(level, Mapping):
        raise ValueError(f"a level of theory must be a mapping with the keys {', '.join(KEYS)}, not {level!r}.")
    unknown = sorted(set(level) - set(KEYS), key=str)
    if unknown:
        raise ValueError(f"a level of theory has the keys {', '.join(KEYS)}, not '{unknown[0]}'.")
    if not isinstance(level.get("engine"), str):
        raise ValueError("a level of theory needs the key 'engine', the name of an engine.")
    target = get_target(level["engine"])
    functional = level.get("functional") or target.default_functional
    if not isinstance(functional, str):
        raise ValueError(f"'functional' of a level of theory must be a name, not {functional!r}.")
    functional = {name.lower(): name for name in target.functionals}.get(functional.lower(), functional)
    parameters = level.get("parameters") or {}
    if not isinstance(parameters, Mapping):
        raise ValueError(f"'parameters' of a level of theory must be a mapping, not {parameters!r}.")
    defaults = target.complete(functional, {})
    typed = {key: _as_default(value, defaults.get(key)) for key, value in parameters.items()}
    complete = {key: _plain(value, key) for key, value in target.complete(functional, typed).items()}
    return {"engine": level["engine"], "functional": functional, "parameters": complete}


def level_hash(level: Mapping[str, Any]) -> str:
    """Return the content hash of a level of theory: the SHA-256 of its canonical JSON.

    It is the same before and after the level went through a database, which may turn 340.0 into 340.

    :param level: normalised level of theory; defaults are not filled in here, so that the hash of what was recorded
        does not move with the defaults of a later version.
    :raises ValueError: for a value that cannot be recorded.
    """
    text = json.dumps(_canonical(_plain(level, "level")), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _as_default(value: Any, default: Any) -> Any:
    """Return a value in the type of its default, where nothing is lost.

    :param value: as the user gives it.
    :param default: the default of this parameter; None if it has none.
    """
    if isinstance(default, float) and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _plain(value: Any, name: str) -> Any:
    """Return a value in plain types, floats with 14 significant digits.

    :param value: numpy's arrays and scalars are converted.
    :param name: of the parameter, for the message.
    :raises ValueError: if it cannot be recorded.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item, str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, name) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"the parameter '{name}' must be finite, not {value}.")
        return float(f"{value:.{DIGITS}g}")
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise ValueError(f"the parameter '{name}' cannot hold a {type(value).__name__}.")


def _canonical(value: Any) -> Any:
    """Return a value with whole floats as integers.

    :param value: plain.
    """
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
