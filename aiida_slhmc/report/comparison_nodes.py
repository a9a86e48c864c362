"""What a comparison is read from: its nodes."""

from __future__ import annotations

from typing import Any


def arrays_of(node: Any) -> dict[str, Any]:
    """Return the arrays of a node by name.

    :param node: an analysed sample.
    """
    return {name: node.get_array(name) for name in node.get_arraynames()}


def with_reasons(node: Any) -> dict[str, Any]:
    """Return what a comparison holds, with the words in which a candidate's processes said why they failed.

    :param node: of the comparison.
    """
    values: dict[str, Any] = node.outputs.comparison.get_dict()
    reasons = {
        link.link_label.removeprefix("candidate_"): link.node.exit_message
        for link in node.base.links.get_outgoing().all()
        if link.link_label.startswith("candidate_") and getattr(link.node, "exit_status", 0)
    }
    for protocol in values["protocols"].values():
        protocol["problems"] |= {name: reasons[name] for name in protocol["members"] if reasons.get(name)}
    return values
