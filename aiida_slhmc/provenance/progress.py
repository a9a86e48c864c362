"""Where a run stands: read from the graph alone, so that it works while the run goes on, elsewhere, and afterwards."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any

from aiida import orm

from aiida_slhmc.workflows.chain import ChainWorkChain
from aiida_slhmc.workflows.label import LabelWorkChain


@dataclass
class RunStatus:
    """Say where a run stands.

    Cycles count over all chains; errors are those of the last block that was judged: force RMSE in meV/Å and
    offset-removed energy RMSE in meV/atom; times in s.
    """

    pk: int
    uuid: str
    state: str
    exit_status: int | None
    exit_message: str | None
    phase: str
    block: int
    blocks: int
    cycles_done: int
    cycles_total: int
    accepted: int
    mean_probability: float | None
    divergent: int
    labels: int
    labels_failed: int
    length: int | None
    force_rmse: float | None
    energy_rmse: float | None
    elapsed: float
    remaining: float | None
    paused: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the status as plain values, for JSON."""
        return asdict(self)


def _decisions(root: orm.WorkChainNode) -> list[tuple[dict[str, Any], datetime]]:
    query = orm.QueryBuilder()
    query.append(orm.WorkChainNode, filters={"id": root.pk}, tag="root")
    query.append(ChainWorkChain, with_incoming="root", tag="chain")
    query.append(
        orm.CalcFunctionNode,
        with_incoming="chain",
        tag="decide",
        filters={"process_type": {"like": "%slhmc.metropolis"}},
    )
    query.append(
        orm.Dict,
        with_incoming="decide",
        edge_filters={"label": "decision"},
        project=[
            "attributes.accepted", "attributes.probability", "attributes.divergent", "attributes.length",
            "attributes.chain", "attributes.cycle", "attributes.phase", "ctime",
        ],
    )  # fmt: skip
    keys = ("accepted", "probability", "divergent", "length", "chain", "cycle", "phase")
    rows = [(dict(zip(keys, row[:-1], strict=True)), row[-1]) for row in query.all()]
    return sorted(rows, key=lambda row: row[1])


def _labels(root: orm.WorkChainNode) -> tuple[int, int]:
    done = failed = 0
    for parent in (None, ChainWorkChain):
        query = orm.QueryBuilder()
        query.append(orm.WorkChainNode, filters={"id": root.pk}, tag="root")
        above = "root"
        if parent is not None:
            query.append(parent, with_incoming="root", tag="chain")
            above = "chain"
        query.append(LabelWorkChain, with_incoming=above, tag="labelling", project=["attributes.exit_status"])
        states = [status for (status,) in query.all()]
        done += sum(status == 0 for status in states)
        failed += sum(status not in (0, None) for status in states)
    return done, failed


def run_status(root: orm.WorkChainNode) -> RunStatus:
    """Return where a SLHMC run stands.

    :param root: node of a ``SlhmcWorkChain``.
    """
    budget = root.inputs.budget.get_dict()
    total = budget["chains"] * (budget["blocks"] * budget["cycles"] + budget["production_cycles"])
    decisions = _decisions(root)
    labels, labels_failed = _labels(root)
    history = _last_history(root)
    rows = history["blocks"] if history else []
    errors = next((row["errors"] for row in reversed(rows) if "errors" in row), None)
    now = root.mtime if root.is_terminated else datetime.now(timezone.utc)
    elapsed = (now - root.ctime).total_seconds()
    done = len(decisions)
    remaining = None
    if done and not root.is_terminated:
        remaining = elapsed / done * (total - done)
    probabilities = [row["probability"] for row, _ in decisions]
    n_blocks = budget["blocks"] + (1 if budget["production_cycles"] else 0)
    block = len(rows)
    return RunStatus(
        pk=int(root.pk or 0),
        uuid=root.uuid,
        state=root.process_state.value if root.process_state else "created",
        exit_status=root.exit_status,
        exit_message=root.exit_message,
        phase="done" if root.is_finished_ok else ("production" if block >= budget["blocks"] else "adaptive"),
        block=min(block + 1, n_blocks),
        blocks=n_blocks,
        cycles_done=done,
        cycles_total=total,
        accepted=sum(bool(row["accepted"]) for row, _ in decisions),
        mean_probability=sum(probabilities) / done if done else None,
        divergent=sum(bool(row["divergent"]) for row, _ in decisions),
        labels=labels,
        labels_failed=labels_failed,
        length=decisions[-1][0]["length"] if decisions else None,
        force_rmse=1000 * errors["force_rmse"] if errors else None,
        energy_rmse=1000 * errors["energy_rmse_offset_removed"]
        if errors and errors["energy_rmse_offset_removed"] is not None
        else None,
        elapsed=elapsed,
        remaining=remaining,
        paused=_paused(root),
    )


def _last_history(root: orm.WorkChainNode) -> dict[str, Any] | None:
    query = orm.QueryBuilder()
    query.append(orm.WorkChainNode, filters={"id": root.pk}, tag="root")
    query.append(
        orm.CalcFunctionNode, with_incoming="root", tag="record", filters={"process_type": {"like": "%slhmc.history"}}
    )
    query.append(orm.Dict, with_incoming="record", project=["attributes"])
    histories = [dict(attributes) for (attributes,) in query.all()]
    return max(histories, key=lambda history: len(history["blocks"])) if histories else None


def _paused(root: orm.WorkChainNode) -> list[str]:
    """Return why chains wait: only chains pause, and a walk over all descendants would cost seconds a look."""
    query = orm.QueryBuilder()
    query.append(orm.WorkChainNode, filters={"id": root.pk}, tag="root")
    query.append(ChainWorkChain, with_incoming="root", filters={"attributes.paused": True}, project=["*"])
    nodes = [node for node in query.all(flat=True) if not node.is_terminated]
    return [node.process_status or f"process {node.pk} is paused" for node in nodes]
