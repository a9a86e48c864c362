"""What can be wrong with a comparison, said before any compute is spent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from aiida import orm

from aiida_slhmc.calculations.base import structure_payload
from aiida_slhmc.calculations.states import GUIDED
from aiida_slhmc.data import DatasetData, FramesData
from aiida_slhmc.data.labels import frame_hash

from .validate import (
    validate_method,
    validate_model,
    validate_process,
    validate_structure,
    validate_target,
    validate_trust,
)


def blocks_of(node: FramesData | DatasetData) -> list[FramesData]:
    """Return the blocks of frames that a test set or a dataset consists of.

    :param node: one block, or a dataset.
    """
    return node.frames() if isinstance(node, DatasetData) else [node]


def structures_of(blocks: Iterable[FramesData]) -> set[str]:
    """Return the content hashes of the structures of frames.

    :param blocks: of frames.
    """
    return {frame_hash(block, row) for block in blocks for row in range(block.n_frames)}


def validate_sample(name: str, node: orm.ArrayData, structure: orm.StructureData) -> str | None:
    """Return why a node is no sample of the target's ensemble for a structure, or None.

    :param name: of the node.
    :param node: positions and cells of frames (Å).
    :param structure: where the trajectories start.
    """
    missing = {"positions", "cells", "numbers"} - set(node.get_arraynames())
    if missing:
        return f"reference.{name} is no sample of an ensemble: it lacks {', '.join(sorted(missing))}."
    if node.base.attributes.get("kind", None) == GUIDED:
        return (
            f"reference.{name}: these states are of adaptive blocks, so that they are no sample of the target's"
            " ensemble: go on from the run with 'aiida-slhmc produce', and take its states."
        )
    if not np.array_equal(node.get_array("numbers"), structure_payload(structure)["numbers"]):
        return (
            f"reference.{name} has other atoms than 'structure', or in another order: the ensembles are not the same."
        )
    return None


def validate_tests(tests: Mapping[str, Any], datasets: Mapping[str, DatasetData]) -> str | None:
    """Return why test sets do not judge the candidates fairly, or None.

    :param tests: by name.
    :param datasets: what the candidates were trained on, by candidate.
    """
    hashes = {name: structures_of(blocks_of(node)) for name, node in tests.items()}
    levels = {name: {block.level_hash for block in blocks_of(node)} for name, node in tests.items()}
    known: dict[str, set[str]] = {}
    for candidate, dataset in datasets.items():
        trained = {chunk["level_hash"] for chunk in dataset.chunks}
        for name, own in levels.items():
            if not own <= trained:
                return (
                    f"tests.{name} has labels of another level of theory than those that '{candidate}' was trained on:"
                    " the errors would be those of the levels; give a test set of the candidates' own target."
                )
        for chunk in dataset.frames():
            if chunk.uuid not in known:
                known[chunk.uuid] = structures_of([chunk])
            for name, structures in hashes.items():
                shared = len(structures & known[chunk.uuid])
                if shared:
                    return (
                        f"tests.{name}: {shared} of its {len(structures)} structures are in the dataset that"
                        f" '{candidate}' was trained on: a model is not judged on what it learned; give other frames."
                    )
    return None


def validate_compare(value: Mapping[str, Any], _: Any) -> str | None:
    """Validate the inputs of a comparison as a whole.

    :param value: inputs.
    """
    needed = ("structure", "ensemble", "dynamics", "comparison", "executor", "candidates", "reference")
    if any(name not in value for name in needed):
        # The ports themselves say what is missing.
        return None
    if not value["candidates"] or not value["reference"]:
        return "candidates and reference must each hold at least one: there is nothing to compare."
    for name, given in value["candidates"].items():
        missing = [key for key in ("model", "details") if key not in given]
        if missing:
            return f"candidates.{name} lacks '{missing[0]}'."
        if "protocol" not in given["details"].get_dict():
            return (
                f"candidates.{name}.details lacks 'protocol': candidates of one protocol are replicas of one another."
            )
        trusted = validate_trust({"model": given["model"], "members": given.get("models") or {}})
        problem = trusted or validate_model(given["model"], value["structure"])
        if problem:
            return f"candidates.{name}.{problem}"
    for name, node in value["reference"].items():
        problem = validate_sample(name, node, value["structure"])
        if problem:
            return problem
    datasets = {name: given["dataset"] for name, given in value["candidates"].items() if "dataset" in given}
    return (
        validate_method(value)
        or validate_jobs(value, "worker", ("dynamics", "predict"))
        or validate_tests(value.get("tests") or {}, datasets)
    )


def validate_jobs(value: Mapping[str, Any], group: str, tasks: Iterable[str]) -> str | None:
    """Return which step has no code to run with, or None.

    :param value: inputs.
    :param group: whose code the steps take: ``worker``, ``target``.
    :param tasks: the steps.
    """
    for task in tasks:
        if value["executor"].get_dict()[task] == "job" and value.get(group, {}).get("code") is None:
            return f"executor.{task} is 'job' but {group}.code is missing: give the code slhmc-worker@computer."
    return None


def validate_reference(value: Mapping[str, Any], _: Any) -> str | None:
    """Validate the inputs of a reference as a whole.

    :param value: inputs.
    """
    needed = ("structure", "ensemble", "dynamics", "reference", "executor", "target")
    if any(name not in value for name in needed) or "level" not in value["target"]:
        return None
    settings, structure = value["reference"].get_dict(), value["structure"]
    samples = value.get("samples") or {}
    if bool(samples) == bool(settings["trajectories"]):
        return (
            "reference.trajectories must be 0 where 'samples' are given, which then are the reference, and at least 1"
            " where none are."
        )
    for name, node in samples.items():
        problem = validate_sample(name, node, structure)
        if problem:
            return problem.replace("reference.", "samples.", 1)
    tasks = ("dynamics", "label") if settings["trajectories"] else ("label",)
    return (
        validate_structure(structure)
        or validate_target(value["target"]["level"], structure)
        or (validate_method(value) if settings["trajectories"] else None)
        or validate_jobs(value, "target", tasks)
        or validate_process(value, structure)
    )
