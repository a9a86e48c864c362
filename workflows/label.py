"""Label one structure with the target, whatever the engine, with retries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.engine import ExitCode, ToContext, WorkChain, while_

from aiida_slhmc.calculations.label import LabelCalculation, label_local
from aiida_slhmc.data import FramesData
from aiida_slhmc.data.labels import find_label
from aiida_slhmc.targets.process import ProcessTarget
from aiida_slhmc.targets.registry import get_target

from .steps import Steps, dispatch, failed, settings_port, target_ports


def warm_start(inputs: Mapping[str, Any], label: FramesData) -> dict[str, orm.RemoteData]:
    """Return the input of a label that may start from the electrons of another one.

    :param inputs: of the WorkChain that asks: ``target``, ``labelling``.
    :param label: of the state that the structure is near to; its folder is found through the graph.
    :returns: ``restart``, or nothing.
    """
    if not inputs["labelling"].get_dict()["warm_start"]:
        return {}
    target = get_target(inputs["target"]["level"].get_dict()["engine"])
    folder = target.restart_from(label) if isinstance(target, ProcessTarget) else None
    return {} if folder is None else {"restart": folder}


class LabelWorkChain(Steps, WorkChain):
    """Label one structure.

    The outputs have the same names whatever the engine. A failed attempt is repeated up to ``failure.attempts`` times;
    the level of theory never changes between attempts.
    """

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs, outputs and outline."""
        super().define(spec)
        spec.input("structure", valid_type=orm.StructureData, help="Structure to label (Å).")
        target_ports(spec)
        spec.input("failure", valid_type=orm.Dict, help="Failure policy: attempts, timeout (s).")
        settings_port(spec, "labelling")
        spec.input("restart", valid_type=orm.RemoteData, required=False, help="Folder of the label to start from.")
        spec.input("executor", valid_type=orm.Dict, help="Where each step runs: local or job.")
        spec.outline(cls.look_up, while_(cls.needs_attempt)(cls.attempt, cls.read), cls.result)
        spec.output("label", valid_type=FramesData, help="One frame: energy (eV), forces (eV/Å), stress (eV/Å³).")
        spec.output("label_info", valid_type=orm.Dict, help="Convergence, engine, version, wall time (s).")
        spec.exit_code(
            430, "ERROR_LABEL_FAILED", message="no label after {attempts} attempts; the last said: {message}"
        )
        spec.exit_code(431, "ERROR_NOT_PREPARED", message="the target's process cannot be prepared: {message}")

    def look_up(self) -> None:
        """Take the label of an equal structure at the same level of theory, if one was ever computed."""
        self.ctx.attempts = 0
        self.ctx.known = None
        if self.inputs.labelling.get_dict()["reuse"]:
            known = find_label(self.inputs.structure, self.inputs.target.level.get_dict())
            self.ctx.known = known.uuid if known is not None else None

    def needs_attempt(self) -> bool:
        """Return whether another attempt is due, after a look at the last one."""
        if self.ctx.known is not None:
            return False
        node = self.ctx.get("calculation")
        if node is None:
            return True
        if node.is_finished_ok:
            return False
        # With AiiDA's caching the next attempt would be a copy of this one, which has the same inputs.
        node.base.caching.is_valid_cache = False
        self.report(f"attempt {self.ctx.attempts} failed: {failed(node)}")
        # Bad input and a missing package fail the same way every time.
        hopeless = node.exit_status in (210, 310)
        return not hopeless and self.ctx.attempts < self.inputs.failure.get_dict()["attempts"]

    def attempt(self) -> ToContext | ExitCode | None:
        """Run the engine."""
        label = f"attempt_{self.ctx.attempts}"
        self.ctx.attempts += 1
        target = get_target(self.inputs.target.level.get_dict()["engine"])
        if isinstance(target, ProcessTarget):
            previous = [self._children(f"attempt_{number}")[0] for number in range(self.ctx.attempts - 1)]
            try:
                builder = target.builder(self.inputs, previous)
            except ValueError as error:
                return self.exit_codes.ERROR_NOT_PREPARED.format(message=str(error))
            return ToContext(process=self.submit_once(label, builder))
        inputs = {"structure": self.inputs.structure, "level": self.inputs.target.level}
        # A link costs: without a limit the engine needs not know the policy.
        if self.inputs.failure.get_dict().get("timeout") is not None:
            inputs["failure"] = self.inputs.failure
        return dispatch(
            self, "calculation", label, "label", LabelCalculation, label_local, inputs,
            code=self.inputs.target.get("code"), options=self.inputs.target.get("options"),
        )  # fmt: skip

    def read(self) -> None:
        """Turn what a process of another plugin left into a label; a worker's task leaves one already."""
        process = self.ctx.get("process")
        if process is None:
            return
        target = get_target(self.inputs.target.level.get_dict()["engine"])
        assert isinstance(target, ProcessTarget)
        reader, nodes = target.reading(process)
        self.ctx.calculation = process
        if nodes is not None:
            self.ctx.calculation = self.call_once_node(
                f"read_{self.ctx.attempts - 1}", reader, structure=self.inputs.structure,
                level=self.inputs.target.level, **nodes,
            )  # fmt: skip

    def result(self) -> ExitCode | None:
        """Attach the label, or say why there is none."""
        if self.ctx.known is not None:
            label = orm.load_node(self.ctx.known)
            self.out("label", label)
            self.out("label_info", label.creator.outputs.label_info)
            return None
        problem = failed(self.ctx.calculation)
        if problem:
            return self.exit_codes.ERROR_LABEL_FAILED.format(attempts=self.ctx.attempts, message=problem)
        self.out("label", self.ctx.calculation.outputs.label)
        self.out("label_info", self.ctx.calculation.outputs.label_info)
        return None
