"""The settings that a run takes, with their types, bounds and units: one table for ports, protocols and the CLI."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.posterior.settings import PosteriorSettings

from .fields import Field, check_value, one_of, positive
from .replay_settings import REPLAY_SET, check_replay_set

ENSEMBLE = {
    "ensemble": Field(str, "thermodynamic ensemble", *one_of("NVT", "NPT")),
    "temperature": Field(float, "temperature in K", positive, "greater than 0"),
    "pressure": Field(float, "external pressure in GPa, for NPT", math.isfinite, "finite", True),
    "cell": Field(
        str, "what of the cell moves, for NPT", *one_of("isotropic", "orthorhombic", "flexible"), optional=True
    ),
}

BUDGET = {
    "chains": Field(int, "Markov chains, side by side, with one shared dataset", lambda v: 1 <= v <= 16, "1 to 16"),
    "blocks": Field(int, "adaptive blocks; a fine-tuning after each", lambda v: v >= 0, "at least 0"),
    "cycles": Field(int, "cycles of each chain in an adaptive block", lambda v: v >= 1, "at least 1"),
    "production_cycles": Field(int, "cycles of each chain with everything frozen", lambda v: v >= 0, "at least 0"),
}

PROPOSAL = {
    "timestep": Field(float, "time step in fs", positive, "greater than 0"),
    "length": Field(int, "proposal length in integration steps, at the start", lambda v: v >= 1, "at least 1"),
    "length_law": Field(str, "law of the length of one trajectory", *one_of("uniform", "fixed", "geometric")),
    "centre_of_mass": Field(str, "momentum of the centre of mass", *one_of("keep", "remove")),
    "adapt": Field(bool, "adapt the length after each block"),
    "target_acceptance": Field(
        float, "acceptance that the length is adapted to", lambda v: 0 < v < 1, "between 0 and 1"
    ),
    "width": Field(float, "acceptance error that halves or doubles the length", positive, "greater than 0"),
    "minimum": Field(int, "shortest length in steps", lambda v: v >= 1, "at least 1"),
    "maximum": Field(int, "longest length in steps", lambda v: v >= 1, "at least 1"),
    "min_distance": Field(
        float, "closest approach in Å before a trajectory is rejected", positive, "greater than 0", True
    ),
    "max_energy_change": Field(
        float, "spread of the model's total energy along a trajectory in eV that counts as a blow-up", positive,
        "greater than 0", True,
    ),
    "max_volume_change": Field(
        float, "ratio of two volumes along a trajectory that counts as a blow-up", lambda v: v > 1, "greater than 1",
        True,
    ),
    "bulk_modulus": Field(float, "bulk modulus in GPa that the cell's mass is made for", positive, "greater than 0"),
    "cell_period": Field(
        float, "period of the volume in fs that the cell's mass is made for; null: twice the time of a trajectory",
        positive, "greater than 0", True,
    ),
    "cell_mass": Field(
        float, "mass of the cell in eV fs² (flexible: eV fs²/Å²); null: from bulk_modulus and cell_period", positive,
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
        str, "which outcomes are prepared for: all, or acceptances alone", *one_of("tree", "accept")
    ),
}

ROUNDS = {
    "rounds": Field(int, "rounds of dynamics, labels and fine-tuning", lambda v: v >= 1, "at least 1"),
    "trajectories": Field(int, "trajectories of a round", lambda v: 1 <= v <= 16, "1 to 16"),
    "labels": Field(int, "frames of each trajectory that are labelled", lambda v: v >= 1, "at least 1"),
    "select": Field(str, "how they are chosen: evenly spaced, or at random", *one_of("even", "random")),
    "go_on": Field(bool, "a round starts where the last one ended, not anew"),
    "temperature": Field(
        float, "temperature of the trajectories in K; null: that of the ensemble", positive, "greater than 0", True
    ),
}

ON_THE_FLY = {
    "labels": Field(int, "most labels to ask for, the start's included", lambda v: v >= 1, "at least 1"),
    "decide": Field(str, "whose predicted error asks for a label", *one_of("energy", "forces", "both")),
    "tolerance": Field(
        float, "chance of an error beyond the accuracy that is put up with", lambda v: 0 < v < 1, "between 0 and 1"
    ),
    "force_accuracy": Field(
        float, "accuracy of a force component in eV/Å, where forces decide", positive, "greater than 0", True
    ),
    "calibration_shape": Field(float, "a of the prior of the calibration", positive, "greater than 0"),
    "calibration_rate": Field(float, "b of the prior of the calibration", positive, "greater than 0"),
    "segment": Field(int, "most steps of dynamics in one process", lambda v: v >= 1, "at least 1"),
    "block": Field(int, "labels in a row of the history", lambda v: 2 <= v <= 16, "2 to 16"),
}

#: What each hyperparameter of the posterior is; types and bounds are the sampler's.
_POSTERIOR = {
    "members": "members of the ensemble",
    "steps_per_label": "steps of an update for each new label",
    "batch_size": "frames drawn for a step",
    "step_size": "step size at the start of an update",
    "prior_sd": "prior standard deviation of every weight about the parent's",
    "friction": "friction of the sampler",
    "decay": "decay of the running mean of squared gradients",
    "eps": "least root mean square gradient that the mass counts",
    "temperature": "temperature of the posterior; 1 samples it",
    "noise_off": "share of an update without noise at its start",
    "noise_ramp": "share of an update over which the noise rises",
    "freeze": "share of an update after which the mass stays as it is",
    "energy_share": "standard deviation of a labelled energy in units of the accuracy",
    "force_sigma": "standard deviation of a force component that the head starts from in eV/Å",
    "stress_sigma": "standard deviation of a stress component in eV/Å³",
    "dtype": "precision of the members, float64 or float32",
}
#: Members at most: each is a link of every update and of every exploration.
MAX_MEMBERS = 8
POSTERIOR = {
    "accuracy": Field(float, "accuracy K of the energy of a whole structure in eV", positive, "greater than 0"),
    **{name: Field(type(getattr(PosteriorSettings, name)), text) for name, text in _POSTERIOR.items()},
}

UNCERTAINTY = {
    "chunks": Field(
        int, "chunks of the dataset that are trained on; null: half of them", lambda v: v >= 1, "at least 1", True
    ),
    "calibration_share": Field(
        float,
        "share of the other labels that sets the scales; the rest is scored",
        lambda v: 0 < v < 1,
        "between 0 and 1",
    ),
    "threshold_quantile": Field(
        float, "quantile of the errors beyond which one counts as large", lambda v: 0 < v < 1, "between 0 and 1"
    ),
    "r_cut": Field(float, "cut-off of the SOAP descriptor in Å", lambda v: v > 1, "greater than 1"),
    "n_max": Field(int, "radial functions of the SOAP descriptor", lambda v: 1 <= v <= 16, "1 to 16"),
    "l_max": Field(int, "largest angular momentum of the SOAP descriptor", lambda v: 0 <= v <= 20, "0 to 20"),
    "sigma": Field(float, "width of the SOAP descriptor's Gaussians in Å", positive, "greater than 0"),
    "components": Field(int, "principal components of each element", lambda v: v >= 1, "at least 1"),
}

SPLIT = {
    "valid_fraction": Field(
        float, "fraction of each chunk kept for validation", lambda v: 0 < v < 1, "between 0 and 1"
    ),
}

FAILURE = {
    "attempts": Field(int, "how often a label is tried", lambda v: v >= 1, "at least 1"),
    "policy": Field(str, "when a label has failed for good", *one_of("stop", "reject")),
    "timeout": Field(
        float, "time in s after which an attempt is given up; null: no limit", positive, "greater than 0", True
    ),
}

LABELLING = {
    "reuse": Field(bool, "take the label of an equal structure at the same level of theory, where there is one"),
    "warm_start": Field(
        bool, "start the self-consistent field from the current state's label, where the engine can (VASP: WAVECAR)"
    ),
}

EXECUTOR = {
    name: Field(str, f"where to {name}: in this process or as a job", *one_of("local", "job"))
    for name in ("propose", "label", "finetune", "predict", "dynamics", "posterior", "explore")
}

DYNAMICS = {
    "method": Field(
        str,
        "hmc (exact), nose-hoover (massive chains), langevin (NVT) or mtk (NPT, of ASE)",
        *one_of("hmc", "nose-hoover", "langevin", "mtk"),
    ),
    "timestep": PROPOSAL["timestep"],
    "samples": Field(int, "samples to keep", lambda v: v >= 2, "at least 2"),
    "discard": Field(int, "samples to discard first", lambda v: v >= 0, "at least 0"),
    **{name: replace(PROPOSAL[name], optional=True) for name in ("length", "length_law", "centre_of_mass")},
    "thinning": Field(int, "steps from one sample to the next; not for hmc", lambda v: v >= 1, "at least 1", True),
    "thermostat_time": Field(
        float, "time of the thermostat in fs; not for hmc", positive, "greater than 0", True
    ),
    "chain_length": Field(
        int, "links of a Nosé-Hoover chain, for nose-hoover and mtk", lambda v: v >= 1, "at least 1", True
    ),
    "barostat_time": Field(
        float, "time of the barostat in fs, for NPT with nose-hoover or mtk", positive, "greater than 0", True
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


def _pair(value: Any) -> bool:
    return len(value) == 2 and all(isinstance(name, str) for name in value)


def _window(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and 0 <= value[0] < value[1]


COMPARISON = {
    "trajectories": Field(int, "trajectories that sample each model", lambda v: 1 <= v <= 8, "1 to 8"),
    "pair": Field(
        list, "elements of the nearest-neighbour distance: from each atom of the first to the second; null: the rarest "
        "element and the one nearest to it", _pair, "two element symbols", True,
    ),
    "cutoff": Field(
        float, "distance in Å up to which that pair is coordinated; null: the end of the reference's first shell",
        positive, "greater than 0", True,
    ),
    "windows": Field(
        dict, "by pair, such as O-Ti: [1.6, 2.2], where its first peak is looked for, in Å; null: the reference's "
        "first shell", lambda v: all(_window(window) for window in v.values()), "two ascending distances a pair", True,
    ),
    "shell": Field(
        list, "numbers of neighbours of the parts of the first shell, such as [4, 2]; null: it is not split",
        lambda v: bool(v) and all(isinstance(size, int) and size > 0 for size in v), "integers greater than 0", True,
    ),
    "multiples": Field(
        list, "what the lengths of the cell are divided by, such as [2, 2, 2] for a supercell",
        lambda v: len(v) == 3 and all(isinstance(factor, (int, float)) and positive(factor) for factor in v),
        "three numbers greater than 0",
    ),
    "rdf_range": Field(
        float, "largest distance of the radial distribution functions in Å", positive, "greater than 0"
    ),
    "resamples": Field(int, "resamples of every bootstrap", lambda v: v >= 50, "at least 50"),
}  # fmt: skip

REFERENCE = {
    "trajectories": Field(
        int, "independent trajectories on the target itself; 0 where samples are given", lambda v: 0 <= v <= 8, "0 to 8"
    ),
    "held_out": Field(
        float, "fraction at the end of every trajectory that gives the test set, and not the reference",
        lambda v: 0 <= v < 1, "at least 0 and below 1",
    ),
    "frames": Field(int, "frames of that part that are labelled as a test set", lambda v: v >= 0, "at least 0"),
    "random": Field(int, "rattled and strained structures that are labelled as a test set", lambda v: v >= 0,
                    "at least 0"),
    "rattle": Field(float, "standard deviation of their displacements in Å", lambda v: v >= 0, "at least 0"),
    "strain": Field(float, "largest component of their strain", lambda v: 0 <= v < 0.5, "at least 0 and below 0.5"),
}  # fmt: skip

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
    "on_the_fly": ON_THE_FLY,
    "posterior": POSTERIOR,
    "comparison": COMPARISON,
    "reference": REFERENCE,
    "uncertainty": UNCERTAINTY,
    "replay_set": REPLAY_SET,
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
        problem = check_value(values[name], field)
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
        if len(numbers) != len(temperatures) or not all(positive(value) for value in numbers):
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


def _check_on_the_fly(values: Mapping[str, Any]) -> str | None:
    decide, accuracy = values["decide"], values["force_accuracy"]
    if decide != "energy" and accuracy is None:
        return f"on_the_fly.force_accuracy is missing, which on_the_fly.decide '{decide}' needs: give it in eV/Å."
    if decide == "energy" and accuracy is not None:
        return "on_the_fly.force_accuracy is given, but on_the_fly.decide is 'energy': set one of them otherwise."
    return None


def _check_posterior(values: Mapping[str, Any]) -> str | None:
    try:
        PosteriorSettings.from_dict({name: value for name, value in values.items() if name != "accuracy"})
    except TaskError as error:
        return f"posterior: {error}"
    if values["members"] > MAX_MEMBERS:
        return f"posterior.members is {values['members']}: at most {MAX_MEMBERS} members make an ensemble of a run."
    return None


#: What settings of a group must be to one another.
CROSS_CHECKS: dict[str, Callable[[Mapping[str, Any]], str | None]] = {
    "proposal": _check_proposal,
    "budget": _check_budget,
    "ensemble": _check_ensemble,
    "driver": _check_driver,
    "dynamics": _check_dynamics,
    "on_the_fly": _check_on_the_fly,
    "posterior": _check_posterior,
    "replay_set": check_replay_set,
}
