"""Interventions of on-the-fly learning: what a label does to the dynamics, the calibration and the data."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction
from numpy.typing import NDArray

from aiida_slhmc.data import FramesData
from aiida_slhmc.data.frames import REQUIRED, SPAN, SWAPS
from aiida_slhmc.numerics.calibration import Calibration

from . import base
from .adapt import proposals
from .collect import NOTHING
from .explore import ASKED, pack, unpack
from .history import append

#: Arrays that labels are compared with, and what a single prediction calls them.
FORESEEN = {"energies": "energy", "forces": "forces", "stresses": "stress"}
#: What an exploration says of a label that it asks for.
TOLD = ("sigma", "exceedance", "force_exceedance", "reason", "accuracy", "tolerance")


@calcfunction
def open_exploration(seed: orm.Int, gate: orm.Dict) -> dict[str, orm.Data]:
    """Open the random numbers of a run, and its calibration before any error.

    :param seed: root seed of the run.
    :param gate: ``calibration_shape`` and ``calibration_rate``: a and b of the prior.
    """
    settings = gate.get_dict()
    prior = Calibration(a=settings["calibration_shape"], b=settings["calibration_rate"]).to_dict()
    counts = {"labels": 0, "failed": 0, "interventions": 0, "outside": 0, "step": 0}
    return {
        "stream": orm.Dict({"seed": seed.value}),
        "calibration": orm.Dict({"energy": prior, "forces": prior, **counts}),
    }


@calcfunction
def take_up(
    label: FramesData,
    calibration: orm.Dict,
    stream: orm.Dict,
    ensemble: orm.Dict,
    state: orm.SinglefileData | None = None,
    prediction: orm.ArrayData | None = None,
    exploration: orm.Dict | None = None,
    chunk: FramesData | None = None,
) -> dict[str, orm.Data]:
    """Take a label up: count its error, add it to the data, and let its forces act where it was asked for.

    The first label of a run, that of its start, foresaw nothing: it is no error.

    :param label: of one frame.
    :param calibration: before it.
    :param stream: seed.
    :param ensemble: temperature in K.
    :param state: of the dynamics before the step that asked; none at the start.
    :param prediction: of the labelled structure.
    :param exploration: that asked.
    :param chunk: the labels before it that no dataset has yet.
    :returns: ``calibration``: energy and forces (a, b, n, sum_squares), counts, and what this label told; ``state``;
        ``chunk`` with one more frame; ``stream`` of the update.
    """
    known = calibration.get_dict()
    energy, forces = (Calibration.from_dict(known[name]) for name in ("energy", "forces"))
    told: dict[str, Any] = {"counted": False}
    if prediction is not None and exploration is not None:
        asked = exploration.get_dict()
        foreseen = {name: prediction.get_array(name) for name in prediction.get_arraynames()}
        error = float(foreseen["energy"][0]) - label.energy
        force_errors = foreseen["forces"] - label.get_array("forces")[0]
        energy = energy.update([error], [asked["sigma"]])
        # The components of one structure's forces are not independent: together they count as one error.
        forces = forces.update(force_errors, foreseen["forces_sd"], weight=1.0 / force_errors.size)
        told = {
            "counted": True,
            "step": asked["step"] + 1,
            "error": error,
            "force_rmse": float(np.sqrt(np.mean(force_errors**2))),
            "outside": abs(error) > asked["accuracy"],
            **{name: asked[name] for name in TOLD},
        }
    told |= _derived(energy)
    counts = {
        "labels": known["labels"] + 1,
        "failed": known["failed"],
        "interventions": known["interventions"] + told["counted"],
        "outside": known["outside"] + bool(told.get("outside", False)),
        "step": told.get("step", 0),
    }
    return {
        "calibration": orm.Dict(
            base.storable({"energy": energy.to_dict(), "forces": forces.to_dict(), **counts, "label": told})
        ),
        "state": _substituted(label, state),
        "chunk": _grown(label, chunk, ensemble.get_dict()["temperature"], counts["step"], told["counted"]),
        "stream": orm.Dict({"seed": stream.get_dict()["seed"], "update": known["labels"]}),
    }


@calcfunction
def go_without(calibration: orm.Dict, state: orm.SinglefileData, prediction: orm.ArrayData) -> dict[str, orm.Data]:
    """Go on where a label was asked for and failed: the ensemble's own forces act in the step that asked.

    :param calibration: before it.
    :param state: of the dynamics before the step.
    :param prediction: of the structure.
    """
    known = calibration.get_dict()
    own = {f"{ASKED}{name}": prediction.get_array(name) for name in ("energy", "forces", "stress")}
    return {
        "state": pack({**unpack(state), **own}),
        "calibration": orm.Dict({**known, "failed": known["failed"] + 1, "label": {"counted": False}}),
    }


def _derived(calibration: Calibration) -> dict[str, float | None]:
    """Return alpha and beta of a calibration, and the most probable lambda, if there is one."""
    alpha, beta = calibration.alpha, calibration.beta
    return {"alpha": alpha, "beta": beta, "mode": (alpha - 1.0) / beta if alpha > 1.0 else None}


def _substituted(label: FramesData, state: orm.SinglefileData | None) -> orm.SinglefileData:
    """Return the state of the dynamics with a label in place of the prediction."""
    evaluation = {
        "energy": label.get_array("energies"),
        "forces": label.get_array("forces")[0],
        "stress": label.get_array("stresses")[0],
    }
    if state is None:
        geometry = {"positions": label.get_array("positions")[0], "cell": label.get_array("cells")[0]}
        return pack({**geometry, **evaluation, "step": np.zeros(1, dtype=np.int64)})
    return pack({**unpack(state), **{f"{ASKED}{name}": value for name, value in evaluation.items()}})


def _grown(label: FramesData, chunk: FramesData | None, temperature: float, step: int, counted: bool) -> FramesData:
    """Return a chunk with one more frame; the step of the dynamics stands where a chain's frames have the cycle."""
    row: dict[str, NDArray[Any]] = {
        **{name: label.get_array(name) for name in REQUIRED},
        "chain": np.zeros(1, dtype=np.int64),
        "cycle": np.array([step if counted else -1], dtype=np.int64),
        "accepted": np.zeros(1, dtype=bool),
        "probability": np.full(1, np.nan),
        "delta": np.full(1, np.nan),
        # 0 marks a starting state.
        "length": np.array([int(counted)], dtype=np.int64),
        "temperature": np.array([temperature]),
    }
    if chunk is None:
        return FramesData({**row, SPAN: NOTHING, SWAPS: NOTHING}, level_hash=label.level_hash, label_uuids=[label.uuid])
    if chunk.level_hash != label.level_hash:
        raise ValueError("labels of different levels of theory cannot be one dataset")
    arrays = {name: np.concatenate([chunk.get_array(name), values]) for name, values in row.items()}
    return FramesData(
        {**arrays, SPAN: NOTHING, SWAPS: NOTHING},
        level_hash=label.level_hash,
        label_uuids=[*chunk.label_uuids, label.uuid],
    )


@calcfunction
def foresee(chunk: FramesData, **predictions: orm.ArrayData) -> orm.ArrayData:
    """Return what the ensemble predicted of the frames of a chunk before it learned from them.

    :param chunk: the frames; the start, which nothing foresaw, has NaN.
    :param predictions: of the others, in the order of their names.
    """
    nodes = [predictions[name] for name in sorted(predictions)]
    rows = np.flatnonzero(proposals(chunk))
    arrays = {}
    for name, single in FORESEEN.items():
        shape = {"energies": (), "forces": chunk.get_array("forces").shape[1:], "stresses": (3, 3)}[name]
        arrays[name] = np.full((chunk.n_frames, *shape), np.nan)
        for row, node in zip(rows, nodes, strict=True):
            arrays[name][row] = node.get_array(single).reshape(shape)
    return orm.ArrayData(arrays)


@calcfunction
def record_interventions(
    chunk: FramesData,
    calibration: orm.Dict,
    previous: orm.Dict | None = None,
    errors: orm.Dict | None = None,
    foundation_errors: orm.Dict | None = None,
    training: orm.Dict | None = None,
) -> orm.Dict:
    """Append a group of labels to the history, as a row of the same shape as a block of chains.

    :param chunk: the labelled frames.
    :param calibration: after the last of them.
    :param previous: the history so far.
    :param errors: of the ensemble's mean on them, before it learned from them.
    :param foundation_errors: those of the foundation model.
    :param training: what the fine-tuning after the last group reported.
    """
    known = calibration.get_dict()
    before = [] if previous is None else previous.get_dict()["blocks"]
    row = {
        "labels": chunk.n_frames,
        "labels_failed": known["failed"] - sum(block["labels_failed"] for block in before),
        "temperature": float(chunk.get_array("temperature")[-1]),
        "volume": float(np.linalg.det(chunk.get_array("cells")).mean()),
        "production": False,
        **{name: known[name] for name in ("step", "interventions", "outside")},
        "calibration": {name: _derived(Calibration.from_dict(known[name])) for name in ("energy", "forces")},
    }
    return append(row, previous, errors, foundation_errors, training)
