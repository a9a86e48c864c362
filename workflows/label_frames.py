"""Label chosen frames of a trajectory, side by side."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ToContext, WorkChain, while_

from aiida_slhmc.calculations.rounds import FRAME, cut_frames, gather
from aiida_slhmc.data import FramesData

from .label import LabelWorkChain
from .steps import Steps, failed, settings_port, target_ports


class LabelFramesWorkChain(Steps, WorkChain):
    """Label frames of a trajectory, as many as one process takes links.

    One bad label never costs the others: with the policy ``stop`` all are tried before the chain pauses, and only those
    that failed are tried again; with ``reject`` they are left out.
    """

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs, outputs and outline."""
        super().define(spec)
        spec.input("trajectory", valid_type=orm.ArrayData, help="Positions and cells of its frames (Å).")
        spec.input("structure", valid_type=orm.StructureData, help="Where the trajectory started (Å).")
        spec.input("piece", valid_type=orm.Dict, help="indices: which frames.")
        target_ports(spec)
        for group in ("ensemble", "failure", "labelling", "executor"):
            settings_port(spec, group)
        spec.outline(
            cls.cut,
            cls.label,
            while_(cls.lacks_labels)(cls.wait_for_user, cls.label_again),
            cls.gather,
        )
        spec.output("chunk", valid_type=FramesData, required=False, help="The labelled frames; none if all failed.")

    def cut(self) -> None:
        """Turn the frames into structures."""
        inputs = {name: self.inputs[name] for name in ("trajectory", "structure", "piece")}
        frames = self.call_once_node("cut", cut_frames, **inputs)
        self.ctx.frames = {f"{FRAME}{index:06d}": None for index in self.inputs.piece.get_dict()["indices"]}
        self.ctx.cut = frames.uuid
        self.ctx.attempt = 0

    def _submit(self, name: str, step: str) -> orm.ProcessNode:
        return self.submit_once(
            f"{step}_{name}",
            LabelWorkChain,
            structure=orm.load_node(self.ctx.cut).outputs[name],
            target=self.inputs.target,
            failure=self.inputs.failure,
            labelling=self.inputs.labelling,
            executor=self.inputs.executor,
        )

    def label(self) -> ToContext:
        """Label all frames."""
        return ToContext(**{name: self._submit(name, "label") for name in self.ctx.frames})

    def _lacking(self) -> list[str]:
        return [name for name in self.ctx.frames if failed(self.ctx[name])]

    def lacks_labels(self) -> bool:
        """Return whether a label failed, and the policy is to stop for the user."""
        return self.inputs.failure.get_dict()["policy"] == "stop" and bool(self._lacking())

    def wait_for_user(self) -> None:
        """Pause: when the chain is played again, the labels are tried again."""
        self.ctx.attempt += 1
        lacking = self._lacking()
        message = (
            f"{len(lacking)} of {len(self.ctx.frames)} labels failed, first {lacking[0]}:"
            f" {failed(self.ctx[lacking[0]])}. Mend the cause and resume: they are tried again."
        )
        self.report(message)
        self.pause(message)

    def label_again(self) -> ToContext:
        """Ask again for the labels that failed."""
        return ToContext(**{name: self._submit(name, f"label_again_{self.ctx.attempt}") for name in self._lacking()})

    def gather(self) -> None:
        """Gather the labelled frames."""
        lacking = set(self._lacking())
        labels = {name: self.ctx[name].outputs.label for name in self.ctx.frames if name not in lacking}
        if not labels:
            return
        node = self.call_once_node("gather", gather, piece=self.inputs.piece, ensemble=self.inputs.ensemble, **labels)
        self.out("chunk", node.outputs.result)
