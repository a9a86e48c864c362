"""Rounds of molecular dynamics on the current model, labels of chosen frames, fine-tuning: naive, periodic, relabel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida import orm
from aiida.engine import ToContext, WorkChain, if_, while_

from aiida_slhmc.calculations.dynamics import DynamicsCalculation, dynamics_local
from aiida_slhmc.calculations.rounds import (
    PIECE,
    STREAM,
    choose_frames,
    last_frame,
    open_round,
    record_round,
    sampling_ensemble,
    trajectory_name,
)
from aiida_slhmc.data import MaceModelData

from .chain import merge_all
from .label_frames import LabelFramesWorkChain
from .learning import Learning
from .protocol import ProtocolMixin
from .steps import dispatch, failed, settings_port, start_ports, target_ports, worker_ports
from .validate import validate_rounds


class RoundsWorkChain(Learning, ProtocolMixin, WorkChain):
    """Fine-tune a model on frames of its own dynamics, labelled by the target.

    What the protocols of this kind share: the target labels what the model chose to visit; it has no say in where the
    trajectories go. Inputs and outputs are those of self-learning, less what belongs to chains.
    """

    #: Settings of ``rounds`` that make the protocol what it is.
    FIXED: ClassVar[dict[str, Any]] = {}

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs, outputs and outline."""
        super().define(spec)
        start_ports(spec, "trajectory", "trajectory_000")
        spec.input("model", valid_type=MaceModelData, help="Foundation model.")
        target_ports(spec)
        worker_ports(spec)
        for group in ("ensemble", "rounds", "dynamics", "failure", "labelling", "executor"):
            settings_port(spec, group)
        cls.define_learning(spec)
        cls.define_judging(spec)
        spec.inputs.validator = cls.validate
        spec.outline(
            cls.start,
            if_(cls.needs_atoms)(cls.label_atoms, cls.inspect_atoms),
            while_(cls.has_rounds)(
                cls.open,
                cls.sample,
                cls.label,
                cls.inspect_labels,
                cls.predict,
                cls.predict_foundation,
                cls.judge,
                cls.extend,
                cls.finetune,
                cls.inspect_training,
                cls.close_round,
            ),
            cls.result,
        )
        spec.output("history", valid_type=orm.Dict, help="One row a round.")
        spec.exit_code(461, "ERROR_DYNAMICS_FAILED", message="{trajectory} of round {block} failed: {message}")
        spec.exit_code(462, "ERROR_SELECTION_FAILED", message="no frames can be chosen in round {block}: {message}")
        spec.exit_code(463, "ERROR_NO_LABELS", message="no frame of round {block} has a label: {message}")

    @classmethod
    def validate(cls, value: Mapping[str, Any], port: Any) -> str | None:
        """Validate the inputs as a whole.

        :param value: inputs.
        :param port: unused; AiiDA asks for it.
        """
        return validate_rounds(value, cls.__name__, cls.FIXED)

    @property
    def trajectories(self: Any) -> range:
        """Return the numbers of a round's trajectories."""
        return range(self.inputs.rounds.get_dict()["trajectories"])

    # Start ------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Set the counters."""
        self.ctx.block = 0
        self.ctx.model = self.inputs.model
        for name in ("dataset", "history", "training", "stream"):
            self.ctx[name] = None
        node = self.call_once_node(
            "sampling_ensemble", sampling_ensemble, ensemble=self.inputs.ensemble, rounds=self.inputs.rounds
        )
        self.ctx.ensemble = node.outputs.result
        for index in self.trajectories:
            name = trajectory_name(index)
            self.ctx[f"start_{name}"] = self.inputs.get("structures", {}).get(name, self.inputs.structure)

    def has_rounds(self) -> bool:
        """Return whether rounds remain."""
        return bool(self.ctx.block < self.inputs.rounds.get_dict()["rounds"])

    def open(self) -> None:
        """Open the random numbers of the round."""
        inputs = {"seed": self.inputs.seed, "rounds": self.inputs.rounds}
        if self.ctx.stream is not None:
            inputs["previous"] = self.ctx.stream
        node = self.call_once_node(self._label("open"), open_round, **inputs)
        self.ctx.opened = node.uuid
        self.ctx.stream = node.outputs[f"{STREAM}000"]

    # Sampling ---------------------------------------------------------------------------------------------------------

    def sample(self) -> ToContext | None:
        """Run the trajectories on the current model."""
        worker = self.inputs.get("worker", {})
        awaited: dict[str, Any] = {}
        opened = orm.load_node(self.ctx.opened).outputs
        for index in self.trajectories:
            name = trajectory_name(index)
            inputs = {
                "model": self.ctx.model,
                "structure": self.ctx[f"start_{name}"],
                "ensemble": self.ctx.ensemble,
                "settings": self.inputs.dynamics,
                "seed": self.inputs.seed,
                "stream": opened[f"{STREAM}{index:03d}"],
            }
            waiting = dispatch(
                self, name, self._label(name), "dynamics", DynamicsCalculation, dynamics_local, inputs,
                code=worker.get("code"), options=worker.get("options"),
            )  # fmt: skip
            awaited |= waiting or {}
        return ToContext(**awaited) if awaited else None

    def label(self) -> Any:
        """Choose frames of each trajectory and ask the target for their labels."""
        opened = orm.load_node(self.ctx.opened).outputs
        children = {}
        for index in self.trajectories:
            name = trajectory_name(index)
            problem = failed(self.ctx[name])
            if problem:
                return self.exit_codes.ERROR_DYNAMICS_FAILED.format(
                    trajectory=name, block=self.ctx.block, message=problem
                )
            trajectory = self.ctx[name].outputs.trajectory
            choice = self.call_once_node(
                self._label(f"choose_{name}"), choose_frames,
                trajectory=trajectory, rounds=self.inputs.rounds, stream=opened[f"{STREAM}{index:03d}"],
            )  # fmt: skip
            problem = failed(choice)
            if problem:
                return self.exit_codes.ERROR_SELECTION_FAILED.format(block=self.ctx.block, message=problem)
            for piece in sorted(key for key in choice.outputs if key.startswith(PIECE)):
                children[f"labels_{name}_{piece}"] = self.submit_once(
                    self._label(f"{name}_{piece}"),
                    LabelFramesWorkChain,
                    trajectory=trajectory,
                    structure=self.ctx[f"start_{name}"],
                    piece=choice.outputs[piece],
                    ensemble=self.ctx.ensemble,
                    target=self.inputs.target,
                    failure=self.inputs.failure,
                    labelling=self.inputs.labelling,
                    executor=self.inputs.executor,
                )
        self.ctx.labelled = sorted(children)
        return ToContext(**children)

    def inspect_labels(self) -> Any:
        """Take the labelled frames of all trajectories."""
        nodes = {name: self.ctx[name] for name in self.ctx.labelled}
        chunks = {name: node.outputs.chunk for name, node in nodes.items() if "chunk" in node.outputs}
        if not chunks:
            problem = next((failed(node) for node in nodes.values() if failed(node)), "every label failed")
            return self.exit_codes.ERROR_NO_LABELS.format(block=self.ctx.block, message=problem)
        self.ctx.chunk = merge_all(self, chunks, self._label("merge"))
        return None

    # Closing ----------------------------------------------------------------------------------------------------------

    def close_round(self) -> None:
        """Write the round into the history, and say where the next one starts."""
        inputs = {"chunk": self.ctx.chunk, "ensemble": self.ctx.ensemble, "rounds": self.inputs.rounds}
        inputs |= self.ctx.errors
        if self.ctx.history is not None:
            inputs["previous"] = self.ctx.history
        if self.ctx.training is not None:
            inputs["training"] = self.ctx.training.outputs.training
            self.out(f"models.block_{self.ctx.block:03d}", self.ctx.model)
        self.ctx.history = self.call_once_node(self._label("record"), record_round, **inputs).outputs.result
        if self.inputs.rounds.get_dict()["go_on"]:
            for index in self.trajectories:
                name = trajectory_name(index)
                node = self.call_once_node(
                    self._label(f"end_{name}"), last_frame,
                    trajectory=self.ctx[name].outputs.trajectory, structure=self.ctx[f"start_{name}"],
                )  # fmt: skip
                self.ctx[f"start_{name}"] = node.outputs.result
        self.ctx.block += 1

    def result(self) -> None:
        """Attach the outputs."""
        self.hand_on_learning()
        self.out("history", self.ctx.history)


class NaiveWorkChain(RoundsWorkChain):
    """Label frames of independent trajectories of the foundation model, and fine-tune once.

    S. Wong and B. Yang, arXiv 2603.10159 (2026).
    """

    TABLE = "naive"
    FIXED: ClassVar[dict[str, Any]] = {"rounds": 1, "go_on": False}


class PeriodicWorkChain(RoundsWorkChain):
    """Alternate between dynamics with the current model and fine-tuning on all labels so far.

    Each round goes on where the last one ended. S. Wong and B. Yang, arXiv 2603.10159 (2026).
    """

    TABLE = "periodic"
    FIXED: ClassVar[dict[str, Any]] = {"go_on": True}


class RelabelWorkChain(RoundsWorkChain):
    """Label frames drawn from one long trajectory of the foundation model, and fine-tune once.

    The control of arXiv 2605.25032: right labels, wrong distribution.
    """

    TABLE = "relabel"
    FIXED: ClassVar[dict[str, Any]] = {"rounds": 1, "trajectories": 1, "go_on": False}
