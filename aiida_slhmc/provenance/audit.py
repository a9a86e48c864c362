"""Audit: proof that the graph behind a result is whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from aiida import orm

from aiida_slhmc.data import DatasetData, FramesData
from aiida_slhmc.data.content import arrays_hash
from aiida_slhmc.data.frames import REQUIRED
from aiida_slhmc.data.labels import frame_hash, hash_of
from aiida_slhmc.targets.level import level_hash
from aiida_slhmc.targets.process import ProcessTarget
from aiida_slhmc.targets.registry import get_target

from .findings import Finding, finding
from .graph import Graph, closure, descendants, returned
from .integrity import Contents, check_contents, check_ends, check_versions, read_contents
from .steps import PREFIX, step_name

LABELLING = "aiida.workflows:slhmc.label"
#: Steps that make labels; so does any process that a labelling WorkChain called.
LABEL_STEPS = {"label", "label.vasp", "import_labels"}
#: Steps that make frames of a replay set, whose labels are not of the target: each frame is its own label.
REPLAY_STEPS = {"replay_frames", "import_replay"}
#: Steps that draw random numbers, and the input that carries their seed; of several chains, with a suffix for each.
RANDOM_STEPS = {
    "propose": "stream",
    "propose_many": "stream",
    "metropolis": "stream",
    "exchange": "stream",
    "streams": "seed",
    "extend": "seed",
    "finetune": "seed",
    "dynamics": "seed",
    "replay_frames": "seed",
    "posterior": "stream",
    "explore": "stream",
    "compare_sample": "seed",
    "random_structures": "seed",
}


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


def audit(root: orm.ProcessNode) -> AuditReport:
    """Audit the graph behind a process.

    Checked: every data node has a creator or is a declared input of a process that no other called, or was written by a
    target for another plugin's process and agrees with the level of theory; every step that draws random numbers has
    its seed as an input, and that seed is a declared one; every frame of every dataset is, to the bit, the label that
    it names, and that label was made by a labelling process; every label that a labelling WorkChain returned, its own
    or one that was known before, is of the structure and of the level of theory that it was asked for; every file has
    the hash that it was stored under, every model and every block of frames that which is recorded of it; every process
    says with which versions it was run, and none is unfinished or broke off. A run that still goes on is no fault of
    another that reuses its labels.

    :param root: a process.
    :returns: the report.
    """
    graph = closure(root)
    processes = [node for node in graph.nodes.values() if isinstance(node, orm.ProcessNode)]
    data = [node for node in graph.nodes.values() if isinstance(node, orm.Data)]
    declared = _declared(graph, processes)
    # What only stands above a reused label is another run, which may not have ended.
    own = descendants(root)
    concerned = [node for node in processes if node.pk in own or not isinstance(node, orm.WorkflowNode)]
    written, wrong = _written(graph, processes)
    findings = [
        *wrong,
        *_orphans(graph, data, declared | written),
        *_seeds(graph, processes, declared),
        *_unfinished(concerned),
    ]
    findings += _labellings(graph, processes)
    contents = read_contents([*data, *processes])
    findings += check_contents([*data, *processes], contents)
    findings += check_ends(processes)
    findings += check_versions(graph, processes)
    traced, faults = _frames(graph, [node for node in data if isinstance(node, DatasetData)], contents)
    return AuditReport(int(root.pk or 0), len(processes), len(data), traced, findings + faults)


def _declared(graph: Graph, processes: Iterable[orm.ProcessNode]) -> dict[str, orm.Node]:
    """Return the inputs of the processes that no process called: what a user gave."""
    found = {}
    for process in processes:
        if graph.caller(process) is None:
            found.update({node.uuid: node for node in graph.inputs(process).values()})
    return found


def _written(graph: Graph, processes: Iterable[orm.ProcessNode]) -> tuple[dict[str, orm.Node], list[Finding]]:
    """Return what targets wrote for the processes of other plugins, where it agrees with the level of theory.

    Such a node (an INCAR, a mesh, a POTCAR) follows from the level of theory, which is declared: that is checked here.

    :returns: the nodes by UUID, and the faults.
    """
    found: dict[str, orm.Node] = {}
    faults = []
    for process in processes:
        caller = graph.caller(process)
        if caller is None or caller.process_type != LABELLING or process.process_type.startswith(PREFIX):
            continue
        level = graph.inputs(caller).get("target__level")
        if not isinstance(level, orm.Dict):
            continue
        target = get_target(level.get_dict()["engine"])
        if not isinstance(target, ProcessTarget):
            continue
        inputs = graph.inputs(process)
        problem = target.mismatch(inputs, level.get_dict())
        if problem:
            faults.append(finding("level", process, f"{process.process_label} <{process.pk}>: {problem}."))
        else:
            found.update({node.uuid: node for node in inputs.values()})
    return found, faults


def _orphans(graph: Graph, data: Iterable[orm.Data], declared: dict[str, orm.Node]) -> Iterable[Finding]:
    for node in data:
        if graph.creator(node) is None and node.uuid not in declared:
            message = f"{type(node).__name__} <{node.pk}> has no creator and is not a declared input of the run."
            yield finding("orphan", node, message)


def _seeds(graph: Graph, processes: Iterable[orm.ProcessNode], declared: dict[str, orm.Node]) -> Iterable[Finding]:
    seeds = {node.value for node in declared.values() if isinstance(node, orm.Int)}
    for process in processes:
        kind = step_name(process)
        if kind not in RANDOM_STEPS:
            continue
        port = RANDOM_STEPS[kind]
        inputs = graph.inputs(process)
        carriers = [node for name, node in inputs.items() if name == port or name.startswith(f"{port}_")]
        if not carriers:
            yield finding("seed", process, f"{kind} <{process.pk}> draws random numbers, but '{port}' is not an input.")
        for carrier in carriers:
            value = carrier.get_dict().get("seed") if isinstance(carrier, orm.Dict) else getattr(carrier, "value", None)
            if value not in seeds:
                yield finding("seed", process, f"{kind} <{process.pk}> used the seed {value}, which no run declared.")


def _labellings(graph: Graph, processes: Iterable[orm.ProcessNode]) -> Iterable[Finding]:
    """Check that every label is of the structure and of the level of theory that were asked for."""
    asked = [node for node in processes if node.process_type == LABELLING]
    answers = returned(asked)
    for process in asked:
        label = answers.get((int(process.pk or 0), "label"))
        if isinstance(label, FramesData):
            yield from _mismatch(graph.inputs(process), "target__level", process, label)
    for process in processes:
        if step_name(process) in LABEL_STEPS:
            inputs = graph.inputs(process)
            for label in graph.created(process):
                if isinstance(label, FramesData):
                    yield from _mismatch(inputs, "level", process, label)


def _mismatch(
    inputs: dict[str, orm.Node], level_port: str, process: orm.ProcessNode, label: FramesData
) -> Iterable[Finding]:
    what = f"label <{label.pk}> of {process.process_label or step_name(process)} <{process.pk}>"
    structure, level = inputs.get("structure"), inputs.get(level_port)
    if label.n_frames != 1:
        yield finding("label", label, f"{what} has {label.n_frames} frames, not one.")
        return
    if isinstance(structure, orm.StructureData) and hash_of(structure) != frame_hash(label):
        yield finding("label", label, f"{what} is of another structure than was asked for.")
    if not isinstance(level, orm.Dict) or level_hash(level.get_dict()) != label.level_hash:
        yield finding("label", label, f"{what} is of another level of theory than was asked for.")


def _makes_labels(graph: Graph, process: orm.ProcessNode) -> bool:
    caller = graph.caller(process)
    return step_name(process) in LABEL_STEPS or (
        isinstance(caller, orm.ProcessNode) and caller.process_type == LABELLING
    )


def _unfinished(processes: Iterable[orm.ProcessNode]) -> Iterable[Finding]:
    for process in processes:
        if not process.is_terminated:
            yield finding("unfinished", process, f"{process.process_label} <{process.pk}> has not ended.")
        elif not process.is_sealed:
            yield finding("unsealed", process, f"{process.process_label} <{process.pk}> ended but is not sealed.")


def _frames(graph: Graph, datasets: Iterable[DatasetData], contents: Contents) -> tuple[int, list[Finding]]:
    """Trace every frame of every dataset; a chunk that several manifests name is traced once."""
    by_uuid = {node.uuid: node for node in graph.nodes.values()}
    faults: list[Finding] = []
    traced = 0
    done: set[str] = set()
    for dataset in datasets:
        faults.extend(_manifest(graph, dataset))
        for chunk, uuid in zip(dataset.chunks, dataset.chunk_uuids, strict=True):
            if uuid in done:
                continue
            done.add(uuid)
            node = by_uuid.get(uuid)
            if not isinstance(node, FramesData):
                faults.append(finding("frame", dataset, f"chunk {uuid} of dataset <{dataset.pk}> is not in its graph."))
                continue
            if arrays_hash(contents.arrays[int(node.pk or 0)]) != chunk["content_sha256"]:
                message = f"chunk <{node.pk}> does not have the content that dataset <{dataset.pk}> names."
                faults.append(finding("frame", node, message))
            found, problems = _trace(graph, by_uuid, node, contents)
            traced += found
            faults.extend(problems)
    return traced, faults


def _manifest(graph: Graph, dataset: DatasetData) -> Iterable[Finding]:
    creator = graph.creator(dataset)
    if creator is None:
        return
    inputs = graph.inputs(creator).values()
    known = {node.uuid for node in inputs}
    for node in inputs:
        if isinstance(node, DatasetData):
            known.update(node.chunk_uuids)
    for uuid in dataset.chunk_uuids:
        if uuid not in known:
            yield finding("frame", dataset, f"chunk {uuid} of dataset <{dataset.pk}> is not linked to its making.")


def _trace(
    graph: Graph, by_uuid: dict[str, orm.Node], chunk: FramesData, contents: Contents
) -> tuple[int, list[Finding]]:
    faults: list[Finding] = []
    traced = 0
    uuids = chunk.label_uuids
    maker = graph.creator(chunk)
    if maker is not None and step_name(maker) in REPLAY_STEPS:
        return chunk.n_frames, []
    if len(uuids) != chunk.n_frames:
        return 0, [
            finding("frame", chunk, f"chunk <{chunk.pk}> names {len(uuids)} labels for {chunk.n_frames} frames.")
        ]
    ancestors = _ancestors(graph, chunk)
    arrays = contents.arrays[int(chunk.pk or 0)]
    if not set(REQUIRED) <= set(arrays):
        # Told of as content that is missing.
        return 0, []
    for row, uuid in enumerate(uuids):
        where = f"frame {row} of chunk <{chunk.pk}>"
        label = by_uuid.get(uuid)
        if not isinstance(label, FramesData):
            faults.append(finding("frame", chunk, f"{where}: its label {uuid} is not in the graph."))
            continue
        creator = graph.creator(label)
        if uuid not in ancestors:
            faults.append(finding("frame", chunk, f"{where} is not linked to its label."))
        elif creator is None or not _makes_labels(graph, creator):
            faults.append(
                finding("frame", label, f"label <{label.pk}> of {where} was not made by a labelling process.")
            )
        elif not _same(arrays, row, contents.arrays[int(label.pk or 0)]):
            faults.append(finding("frame", chunk, f"{where} differs from its label <{label.pk}>."))
        else:
            traced += 1
    return traced, faults


def _same(arrays: dict[str, Any], row: int, label: dict[str, Any]) -> bool:
    """Return whether a frame is its label to the bit."""
    return all(name in label and np.array_equal(arrays[name][row], label[name][0], equal_nan=True) for name in REQUIRED)


def _ancestors(graph: Graph, chunk: orm.Node) -> set[str]:
    """Return the UUIDs of the frames that a block was collected and merged from, down to the labels."""
    found: set[str] = set()
    todo = [chunk]
    while todo:
        creator = graph.creator(todo.pop())
        if creator is None or _makes_labels(graph, creator):
            continue
        for node in graph.inputs(creator).values():
            if isinstance(node, FramesData) and node.uuid not in found:
                found.add(node.uuid)
                todo.append(node)
    return found
