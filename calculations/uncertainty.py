"""Uncertainties on trial: labels held back from a dataset, and what each estimator is worth on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_slhmc.analysis.assessments import Assessment, calibrate, errors, of_distance, of_members, score
from aiida_slhmc.analysis.coverage import Settings
from aiida_slhmc.data import DatasetData, FramesData
from aiida_slhmc.data.frames import REQUIRED

from . import base

#: The estimators, in the order in which they are shown.
COMMITTEE, POSTERIOR, Q, T2 = "committee", "posterior", "q", "t2"
ESTIMATORS = (COMMITTEE, POSTERIOR, Q, T2)


def trained_chunks(dataset: DatasetData, chunks: int | None) -> int:
    """Return how many chunks are trained on.

    :param dataset: of a run.
    :param chunks: how many; None: half of them.
    """
    return max(1, len(dataset.chunks) // 2) if chunks is None else chunks


def forward(dataset: DatasetData, chunks: int, production: FramesData | None = None) -> list[FramesData]:
    """Return the chunks with labels that follow the first ones.

    :param dataset: of a run.
    :param chunks: how many are trained on.
    :param production: labels of the run's frozen phase, which trained nothing.
    """
    nodes = [*dataset.frames()[chunks:], *([] if production is None else [production])]
    return [node for node in nodes if node.n_frames]


@calcfunction
def hold_back(
    dataset: DatasetData, settings: orm.Dict, seed: orm.Int, production: FramesData | None = None
) -> dict[str, orm.Data]:
    """Cut the labels of a run in two: the first chunks of its dataset, and those that came after them.

    :param dataset: of the run; its chunks in the order in which they were labelled.
    :param settings: ``chunks``: how many come first; None: half of them.
    :param seed: root seed of the run.
    :param production: labels of the run's frozen phase.
    :returns: ``first`` (dataset, the roles of its frames as they were), ``later`` (frames; without the states that
        chains started from, which may be among the first), ``stream`` (seed, update).
    :raises ValueError: if nothing is left on one side, or the frames differ in composition.
    """
    count = trained_chunks(dataset, settings.get_dict()["chunks"])
    nodes = forward(dataset, count, production)
    if not 0 < count <= len(dataset.chunks) or not nodes:
        raise ValueError(f"{count} of {len(dataset.chunks)} chunks leave no label to judge by")
    if len({node.n_atoms for node in nodes}) > 1:
        raise ValueError("the frames differ in their number of atoms")
    kept = [_proposed(node) for node in nodes]
    pairs = list(zip(nodes, kept, strict=True))
    return {
        "first": DatasetData(dataset.chunks[:count], dataset.chunk_uuids[:count]),
        "later": FramesData(
            {name: np.concatenate([node.get_array(name)[rows] for node, rows in pairs]) for name in REQUIRED},
            level_hash=nodes[0].level_hash,
            label_uuids=[node.label_uuids[row] for node, rows in pairs for row in np.flatnonzero(rows)],
        ),
        "stream": orm.Dict({"seed": seed.value, "update": 0}),
    }


def _proposed(frames: FramesData) -> np.ndarray:
    """Return which frames are no starting states of a chain."""
    return frames.get_array("length") > 0 if "length" in frames.get_arraynames() else np.ones(frames.n_frames, bool)


@calcfunction
def soap_settings(settings: orm.Dict) -> orm.Dict:
    """Return the settings of descriptors and subspaces alone.

    :param settings: of the whole trial.
    """
    return orm.Dict({name: settings.get_dict()[name] for name in Settings().to_dict()})


def assessments(nodes: Mapping[str, orm.ArrayData]) -> dict[str, Assessment]:
    """Return what each estimator says, from the nodes of the steps.

    :param nodes: ``committee`` and ``posterior`` (predictions of ensembles), ``single`` (predictions of the committee's
        first member), ``coverage``.
    """
    arrays = {name: {key: node.get_array(key) for key in node.get_arraynames()} for name, node in nodes.items()}
    return {
        COMMITTEE: of_members(arrays["committee"]),
        POSTERIOR: of_members(arrays["posterior"]),
        Q: of_distance(arrays["single"], arrays["coverage"]["q"]),
        T2: of_distance(arrays["single"], arrays["coverage"]["t2"]),
    }


def halves(n_frames: int, share: float) -> tuple[slice, slice]:
    """Return which frames set the scales, and which are scored: the first and the rest, in the order of labelling.

    :param n_frames: of the frames held back.
    :param share: of them that set the scales.
    """
    cut = min(max(1, round(share * n_frames)), n_frames - 1)
    return slice(0, cut), slice(cut, n_frames)


@calcfunction
def score_uncertainty(
    frames: FramesData,
    settings: orm.Dict,
    committee: orm.ArrayData,
    posterior: orm.ArrayData,
    single: orm.ArrayData,
    coverage: orm.ArrayData,
) -> orm.Dict:
    """Score all estimators on labels that no model has trained on.

    The thresholds of the AUROC are one for all: a quantile of the errors of all estimators' models together.

    :param frames: held back, in the order in which they were labelled.
    :param settings: ``calibration_share`` of the frames that set the scales, ``threshold_quantile``.
    :param committee: predictions of the committee.
    :param posterior: predictions of the sampled posterior.
    :param single: predictions of the committee's first member, for the distances.
    :param coverage: distances from the training set.
    :returns: ``scores`` by estimator, as of :func:`aiida_slhmc.analysis.assessments.score`; ``thresholds`` in eV and
        eV/Å; ``frames`` (``calibration``, ``scored``), ``atoms``; ``outliers``, the share of atoms, by Q.
    """
    values = settings.get_dict()
    energies, forces = frames.get_array("energies"), frames.get_array("forces")
    found = assessments({"committee": committee, "posterior": posterior, "single": single, "coverage": coverage})
    first, rest = halves(frames.n_frames, values["calibration_share"])
    seen = {name: errors(one[rest], energies[rest], forces[rest]) for name, one in found.items()}
    quantile = values["threshold_quantile"]
    thresholds = {
        "energy": float(np.quantile(np.abs([energy for energy, _ in seen.values()]), quantile)),
        "force": float(np.quantile(np.linalg.norm([force for _, force in seen.values()], axis=-1), quantile)),
    }
    scores = {
        name: score(
            one[rest], energies[rest], forces[rest], calibrate(one[first], energies[first], forces[first]), thresholds
        )
        for name, one in found.items()
    }
    told: dict[str, Any] = {
        "scores": scores,
        "thresholds": thresholds,
        "frames": {"calibration": first.stop, "scored": frames.n_frames - first.stop},
        "atoms": frames.n_atoms,
        "outliers": float(np.mean(coverage.get_array("outlier"))),
    }
    return orm.Dict(base.storable({**told, **values}))
