"""Failures that a task can name."""

from __future__ import annotations


class TaskError(Exception):
    """Say why a task cannot give its result.

    :param kind: ``bad_input``, ``missing_dependency``, ``unconverged``, ``not_finite``, ``absurd`` or ``diverged``.
    :param message: one sentence that names what is wrong and what to do.
    """

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind
