"""The port of a target that is labelled by the processes of another AiiDA plugin, such as aiida-vasp."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .port import Target


class ProcessTarget(Target):
    """Describe an engine that has an AiiDA plugin of its own.

    ``LabelWorkChain`` submits what :meth:`builder` returns and hands what :meth:`reading` picks from it to a
    calcfunction that makes the label. AiiDA is imported in the methods only.
    """

    default_executor = "job"

    def builder(self, inputs: Mapping[str, Any]) -> Any:
        """Return the builder of the process that labels.

        :param inputs: of the ``LabelWorkChain``: ``structure``, ``target`` (``level``, ``code``, ``options``),
            ``failure``, and ``restart`` where the last label's folder is at hand.
        :raises ValueError: with one sentence, if it cannot be made.
        """
        raise NotImplementedError

    def reading(self, process: Any) -> tuple[Callable[..., Any], dict[str, Any] | None]:
        """Return the calcfunction that makes the label, and the nodes it takes besides ``structure`` and ``level``.

        The calcfunction returns ``label`` and ``label_info``, or an exit code of ``calculations.base.FAILURES``.

        :param process: the terminated node of the process that labels.
        :returns: the function; and the nodes by name, None if the process left nothing to read.
        """
        raise NotImplementedError
