"""What the tests ask of the graph after a run."""

from collections import Counter

from aiida import orm

from aiida_slhmc.engine.exactly_once import ABANDONED

TERMINAL = {"finished", "excepted", "killed"}


def processes_below(pk):
    """Return (label of the call link, node) for all descendants of a process."""
    below = []
    parents = [orm.load_node(pk)]
    while parents:
        links = parents.pop().base.links.get_outgoing(node_class=orm.ProcessNode).all()
        below.extend((link.link_label, link.node) for link in links)
        parents.extend(link.node for link in links)
    return below


def finished_labels(pk):
    """Count, by label, the descendants that finished well."""
    return dict(Counter(label for label, node in processes_below(pk) if node.is_finished_ok))


def abandoned(pk):
    """Return the labels of the descendants that a crash left behind and that were closed."""
    return [label for label, node in processes_below(pk) if (node.exception or "").startswith(ABANDONED)]


def unfinished_business(pk):
    """Return the nodes of the tree that are active, unsealed, paused, or hold a checkpoint still."""
    nodes = [orm.load_node(pk), *(node for _, node in processes_below(pk))]
    return [n for n in nodes if not n.is_terminated or not n.is_sealed or n.paused or n.checkpoint is not None]
