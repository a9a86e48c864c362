"""Find targets by entry point."""

from __future__ import annotations

from importlib.metadata import entry_points

from .port import Target

GROUP = "aiida_slhmc.targets"


def engines() -> list[str]:
    """Return the names of the engines that are installed."""
    return sorted(point.name for point in entry_points(group=GROUP))


def get_target(engine: str) -> Target:
    """Return the target of an engine.

    :param engine: its name.
    :raises ValueError: if there is none, naming those there are.
    """
    for point in entry_points(group=GROUP):
        if point.name == engine:
            target: Target = point.load()()
            return target
    raise ValueError(f"there is no engine '{engine}'; installed are: {', '.join(engines())}.")
