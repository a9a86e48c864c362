"""Audit: proof that the graph behind a result is whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from aiida import orm
from aiida.common.links import LinkType

from aiida_slhmc.data import DatasetData, FramesData
from aiida_slhmc.data.frames import REQUIRED

PREFIX = "aiida.calculations:slhmc."
#: Steps that draw random numbers, and the input that carries their seed.
RANDOM_STEPS = {
    "propose": "stream",
    "metropolis": "stream",
    "streams": "seed",
    "extend": "seed",
    "finetune": "seed",
    "dynamics": "seed",
}
#: How a node is made or called; RETURN only points at what another process made.
MAKING = (LinkType.CREATE, LinkType.INPUT_CALC, LinkType.INPUT_WORK, LinkType.CALL_CALC, LinkType.CALL_WORK)


@dataclass(frozen=True)
class Finding:
    """Name one fault: its kind, the node, and what is wrong in one sentence."""

    kind: str
    pk: int
    uuid: str
    message: str

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as plain values, for JSON."""
        return asdict(self)


@dataclass
class AuditReport:
    """Hold what was looked at and what was found.

    :param root: pk of the audited process.
    :param processes: number of processes in the closure.
    :param data: number of data nodes in the closure.
    :param frames: number of dataset frames traced to their label.
    :param findings: the faults.
    """

    root: int
    processes: int
    data: int
    frames: int
    findings: list[Finding]

    @property
    def passed(self) -> bool:
        """Return whether nothing was found."""
        return not self.findings

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values, for JSON."""
        return {**asdict(self), "passed": self.passed}


def closure(root: orm.ProcessNode) -> list[orm.Node]:
    """Return everything that a process, its children and its outputs come from, and all that its children made.

    :param root: the process.
    """
    seen: dict[int, orm.Node] = {}
    todo: list[orm.Node] = [root, *root.called_descendants]
    todo += [link.node for process in list(todo) for link in process.base.links.get_outgoing(
        link_type=(LinkType.CREATE, LinkType.RETURN)).all()]  # fmt: skip
    while todo:
        node = todo.pop()
        if node.pk in seen:
            continue
        seen[int(node.pk or 0)] = node
        for link in node.base.links.get_incoming(link_type=MAKING).all():
            todo.append(link.node)
        if isinstance(node, DatasetData):
            # The manifest names its chunks; that they are also linked is one of the things to prove.
            query = orm.QueryBuilder().append(FramesData, filters={"uuid": {"in": node.chunk_uuids}})
            todo.extend(query.all(flat=True))
    return list(seen.values())


def audit(root: orm.ProcessNode) -> AuditReport:
    """Audit the graph behind a process.

    Checked: every data node has a creator or is a declared input of a process that no other called; every step that
    draws random numbers has its seed as an input, and that seed is a declared one; every frame of every dataset is, to
    the bit, the label that it names, and that label was made by a labelling process; no process is unfinished.

    :param root: a process.
    :returns: the report.
    """
    nodes = closure(root)
    processes = [node for node in nodes if isinstance(node, orm.ProcessNode)]
    data = [node for node in nodes if isinstance(node, orm.Data)]
    declared = _declared(processes)
    findings = [*_orphans(data, declared), *_seeds(processes, declared), *_unfinished(processes)]
    traced, faults = _frames([node for node in data if isinstance(node, DatasetData)])
    return AuditReport(int(root.pk or 0), len(processes), len(data), traced, findings + faults)


def _finding(kind: str, node: orm.Node, message: str) -> Finding:
    return Finding(kind, int(node.pk or 0), node.uuid, message)


def _declared(processes: Iterable[orm.ProcessNode]) -> dict[str, orm.Data]:
    """Return the inputs of the processes that no process called: what a user gave."""
    found = {}
    for process in processes:
        if process.caller is None:
            kinds = (LinkType.INPUT_CALC, LinkType.INPUT_WORK)
            for link in process.base.links.get_incoming(link_type=kinds).all():
                found[link.node.uuid] = link.node
    return found


def _orphans(data: Iterable[orm.Data], declared: dict[str, orm.Data]) -> Iterable[Finding]:
    for node in data:
        if node.creator is None and node.uuid not in declared:
            message = f"{type(node).__name__} <{node.pk}> has no creator and is not a declared input of the run."
            yield _finding("orphan", node, message)


def _seeds(processes: Iterable[orm.ProcessNode], declared: dict[str, orm.Data]) -> Iterable[Finding]:
    seeds = {node.value for node in declared.values() if isinstance(node, orm.Int)}
    for process in processes:
        kind = (process.process_type or "").removeprefix(PREFIX).removesuffix(".local")
        if kind not in RANDOM_STEPS or not (process.process_type or "").startswith(PREFIX):
            continue
        port = RANDOM_STEPS[kind]
        links = process.base.links.get_incoming(link_type=LinkType.INPUT_CALC, link_label_filter=port).all_nodes()
        if not links:
            yield _finding("seed", process, f"{kind} <{process.pk}> draws random numbers, but '{port}' is not an input.")
            continue
        value = links[0].get_dict().get("seed") if isinstance(links[0], orm.Dict) else links[0].value
        if value not in seeds:
            yield _finding("seed", process, f"{kind} <{process.pk}> used the seed {value}, which no run declared.")


def _unfinished(processes: Iterable[orm.ProcessNode]) -> Iterable[Finding]:
    for process in processes:
        if not process.is_terminated:
            yield _finding("unfinished", process, f"{process.process_label} <{process.pk}> has not ended.")
        elif not process.is_sealed:
            yield _finding("unsealed", process, f"{process.process_label} <{process.pk}> ended but is not sealed.")


def _frames(datasets: Iterable[DatasetData]) -> tuple[int, list[Finding]]:
    faults: list[Finding] = []
    traced = 0
    done: set[str] = set()
    for dataset in datasets:
        faults.extend(_manifest(dataset))
        for uuid in dataset.chunk_uuids:
            if uuid in done:
                continue
            done.add(uuid)
            chunk = _load(uuid)
            if chunk is None:
                faults.append(_finding("frame", dataset, f"chunk {uuid} of the dataset is not in the profile."))
                continue
            found, problems = _trace(chunk)
            traced += found
            faults.extend(problems)
    return traced, faults


def _manifest(dataset: DatasetData) -> Iterable[Finding]:
    creator = dataset.creator
    if creator is None:
        return
    kinds = LinkType.INPUT_CALC
    inputs = {node.uuid for node in creator.base.links.get_incoming(link_type=kinds).all_nodes()}
    previous = [node for node in creator.base.links.get_incoming(link_type=kinds).all_nodes() if isinstance(node, DatasetData)]
    known = set(previous[0].chunk_uuids) if previous else set()
    for uuid in dataset.chunk_uuids:
        if uuid not in known and uuid not in inputs:
            yield _finding("frame", dataset, f"chunk {uuid} of dataset <{dataset.pk}> is not linked to its making.")


def _load(uuid: str) -> orm.Node | None:
    return orm.QueryBuilder().append(orm.Data, filters={"uuid": uuid}).first(flat=True)


def _trace(chunk: FramesData) -> tuple[int, list[Finding]]:
    faults: list[Finding] = []
    traced = 0
    uuids = chunk.label_uuids
    if len(uuids) != chunk.n_frames:
        return 0, [_finding("frame", chunk, f"chunk <{chunk.pk}> names {len(uuids)} labels for {chunk.n_frames} frames.")]
    ancestors = _ancestors(chunk)
    for row, uuid in enumerate(uuids):
        label = _load(uuid)
        if not isinstance(label, FramesData):
            faults.append(_finding("frame", chunk, f"frame {row} of chunk <{chunk.pk}>: there is no label {uuid}."))
        elif uuid not in ancestors:
            faults.append(_finding("frame", chunk, f"frame {row} of chunk <{chunk.pk}> is not linked to its label."))
        elif label.creator is None or not (label.creator.process_type or "").startswith(f"{PREFIX}label"):
            faults.append(_finding("frame", label, f"label <{label.pk}> of frame {row} was not made by a labelling process."))
        elif not all(np.array_equal(chunk.get_array(n)[row], label.get_array(n)[0], equal_nan=True) for n in REQUIRED):
            faults.append(_finding("frame", chunk, f"frame {row} of chunk <{chunk.pk}> differs from its label <{label.pk}>."))
        else:
            traced += 1
    return traced, faults


def _ancestors(node: orm.Node) -> set[str]:
    """Return the UUIDs of the frames that a block was collected and merged from."""
    found: set[str] = set()
    todo = [node]
    while todo:
        creator = todo.pop().creator
        if creator is None:
            continue
        for link in creator.base.links.get_incoming(link_type=LinkType.INPUT_CALC).all():
            if isinstance(link.node, FramesData) and link.node.uuid not in found:
                found.add(link.node.uuid)
                if link.node.creator is not None and not (link.node.creator.process_type or "").startswith(f"{PREFIX}label"):
                    todo.append(link.node)
    return found
