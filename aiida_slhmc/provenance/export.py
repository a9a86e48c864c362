"""The archive of runs: what goes into it, how large it will be, and what must never be in it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.manage import get_manager
from aiida.repository import Repository
from aiida.tools.archive import create_archive
from aiida.tools.archive.create import EXPORT_LOGGER
from aiida.tools.graph.graph_traversers import get_nodes_export

from .links import batches, roots

#: Name of the archive in its folder.
ARCHIVE = "archive.aiida"
#: Types of nodes that hold a POTCAR itself; nothing links to them, and nothing may bring them in.
LICENSED = ("data.vasp.potcar_file.",)
#: What stands in every POTCAR and in no output of VASP.
POTCAR = b"PSCTR-controll parameters"
#: Bytes that a node takes in the database, about.
NODE_BYTES = 1500
#: Files that are named in a plan as large.
LARGE = 10


class NotExportable(ValueError):
    """The runs cannot be exported as they are."""


@dataclass
class ExportPlan:
    """Say what an archive will hold.

    :param runs: UUIDs of what is exported.
    :param nodes: number of nodes by kind.
    :param files: number of files with different content.
    :param bytes: their size, before compression, and that of the database, estimated.
    :param largest: the largest files: node, path, bytes.
    :param others: other runs that come along, since labels of theirs were reused.
    :param remote: folders on computers that nodes point to; what lies in them stays there.
    :param users: e-mail addresses of the users that nodes carry.
    :param computers: names of computers that they carry.
    """

    runs: list[str]
    nodes: dict[str, int] = field(default_factory=dict)
    files: int = 0
    bytes: int = 0
    largest: list[dict[str, Any]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    remote: int = 0
    users: list[str] = field(default_factory=list)
    computers: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as plain values, for JSON."""
        return asdict(self)


def plan_export(runs: Sequence[orm.ProcessNode], callers: bool = True) -> ExportPlan:
    """Say what the archive of some runs will hold, and refuse what may not be handed on.

    :param runs: processes that have ended.
    :param callers: whether the runs that reused labels come from come along as wholes, or only what made the labels.
    :raises NotExportable: with one sentence: for a run that goes on, and for what a licence binds.
    """
    plan = ExportPlan(runs=[run.uuid for run in runs])
    for run in runs:
        if not run.is_sealed:
            raise NotExportable(f"{run.process_label} <{run.pk}> has not ended: only what is complete is exported.")
    pks = sorted(_nodes(runs, callers))
    keys: dict[str, tuple[int, str]] = {}
    unsealed: list[int] = []
    for batch in batches(pks):
        query = orm.QueryBuilder()
        columns = ["id", "node_type", "repository_metadata", "attributes.sealed"]
        for pk, kind, metadata, sealed in query.append(orm.Node, filters={"id": {"in": batch}}, project=columns).all():
            if kind.startswith(LICENSED):
                raise NotExportable(f"node <{pk}> holds a POTCAR, which VASP's licence forbids to hand on.")
            plan.nodes[kind] = plan.nodes.get(kind, 0) + 1
            plan.remote += kind.startswith("data.core.remote.")
            if kind.startswith("process.") and not sealed:
                unsealed.append(pk)
            for path, key in Repository.flatten(metadata).items():
                if key is not None:
                    keys.setdefault(key, (pk, path))
    if unsealed:
        raise NotExportable(
            f"process <{unsealed[0]}> has not ended, of a run whose labels are reused: wait for it, or leave such runs "
            "out with --no-callers."
        )
    sizes = _sizes(keys)
    plan.files, plan.bytes = len(sizes), sum(sizes.values()) + NODE_BYTES * len(pks)
    for key in sorted(sizes, key=lambda key: -sizes[key])[:LARGE]:
        pk, path = keys[key]
        plan.largest.append({"pk": pk, "path": path, "bytes": sizes[key]})
    plan.others = _others(runs, pks)
    plan.users, plan.computers = _people(pks)
    return plan


def write_archive(runs: Sequence[orm.ProcessNode], path: Path, callers: bool = True) -> None:
    """Write the archive of some runs; call :func:`plan_export` first, which refuses what may not be handed on.

    :param runs: processes that have ended.
    :param path: where to.
    :param callers: as for :func:`plan_export`.
    """
    # It reports every table that it writes.
    before = EXPORT_LOGGER.level
    EXPORT_LOGGER.setLevel(logging.WARNING)
    try:
        create_archive(list(runs), filename=path, **_rules(callers))
    finally:
        EXPORT_LOGGER.setLevel(before)


def _rules(callers: bool) -> dict[str, bool]:
    return {"call_calc_backward": callers, "call_work_backward": callers}


def _nodes(runs: Iterable[orm.ProcessNode], callers: bool) -> set[int]:
    """Return the nodes that AiiDA puts into an archive of runs: what made them and all that they made."""
    return set(get_nodes_export([int(run.pk or 0) for run in runs], **_rules(callers))["nodes"])


def _sizes(keys: dict[str, tuple[int, str]]) -> dict[str, int]:
    """Return the sizes of files by key, and refuse those that hold a POTCAR.

    :param keys: node and path of each.
    :raises NotExportable: for a POTCAR.
    """
    repository = get_manager().get_profile_storage().get_repository()
    found = {}
    for batch in batches(sorted(keys)):
        for key, stream in repository.iter_object_streams(batch):
            content = stream.read()
            if POTCAR in content:
                pk, path = keys[key]
                raise NotExportable(
                    f"the file '{path}' of node <{pk}> holds a POTCAR, which VASP's licence forbids to hand on: it "
                    "must not be retrieved."
                )
            found[key] = len(content)
    return found


def _others(runs: Sequence[orm.ProcessNode], pks: list[int]) -> list[str]:
    """Return what no process called, besides the runs themselves: other runs, which labels come from."""
    own = roots([int(run.pk or 0) for run in runs])
    there = set(pks)
    workflows = []
    for batch in batches(pks):
        query = orm.QueryBuilder().append(orm.WorkflowNode, filters={"id": {"in": batch}}, project="id")
        workflows += query.all(flat=True)
    tops = {top for top in roots(workflows).values() if top in there} - set(own) - set(own.values())
    names = []
    for batch in batches(tops):
        query = orm.QueryBuilder()
        query.append(orm.ProcessNode, filters={"id": {"in": batch}}, project=["id", "attributes.process_label"])
        names += [f"{name} <{pk}>" for pk, name in query.all()]
    return sorted(names)


def _people(pks: list[int]) -> tuple[list[str], list[str]]:
    """Return the e-mail addresses and computers that nodes carry into an archive."""
    users: set[str] = set()
    computers: set[str] = set()
    for batch in batches(pks):
        query = orm.QueryBuilder().append(orm.Node, filters={"id": {"in": batch}}, tag="node")
        users |= set(query.append(orm.User, with_node="node", project="email").distinct().all(flat=True))
        query = orm.QueryBuilder().append(orm.Node, filters={"id": {"in": batch}}, tag="node")
        computers |= set(query.append(orm.Computer, with_node="node", project="label").distinct().all(flat=True))
    return sorted(users), sorted(computers)
