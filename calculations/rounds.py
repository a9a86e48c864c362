"""Rounds of molecular dynamics: which seeds they have, which frames are labelled, what comes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_slhmc.data import FramesData
from aiida_slhmc.data.frames import REQUIRED, SPAN, SWAPS
from aiida_slhmc.numerics.randomness import Purpose, generator

from . import base
from .collect import MAX_LINKS, NOTHING
from .history import append

#: Beginnings of link labels: of a random stream, a piece of a selection, a frame and its label.
STREAM, PIECE, FRAME = "stream_", "piece_", "frame_"


def trajectory_name(index: int) -> str:
    """Return the name of a trajectory in link labels.

    :param index: of the trajectory within its round, from 0.
    """
    return f"trajectory_{index:03d}"


@calcfunction
def open_round(seed: orm.Int, rounds: orm.Dict, previous: orm.Dict | None = None) -> dict[str, orm.Data]:
    """Open one random stream a trajectory of a round.

    :param seed: root seed of the run.
    :param rounds: ``trajectories``: how many.
    :param previous: a stream of the round before; none for the first.
    :returns: ``stream_<index>`` for each: seed, round, trajectory.
    """
    number = 0 if previous is None else previous.get_dict()["round"] + 1
    return {
        f"{STREAM}{index:03d}": orm.Dict({"seed": seed.value, "round": number, "trajectory": index})
        for index in range(rounds.get_dict()["trajectories"])
    }


@calcfunction
def sampling_ensemble(ensemble: orm.Dict, rounds: orm.Dict) -> orm.Dict:
    """Return the ensemble that the trajectories sample.

    :param ensemble: of the run.
    :param rounds: ``temperature`` in K, where it is another.
    """
    temperature = rounds.get_dict()["temperature"]
    values = ensemble.get_dict()
    return orm.Dict(values if temperature is None else {**values, "temperature": temperature})


def chosen(n_frames: int, count: int, rule: str, rng: np.random.Generator) -> np.ndarray:
    """Return which frames of a trajectory are labelled, ascending.

    :param n_frames: how many there are.
    :param count: how many are wanted.
    :param rule: ``even``: evenly spaced, both ends included; ``random``: without replacement.
    :param rng: for ``random``.
    :raises ValueError: if there are fewer than wanted.
    """
    if count > n_frames:
        raise ValueError(f"{count} frames are to be labelled, but the trajectory has {n_frames}")
    if rule == "random":
        return np.sort(rng.choice(n_frames, count, replace=False))
    return np.unique(np.round(np.linspace(0, n_frames - 1, count)).astype(int))


@calcfunction
def choose_frames(trajectory: orm.ArrayData, rounds: orm.Dict, stream: orm.Dict) -> dict[str, orm.Data]:
    """Choose the frames of a trajectory that are labelled, in pieces of few links.

    :param trajectory: positions (S, N, 3) in Å.
    :param rounds: ``labels``, ``select``.
    :param stream: seed, round, trajectory.
    """
    values, place = rounds.get_dict(), stream.get_dict()
    rng = generator(place["seed"], place["trajectory"], place["round"], Purpose.SELECTION)
    indices = chosen(len(trajectory.get_array("positions")), values["labels"], values["select"], rng).tolist()
    pieces = [indices[start : start + MAX_LINKS] for start in range(0, len(indices), MAX_LINKS)]
    return {f"{PIECE}{number:03d}": orm.Dict({**place, "indices": piece}) for number, piece in enumerate(pieces)}


@calcfunction
def cut_frames(trajectory: orm.ArrayData, structure: orm.StructureData, piece: orm.Dict) -> dict[str, orm.Data]:
    """Return chosen frames of a trajectory as structures.

    :param trajectory: positions (S, N, 3) and cells (S, 3, 3) in Å.
    :param structure: where the trajectory started: kinds and order come from it.
    :param piece: ``indices`` of the frames.
    """
    positions, cells = trajectory.get_array("positions"), trajectory.get_array("cells")
    return {
        f"{FRAME}{index:06d}": base.moved(structure, positions[index], cells[index])
        for index in piece.get_dict()["indices"]
    }


@calcfunction
def last_frame(trajectory: orm.ArrayData, structure: orm.StructureData) -> orm.StructureData:
    """Return where a trajectory ended.

    :param trajectory: positions (S, N, 3) and cells (S, 3, 3) in Å.
    :param structure: where it started.
    """
    return base.moved(structure, trajectory.get_array("positions")[-1], trajectory.get_array("cells")[-1])


@calcfunction
def gather(piece: orm.Dict, ensemble: orm.Dict, **labels: FramesData) -> FramesData:
    """Gather the labels of chosen frames; the frame's place stands where a chain's frames have chain and cycle.

    :param piece: round and trajectory.
    :param ensemble: that the trajectory sampled; temperature in K.
    :param labels: ``frame_<index>``.
    :raises ValueError: if they are of several levels of theory.
    """
    nodes = [labels[name] for name in sorted(labels)]
    levels = {node.level_hash for node in nodes}
    if len(levels) > 1:
        raise ValueError(f"labels of {len(levels)} different levels of theory cannot be one dataset")
    count = len(nodes)
    arrays: dict[str, Any] = {name: np.concatenate([node.get_array(name) for node in nodes]) for name in REQUIRED}
    arrays |= {
        "chain": np.full(count, piece.get_dict()["trajectory"], dtype=np.int64),
        "cycle": np.array([int(name.removeprefix(FRAME)) for name in sorted(labels)], dtype=np.int64),
        # No Metropolis test was made.
        "accepted": np.zeros(count, dtype=bool),
        "probability": np.full(count, np.nan),
        "delta": np.full(count, np.nan),
        # Not 0, which marks a starting state.
        "length": np.ones(count, dtype=np.int64),
        "temperature": np.full(count, float(ensemble.get_dict()["temperature"])),
    }
    return FramesData(
        {**arrays, SPAN: NOTHING, SWAPS: NOTHING}, level_hash=levels.pop(), label_uuids=[node.uuid for node in nodes]
    )


def round_row(chunk: FramesData, ensemble: Mapping[str, Any], rounds: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the frames of a round tell.

    :param chunk: the labelled frames.
    :param ensemble: that the trajectories sampled.
    :param rounds: settings of the rounds.
    """
    return {
        "labels": chunk.n_frames,
        "labels_failed": rounds["trajectories"] * rounds["labels"] - chunk.n_frames,
        "temperature": ensemble["temperature"],
        "volume": float(np.linalg.det(chunk.get_array("cells")).mean()),
        "production": False,
    }


@calcfunction
def record_round(
    chunk: FramesData,
    ensemble: orm.Dict,
    rounds: orm.Dict,
    previous: orm.Dict | None = None,
    errors: orm.Dict | None = None,
    foundation_errors: orm.Dict | None = None,
    training: orm.Dict | None = None,
) -> orm.Dict:
    """Append one round to the history, as a row of the same shape as a block of chains.

    :param chunk: its labelled frames.
    :param ensemble: that its trajectories sampled.
    :param rounds: settings of the rounds.
    :param previous: the history so far.
    :param errors: prequential errors of the model that sampled.
    :param foundation_errors: those of the foundation model on the same frames.
    :param training: what the fine-tuning after the round reported.
    """
    row = round_row(chunk, ensemble.get_dict(), rounds.get_dict())
    return append(row, previous, errors, foundation_errors, training)
