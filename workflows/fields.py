"""A setting: its type, bounds and unit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Field:
    """Describe one setting.

    :param kind: type of the value.
    :param help: what it is, with its unit.
    :param check: returns whether a value is allowed.
    :param rule: the check in words.
    :param optional: whether None is allowed.
    """

    kind: type
    help: str
    check: Callable[[Any], bool] = lambda value: True
    rule: str = ""
    optional: bool = False


def positive(value: float) -> bool:
    """Return whether a number is finite and greater than 0.

    :param value: the number.
    """
    return math.isfinite(value) and value > 0


def one_of(*names: str) -> tuple[Callable[[Any], bool], str]:
    """Return the check that a value is one of some names, and its words.

    :param names: that are allowed.
    """
    return (lambda value: value in names), "one of " + ", ".join(names)


def check_value(value: Any, field: Field) -> str | None:
    """Return what is wrong with a value, or None.

    :param value: of the setting.
    :param field: the setting.
    """
    if value is None:
        return None if field.optional else "must be given"
    if field.kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, field.kind) or (field.kind is not bool and isinstance(value, bool)):
        return f"must be of type {field.kind.__name__}, not {value!r}"
    if not field.check(value):
        return f"must be {field.rule}, not {value!r}"
    return None
