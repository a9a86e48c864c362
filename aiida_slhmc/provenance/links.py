"""What stands next to nodes in the graph, asked for in few queries that fetch no more than they need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from aiida import orm
from aiida.common.links import LinkType

CALL = (LinkType.CALL_CALC, LinkType.CALL_WORK)
INPUT = (LinkType.INPUT_CALC, LinkType.INPUT_WORK)
CREATE = (LinkType.CREATE,)
RETURN = (LinkType.RETURN,)
#: Nodes asked for in one query: SQLite limits the number of parameters.
BATCH = 500


def batches(values: Iterable[Any]) -> Iterator[list[Any]]:
    """Yield values in lists that one query can take.

    :param values: primary keys or UUIDs.
    """
    listed = list(values)
    for start in range(0, len(listed), BATCH):
        yield listed[start : start + BATCH]


def neighbours(
    pks: Iterable[int],
    kinds: Sequence[LinkType],
    project: Sequence[str],
    *,
    forward: bool,
    cls: Any = orm.Node,
    filters: dict[str, Any] | None = None,
    label: Any = None,
) -> Iterator[tuple[Any, ...]]:
    """Yield (primary key, projections..., link type, link label) of the neighbours of nodes, without loading these.

    :param pks: primary keys of the nodes.
    :param kinds: types of the links to follow.
    :param project: what is wanted of the neighbours: columns, ``attributes.<key>``, or ``*`` for the node itself.
    :param forward: along the links, or against them.
    :param cls: class of the neighbours.
    :param filters: on the neighbours.
    :param label: filter on the label of the link.
    """
    edge: dict[str, Any] = {"type": {"in": [kind.value for kind in kinds]}}
    if label is not None:
        edge["label"] = label
    for batch in batches(pks):
        query = orm.QueryBuilder()
        query.append(orm.Node, filters={"id": {"in": batch}}, tag="near", project=["id"])
        query.append(
            cls,
            edge_filters=edge,
            edge_project=["type", "label"],
            filters=filters,
            project=list(project),
            **{"with_incoming" if forward else "with_outgoing": "near"},
        )
        yield from (tuple(row) for row in query.all())


def roots(pks: Iterable[int]) -> dict[int, int]:
    """Return, for each of some processes, the process that no other called.

    :param pks: primary keys of processes.
    """
    top = {pk: pk for pk in pks}
    frontier = set(top.values())
    while frontier:
        callers = {pk: caller for pk, caller, *_ in neighbours(frontier, CALL, ["id"], forward=False)}
        top = {pk: callers.get(current, current) for pk, current in top.items()}
        frontier = set(callers.values())
    return top


def called(root: int, project: Sequence[str], filters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    """Return (projections..., label of the call) of all processes below one, whatever the depth.

    :param root: its primary key.
    :param project: what is wanted of them.
    :param filters: on them; what a workflow called is looked at whether it passes or not.
    """
    found: list[tuple[Any, ...]] = []
    frontier = [root]
    while frontier:
        rows = neighbours(frontier, CALL, project, forward=True, cls=orm.ProcessNode, filters=filters)
        found += [(*row[1:-2], row[-1]) for row in rows]
        frontier = [row[1] for row in neighbours(frontier, CALL, ["id"], forward=True, cls=orm.WorkflowNode)]
    return found
