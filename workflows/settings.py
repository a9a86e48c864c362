"""The settings that a run takes, with their types, bounds and units: one table for ports, protocols and the CLI."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _one_of(*names: str) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: value in names), "one of " + ", ".join(names)


ENSEMBLE = {
    "ensemble": Field(str, "thermodynamic ensemble", *_one_of("NVT")),
    "temperature": Field(float, "temperature in K", _positive, "greater than 0"),
}

BUDGET = {
    "chains": Field(int, "Markov chains, side by side, with one shared dataset", lambda v: 1 <= v <= 16, "1 to 16"),
    "blocks": Field(int, "adaptive blocks; a fine-tuning after each", lambda v: v >= 0, "at least 0"),
    "cycles": Field(int, "cycles of each chain in an adaptive block", lambda v: v >= 1, "at least 1"),
    "production_cycles": Field(int, "cycles of each chain with everything frozen", lambda v: v >= 0, "at least 0"),
}

PROPOSAL = {
    "timestep": Field(float, "time step in fs", _positive, "greater than 0"),
    "length": Field(int, "proposal length in integration steps, at the start", lambda v: v >= 1, "at least 1"),
    "length_law": Field(str, "law of the length of one trajectory", *_one_of("uniform", "fixed", "geometric")),
    "centre_of_mass": Field(str, "momentum of the centre of mass", *_one_of("keep", "remove")),
    "adapt": Field(bool, "adapt the length after each block"),
    "target_acceptance": Field(
        float, "acceptance that the length is adapted to", lambda v: 0 < v < 1, "between 0 and 1"
    ),
    "width": Field(float, "acceptance error that halves or doubles the length", _positive, "greater than 0"),
    "minimum": Field(int, "shortest length in steps", lambda v: v >= 1, "at least 1"),
    "maximum": Field(int, "longest length in steps", lambda v: v >= 1, "at least 1"),
    "min_distance": Field(
        float, "closest approach in Å before a trajectory is rejected", _positive, "greater than 0", True
    ),
    "max_energy_change": Field(
        float, "energy change of the model in eV that counts as a blow-up", _positive, "greater than 0", True
    ),
}

SPLIT = {
    "valid_fraction": Field(
        float, "fraction of each chunk kept for validation", lambda v: 0 < v < 1, "between 0 and 1"
    ),
}

FAILURE = {
    "attempts": Field(int, "how often a label is tried", lambda v: v >= 1, "at least 1"),
    "policy": Field(str, "when a label has failed for good", *_one_of("stop", "reject")),
}

EXECUTOR = {
    name: Field(str, f"where to {name}: in this process or as a job", *_one_of("local", "job"))
    for name in ("propose", "label", "finetune", "predict", "dynamics")
}

DYNAMICS = {
    **{
        name: PROPOSAL[name]
        for name in ("timestep", "length", "length_law", "centre_of_mass", "min_distance", "max_energy_change")
    },
    "samples": Field(int, "samples to keep", lambda v: v >= 2, "at least 2"),
    "discard": Field(int, "samples to discard first", lambda v: v >= 0, "at least 0"),
}

GROUPS: dict[str, dict[str, Field]] = {
    "ensemble": ENSEMBLE,
    "budget": BUDGET,
    "proposal": PROPOSAL,
    "split": SPLIT,
    "failure": FAILURE,
    "executor": EXECUTOR,
    "dynamics": DYNAMICS,
}


def check(group: str, values: Mapping[str, Any]) -> str | None:
    """Check the values of a group of settings.

    :param group: name of the group, one of :data:`GROUPS`.
    :param values: complete settings.
    :returns: one sentence that names the setting, what is wrong and what is allowed; None if all is well.
    """
    fields = GROUPS[group]
    unknown = sorted(set(values) - set(fields))
    if unknown:
        return f"{group}.{unknown[0]} is not a setting; the settings of '{group}' are: {', '.join(fields)}."
    for name, field in fields.items():
        if name not in values:
            return f"{group}.{name} is missing: {field.help}."
        problem = _check_value(values[name], field)
        if problem:
            return f"{group}.{name} ({field.help}) {problem}."
    if group == "proposal" and not values["minimum"] <= values["length"] <= values["maximum"]:
        return (
            f"proposal.length is {values['length']}, outside proposal.minimum {values['minimum']} "
            f"to proposal.maximum {values['maximum']}."
        )
    if group == "budget" and values["blocks"] == 0 and values["production_cycles"] == 0:
        return "budget.blocks and budget.production_cycles are both 0: there is nothing to do; set at least one cycle."
    return None


def _check_value(value: Any, field: Field) -> str | None:
    if value is None:
        return None if field.optional else "must be given"
    if field.kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, field.kind) or (field.kind is not bool and isinstance(value, bool)):
        return f"must be of type {field.kind.__name__}, not {value!r}"
    if not field.check(value):
        return f"must be {field.rule}, not {value!r}"
    return None
