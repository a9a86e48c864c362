"""The labels that a profile holds: found by the content of the structure and of the level of theory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm

from .frames import FramesData


def find_label(structure: orm.StructureData, level: Mapping[str, Any]) -> FramesData | None:
    """Return the label of an equal structure at the same level of theory, or None.

    :param structure: positions and cell in Å.
    :param level: normalised level of theory.
    """
    return None
