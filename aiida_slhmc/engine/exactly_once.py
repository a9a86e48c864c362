"""Children that a replayed WorkChain step adopts instead of starting them a second time.

After a crash AiiDA re-executes the step that was in flight (aiida-core issue #3671: ``submit`` is not idempotent). The
call link label is therefore the identity of a child: a step that asks for a label that exists gets what exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessBuilder
from aiida.orm.implementation.utils import clean_value

# The first words of the exception of a process that died before it could be checkpointed (see ``engine.resume``).
# Such a node is the trace of a crash, not a result, so a replayed step may not adopt it.
ABANDONED = "Abandoned:"


class LabelReused(ValueError):
    """A call link label names a child that was started with another process class or with other inputs."""


class ExactlyOnce:
    """Give a WorkChain ``submit_once`` and ``call_once``; put it before ``WorkChain`` in the bases.

    Labels must be unique within one parent (``f"cycle_{i:05d}_label"``); a label asked for again with other inputs
    raises, because the answer of another cycle would be a wrong one that looks right.
    """

    node: orm.WorkChainNode

    def submit_once(self, label: str, process: Any, /, **inputs: Any) -> orm.ProcessNode:
        """Submit a process, or adopt the child that an earlier execution of this step submitted.

        Args:
            label: call link label, unique among the children of this WorkChain.
            process: process class or builder; a class takes its inputs from ``inputs``.
            inputs: inputs of the process class; must be empty with a builder.

        Returns:
            The node of the child: live, finished or failed. ``ToContext`` accepts all three.

        Raises:
            LabelReused: the label belongs to a child of another class or with other inputs.
            ValueError: inputs were given along with a builder.
        """
        builder = process if isinstance(process, ProcessBuilder) else None
        if builder is not None and inputs:
            raise ValueError("a builder holds its inputs: set them on the builder")
        process_class = builder.process_class if builder is not None else process
        given = dict(builder._inputs(prune=True)) if builder is not None else inputs
        for node in self._children(label):
            # A child without a checkpoint was stored an instant before the crash and will never run.
            if node.is_terminated or node.checkpoint is not None:
                check_same(node, label, process_class.build_process_type(), given)
                return node
        if builder is not None:
            builder.metadata.call_link_label = label
            return self.submit(builder)  # type: ignore[attr-defined]
        metadata = {**inputs.pop("metadata", {}), "call_link_label": label}
        return self.submit(process, **inputs, metadata=metadata)  # type: ignore[attr-defined]

    def call_once(self, label: str, function: Any, /, **inputs: Any) -> Any:
        """Call a calcfunction, or return the outputs that an earlier execution of this step produced.

        Args:
            label: call link label, unique among the children of this WorkChain.
            function: calcfunction or workfunction.
            inputs: its inputs by keyword.

        Returns:
            What the function returns: the node where it returns one, else a dictionary of nodes.

        Raises:
            LabelReused: the label belongs to another function or to a call with other inputs.
        """
        for node in self._children(label):
            if node.is_finished_ok:
                check_same(node, label, function.process_class.build_process_type(), inputs)
                return _outputs(node)
        metadata = {**inputs.pop("metadata", {}), "call_link_label": label}
        return function(**inputs, metadata=metadata)

    def _children(self, label: str) -> list[orm.ProcessNode]:
        """Return the children with exactly this call link label that are no wreckage, the best first."""
        # Not links.get_outgoing(link_label_filter=...): that is an SQL LIKE, where the underscore is a wildcard.
        query = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": self.node.pk}, tag="parent")
        query.append(
            orm.ProcessNode,
            with_incoming="parent",
            edge_filters={"type": {"in": [LinkType.CALL_CALC.value, LinkType.CALL_WORK.value]}, "label": label},
        )
        found = [node for node in query.all(flat=True) if not (node.exception or "").startswith(ABANDONED)]
        return sorted(found, key=lambda node: (not node.is_finished_ok, node.is_terminated, node.pk))


def _outputs(node: orm.ProcessNode) -> Any:
    """Return the outputs of a process function in the shape in which the call returned them."""
    found = dict(node.base.links.get_outgoing(link_type=(LinkType.CREATE, LinkType.RETURN)).nested())
    return found["result"] if set(found) == {"result"} else found


def check_same(node: orm.ProcessNode, label: str, process_type: str, inputs: Mapping[str, Any]) -> None:
    """Raise unless the child is of this type and was given these nodes."""
    if node.process_type != process_type:
        raise LabelReused(f"the child {label!r} <{node.pk}> is a {node.process_type}, not a {process_type}")
    kinds = (LinkType.INPUT_CALC, LinkType.INPUT_WORK)
    recorded = {link.link_label: link.node for link in node.base.links.get_incoming(link_type=kinds).all()}
    for name, value in _flatten(inputs):
        known = recorded.get(name)
        if known is None:
            raise LabelReused(f"the child {label!r} <{node.pk}> was started without the input {name!r}")
        # A replayed step may build its inputs anew: then the content decides.
        if known.uuid != value.uuid and _content(known) != _content(value):
            raise LabelReused(f"the child {label!r} <{node.pk}> was started with another {name!r} <{known.pk}>")


def _content(node: orm.Node) -> dict[str, Any]:
    """Return what AiiDA hashes of a node, stored or not, with floats rounded as they are in the database."""
    content = dict(node.base.caching.get_objects_to_hash())
    return content | {"attributes": clean_value(content.get("attributes"))}


def _flatten(inputs: Mapping[str, Any], prefix: str = "") -> list[tuple[str, orm.Node]]:
    """Return the nodes of nested inputs under their link labels; values that are no nodes are left out."""
    flat: list[tuple[str, orm.Node]] = []
    for name, value in inputs.items():
        if isinstance(value, orm.Data):
            flat.append((prefix + name, value))
        elif isinstance(value, Mapping) and not (prefix == "" and name == "metadata"):
            flat.extend(_flatten(value, f"{prefix}{name}__"))
    return flat
