"""The description of the engine that fails on purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiida_slhmc.worker.engines.faulty import FAULTS, SELECTIONS

from .level import normalise
from .port import Target
from .registry import get_target


class FaultyTarget(Target):
    """Another engine that fails on purpose: for tests of the failure policy.

    The parameters are explained at :class:`aiida_slhmc.worker.engines.faulty.FaultyPotential`.
    """

    name = "faulty"
    default_functional = "faulty"
    defaults = {
        "fault": "failed",
        "select": "always",
        "times": 0,
        "probability": 0.5,
        "seed": 0,
        "positions": [],  # Å
        "within": 1e-6,  # Å
        "calls": [],
        "seconds": 60.0,  # s
        "state": "",
    }
    required = ("level",)

    def complete(self, functional: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters with every default written out, those of the inner level of theory too.

        :param functional: a label.
        :param parameters: as the user gives them.
        """
        complete = super().complete(functional, parameters)
        if isinstance(complete.get("level"), Mapping):
            complete["level"] = normalise(complete["level"])
        return complete

    def check(self, level: Mapping[str, Any]) -> None:
        """Check a normalised level of theory.

        :param level: level of theory.
        :raises ValueError: with one sentence.
        """
        super().check(level)
        parameters = level["parameters"]
        for name, known in (("fault", FAULTS), ("select", SELECTIONS)):
            if parameters[name] not in known:
                raise ValueError(f"the parameter '{name}' must be one of {', '.join(known)}, not {parameters[name]!r}.")
        if (parameters["select"] == "calls" or parameters["times"]) and not parameters["state"]:
            raise ValueError("the parameter 'state' must be a folder where 'calls' or 'times' are counted.")
        if not isinstance(parameters["level"], Mapping):
            raise ValueError(f"the parameter 'level' must be a level of theory, not {parameters['level']!r}.")
        get_target(parameters["level"]["engine"]).check(parameters["level"])

    def validate(self, level: Mapping[str, Any], numbers: Sequence[int], cell: Any) -> None:
        """Check a level of theory against a structure.

        :param level: level of theory.
        :param numbers: atomic numbers (N,).
        :param cell: (3, 3) in Å.
        :raises ValueError: with one sentence.
        """
        super().validate(level, numbers, cell)
        inner = level["parameters"]["level"]
        get_target(inner["engine"]).validate(inner, numbers, cell)

    def has_stress(self, level: Mapping[str, Any]) -> bool:
        """Return whether the inner level of theory gives a stress that is not withheld.

        :param level: level of theory.
        """
        inner = level["parameters"]["level"]
        return level["parameters"]["fault"] != "no_stress" and get_target(inner["engine"]).has_stress(inner)

    def files(self, level: Mapping[str, Any]) -> Mapping[str, Path]:
        """Return the files that a job of the inner level of theory takes along.

        :param level: level of theory.
        """
        inner = level["parameters"]["level"]
        return get_target(inner["engine"]).files(inner)
