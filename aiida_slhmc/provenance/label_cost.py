"""What the labels of a run cost: read from the graph alone."""

from __future__ import annotations

from dataclasses import dataclass

from aiida import orm

from aiida_slhmc.workflows.label import LabelWorkChain


@dataclass
class LabelCounts:
    """Count the labels of a run: what they cost and where they come from.

    ``calls`` are attempts of the target's engine (DFT calls), those that failed included; ``computed`` labels were
    computed by this run, ``reused`` ones were known before and cost no call; ``failed`` ones never came.
    """

    calls: int = 0
    computed: int = 0
    reused: int = 0
    failed: int = 0


def label_counts(root: orm.WorkChainNode) -> LabelCounts:
    """Return how many labels a run asked for so far, and what they cost.

    :param root: node of a WorkChain that labels, or whose children do.
    """
    counts = LabelCounts()
    for below in (False, True):
        statuses = dict(_labellings(root, below))
        attempts = _attempts(root, below)
        counts.calls += sum(attempts.values())
        for pk, status in statuses.items():
            if status == 0:
                counts.computed += pk in attempts
                counts.reused += pk not in attempts
            elif status is not None:
                counts.failed += 1
    return counts


def _labelling_query(root: orm.WorkChainNode, below: bool, project: list[str]) -> orm.QueryBuilder:
    query = orm.QueryBuilder()
    query.append(orm.WorkChainNode, filters={"id": root.pk}, tag="root")
    if below:
        query.append(orm.WorkChainNode, with_incoming="root", tag="chain")
    query.append(LabelWorkChain, with_incoming="chain" if below else "root", tag="labelling", project=project)
    return query


def _labellings(root: orm.WorkChainNode, below: bool) -> list[tuple[int, int | None]]:
    """Return primary key and exit status of the labelling WorkChains that a run, or its chains, called."""
    return [(pk, status) for pk, status in _labelling_query(root, below, ["id", "attributes.exit_status"]).all()]


def _attempts(root: orm.WorkChainNode, below: bool) -> dict[int, int]:
    """Return how often each of them called the engine."""
    query = _labelling_query(root, below, ["id"])
    query.append(
        orm.ProcessNode,
        with_incoming="labelling",
        edge_filters={"label": {"like": "attempt_%"}},
        project=["id"],
    )
    found: dict[int, int] = {}
    for labelling, _ in query.all():
        found[labelling] = found.get(labelling, 0) + 1
    return found
