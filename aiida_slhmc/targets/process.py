"""The port of a target that is labelled by the processes of another AiiDA plugin, such as aiida-vasp."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from .port import Target


class ProcessTarget(Target, ABC):
    """Describe an engine that has an AiiDA plugin of its own.

    ``LabelWorkChain`` submits what :meth:`builder` returns and hands what :meth:`reading` picks from it to a
    calcfunction that makes the label. AiiDA is imported in the methods only.
    """

    default_executor = "job"
    #: Entry point of the CalcJob that the target's code must be set up for.
    plugin: ClassVar[str] = ""

    def validate_run(self, level: Mapping[str, Any], structure: Any, code: Any, options: Mapping[str, Any]) -> None:
        """Check what is not the level of theory, before anything is submitted: code, options, what the profile holds.

        :param level: normalised level of theory.
        :param structure: ``StructureData`` to label.
        :param code: of the target; None if there is none.
        :param options: of the target.
        :raises ValueError: with one sentence.
        """
        if code is None:
            raise ValueError(f"target.code is missing: the engine '{self.name}' needs a code for {self.plugin}.")
        plugin = code.default_calc_job_plugin
        if plugin != self.plugin:
            raise ValueError(
                f"target.code '{code.label}' is set up for {plugin or 'no plugin'}, but the engine '{self.name}' needs "
                f"a code for {self.plugin}: give one as target_code."
            )

    @abstractmethod
    def builder(self, inputs: Mapping[str, Any], previous: Sequence[Any] = ()) -> Any:
        """Return the builder of the process that labels.

        It must be a function of its arguments alone, since a step may be repeated after a crash.

        :param inputs: of the ``LabelWorkChain``: ``structure``, ``target`` (``level``, ``code``, ``options``),
            ``failure``, ``labelling``, and ``restart`` where the last label's folder is at hand.
        :param previous: terminated nodes of the attempts before, in order.
        :raises ValueError: with one sentence, if it cannot be made.
        """

    @abstractmethod
    def reading(self, process: Any) -> tuple[Callable[..., Any], dict[str, Any] | None]:
        """Return the calcfunction that makes the label, and the nodes it takes besides ``structure`` and ``level``.

        The calcfunction returns ``label`` and ``label_info``, or an exit code of ``calculations.base.FAILURES``.

        :param process: the terminated node of the process that labels.
        :returns: the function; and the nodes by name, None if the process left nothing to read.
        """

    def restart_from(self, label: Any) -> Any:
        """Return the folder that the next label may start from; None where there is none.

        :param label: ``FramesData`` of the current state; the folder is found through the graph.
        """
        return None

    def mismatch(self, inputs: Mapping[str, Any], level: Mapping[str, Any]) -> str | None:
        """Return in what a process was given something else than a level of theory asks for, or None: for an audit.

        :param inputs: nodes that a process of :meth:`builder` was given, by the label of their link.
        :param level: normalised level of theory.
        """
        return None
