"""The graph behind a process, read in few queries: a query a node costs minutes on a run of 600 cycles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from aiida import orm
from aiida.common.links import LinkType

from .links import CALL, CREATE, INPUT, RETURN, neighbours

#: How a node is made or called; RETURN only points at what another process made.
MAKING = (*CREATE, *INPUT, *CALL)


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
        kinds = [kind.value for kind in INPUT]
        edges = self.incoming.get(_pk(node), [])
        return {edge.label: self.nodes[edge.source] for edge in edges if edge.kind in kinds}

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


def descendants(root: orm.ProcessNode) -> dict[int, orm.Node]:
    """Return a process, all that it called, and all that these made or returned.

    :param root: the process.
    """
    found: dict[int, orm.Node] = {_pk(root): root}
    frontier = {_pk(root)}
    while frontier:
        new = {}
        for _, node, _, _ in neighbours(frontier, CALL, ["*"], forward=True):
            if _pk(node) not in found:
                new[_pk(node)] = node
        found |= new
        frontier = set(new)
    for _, node, _, _ in neighbours(list(found), (*CREATE, *RETURN), ["*"], forward=True):
        found.setdefault(_pk(node), node)
    return found


def returned(processes: Iterable[orm.ProcessNode]) -> dict[tuple[int, str], orm.Node]:
    """Return what processes returned, by primary key of the process and label of the link.

    :param processes: the processes.
    """
    links = neighbours([_pk(process) for process in processes], RETURN, ["*"], forward=True)
    return {(pk, label): node for pk, node, _, label in links}


def closure(root: orm.ProcessNode) -> Graph:
    """Return everything that a process, its children and their outputs come from.

    :param root: the process.
    """
    graph = Graph(nodes=descendants(root))
    frontier = set(graph.nodes)
    while frontier:
        new: dict[int, orm.Node] = {}
        for target, node, kind, label in neighbours(sorted(frontier), MAKING, ["*"], forward=False):
            graph.incoming.setdefault(target, []).append(Edge(_pk(node), target, kind, label))
            if _pk(node) not in graph.nodes:
                new[_pk(node)] = node
        graph.nodes |= new
        frontier = set(new)
    return graph
