"""On-the-fly learning: dynamics on a Bayesian ensemble that asks for labels where it may be wrong."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ToContext, WorkChain, if_, while_

from aiida_slhmc.calculations.explore import ExploreCalculation, explore_local, steps_in_all
from aiida_slhmc.calculations.interventions import (
    foresee,
    go_without,
    open_exploration,
    record_interventions,
    take_up,
)
from aiida_slhmc.calculations.posterior import PosteriorCalculation, posterior_local
from aiida_slhmc.calculations.prequential import prequential
from aiida_slhmc.calculations.rounds import trajectory_name
from aiida_slhmc.data import MaceModelData

from .learning import Learning
from .protocol import ProtocolMixin
from .steps import dispatch, failed, settings_port, start_ports, target_ports, worker_ports
from .validate import validate_on_the_fly


class OnTheFlyWorkChain(Learning, ProtocolMixin, WorkChain):
    """Label where a Bayesian ensemble, whose mean drives the dynamics, doubts its energy; fine-tune on all labels.

    Rensmeyer, Kramer and Niggemann (2025). After each label the posterior of the weights is sampled anew and the
    calibration of its uncertainty counts the label's error; the label's own forces act in the step that asked for it.
    At the end one ordinary fine-tuning on all labels gives ``model``, so that the protocols differ in their data alone.
    """

    TABLE = "on-the-fly"

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs, outputs and outline."""
        super().define(spec)
        start_ports(spec, "trajectory", "trajectory_000")
        spec.input("model", valid_type=MaceModelData, help="Foundation model: the centre of the prior.")
        target_ports(spec)
        worker_ports(spec)
        for group in ("ensemble", "on_the_fly", "posterior", "dynamics", "failure", "labelling", "executor"):
            settings_port(spec, group)
        cls.define_learning(spec)
        cls.define_judging(spec)
        spec.inputs.validator = validate_on_the_fly
        spec.outline(
            cls.start,
            if_(cls.needs_atoms)(cls.label_atoms, cls.inspect_atoms),
            while_(cls.asks)(
                cls.label,
                while_(cls.lacks_label)(cls.wait_for_user, cls.label),
                if_(cls.needs_block)(cls.predict_foundation, cls.judge, cls.extend, cls.close_block),
                cls.take_up,
                if_(cls.has_label)(cls.update, cls.inspect_update),
                while_(cls.explores)(cls.explore, cls.inspect_exploration),
            ),
            cls.predict_foundation,
            cls.judge,
            cls.extend,
            cls.finetune,
            cls.inspect_training,
            cls.close_block,
            cls.result,
        )
        spec.output("history", valid_type=orm.Dict, help="One row a group of labels.")
        spec.output("calibration", valid_type=orm.Dict, help="Calibration of energy and forces after the last label.")
        spec.output("heads", valid_type=orm.SinglefileData, help="Heads of the members: their own doubt.")
        spec.output_namespace("members", dynamic=True, valid_type=MaceModelData, help="The Bayesian ensemble.")
        spec.exit_code(450, "ERROR_START_NOT_LABELLED", message="the starting structure has no label: {message}")
        spec.exit_code(464, "ERROR_POSTERIOR_FAILED", message="the posterior after label {label} failed: {message}")
        spec.exit_code(465, "ERROR_EXPLORATION_FAILED", message="the dynamics after label {label} failed: {message}")

    # Start ------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the random numbers and the calibration, and set the counters."""
        node = self.call_once_node(
            "open_exploration", open_exploration, seed=self.inputs.seed, gate=self.inputs.on_the_fly
        )
        self.ctx.stream, self.ctx.calibration = node.outputs.stream, node.outputs.calibration
        self.ctx.model = self.inputs.model
        self.ctx.structure = self.inputs.get("structures", {}).get(trajectory_name(0), self.inputs.structure)
        for name in ("block", "asked", "step", "segment", "attempt"):
            self.ctx[name] = 0
        self.ctx.foreseen = {}
        for name in (
            "dataset", "history", "training", "chunk", "state", "prediction", "exploration", "posterior",
        ):  # fmt: skip
            self.ctx[name] = None

    @property
    def foundation(self) -> orm.Data:
        """Return the model before any fine-tuning."""
        return self.inputs.model

    def _step(self, step: str) -> str:
        return f"label_{self.ctx.asked:04d}_{step}"

    # Labels -----------------------------------------------------------------------------------------------------------

    def asks(self) -> bool:
        """Return whether a structure waits for its label, and the budget has one left."""
        return self.ctx.structure is not None and self.ctx.asked < self.inputs.on_the_fly.get_dict()["labels"]

    def label(self) -> ToContext:
        """Ask the target for the label."""
        again = f"_again_{self.ctx.attempt}" if self.ctx.attempt else ""
        return ToContext(labelling=self._submit_label(self._step(f"target{again}"), self.ctx.structure))

    def lacks_label(self) -> bool:
        """Return whether the label failed, and the policy is to stop for the user."""
        return self.inputs.failure.get_dict()["policy"] == "stop" and failed(self.ctx.labelling) is not None

    def wait_for_user(self) -> None:
        """Pause: when the run is played again, the label is tried again."""
        self.ctx.attempt += 1
        message = f"label {self.ctx.asked}: {failed(self.ctx.labelling)}. Mend the cause and resume: it is tried again."
        self.report(message)
        self.pause(message)

    def take_up(self) -> Any:
        """Count the label's error and let its forces act; or, where it failed, go on without it."""
        problem = failed(self.ctx.labelling)
        inputs: dict[str, Any] = {"calibration": self.ctx.calibration}
        if problem and self.ctx.state is None:
            return self.exit_codes.ERROR_START_NOT_LABELLED.format(message=problem)
        if problem:
            inputs |= {"state": self.ctx.state, "prediction": self.ctx.prediction}
            node = self.call_once_node(self._step("go_without"), go_without, **inputs)
        else:
            inputs |= {
                "label": self.ctx.labelling.outputs.label,
                "stream": self.ctx.stream,
                "ensemble": self.inputs.ensemble,
            }
            known = ("state", "prediction", "exploration", "chunk")
            inputs |= {name: self.ctx[name] for name in known if self.ctx[name] is not None}
            node = self.call_once_node(self._step("take_up"), take_up, **inputs)
        for name in node.outputs:
            self.ctx[name] = node.outputs[name]
        if problem is None and self.ctx.prediction is not None:
            self.ctx.foreseen = {**self.ctx.foreseen, f"prediction_{self.ctx.asked:04d}": self.ctx.prediction.uuid}
        self.ctx.structure = self.ctx.prediction = self.ctx.exploration = None
        self.ctx.asked += 1
        self.ctx.segment = self.ctx.attempt = 0
        self.ctx.learns = problem is None
        return None

    # Posterior --------------------------------------------------------------------------------------------------------

    def has_label(self) -> bool:
        """Return whether there is a new label to learn from."""
        return bool(self.ctx.learns)

    def _worker(self) -> dict[str, Any]:
        worker = self.inputs.get("worker", {})
        return {"code": worker.get("code"), "options": worker.get("options")}

    def _ensemble(self) -> dict[str, Any]:
        outputs = self.ctx.posterior.outputs
        return {"members": {name: outputs.members[name] for name in outputs.members}, "heads": outputs.heads}

    def update(self) -> ToContext | None:
        """Sample the posterior given all labels so far, from where its chains stand."""
        inputs = {
            "model": self.inputs.model,
            "hyperparameters": self.inputs.posterior,
            "stream": self.ctx.stream,
            "chunk": self.ctx.chunk,
        }
        if self.ctx.dataset is not None:
            inputs["dataset"] = self.ctx.dataset
        if self.ctx.posterior is not None:
            inputs |= {**self._ensemble(), "posterior": self.ctx.posterior.outputs.posterior}
        return dispatch(
            self, "posterior", self._step("posterior"), "posterior", PosteriorCalculation, posterior_local, inputs,
            **self._worker(),
        )  # fmt: skip

    def inspect_update(self) -> Any:
        """Take the new members."""
        problem = failed(self.ctx.posterior)
        if problem:
            return self.exit_codes.ERROR_POSTERIOR_FAILED.format(label=self.ctx.asked, message=problem)
        return None

    # Dynamics ---------------------------------------------------------------------------------------------------------

    def explores(self) -> bool:
        """Return whether the dynamics goes on: no label is asked for, and neither labels nor steps are spent."""
        if self.ctx.structure is not None or self.ctx.asked >= self.inputs.on_the_fly.get_dict()["labels"]:
            return False
        return bool(self.ctx.step < steps_in_all(self.inputs.dynamics.get_dict()))

    def explore(self) -> ToContext | None:
        """Run the dynamics on the ensemble's mean until it asks for a label, or a segment is over."""
        inputs = {
            "structure": self.inputs.structure,
            "state": self.ctx.state,
            "calibration": self.ctx.calibration,
            "stream": self.ctx.stream,
            "ensemble": self.inputs.ensemble,
            "dynamics": self.inputs.dynamics,
            "gate": self.inputs.on_the_fly,
            **self._ensemble(),
        }
        return dispatch(
            self, "explored", self._step(f"explore_{self.ctx.segment:03d}"), "explore", ExploreCalculation,
            explore_local, inputs, **self._worker(),
        )  # fmt: skip

    def inspect_exploration(self) -> Any:
        """Take where the dynamics stands, and the structure that it asks about."""
        problem = failed(self.ctx.explored)
        if problem:
            return self.exit_codes.ERROR_EXPLORATION_FAILED.format(label=self.ctx.asked, message=problem)
        outputs = self.ctx.explored.outputs
        self.ctx.state = outputs.state
        self.ctx.step = outputs.exploration["step"]
        self.ctx.segment += 1
        if "structure" in outputs:
            for name in ("structure", "prediction", "exploration"):
                self.ctx[name] = outputs[name]
        return None

    # Blocks -----------------------------------------------------------------------------------------------------------

    def needs_block(self) -> bool:
        """Return whether there is a label that the present row of the history has no place for."""
        chunk = self.ctx.chunk
        full = chunk is not None and chunk.n_frames >= self.inputs.on_the_fly.get_dict()["block"]
        return full and failed(self.ctx.labelling) is None

    def can_judge(self) -> bool:
        """Return whether there is a label that was foreseen."""
        return bool((self.ctx.chunk.get_array("length") > 0).any())

    def predict_foundation(self) -> ToContext | None:
        """Let the foundation model predict the labels, to compare; the ensemble's predictions are there already."""
        self.ctx.predict = self.ctx.predict_foundation = None
        return self._predict("predict_foundation", self.foundation) if self.can_judge() else None

    def judge(self) -> Any:
        """Turn predictions into prequential errors."""
        problem = super().judge()
        if problem is None and self.can_judge():
            singles = {name: orm.load_node(uuid) for name, uuid in self.ctx.foreseen.items()}
            foreseen = self.call_once_node(self._label("foresee"), foresee, chunk=self.ctx.chunk, **singles)
            node = self.call_once_node(
                self._label("errors"), prequential, frames=self.ctx.chunk, predictions=foreseen.outputs.result
            )
            self.ctx.errors["errors"] = node.outputs.result
        return problem

    def close_block(self) -> None:
        """Write the labels into the history."""
        inputs = {"chunk": self.ctx.chunk, "calibration": self.ctx.calibration, **self.ctx.errors}
        if self.ctx.history is not None:
            inputs["previous"] = self.ctx.history
        if self.ctx.training is not None:
            inputs["training"] = self.ctx.training.outputs.training
            self.out(f"models.block_{self.ctx.block:03d}", self.ctx.model)
        self.ctx.history = self.call_once_node(self._label("record"), record_interventions, **inputs).outputs.result
        self.ctx.chunk, self.ctx.foreseen = None, {}
        self.ctx.block += 1

    def result(self) -> None:
        """Attach the outputs."""
        self.hand_on_learning()
        for name, nodes in self._ensemble().items():
            self.out(name, nodes)
        self.out("history", self.ctx.history)
        self.out("calibration", self.ctx.calibration)
