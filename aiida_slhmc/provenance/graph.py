"""The graph behind a process, read in few queries: a query a node costs minutes on a run of 600 cycles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from aiida import orm
from aiida.common.links import LinkType

#: How a node is made or called; RETURN only points at what another process made.
MAKING = (LinkType.CREATE, LinkType.INPUT_CALC, LinkType.INPUT_WORK, LinkType.CALL_CALC, LinkType.CALL_WORK)
INPUT = (LinkType.INPUT_CALC.value, LinkType.INPUT_WORK.value)
CALL = (LinkType.CALL_CALC, LinkType.CALL_WORK)
#: Nodes asked for in one query: SQLite limits the number of parameters.
BATCH = 500


@dataclass(frozen=True)
class Edge:
    """Hold one link: primary keys of its ends, its type and its label."""

    source: int
    target: int
    kind: str
    label: str


@dataclass
class Graph:
    """Hold nodes by primary key, and the links that made each of them.

    :param nodes: by primary key.
    :param incoming: links by the primary key of their target.
    """

    nodes: dict[int, orm.Node] = field(default_factory=dict)
    incoming: dict[int, list[Edge]] = field(default_factory=dict)
    _creations: dict[int, list[int]] | None = field(default=None, init=False, repr=False)

    def creator(self, node: orm.Node) -> orm.ProcessNode | None:
        """Return the process that created a data node.

        :param node: a node of the graph.
        """
        return next(iter(self.sources(node, (LinkType.CREATE.value,))), None)  # type: ignore[return-value]

    def caller(self, node: orm.Node) -> orm.ProcessNode | None:
        """Return the process that called a process.

        :param node: a node of the graph.
        """
        return next(iter(self.sources(node, tuple(kind.value for kind in CALL))), None)  # type: ignore[return-value]

    def inputs(self, node: orm.Node) -> dict[str, orm.Node]:
        """Return the inputs of a process by label.

        :param node: a node of the graph.
        """
        edges = self.incoming.get(_pk(node), [])
        return {edge.label: self.nodes[edge.source] for edge in edges if edge.kind in INPUT}

    def created(self, process: orm.Node) -> list[orm.Node]:
        """Return the data nodes of the graph that a process created.

        :param process: a node of the graph.
        """
        if self._creations is None:
            self._creations = {}
            for edges in self.incoming.values():
                for edge in edges:
                    if edge.kind == LinkType.CREATE.value:
                        self._creations.setdefault(edge.source, []).append(edge.target)
        return [self.nodes[pk] for pk in self._creations.get(_pk(process), [])]

    def sources(self, node: orm.Node, kinds: tuple[str, ...]) -> list[orm.Node]:
        """Return the nodes at the other end of incoming links of some types.

        :param node: a node of the graph.
        :param kinds: values of link types.
        """
        return [self.nodes[edge.source] for edge in self.incoming.get(_pk(node), []) if edge.kind in kinds]


def _pk(node: orm.Node) -> int:
    return int(node.pk or 0)


def _batches(values: Iterable[int]) -> Iterator[list[int]]:
    ordered = sorted(values)
    for start in range(0, len(ordered), BATCH):
        yield ordered[start : start + BATCH]


def _neighbours(
    pks: Iterable[int], kinds: Iterable[LinkType], forward: bool
) -> Iterator[tuple[int, orm.Node, str, str]]:
    """Yield, for every link of some types, its near end, the node at its far end, its type and its label."""
    types = [kind.value for kind in kinds]
    for batch in _batches(pks):
        query = orm.QueryBuilder()
        query.append(orm.Node, filters={"id": {"in": batch}}, tag="near", project=["id"])
        query.append(
            orm.Node,
            edge_filters={"type": {"in": types}},
            edge_project=["type", "label"],
            project=["*"],
            **{"with_incoming" if forward else "with_outgoing": "near"},
        )
        yield from (tuple(row) for row in query.all())


def descendants(root: orm.ProcessNode) -> dict[int, orm.Node]:
    """Return a process, all that it called, and all that these made or returned.

    :param root: the process.
    """
    found: dict[int, orm.Node] = {_pk(root): root}
    frontier = {_pk(root)}
    while frontier:
        new = {}
        for _, node, _, _ in _neighbours(frontier, CALL, forward=True):
            if _pk(node) not in found:
                new[_pk(node)] = node
        found |= new
        frontier = set(new)
    for _, node, _, _ in _neighbours(list(found), (LinkType.CREATE, LinkType.RETURN), forward=True):
        found.setdefault(_pk(node), node)
    return found


def returned(processes: Iterable[orm.ProcessNode]) -> dict[tuple[int, str], orm.Node]:
    """Return what processes returned, by primary key of the process and label of the link.

    :param processes: the processes.
    """
    links = _neighbours([_pk(process) for process in processes], (LinkType.RETURN,), forward=True)
    return {(pk, label): node for pk, node, _, label in links}


def closure(root: orm.ProcessNode) -> Graph:
    """Return everything that a process, its children and their outputs come from.

    :param root: the process.
    """
    graph = Graph(nodes=descendants(root))
    frontier = set(graph.nodes)
    while frontier:
        new: dict[int, orm.Node] = {}
        for target, node, kind, label in _neighbours(frontier, MAKING, forward=False):
            graph.incoming.setdefault(target, []).append(Edge(_pk(node), target, kind, label))
            if _pk(node) not in graph.nodes:
                new[_pk(node)] = node
        graph.nodes |= new
        frontier = set(new)
    return graph
