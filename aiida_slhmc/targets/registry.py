"""Find targets by entry point."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.metadata import entry_points
from inspect import isabstract

from .port import Target

GROUP = "aiida_slhmc.targets"


def engines() -> list[str]:
    """Return the names of the engines that are installed."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def get_target(engine: str) -> Target:
    """Return the target of an engine.

    :param engine: its name.
    :raises ValueError: if there is none, naming those there are; or if it is no target, or an unfinished one.
    """
    for point in entry_points(group=GROUP):
        if point.name == engine:
            try:
                kind = point.load()
                if isabstract(kind):
                    lacking = ", ".join(sorted(kind.__abstractmethods__))
                    raise ValueError(f"the engine '{engine}' ({point.value}) lacks the methods {lacking}.")
                target = kind()
            except ImportError as error:
                raise ValueError(f"the engine '{engine}' ({point.value}) cannot be imported: {error}.") from error
            if not isinstance(target, Target):
                raise ValueError(f"the engine '{engine}' ({point.value}) is no aiida_slhmc.targets.port.Target.")
            return target
    known = engines()
    close = get_close_matches(str(engine), known, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    raise ValueError(f"there is no engine '{engine}'; installed are: {', '.join(known)}.{hint}")
