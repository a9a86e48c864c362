"""What nodes hold is what was stored: files by their hashes, frames by their content; and who made it is recorded."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiida import orm
from aiida.manage import get_manager
from aiida.repository import Repository
from numpy.typing import NDArray

from aiida_slhmc.data import FramesData, MaceModelData
from aiida_slhmc.data.content import arrays_hash
from aiida_slhmc.data.model import FILENAME
from aiida_slhmc.engine.exactly_once import ABANDONED

from .arrays import ENDING
from .findings import Finding, finding
from .graph import Graph
from .links import batches
from .steps import step_name

#: Steps whose report names the versions that made a model, and those whose report names that of an engine.
TRAININGS, LABELS = ("finetune", "posterior"), ("label", "label.vasp")


@dataclass
class Contents:
    """Hold what was read of the files of nodes.

    :param arrays: of frames, by primary key and name.
    :param files: SHA-256 of the files of nodes, by primary key and path; None for one that is missing.
    :param recorded: the SHA-256 under which they were stored, likewise.
    """

    arrays: dict[int, dict[str, NDArray[Any]]] = field(default_factory=dict)
    files: dict[int, dict[str, str | None]] = field(default_factory=dict)
    recorded: dict[int, dict[str, str]] = field(default_factory=dict)


def read_contents(nodes: Iterable[orm.Node]) -> Contents:
    """Read the files of nodes, each content once, and hash them.

    :param nodes: data and processes.
    """
    found = Contents()
    frames: dict[str, list[tuple[int, str]]] = {}
    for node in nodes:
        pk = int(node.pk or 0)
        files = Repository.flatten(node.base.repository.metadata)
        found.recorded[pk] = {path: key for path, key in files.items() if key is not None}
        if isinstance(node, FramesData):
            found.arrays[pk] = {}
            for path, key in found.recorded[pk].items():
                frames.setdefault(key, []).append((pk, path.removesuffix(ENDING)))
    hashes: dict[str, str] = {}
    for key, content in _objects({key for files in found.recorded.values() for key in files.values()}):
        hashes[key] = hashlib.sha256(content).hexdigest()
        if key in frames:
            try:
                array = np.load(io.BytesIO(content), allow_pickle=False)
            except ValueError:
                # Whoever asks for it finds it missing.
                continue
            for pk, name in frames[key]:
                found.arrays[pk][name] = array
    found.files = {pk: {path: hashes.get(key) for path, key in files.items()} for pk, files in found.recorded.items()}
    return found


def _objects(keys: set[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the objects of the repository that are there."""
    repository = get_manager().get_profile_storage().get_repository()
    for batch in batches(sorted(keys)):
        there = [key for key in batch if repository.has_object(key)] if not _bulk(repository) else batch
        for key, stream in repository.iter_object_streams(there):
            yield key, stream.read()


def _bulk(repository: Any) -> bool:
    """Return whether a repository skips what it lacks when it is asked for many; others would raise."""
    return type(repository).__name__ == "DiskObjectStoreRepositoryBackend"


def check_contents(nodes: Iterable[orm.Node], contents: Contents) -> Iterator[Finding]:
    """Check files against the hashes that they were stored under, models and frames against what is recorded of them.

    :param nodes: those that were read.
    :param contents: what was read.
    """
    for node in nodes:
        pk = int(node.pk or 0)
        name = f"{type(node).__name__} <{pk}>"
        files, recorded = contents.files[pk], contents.recorded[pk]
        for path, key in recorded.items():
            if files[path] is None:
                yield finding("content", node, f"the file '{path}' of {name} is not in the repository.")
            elif files[path] != key:
                yield finding("content", node, f"the file '{path}' of {name} is not the one that was stored.")
        if isinstance(node, MaceModelData):
            described = node.description.get("file_sha256")
            if FILENAME not in files:
                yield finding("content", node, f"{name} holds no model.")
            elif described is not None and described != files[FILENAME]:
                yield finding("content", node, f"the file of {name} is not the one that its description names.")
        if isinstance(node, FramesData) and arrays_hash(contents.arrays[pk]) != node.content_sha256:
            yield finding("content", node, f"{name} does not have the content that is recorded.")


def check_ends(processes: Iterable[orm.ProcessNode]) -> Iterator[Finding]:
    """Check that no process broke off, but for those that a resumed run marked as left behind by a crash.

    :param processes: of the closure.
    """
    for process in processes:
        if (process.is_excepted or process.is_killed) and not (process.exception or "").startswith(ABANDONED):
            state = process.process_state.value
            yield finding("excepted", process, f"{process.process_label} <{process.pk}> was {state}.")


def check_versions(graph: Graph, processes: Iterable[orm.ProcessNode]) -> Iterator[Finding]:
    """Check that every process of this package says with which versions it was run, and every label with which engine.

    :param graph: of the closure.
    :param processes: of it.
    """
    for process in processes:
        if not (process.process_type or "").startswith(("aiida.calculations:slhmc.", "aiida.workflows:slhmc.")):
            continue
        version = process.base.attributes.get("version", None) or {}
        if not {"core", "plugin"} <= set(version):
            message = f"{process.process_label} <{process.pk}> does not say with which versions it was run."
            yield finding("version", process, message)
        step = step_name(process)
        if step not in (*LABELS, *TRAININGS) or process.exit_status != 0:
            continue
        key = "version" if step not in TRAININGS else "versions"
        reports = [node for node in graph.created(process) if isinstance(node, orm.Dict)]
        # Of another run whose labels are reused, the report may be no part of this graph.
        if reports and not any(node.get_dict().get(key) for node in reports):
            message = f"{step} <{process.pk}> does not say which version of its engine made its result."
            yield finding("version", process, message)
