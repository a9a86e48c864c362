"""The settings that a run takes, with their types, bounds and units: one table for ports, protocols and the CLI."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
    "ensemble": Field(str, "thermodynamic ensemble", *_one_of("NVT", "NPT")),
    "temperature": Field(float, "temperature in K", _positive, "greater than 0"),
    "pressure": Field(float, "external pressure in GPa, for NPT", math.isfinite, "finite", True),
    "cell": Field(
        str, "what of the cell moves, for NPT", *_one_of("isotropic", "orthorhombic", "flexible"), optional=True
    ),
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
        float, "spread of the model's total energy along a trajectory in eV that counts as a blow-up", _positive,
        "greater than 0", True,
    ),
    "max_volume_change": Field(
        float, "ratio of two volumes along a trajectory that counts as a blow-up", lambda v: v > 1, "greater than 1",
        True,
    ),
    "bulk_modulus": Field(float, "bulk modulus in GPa that the cell's mass is made for", _positive, "greater than 0"),
    "cell_period": Field(
        float, "period of the volume in fs that the cell's mass is made for; null: twice the time of a trajectory",
        _positive, "greater than 0", True,
    ),
    "cell_mass": Field(
        float, "mass of the cell in eV fs² (flexible: eV fs²/Å²); null: from bulk_modulus and cell_period", _positive,
        "greater than 0", True,
    ),
}  # fmt: skip

DRIVER = {
    "lockstep": Field(bool, "run the chains in step, with one proposal step for all of them"),
    "temperatures": Field(list, "temperature of each chain in K, ascending, for replica exchange", optional=True),
    "exchange_every": Field(
        int, "cycles between swaps of neighbouring temperatures; 0: none", lambda v: v >= 0, "at least 0"
    ),
    "prefetch": Field(
        int,
        "cycles that are proposed and labelled before they are decided; 1: none ahead",
        lambda v: 1 <= v <= 6,
        "1 to 6",
    ),
    "prefetch_shape": Field(
        str, "which outcomes are prepared for: all, or acceptances alone", *_one_of("tree", "accept")
    ),
}

ROUNDS = {
    "rounds": Field(int, "rounds of dynamics, labels and fine-tuning", lambda v: v >= 1, "at least 1"),
    "trajectories": Field(int, "trajectories of a round", lambda v: 1 <= v <= 16, "1 to 16"),
    "labels": Field(int, "frames of each trajectory that are labelled", lambda v: v >= 1, "at least 1"),
    "select": Field(str, "how they are chosen: evenly spaced, or at random", *_one_of("even", "random")),
    "go_on": Field(bool, "a round starts where the last one ended, not anew"),
    "temperature": Field(
        float, "temperature of the trajectories in K; null: that of the ensemble", _positive, "greater than 0", True
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
    "timeout": Field(
        float, "time in s after which an attempt is given up; null: no limit", _positive, "greater than 0", True
    ),
}

LABELLING = {
    "reuse": Field(bool, "take the label of an equal structure at the same level of theory, where there is one"),
    "warm_start": Field(
        bool, "start the self-consistent field from the current state's label, where the engine can (VASP: WAVECAR)"
    ),
}

EXECUTOR = {
    name: Field(str, f"where to {name}: in this process or as a job", *_one_of("local", "job"))
    for name in ("propose", "label", "finetune", "predict", "dynamics")
}

DYNAMICS = {
    "method": Field(
        str,
        "hmc (exact), nose-hoover (massive chains), langevin (NVT) or mtk (NPT, of ASE)",
        *_one_of("hmc", "nose-hoover", "langevin", "mtk"),
    ),
    "timestep": PROPOSAL["timestep"],
    "samples": Field(int, "samples to keep", lambda v: v >= 2, "at least 2"),
    "discard": Field(int, "samples to discard first", lambda v: v >= 0, "at least 0"),
    **{name: replace(PROPOSAL[name], optional=True) for name in ("length", "length_law", "centre_of_mass")},
    "thinning": Field(int, "steps from one sample to the next; not for hmc", lambda v: v >= 1, "at least 1", True),
    "thermostat_time": Field(
        float, "time of the thermostat in fs; not for hmc", _positive, "greater than 0", True
    ),
    "chain_length": Field(
        int, "links of a Nosé-Hoover chain, for nose-hoover and mtk", lambda v: v >= 1, "at least 1", True
    ),
    "barostat_time": Field(
        float, "time of the barostat in fs, for NPT with nose-hoover or mtk", _positive, "greater than 0", True
    ),
    **{name: PROPOSAL[name] for name in ("min_distance", "max_energy_change", "max_volume_change")},
    **{name: replace(PROPOSAL[name], optional=True) for name in ("bulk_modulus", "cell_period", "cell_mass")},
}  # fmt: skip

#: What each method of dynamics needs, and what it may be given beside; anything else has no effect and must be null.
_KERNEL = {"length", "length_law", "centre_of_mass"}
_CHAINS = {"thinning", "thermostat_time", "chain_length"}
_METHODS: dict[str, tuple[set[str], set[str]]] = {
    "hmc": (_KERNEL, {"max_energy_change", "bulk_modulus", "cell_period", "cell_mass"}),
    "nose-hoover": (_CHAINS, {"barostat_time"}),
    "langevin": (_CHAINS - {"chain_length"}, set()),
    "mtk": (_CHAINS | {"barostat_time"}, set()),
}

GROUPS: dict[str, dict[str, Field]] = {
    "ensemble": ENSEMBLE,
    "budget": BUDGET,
    "driver": DRIVER,
    "proposal": PROPOSAL,
    "rounds": ROUNDS,
    "split": SPLIT,
    "failure": FAILURE,
    "labelling": LABELLING,
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
    return CROSS_CHECKS[group](values) if group in CROSS_CHECKS else None


def _check_proposal(values: Mapping[str, Any]) -> str | None:
    if not values["minimum"] <= values["length"] <= values["maximum"]:
        return (
            f"proposal.length is {values['length']}, outside proposal.minimum {values['minimum']} "
            f"to proposal.maximum {values['maximum']}."
        )
    return None


def _check_budget(values: Mapping[str, Any]) -> str | None:
    if values["blocks"] == 0 and values["production_cycles"] == 0:
        return "budget.blocks and budget.production_cycles are both 0: there is nothing to do; set at least one cycle."
    return None


def _check_ensemble(values: Mapping[str, Any]) -> str | None:
    for name in ("pressure", "cell"):
        if values["ensemble"] == "NPT" and values[name] is None:
            return f"ensemble.{name} is missing: {ENSEMBLE[name].help}."
        if values["ensemble"] == "NVT" and values[name] is not None:
            return f"ensemble.{name} is given, but the ensemble is NVT: set ensemble.ensemble to NPT, or leave it out."
    return None


def _check_driver(values: Mapping[str, Any]) -> str | None:
    temperatures = values["temperatures"]
    if temperatures is not None:
        numbers = [value for value in temperatures if isinstance(value, (int, float)) and not isinstance(value, bool)]
        if len(numbers) != len(temperatures) or not all(_positive(value) for value in numbers):
            return f"driver.temperatures must be numbers of K greater than 0, not {temperatures}."
        if sorted(set(numbers)) != numbers:
            return f"driver.temperatures must ascend, so that neighbours exchange; {temperatures} do not."
    if values["exchange_every"] and temperatures is None:
        return "driver.exchange_every is set, but driver.temperatures is not: give one temperature a chain."
    if values["exchange_every"] and not values["lockstep"]:
        return "driver.exchange_every needs chains that run in step: set driver.lockstep to true."
    if values["prefetch"] > 1 and values["lockstep"]:
        return "driver.prefetch and driver.lockstep exclude each other: chains in step wait for one another's labels."
    return None


def _check_dynamics(values: Mapping[str, Any]) -> str | None:
    method = values["method"]
    needed, allowed = _METHODS[method]
    for name in sorted(needed):
        if values[name] is None:
            return f"dynamics.{name} is missing, which the method '{method}' needs: {DYNAMICS[name].help}."
    of_methods = set().union(*(first | second for first, second in _METHODS.values()))
    for name in sorted(of_methods - needed - allowed):
        if values[name] is not None:
            return f"dynamics.{name} is given, but has no effect with the method '{method}': set it to null."
    return None


#: What settings of a group must be to one another.
CROSS_CHECKS: dict[str, Callable[[Mapping[str, Any]], str | None]] = {
    "proposal": _check_proposal,
    "budget": _check_budget,
    "ensemble": _check_ensemble,
    "driver": _check_driver,
    "dynamics": _check_dynamics,
}


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
