"""Labelled frames as MACE's training data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mace.data import AtomicData, Configuration
from mace.tools import AtomicNumberTable
from numpy.typing import NDArray

from ..errors import TaskError
from ..graphs import atomic_numbers, check_elements, default_dtype, heads_of

TRAIN, VALID, TEST = 0, 1, 2
_NAMES = {TRAIN: "train", VALID: "valid", TEST: "test"}

Chunk = Mapping[str, Any]


@dataclass(frozen=True)
class Frame:
    """Hold one labelled structure.

    :param numbers: (N,) atomic numbers.
    :param positions: (N, 3) in Å.
    :param cell: (3, 3) in Å.
    :param pbc: (3,).
    :param energy: in eV.
    :param forces: (N, 3) in eV/Å.
    :param stress: (3, 3) in eV/Å³, or None.
    """

    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    cell: NDArray[np.float64]
    pbc: tuple[bool, bool, bool]
    energy: float
    forces: NDArray[np.float64]
    stress: NDArray[np.float64] | None


def read_frames(chunks: Sequence[Chunk], splits: Sequence[Any]) -> dict[int, list[Frame]]:
    """Return the frames of each part of the split.

    :param chunks: frames as arrays, each chunk with its own number of atoms.
    :param splits: for each chunk (F,): 0 train, 1 valid, 2 test.
    :returns: frames by part, in the order given.
    :raises TaskError: ``bad_input`` for arrays that do not match, labels that are not finite, or no training frame.
    """
    if len(chunks) != len(splits):
        raise TaskError("bad_input", f"there are {len(chunks)} chunks of frames but {len(splits)} splits.")
    parts: dict[int, list[Frame]] = {TRAIN: [], VALID: [], TEST: []}
    for index, (chunk, split) in enumerate(zip(chunks, splits, strict=True)):
        for part, frame in zip(np.asarray(split, dtype=int), _frames(chunk, index, len(split)), strict=True):
            if int(part) not in parts:
                raise TaskError("bad_input", f"the split of chunk {index} holds {part}; it may hold 0, 1 and 2.")
            parts[int(part)].append(frame)
    if not parts[TRAIN]:
        raise TaskError("bad_input", "there is no training frame: the split assigns none to 0 (train).")
    return parts


def _frames(chunk: Chunk, index: int, count: int) -> list[Frame]:
    missing = [key for key in ("numbers", "positions", "cells", "pbc", "energies", "forces") if key not in chunk]
    if missing:
        raise TaskError("bad_input", f"chunk {index} of the frames lacks {', '.join(missing)}.")
    energies = np.asarray(chunk["energies"], dtype=float)
    if len(energies) != count:
        raise TaskError("bad_input", f"chunk {index} has {len(energies)} frames but its split assigns {count}.")
    stresses = np.asarray(chunk.get("stresses", np.full((count, 3, 3), np.nan)), dtype=float)
    frames = []
    for row in range(count):
        stress: NDArray[np.float64] | None = stresses[row]
        # A stress is either there or, all NaN, absent.
        if np.isnan(stresses[row]).all():
            stress = None
        frame = Frame(
            numbers=np.asarray(chunk["numbers"][row], dtype=np.int64),
            positions=np.asarray(chunk["positions"][row], dtype=float),
            cell=np.asarray(chunk["cells"][row], dtype=float),
            pbc=tuple(bool(value) for value in chunk["pbc"][row]),  # type: ignore[arg-type]
            energy=float(energies[row]),
            forces=np.asarray(chunk["forces"][row], dtype=float),
            stress=stress,
        )
        _check_finite(frame, f"frame {row} of chunk {index}")
        frames.append(frame)
    return frames


def _check_finite(frame: Frame, where: str) -> None:
    for name in ("positions", "cell", "energy", "forces", "stress"):
        value = getattr(frame, name)
        if value is not None and not np.isfinite(value).all():
            raise TaskError("bad_input", f"the {name} of {where} is not finite: such a label cannot be trained on.")


def graphs(frames: Sequence[Frame], model: torch.nn.Module, head: int, weight: float = 1.0) -> list[AtomicData]:
    """Return MACE's graphs of labelled frames, in the model's precision.

    :param frames: the frames.
    :param model: whose elements, cut-off and precision count.
    :param head: number of the head to train.
    :param weight: of each frame in the loss.
    :raises TaskError: ``bad_input`` for an element that the model does not know.
    """
    table = AtomicNumberTable(atomic_numbers(model))
    heads = heads_of(model)
    data = []
    with default_dtype(next(model.parameters()).dtype):
        for frame in frames:
            check_elements(frame.numbers, model)
            properties: dict[str, Any] = {"energy": frame.energy, "forces": frame.forces}
            if frame.stress is not None:
                properties["stress"] = frame.stress
            configuration = Configuration(
                atomic_numbers=frame.numbers,
                positions=frame.positions,
                properties=properties,
                property_weights={"energy": 1.0, "forces": 1.0, "stress": 0.0 if frame.stress is None else 1.0},
                cell=frame.cell,
                pbc=frame.pbc,
                head=heads[head],
                weight=weight,
            )
            data.append(AtomicData.from_config(configuration, z_table=table, cutoff=float(model.r_max), heads=heads))
    return data
