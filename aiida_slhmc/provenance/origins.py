"""Where the labels of a dataset come from: what each frame is, who made its label, at which level, at what cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from aiida import orm
from aiida.common.links import LinkType
from numpy.typing import NDArray

from aiida_slhmc.data import FramesData
from aiida_slhmc.data.frames import SPAN
from aiida_slhmc.targets.level import level_hash

from .arrays import read_arrays
from .links import CALL, CREATE, INPUT, batches, neighbours, roots
from .steps import step_of

#: What a frame is: the state that a chain started from, the endpoint of a proposal, a frame of molecular dynamics, the
#: label of a proposal that was made ahead and not needed.
START, ACCEPTED, REJECTED, DYNAMICS, ASIDE = "start", "accepted", "rejected", "dynamics", "aside"
#: Arrays of a chunk that tell it.
TELLING = ("accepted", "length", "cycle", SPAN)
#: The process that makes labels of a file.
IMPORT = "import_labels"


@dataclass
class Labels:
    """Hold what is known of labels.

    :param summary: ``frames``; ``frames_by_kind``; ``isolated_atoms``; ``distinct`` labels, those of isolated atoms
        included, of which ``computed`` by the runs themselves,
        ``reused`` from other runs and ``imported`` from files; ``calls`` of the engine, failed attempts included;
        ``missing``: labels that the profile does not hold.
    :param levels: levels of theory: ``level_hash``, ``engine``, ``functional``, ``parameters``, ``labels``.
    :param engines: versions by engine, as labels recorded them.
    :param versions: of AiiDA and of this package, of the processes that made labels.
    :param wall_times: s, of each label that an engine computed.
    """

    summary: dict[str, Any]
    levels: list[dict[str, Any]]
    engines: dict[str, list[str]]
    versions: list[Any]
    wall_times: list[float | None]


def kinds_of(arrays: Mapping[str, NDArray[Any]]) -> list[str]:
    """Return what each frame of a chunk is.

    :param arrays: of the chunk, :data:`TELLING`: frames of chains, or of the rounds of another protocol.
    """
    accepted, length, cycle, span = (arrays[name] for name in TELLING)
    if not len(span):
        # No chain: labels of other branches, or frames of a trajectory.
        return [ASIDE if number < 0 else DYNAMICS for number in cycle]
    return [
        START if steps == 0 else ACCEPTED if flag else REJECTED
        for steps, flag in zip(length, np.asarray(accepted, dtype=bool), strict=True)
    ]


def trace_labels(chunk_uuids: Iterable[str], runs: set[int], atoms: Iterable[str] = ()) -> Labels:
    """Return what is known of the labels of chunks.

    :param chunk_uuids: UUIDs of the chunks.
    :param runs: primary keys of the runs whose labels are their own.
    :param atoms: UUIDs of labels of isolated atoms, which are in no chunk.
    """
    kinds: Counter[str] = Counter()
    uuids: dict[str, None] = {}
    for batch in batches(chunk_uuids):
        query = orm.QueryBuilder()
        query.append(FramesData, filters={"uuid": {"in": batch}}, project=["id", "attributes.label_uuids"])
        named = dict(query.all())
        for arrays in read_arrays(named, TELLING).values():
            kinds.update(kinds_of(arrays))
        for labels in named.values():
            uuids |= dict.fromkeys(labels)
    isolated = set(atoms)
    uuids |= dict.fromkeys(isolated)
    makers, found, steps, versions = _makers(uuids)
    pks = sorted(set(makers.values()))
    imported = {pk for pk in pks if steps[pk] == IMPORT}
    computed = [pk for pk in pks if pk not in imported]
    tops = roots(computed)
    callers = {pk: caller for pk, caller, *_ in neighbours(computed, CALL, ["id"], forward=False)}
    calls = sum(1 for _ in neighbours(set(callers.values()), CALL, ["id"], forward=True, label={"like": "attempt_%"}))
    wall_times, engines = _infos(computed)
    reused = {uuid for uuid, pk in makers.items() if pk not in imported and tops[pk] not in runs}
    from_file = {uuid for uuid, pk in makers.items() if pk in imported}
    return Labels(
        summary={
            "frames": sum(kinds.values()),
            "frames_by_kind": {kind: kinds[kind] for kind in (START, ACCEPTED, REJECTED, DYNAMICS, ASIDE)},
            "isolated_atoms": len(isolated),
            "distinct": len(uuids),
            "computed": len(makers) - len(reused) - len(from_file),
            "reused": len(reused),
            "imported": len(from_file),
            "missing": len(uuids) - len(makers),
            # A label that no WorkChain asked for was one call.
            "calls": calls + sum(1 for pk in computed if pk not in callers),
        },
        levels=_levels(pks, found),
        engines=engines,
        versions=[versions[pk] for pk in pks],
        wall_times=wall_times,
    )


def _makers(uuids: Iterable[str]) -> tuple[dict[str, int], Counter[str], dict[int, str | None], dict[int, Any]]:
    """Return the processes that made labels, how many labels there are of each level, names and versions of them."""
    makers: dict[str, int] = {}
    levels: Counter[str] = Counter()
    steps: dict[int, str | None] = {}
    versions: dict[int, Any] = {}
    for batch in batches(uuids):
        query = orm.QueryBuilder()
        query.append(
            FramesData, filters={"uuid": {"in": batch}}, project=["uuid", "attributes.level_hash"], tag="label"
        )
        query.append(
            orm.ProcessNode,
            with_outgoing="label",
            edge_filters={"type": LinkType.CREATE.value},
            project=["id", "process_type", "attributes.version"],
        )
        for uuid, level, pk, kind, version in query.all():
            makers[uuid] = pk
            levels[level] += 1
            steps[pk], versions[pk] = step_of(kind), version
    return makers, levels, steps, versions


def _levels(makers: list[int], counts: Counter[str]) -> list[dict[str, Any]]:
    """Return the levels of theory of labels, in full, as the processes that made them were given them."""
    given = {pk for _, pk, *_ in neighbours(makers, INPUT, ["id"], forward=False, cls=orm.Dict, label="level")}
    theories: dict[str, dict[str, Any]] = {}
    for batch in batches(given):
        query = orm.QueryBuilder().append(orm.Dict, filters={"id": {"in": batch}}, project=["attributes"])
        theories |= {level_hash(theory): theory for theory in query.all(flat=True)}
    rows = []
    for digest, count in counts.most_common():
        theory = theories.get(digest, {"engine": "unknown", "functional": "unknown", "parameters": {}})
        rows.append({"level_hash": digest, "labels": count, **theory})
    return rows


def _infos(makers: list[int]) -> tuple[list[float | None], dict[str, list[str]]]:
    """Return wall times, and the versions of each engine."""
    columns = [f"attributes.{name}" for name in ("wall_time", "engine", "version")]
    engines: dict[str, set[str]] = {}
    times = []
    for _, wall, engine, version, *_ in neighbours(
        makers, CREATE, columns, forward=True, cls=orm.Dict, label="label_info"
    ):
        times.append(wall)
        engines.setdefault(str(engine), set()).add(str(version))
    return times, {engine: sorted(found) for engine, found in sorted(engines.items())}
