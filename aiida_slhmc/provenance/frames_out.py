"""The labelled frames of runs as extended XYZ at full precision, with their levels of theory beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from aiida import orm

from aiida_slhmc.data import DatasetData, FramesData
from aiida_slhmc.data.frames import REQUIRED
from aiida_slhmc.data.label_files import format_frame

from .origins import TELLING, kinds_of, trace_labels

#: Names of the roles of frames.
ROLES = {0: "train", 1: "valid", 2: "test"}
#: Arrays of a frame's place in its chain, where it has one.
PLACE = ("chain", "cycle", "probability", "delta", "temperature")


def frame_sets(run: orm.ProcessNode) -> Iterator[tuple[str, list[tuple[FramesData, list[str]]]]]:
    """Yield the sets of labelled frames that a run returned: a name, and its chunks with the role of each frame.

    :param run: a process.
    """
    for name in run.outputs:
        node = run.outputs[name]
        if isinstance(node, DatasetData):
            roles = [[ROLES[int(role)] for role in split] for split in node.splits]
            yield name, list(zip(node.frames(), roles, strict=True))
        elif isinstance(node, FramesData) and name == "production":
            yield name, [(node, ["production"] * node.n_frames)]


def write_frames(chunks: Iterable[tuple[FramesData, list[str]]], path: Path) -> int:
    """Write chunks of frames to one file.

    :param chunks: with the role of every frame.
    :param path: where to.
    :returns: number of frames.
    """
    count = 0
    with path.open("w", encoding="utf-8") as stream:
        for chunk, roles in chunks:
            arrays = chunk.arrays
            kinds = kinds_of(arrays) if set(TELLING) <= set(arrays) else ["unknown"] * chunk.n_frames
            for row, (kind, role) in enumerate(zip(kinds, roles, strict=True)):
                info = {"level_hash": str(chunk.level_hash), "label_uuid": chunk.label_uuids[row], "kind": kind}
                info |= {"role": role, **{name: repr(arrays[name][row].item()) for name in PLACE if name in arrays}}
                stream.write(format_frame({name: arrays[name][row : row + 1] for name in REQUIRED}, info))
                count += 1
    return count


def write_levels(chunks: Iterable[FramesData], folder: Path) -> list[Path]:
    """Write the levels of theory of frames as YAML, one file each, named by the hash.

    :param chunks: the frames.
    :param folder: where to.
    :returns: the files.
    """
    written = []
    for level in trace_labels([chunk.uuid for chunk in chunks], set()).levels:
        path = folder / f"level-{level['level_hash'][:12]}.yaml"
        path.write_text(level_text(level), encoding="utf-8")
        written.append(path)
    return written


def level_text(level: Mapping[str, Any]) -> str:
    """Return a level of theory as YAML, with its hash.

    :param level: ``level_hash``, ``engine``, ``functional``, ``parameters``.
    """
    theory = {key: level[key] for key in ("engine", "functional", "parameters")}
    head = f"# level of theory, content hash (SHA-256) {level['level_hash']}\n"
    return head + str(yaml.safe_dump(theory, sort_keys=False, allow_unicode=True))
