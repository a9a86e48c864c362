"""Failures that a task can name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class TaskError(Exception):
    """Say why a task cannot give its result.

    :param kind: ``bad_input``, ``missing_dependency``, ``unconverged``, ``not_finite``, ``absurd``, ``diverged``,
        ``timeout`` or ``failed``.
    :param message: one sentence that names what is wrong and what to do.
    """

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


def need(mapping: Mapping[str, Any], key: str, what: str) -> Any:
    """Return a value that must be there.

    :param mapping: where it is looked up.
    :param key: its name.
    :param what: name of the mapping, for the message.
    :raises TaskError: ``bad_input`` if it is not there.
    """
    if key not in mapping:
        raise TaskError("bad_input", f"{what} lacks '{key}'.")
    return mapping[key]
