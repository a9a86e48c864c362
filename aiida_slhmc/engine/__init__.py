"""Run workflows in this process, resume them, repeat no step: names are imported on first use.

The function ``resume`` is imported from its module, ``aiida_slhmc.engine.resume``, whose name it shares.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiida_slhmc.engine.claim import StillRunning
    from aiida_slhmc.engine.exactly_once import ExactlyOnce
    from aiida_slhmc.engine.profile import isolated_profile, load_existing, prepare_localhost
    from aiida_slhmc.engine.resume import NotResumable
    from aiida_slhmc.engine.runner import EngineFailure, Interrupted, LocalRunner, Paused, run_foreground

# AiiDA's engine takes a second to import; a command that only prints its help must not pay for it.
_HOMES = {
    "EngineFailure": "runner",
    "ExactlyOnce": "exactly_once",
    "Interrupted": "runner",
    "LocalRunner": "runner",
    "NotResumable": "resume",
    "Paused": "runner",
    "StillRunning": "claim",
    "isolated_profile": "profile",
    "load_existing": "profile",
    "prepare_localhost": "profile",
    "run_foreground": "runner",
}

__all__ = [
    "EngineFailure",
    "ExactlyOnce",
    "Interrupted",
    "LocalRunner",
    "NotResumable",
    "Paused",
    "StillRunning",
    "isolated_profile",
    "load_existing",
    "prepare_localhost",
    "run_foreground",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
