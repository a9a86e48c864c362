"""Continue a WorkChain where its checkpoints stand: after Ctrl-C, a kill, a crash of the machine, or a pause."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from aiida import orm
from aiida.common.exceptions import NotExistent
from aiida.common.links import LinkType
from aiida.engine import Process, ProcessState, WorkChain
from aiida.engine.persistence import get_object_loader
from plumpy import PersistenceError
from plumpy.persistence import LoadSaveContext

from aiida_slhmc.engine.claim import claimed, refuse_if_daemon_runs
from aiida_slhmc.engine.exactly_once import ABANDONED
from aiida_slhmc.engine.runner import LocalRunner, OnTick

LOGGER = logging.getLogger(__name__)

TERMINAL = ("finished", "excepted", "killed")


class NotResumable(ValueError):
    """The pk names nothing that can be resumed.

    Args:
        pk: the pk.
        reason: why, in words.
    """

    def __init__(self, pk: int, reason: str):
        super().__init__(f"<{pk}> cannot be resumed: {reason}")
        self.pk = pk


@dataclass(frozen=True)
class _Member:
    """A process of the tree as the database has it."""

    pk: int
    depth: int
    state: str | None
    sealed: bool


def resume(pk: int, on_tick: OnTick | None = None, *, tick: float = 0.5) -> orm.ProcessNode:
    """Continue a process and all its descendants in this process and return its node when all have terminated.

    Every descendant that has not terminated is recreated from its checkpoint, leaves first, so that a parent finds its
    children alive; paused ones are played. Those without a checkpoint (the calcfunction in which a kill struck, the
    child that was just being born) can never go on: they are marked as excepted and sealed, and the replayed step of
    their parent does their work again.

    Args:
        pk: pk of the root process, a workflow.
        on_tick: as for ``run_foreground``.
        tick: s, as for ``run_foreground``.

    Returns:
        The root node. Where the tree has nothing active left this is said in the log and nothing else happens.

    Raises:
        NotResumable: there is no such node, it is no workflow, or it lost its checkpoint.
        StillRunning: another live process or the daemon runs it.
        Interrupted, Paused, EngineFailure: as for ``run_foreground``.
    """
    try:
        root = orm.load_node(pk)
    except NotExistent:
        raise NotResumable(pk, "there is no node with this pk in this profile") from None
    if not isinstance(root, orm.WorkflowNode):
        raise NotResumable(pk, f"it is a {type(root).__name__}, not a workflow")
    with claimed(root):
        active = [member for member in _tree(pk) if member.state not in TERMINAL or not member.sealed]
        if not active:
            LOGGER.warning("process <%d> has already ended: %s", pk, root.process_state)
            return root
        refuse_if_daemon_runs([member.pk for member in active])
        if not root.is_terminated and root.checkpoint is None:
            _close(root)
            raise NotResumable(pk, "it was interrupted before its first checkpoint; it is closed, launch it again")
        runner = LocalRunner()

        def start() -> orm.ProcessNode:
            for member in sorted(active, key=lambda member: (-member.depth, member.pk)):
                _revive(runner, member.pk)
            return root

        return runner.run_tree(start, on_tick, tick, claim=False)


def _tree(pk: int) -> list[_Member]:
    """Return the process and all its descendants, with one query a level."""
    columns = ["id", "attributes.process_state", "attributes.sealed"]
    found: dict[int, _Member] = {}
    query = orm.QueryBuilder().append(orm.ProcessNode, filters={"id": pk}, project=columns)
    depth = 0
    while rows := query.all():
        found |= {row[0]: _Member(row[0], depth, row[1], bool(row[2])) for row in rows if row[0] not in found}
        level = [member.pk for member in found.values() if member.depth == depth]
        depth += 1
        query = orm.QueryBuilder().append(orm.ProcessNode, filters={"id": {"in": level}}, tag="parent")
        called = {"type": {"in": [LinkType.CALL_CALC.value, LinkType.CALL_WORK.value]}}
        query.append(orm.ProcessNode, with_incoming="parent", edge_filters=called, project=columns)
    return list(found.values())


def _revive(runner: LocalRunner, pk: int) -> None:
    """Put a process on its feet again, or close its node."""
    node = orm.load_node(pk)
    if node.is_terminated or node.checkpoint is None:
        _close(node)
        return
    try:
        bundle = runner.persister.load_checkpoint(pk)  # type: ignore[union-attr]
        process = bundle.unbundle(LoadSaveContext(runner=runner, loader=get_object_loader()))
    except (ImportError, PersistenceError) as error:
        # Its code is not on the path of this interpreter: closing it would destroy what a right environment can save.
        raise NotResumable(pk, f"its checkpoint cannot be loaded: {error}") from error
    assert isinstance(process, Process)
    if process.paused:
        process.play()
    if isinstance(process, WorkChain) and process.state == ProcessState.WAITING and not process._awaitables:
        process.resume()  # all it waited for had ended when the checkpoint was written
    runner.adopt(process)


def _close(node: orm.ProcessNode) -> None:
    """Give a node that will never run again a terminal state, so that the graph holds nothing active."""
    if not node.is_terminated:
        node.set_exception(f"{ABANDONED} the program that ran this process was killed before it was checkpointed")
        node.set_process_state(ProcessState.EXCEPTED)
        LOGGER.info("closed process <%d> %s, which a crash left behind", node.pk, node.process_label)
    node.unpause()
    node.delete_checkpoint()
    node.seal()
