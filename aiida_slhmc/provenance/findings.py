"""What an audit finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from aiida import orm


@dataclass(frozen=True)
class Finding:
    """Name one fault: its kind, the node, and what is wrong in one sentence."""

    kind: str
    pk: int
    uuid: str
    message: str

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as plain values, for JSON."""
        return asdict(self)


def finding(kind: str, node: orm.Node, message: str) -> Finding:
    """Return a fault of a node.

    :param kind: of the fault.
    :param node: which has it.
    :param message: one sentence.
    """
    return Finding(kind, int(node.pk or 0), node.uuid, message)
