"""Import replay: frames of somebody else's file become chunks of a replay set."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_slhmc.data import FramesData
from aiida_slhmc.data.frames import REQUIRED
from aiida_slhmc.data.label_files import EXTXYZ, Labelled, read_labels

from . import base

#: Chunks that one process makes, each of one number of atoms.
BATCH = 16
#: Prefix of the outputs.
CHUNK = "atoms_"
#: Where files made for MACE's program keep energy, forces and stress.
MACE_KEYS = {"energy": "REF_energy", "forces": "REF_forces", "stress": "REF_stress"}


def read_replay(path: Path, keys: Mapping[str, str | None], name: str = "") -> list[Labelled]:
    """Read the frames of a replay file.

    :param path: extended XYZ.
    :param keys: where it keeps ``energy``, ``forces``, ``stress``; without any, MACE's names where the file has them.
    :param name: of the file, for messages.
    :raises ValueError: with one sentence that names the file, the frame and what is wrong.
    """
    chosen = {what: key for what, key in keys.items() if key}
    if not chosen:
        with path.open(encoding="utf-8", errors="replace") as stream:
            next(stream, "")
            chosen = dict(MACE_KEYS) if MACE_KEYS["energy"] in next(stream, "") else {}
    return read_labels(path, EXTXYZ, chosen, name)


@lru_cache(maxsize=1)
def _stored(uuid: str, keys: tuple[tuple[str, str | None], ...]) -> list[Labelled]:
    """Return all frames of a stored file: read once, however many batches they make."""
    source = orm.load_node(uuid)
    with source.as_path() as path:
        return read_replay(Path(path), dict(keys), source.filename)


@calcfunction
def import_replay(source: orm.SinglefileData, selection: orm.Dict) -> Any:
    """Make chunks of the frames of a file.

    :param source: the file.
    :param selection: ``keys`` (where energy, forces and stress are kept), ``sizes`` (numbers of atoms to take),
        ``sha256`` of the file, to find what was made of it.
    :returns: ``atoms_<number>``.
    """
    chosen = selection.get_dict()
    try:
        labelled = _stored(source.uuid, tuple(sorted(chosen["keys"].items())))
    except ValueError as error:
        return base.exit_code("bad_input", str(error))
    return {f"{CHUNK}{size:05d}": chunk(labelled, size) for size in chosen["sizes"]}


def sizes(labelled: list[Labelled]) -> list[int]:
    """Return the numbers of atoms that frames have, ascending.

    :param labelled: the frames.
    """
    return sorted({item.frame["numbers"].shape[1] for item in labelled})


def chunk(labelled: list[Labelled], size: int) -> FramesData:
    """Return the frames of one number of atoms, in the file's order.

    :param labelled: the frames.
    :param size: number of atoms.
    """
    some = [item.frame for item in labelled if item.frame["numbers"].shape[1] == size]
    return FramesData({name: np.concatenate([frame[name] for frame in some]) for name in REQUIRED})
