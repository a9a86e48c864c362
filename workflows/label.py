"""Label one structure with the target, whatever the engine, with retries."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ExitCode, WorkChain, while_

from aiida_slhmc.calculations.label import LabelCalculation, label_local
from aiida_slhmc.data import FramesData

from .steps import Steps, dispatch, target_ports


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
        spec.input("failure", valid_type=orm.Dict, help="Failure policy: attempts.")
        spec.input("executor", valid_type=orm.Dict, help="Where each step runs: local or job.")
        spec.outline(
            cls.start,
            while_(cls.needs_attempt)(cls.attempt, cls.inspect),
            cls.result,
        )
        spec.output("label", valid_type=FramesData, help="One frame: energy (eV), forces (eV/Å), stress (eV/Å³).")
        spec.output("label_info", valid_type=orm.Dict, help="Convergence, engine, version, wall time (s).")
        spec.exit_code(430, "ERROR_LABEL_FAILED", message="no label after {attempts} attempts; the last said: {message}")

    def start(self) -> None:
        """Count from zero."""
        self.ctx.attempts = 0
        self.ctx.done = False
        self.ctx.message = ""

    def needs_attempt(self) -> bool:
        """Return whether another attempt is due."""
        return not self.ctx.done and self.ctx.attempts < self.inputs.failure.get_dict()["attempts"]

    def attempt(self) -> Any:
        """Run the engine."""
        inputs = {"structure": self.inputs.structure, "level": self.inputs.target.level}
        return dispatch(
            self, "calculation", f"attempt_{self.ctx.attempts}", "label", LabelCalculation, label_local, inputs,
            code=self.inputs.target.get("code"), options=self.inputs.target.get("options"),
        )  # fmt: skip

    def inspect(self) -> None:
        """Look at the attempt."""
        node = self.ctx.calculation
        self.ctx.attempts += 1
        self.ctx.done = node.is_finished_ok
        if not node.is_finished_ok:
            self.ctx.message = node.exit_message or f"process {node.pk} ended as {node.process_state}"
            # Bad input and a missing package fail the same way every time.
            if node.exit_status in (210, 310):
                self.ctx.attempts = self.inputs.failure.get_dict()["attempts"]
            self.report(f"attempt {self.ctx.attempts} to label failed: {self.ctx.message}")

    def result(self) -> ExitCode | None:
        """Attach the label."""
        if not self.ctx.done:
            return self.exit_codes.ERROR_LABEL_FAILED.format(attempts=self.ctx.attempts, message=self.ctx.message)
        self.out("label", self.ctx.calculation.outputs.label)
        self.out("label_info", self.ctx.calculation.outputs.label_info)
        return None
