"""What can be wrong with a run as a whole, said before any compute is spent."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from aiida import orm
from ase.data import chemical_symbols

from aiida_slhmc.calculations.base import structure_payload
from aiida_slhmc.calculations.rounds import trajectory_name
from aiida_slhmc.calculations.streams import chain_name
from aiida_slhmc.data import MaceModelData
from aiida_slhmc.data.trust import Untrusted
from aiida_slhmc.numerics.cells import law_of
from aiida_slhmc.worker.stepper import METHODS

from .validate_training import validate_finetune

#: Two atoms closer than this (Å) are one atom written twice, or a mistake in the units.
OVERLAP = 0.5


def closest_approach(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> float:
    """Return the shortest distance between two atoms, periodic images included.

    :param positions: (N, 3) in Å.
    :param cell: (3, 3) in Å.
    :param pbc: (3,).
    :returns: in Å; infinity for a single atom without images.
    """
    ranges = [(-1, 0, 1) if periodic else (0,) for periodic in pbc]
    shifts = np.array(list(itertools.product(*ranges)), dtype=float) @ cell
    difference = positions[:, None, None, :] - positions[None, :, None, :] + shifts
    distances = np.linalg.norm(difference, axis=-1)
    home = np.flatnonzero((shifts == 0).all(axis=1))[0]
    index = np.arange(len(positions))
    distances[index, index, home] = np.inf
    return float(distances.min())


def validate_structure(structure: orm.StructureData) -> str | None:
    """Return what is wrong with a structure, or None.

    :param structure: positions and cell in Å.
    """
    geometry = structure_payload(structure)
    if abs(np.linalg.det(geometry["cell"])) < 1e-3:
        return "structure has no cell (its volume is zero): give three lattice vectors; a molecule takes a large box."
    if geometry["pbc"].any() and not geometry["pbc"].all():
        return "structure is periodic in some directions only: set it periodic in all (a crystal) or none (a molecule)."
    shortest = closest_approach(geometry["positions"], geometry["cell"], geometry["pbc"])
    if shortest < OVERLAP:
        return f"structure has atoms {shortest:.3f} Å apart: are two atoms on one site, or the units not Å?"
    return None


def validate_model(model: orm.Data, structure: orm.StructureData) -> str | None:
    """Return why a model cannot propose for a structure, or None.

    :param model: MACE model or level of theory.
    :param structure: what it is to move.
    """
    if not isinstance(model, MaceModelData):
        return _moves(model) or validate_target(model, structure, "model")
    known = set(model.atomic_numbers)
    numbers = {int(number) for number in structure_payload(structure)["numbers"]}
    unknown = sorted(numbers - known)
    if unknown:
        names = ", ".join(chemical_symbols[number] for number in unknown)
        knows = ", ".join(chemical_symbols[number] for number in sorted(known))
        return f"model does not know the element {names} of the structure; it knows {knows}: choose another model."
    return None


def _moves(level: orm.Dict) -> str | None:
    """Return why a level of theory cannot move a structure, or None.

    :param level: level of theory.
    """
    from aiida_slhmc.targets.process import ProcessTarget
    from aiida_slhmc.targets.registry import get_target

    try:
        target = get_target(level.get_dict()["engine"])
    except (ValueError, KeyError) as error:
        return f"model: {error}"
    if isinstance(target, ProcessTarget):
        return f"model: the engine '{target.name}' labels by jobs of its own and cannot move atoms: give a potential."
    return None


def validate_target(level: orm.Dict, structure: orm.StructureData, name: str = "target.level") -> str | None:
    """Return why a level of theory cannot label a structure, or None.

    :param level: level of theory.
    :param structure: what it is to label.
    :param name: of the input, for the message.
    """
    from aiida_slhmc.targets.registry import get_target

    geometry = structure_payload(structure)
    try:
        get_target(level.get_dict()["engine"]).validate(level.get_dict(), geometry["numbers"], geometry["cell"])
    except (ValueError, KeyError) as error:
        return f"{name}: {error}"
    return None


def validate_process(value: Mapping[str, Any], structure: orm.StructureData) -> str | None:
    """Return why the process of another plugin cannot label, or None: its code, options, and what the profile holds.

    :param value: inputs of the run.
    :param structure: what it is to label.
    """
    from aiida_slhmc.targets.process import ProcessTarget
    from aiida_slhmc.targets.registry import get_target

    port = value["target"]
    level = port["level"].get_dict()
    target = get_target(level["engine"])
    if not isinstance(target, ProcessTarget):
        return None
    try:
        target.validate_run(level, structure, port.get("code"), port.get("options") or {})
    except ValueError as error:
        return str(error) if str(error).startswith("target.") else f"target: {error}"
    return None


def validate_trust(value: Mapping[str, Any]) -> str | None:
    """Return why a model may not be loaded here, or None.

    :param value: inputs of the run.
    """
    models = [node for node in (value.get("model"), *value.get("members", {}).values()) if node is not None]
    for model in models:
        if isinstance(model, MaceModelData):
            try:
                model.require_trust()
            except Untrusted as error:
                return f"model: {error}"
    return None


def validate_codes(value: Mapping[str, Any]) -> str | None:
    """Return why a step has no code to run with, or None.

    :param value: inputs of the run.
    """
    executor = value["executor"].get_dict()
    jobs = sorted(task for task, where in executor.items() if where == "job")
    worker = sorted(set(jobs) - {"label", "dynamics"})
    if worker and value.get("worker", {}).get("code") is None:
        return f"executor.{worker[0]} is 'job' but worker.code is missing: give the code slhmc-worker@computer."
    if "label" in jobs and value.get("target", {}).get("code") is None:
        return "executor.label is 'job' but target.code is missing: give the code that labels, slhmc-worker@computer."
    for name, code in (
        ("worker.code", value.get("worker", {}).get("code")),
        ("target.code", value.get("target", {}).get("code")),
    ):
        if code is None:
            continue
        computer = getattr(code, "computer", None)
        if computer is not None and not computer.is_configured:
            return f"{name}: the computer '{computer.label}' is not configured: run 'verdi computer configure'."
        executable = getattr(code, "filepath_executable", None)
        if computer is None or computer.transport_type != "core.local":
            continue
        if executable is not None and executable.is_absolute() and not Path(executable).exists():
            return f"{name}: there is no executable {executable} on '{computer.label}': set up the code anew."
    return None


def validate_cell(value: Mapping[str, Any], structure: orm.StructureData) -> str | None:
    """Return why a cell cannot move as the ensemble asks, or None.

    :param value: inputs of the run.
    :param structure: a start.
    """
    ensemble = value["ensemble"].get_dict()
    if ensemble["ensemble"] != "NPT":
        return None
    if not structure_payload(structure)["pbc"].all():
        return "structure is a molecule (not periodic), which has no volume: set ensemble.ensemble to NVT."
    try:
        law_of(ensemble["cell"], structure_payload(structure)["cell"])
    except ValueError as error:
        return f"structure: {error}."
    if isinstance(value["model"], orm.Dict):
        from aiida_slhmc.targets.registry import get_target

        level = value["model"].get_dict()
        if not get_target(level["engine"]).has_stress(level):
            return "model: at constant pressure a proposal surface needs a stress, which this level of theory has not."
    return None


def validate_driver(value: Mapping[str, Any]) -> str | None:
    """Return why chains cannot be driven as asked, or None.

    :param value: inputs of the run.
    """
    temperatures = value["driver"].get_dict()["temperatures"]
    if temperatures is None:
        return None
    chains, own = value["budget"].get_dict()["chains"], value["ensemble"].get_dict()["temperature"]
    if len(temperatures) != chains:
        return f"driver.temperatures names {len(temperatures)} temperatures for budget.chains = {chains}: one a chain."
    if own not in temperatures:
        return f"driver.temperatures {temperatures} lacks ensemble.temperature {own} K, the one that is reported."
    return None


def validate_starts(value: Mapping[str, Any], names: set[str], what: str) -> str | None:
    """Return what is wrong with the structures that a run starts from, or None.

    :param value: inputs of the run.
    :param names: what starts may be named.
    :param what: what has these names.
    """
    structures = dict(value.get("structures", {}))
    foreign = sorted(set(structures) - names)
    if foreign:
        return f"structures.{foreign[0]} names no {what}: there are {len(names)}, from {min(names)} on."
    composition = sorted(structure_payload(value["structure"])["numbers"].tolist())
    for name, structure in {"structure": value["structure"], **structures}.items():
        if sorted(structure_payload(structure)["numbers"].tolist()) != composition:
            return f"structures.{name} has another composition than 'structure': all share one dataset."
        for problem in (
            validate_structure(structure),
            validate_model(value["model"], structure),
            validate_target(value["target"]["level"], structure),
            validate_cell(value, structure),
        ):
            if problem:
                return problem if name == "structure" else f"structures.{name}: {problem}"
    return validate_process(value, value["structure"])


def validate_rounds(value: Mapping[str, Any], protocol: str, fixed: Mapping[str, Any]) -> str | None:
    """Validate the inputs of a protocol that labels frames of dynamics.

    :param value: inputs.
    :param protocol: name of the WorkChain.
    :param fixed: settings of ``rounds`` that make the protocol what it is.
    """
    needed = ("structure", "model", "ensemble", "rounds", "dynamics", "executor", "target")
    if any(name not in value for name in needed) or "level" not in value["target"]:
        return None
    rounds, dynamics = value["rounds"].get_dict(), value["dynamics"].get_dict()
    for name, setting in fixed.items():
        if rounds[name] != setting:
            return f"rounds.{name} is {rounds[name]!r}, but {protocol} is the protocol with {setting!r}: leave it out."
    if rounds["labels"] > dynamics["samples"]:
        return (
            f"rounds.labels is {rounds['labels']}, more than the {dynamics['samples']} frames of a trajectory "
            "(dynamics.samples): take more samples, or fewer labels."
        )
    names = {trajectory_name(index) for index in range(rounds["trajectories"])}
    return (
        validate_starts(value, names, "trajectory")
        or validate_trust(value)
        or validate_method(value)
        or validate_codes(value)
        or validate_finetune(value)
    )


def validate_on_the_fly(value: Mapping[str, Any], _: Any) -> str | None:
    """Validate the inputs of on-the-fly learning as a whole.

    :param value: inputs.
    """
    needed = ("structure", "model", "ensemble", "on_the_fly", "posterior", "dynamics", "executor", "target")
    if any(name not in value for name in needed) or "level" not in value["target"]:
        return None
    dynamics, ensemble = value["dynamics"].get_dict(), value["ensemble"].get_dict()["ensemble"]
    able = [name for name, ensembles in METHODS.items() if ensemble in ensembles]
    if dynamics["method"] not in able:
        return (
            f"dynamics.method '{dynamics['method']}' cannot go on from a stored point in {ensemble}: choose"
            f" {' or '.join(able)}."
        )
    if dynamics["discard"]:
        return "dynamics.discard has no effect on the fly, where all steps count: set it to 0."
    level = value["target"]["level"].get_dict()
    return (
        validate_starts(value, {trajectory_name(0)}, "trajectory")
        or validate_trust(value)
        or validate_method(value)
        or validate_codes(value)
        or validate_finetune(value)
        or _stress_of_labels(level, ensemble)
    )


def _stress_of_labels(level: Mapping[str, Any], ensemble: str) -> str | None:
    """Return why labels cannot act in the dynamics, or None."""
    from aiida_slhmc.targets.registry import get_target

    if ensemble == "NPT" and not get_target(level["engine"]).has_stress(level):
        return (
            "target.level: at constant pressure the labels' stress moves the cell, and this level of theory has none."
        )
    return None


def validate_method(value: Mapping[str, Any]) -> str | None:
    """Return why the method of dynamics cannot sample the ensemble, or None.

    :param value: inputs of the run.
    """
    ensemble, method = value["ensemble"].get_dict()["ensemble"], value["dynamics"].get_dict()["method"]
    only = {"langevin": "NVT", "mtk": "NPT"}.get(method, ensemble)
    if only != ensemble:
        return f"dynamics.method '{method}' samples {only}, but the ensemble is {ensemble}: choose another method."
    if ensemble == "NPT" and method == "nose-hoover" and value["dynamics"].get_dict()["barostat_time"] is None:
        return "dynamics.barostat_time is missing: at constant pressure it is needed, in fs."
    return None


def validate_run(value: Mapping[str, Any], _: Any) -> str | None:
    """Validate the inputs of a run as a whole.

    :param value: inputs of a SLHMC run.
    """
    needed = ("structure", "model", "ensemble", "budget", "driver", "executor", "target")
    if any(name not in value for name in needed) or "level" not in value["target"]:
        # The ports themselves say what is missing.
        return None
    chains = value["budget"].get_dict()["chains"]
    names = {chain_name(index) for index in range(chains)}
    return (
        validate_starts(value, names, "chain")
        or validate_trust(value)
        or validate_driver(value)
        or validate_codes(value)
        or validate_finetune(value)
    )
