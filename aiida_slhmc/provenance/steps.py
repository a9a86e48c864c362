"""The names of this package's steps, whichever executor made them."""

from __future__ import annotations

from aiida import orm

#: Beginning of the process types of steps.
PREFIX = "aiida.calculations:slhmc."


def step_of(process_type: str | None) -> str | None:
    """Return the name of a step of ours from its process type: ``propose``, ``label``, ...; None for another process.

    :param process_type: entry point of the process.
    """
    kind = process_type or ""
    return kind.removeprefix(PREFIX).removesuffix(".local") if kind.startswith(PREFIX) else None


def step_name(process: orm.ProcessNode) -> str | None:
    """Return the name of a step of ours; None for another process.

    :param process: a process.
    """
    return step_of(process.process_type)
