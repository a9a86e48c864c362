"""Models side by side: their samples analysed, set against the target's own ensemble, and put into one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_slhmc.analysis import comparison as comparing
from aiida_slhmc.analysis.errors import model_errors
from aiida_slhmc.analysis.learning import curve_on_tests, learning_curve
from aiida_slhmc.analysis.samples import Plan, analyse, make_plan, units_of
from aiida_slhmc.data import DatasetData, FramesData
from aiida_slhmc.data.content import json_hash
from aiida_slhmc.data.frames import REQUIRED
from aiida_slhmc.numerics.randomness import Purpose, generator

from . import base

#: Arrays of a sample that an analysis uses.
SAMPLE = ("positions", "cells", "stresses", "energies")
#: Beginnings of link labels: of what the sampling reports, of the errors on a test set, of the model and of those of
#: earlier blocks, of a row.
INFO, ERRORS, CURVE, ROW = "info_", "errors_", "curve_", "row_"
#: Kind of a sample that was joined to be a reference.
REFERENCE = "reference"


def sample_arrays(nodes: Mapping[str, orm.ArrayData], temperature: float | None = None) -> dict[str, np.ndarray]:
    """Return samples as one, their chains numbered one after the other.

    :param nodes: positions (S, N, 3) and cells (S, 3, 3) in Å, numbers (N,), and where there are such stresses
        (S, 3, 3) in eV/Å³, energies (S,) in eV, chain (S,); joined in the order of their names.
    :param temperature: in K: of replicas at several temperatures those of this one are taken.
    :raises ValueError: if their atoms differ, or none is left.
    """
    parts: list[dict[str, np.ndarray]] = []
    numbers, first = None, 0
    for name in sorted(nodes):
        arrays = {key: nodes[name].get_array(key) for key in nodes[name].get_arraynames()}
        if numbers is None:
            numbers = arrays["numbers"]
        if not np.array_equal(numbers, arrays["numbers"]):
            raise ValueError(f"'{name}' has other atoms than '{min(nodes)}', or in another order")
        keep = np.ones(len(arrays["positions"]), dtype=bool)
        if temperature is not None and "temperature" in arrays:
            keep = np.isclose(arrays["temperature"], temperature)
        chain = np.asarray(arrays.get("chain", np.zeros(len(keep))))[keep]
        labels, indices = np.unique(chain, return_inverse=True)
        part = {key: arrays[key][keep] for key in SAMPLE if key in arrays}
        parts.append({**part, "chain": first + indices})
        first += len(labels)
    if numbers is None or first == 0:
        raise ValueError("there is no frame to compare")
    common = [key for key in (*SAMPLE, "chain") if all(key in part for part in parts)]
    return {"numbers": numbers, **{key: np.concatenate([part[key] for part in parts]) for key in common}}


@calcfunction
def join_samples(ensemble: orm.Dict, **samples: orm.ArrayData) -> Any:
    """Join independent samples of one ensemble.

    :param ensemble: temperature in K: of replicas, those at this temperature are taken.
    :param samples: positions (S, N, 3) and cells (S, 3, 3) in Å, numbers (N,), ...
    """
    try:
        node = orm.ArrayData(sample_arrays(samples, ensemble.get_dict()["temperature"]))
    except ValueError as error:
        return base.exit_code("bad_input", str(error))
    node.base.attributes.set("kind", REFERENCE)
    return node


@calcfunction
def plan_analysis(reference: orm.ArrayData, ensemble: orm.Dict, comparison: orm.Dict) -> Any:
    """Decide how all samples are analysed: what the settings leave open follows from the reference.

    :param reference: sample of the target's ensemble.
    :param ensemble: ``ensemble``, ``temperature`` in K.
    :param comparison: settings of the comparison.
    """
    law = ensemble.get_dict()
    try:
        plan = make_plan(
            sample_arrays({"reference": reference}),
            comparison.get_dict(),
            temperature=law["temperature"],
            moves=law["ensemble"] == "NPT",
        )
    except ValueError as error:
        return base.exit_code("bad_input", str(error))
    return orm.Dict(base.storable({**plan.as_dict(), "formula_unit": units_of(reference.get_array("numbers"))}))


@calcfunction
def analyse_sample(plan: orm.Dict, **trajectories: orm.ArrayData) -> Any:
    """Analyse a sample: distances, coordination, cell frame by frame, radial distribution functions.

    :param plan: how.
    :param trajectories: independent trajectories in one ensemble.
    :returns: what :func:`aiida_slhmc.analysis.samples.analyse` returns, and numbers (N,).
    """
    try:
        sample = sample_arrays(trajectories)
        found = analyse(sample, Plan.from_dict(plan.get_dict()))
    except ValueError as error:
        return base.exit_code("bad_input", str(error))
    return orm.ArrayData({**found, "numbers": sample["numbers"]})


def _arrays(node: orm.ArrayData) -> dict[str, np.ndarray]:
    return {name: node.get_array(name) for name in node.get_arraynames()}


@calcfunction
def compare_sample(
    analysis: orm.ArrayData, reference: orm.ArrayData, plan: orm.Dict, comparison: orm.Dict, seed: orm.Int
) -> Any:
    """Compare an analysed sample with the analysed reference.

    :param analysis: of :func:`analyse_sample`.
    :param reference: likewise.
    :param plan: how both were analysed.
    :param comparison: ``resamples`` of the bootstraps.
    :param seed: root seed.
    """
    arrays, theirs = _arrays(analysis), _arrays(reference)
    try:
        result = comparing.compare(
            arrays,
            theirs,
            arrays["numbers"],
            Plan.from_dict(plan.get_dict()),
            generator=lambda what: generator(seed.value, int(json_hash(what)[:7], 16), 0, Purpose.BOOTSTRAP),
            resamples=comparison.get_dict()["resamples"],
        )
    except ValueError as error:
        return base.exit_code("bad_input", str(error))
    return orm.Dict(base.storable({**result, "warnings": comparing.sampling_warnings(arrays)}))


@calcfunction
def frames_of(dataset: DatasetData) -> Any:
    """Return the frames of a dataset as one block.

    :param dataset: whose chunks hold frames of one number of atoms and one level of theory.
    """
    chunks = [chunk for chunk in dataset.frames() if chunk.n_frames]
    levels, sizes = {chunk.level_hash for chunk in chunks}, {chunk.n_atoms for chunk in chunks}
    if len(levels) != 1 or len(sizes) != 1:
        return base.exit_code(
            "bad_input", f"the dataset has {len(levels)} levels of theory and {len(sizes)} sizes: give its parts"
        )
    arrays = {name: np.concatenate([chunk.get_array(name) for chunk in chunks]) for name in REQUIRED}
    uuids = [uuid for chunk in chunks for uuid in chunk.label_uuids]
    return FramesData(arrays, level_hash=levels.pop(), label_uuids=uuids)


@calcfunction
def score(frames: FramesData, predictions: orm.ArrayData) -> Any:
    """Return the errors of a model on a test set.

    :param frames: the target's labels.
    :param predictions: of the model: energies (eV), forces (eV/Å), stresses (eV/Å³).
    """
    names = ("energies", "forces", "stresses")
    try:
        errors = model_errors(
            numbers=frames.get_array("numbers"),
            **{name: frames.get_array(name) for name in names},
            **{f"predicted_{name}": predictions.get_array(name) for name in names},
        )
    except ValueError as error:
        return base.exit_code("bad_input", str(error))
    return orm.Dict(base.storable(errors))


@calcfunction
def merge_scores(**scores: orm.Dict) -> orm.Dict:
    """Merge the errors of the models of several blocks on one test set.

    :param scores: ``block_<number>``: of :func:`score`.
    """
    return orm.Dict({name: node.get_dict() for name, node in scores.items()})


@calcfunction
def candidate_row(
    details: orm.Dict,
    history: orm.Dict | None = None,
    dataset: DatasetData | None = None,
    result: orm.Dict | None = None,
    **nodes: orm.Dict,
) -> orm.Dict:
    """Put what is known of a candidate into one row.

    :param details: ``protocol``, ``workflow``, ``seed``, ``run``, ``labels``: as far as they are known.
    :param history: of the run that made the model.
    :param dataset: what it was trained on.
    :param result: its sample against the reference; without, it could not be sampled.
    :param nodes: ``info_<trajectory>``: how the sampling went; ``errors_<test set>``; ``curve_<test set>``: of the
        models of earlier blocks.
    """
    blocks = history.get_dict()["blocks"] if history is not None else []
    row: dict[str, Any] = {
        **details.get_dict(),
        "labels": _labels(details.get_dict().get("labels") or {}, blocks, dataset),
        "training": _training(blocks),
        "chains": _chains(blocks),
        "learning": learning_curve(blocks),
        "errors": {key.removeprefix(ERRORS): node.get_dict() for key, node in nodes.items() if key.startswith(ERRORS)},
        "curves": {
            key.removeprefix(CURVE): curve_on_tests(blocks, node.get_dict())
            for key, node in nodes.items()
            if key.startswith(CURVE)
        },
        "problem": None if result is not None else "its ensemble could not be sampled",
        "warnings": [],
    }
    infos = [node.get_dict() for key, node in sorted(nodes.items()) if key.startswith(INFO)]
    row["sampling"] = {
        "method": infos[0]["method"] if infos else None,
        "trajectories": len(infos),
        "acceptance": float(np.mean([info["acceptance"] for info in infos])) if _has(infos, "acceptance") else None,
        "divergent": sum(info["divergent"] for info in infos) if _has(infos, "divergent") else None,
        "wall_time": float(np.sum([info["wall_time"] for info in infos])),
    }
    for info in infos:
        row["warnings"] += (info.get("checks") or {}).get("warnings") or []
    if result is not None:
        values = result.get_dict()
        row |= {"quantities": values["quantities"], "distances": values["distances"]}
        row["warnings"] += values["warnings"]
    return orm.Dict(base.storable(row))


def _has(infos: list[dict[str, Any]], key: str) -> bool:
    return bool(infos) and all(info.get(key) is not None for info in infos)


def _labels(known: Mapping[str, Any], blocks: list[dict[str, Any]], dataset: DatasetData | None) -> dict[str, Any]:
    """Return how many labels a model cost: those asked for, and those that it was trained on."""
    spent = known.get("spent")
    if spent is None:
        spent = sum(block.get("labels") or 0 for block in blocks)
    return {**known, "spent": spent, "trained_on": dataset.n_frames if dataset is not None else 0}


def _training(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    reports = [block["training"] for block in blocks if block.get("training")]
    times = [report["wall_time"] for report in reports if report.get("wall_time") is not None]
    epochs = [report["epochs"] for report in reports if report.get("epochs") is not None]
    return {"times": len(reports), "wall_time": float(sum(times)), "epochs": int(sum(epochs))}


def _chains(blocks: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return acceptance and proposal length of a run that has chains, block by block."""
    own = [block for block in blocks if block.get("cycles") and block.get("accepted") is not None]
    if not own:
        return None
    names = ("cycles", "accepted", "length", "acceptance_interval", "production")
    return {
        "acceptance": sum(block["accepted"] for block in own) / sum(block["cycles"] for block in own),
        "blocks": [{name: block.get(name) for name in names} for block in own],
    }


@calcfunction
def merge_rows(**rows: orm.Dict) -> orm.Dict:
    """Merge tables of rows.

    :param rows: ``row_<candidate>``: one row; others: tables of rows by candidate.
    """
    merged: dict[str, Any] = {}
    for name, node in rows.items():
        merged |= {name.removeprefix(ROW): node.get_dict()} if name.startswith(ROW) else node.get_dict()
    return orm.Dict(merged)


@calcfunction
def conclude(
    rows: orm.Dict, reference: orm.ArrayData, plan: orm.Dict, ensemble: orm.Dict, comparison: orm.Dict
) -> orm.Dict:
    """Conclude a comparison: the rows of all candidates, and one of every protocol with its replicas together.

    :param rows: by candidate.
    :param reference: the analysed reference.
    :param plan: how the samples were analysed.
    :param ensemble: of the samples.
    :param comparison: settings.
    """
    table = rows.get_dict()
    chain = reference.get_array("chain")
    return orm.Dict(
        base.storable(
            {
                "rows": table,
                "protocols": comparing.by_protocol(table),
                "reference": {"frames": len(chain), "chains": len(np.unique(chain))},
                "plan": plan.get_dict(),
                "ensemble": ensemble.get_dict(),
                "settings": comparison.get_dict(),
            }
        )
    )
