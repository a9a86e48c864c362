"""Estimates of uncertainty on trial: train on the first labels of a run, judge on those that came after them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.engine import ToContext, WorkChain

from aiida_slhmc.calculations.coverage import CoverageCalculation, coverage_local
from aiida_slhmc.calculations.finetune import FinetuneCalculation, committee_of, finetune_local
from aiida_slhmc.calculations.posterior import MEMBERS, PosteriorCalculation, member_name, posterior_local
from aiida_slhmc.calculations.predict import PredictCalculation, predict_local
from aiida_slhmc.calculations.predict_ensemble import PredictEnsembleCalculation, predict_ensemble_local
from aiida_slhmc.calculations.uncertainty import forward, hold_back, score_uncertainty, soap_settings, trained_chunks
from aiida_slhmc.data import DatasetData, FramesData, MaceModelData
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.hyperparameters import Hyperparameters

from .protocol import uncertainty_inputs
from .steps import Steps, dispatch, failed, settings_port, worker_ports
from .validate import validate_codes, validate_trust


def validate_uncertainty(value: Mapping[str, Any], _: Any) -> str | None:
    """Validate the inputs as a whole.

    :param value: inputs.
    """
    needed = ("dataset", "model", "finetune", "uncertainty", "executor")
    if any(name not in value for name in needed):
        # The ports themselves say what is missing.
        return None
    try:
        size = Hyperparameters.from_dict(value["finetune"].get_dict()).committee
    except TaskError as error:
        return f"finetune: {error}"
    if size < 2:
        return f"finetune.committee is {size}: a committee has two members or more."
    dataset, chunks = value["dataset"], value["uncertainty"].get_dict()["chunks"]
    if chunks is not None and chunks > len(dataset.chunks):
        return f"uncertainty.chunks is {chunks}, but the dataset has {len(dataset.chunks)}: train on fewer."
    count = trained_chunks(dataset, chunks)
    if sum(node.n_frames for node in forward(dataset, count, value.get("production"))) < 4:
        return (
            f"the dataset leaves fewer than 4 labels after its first {count} of {len(dataset.chunks)} chunks: train on "
            "fewer (uncertainty.chunks), or take a run with more blocks, or with a production phase."
        )
    return validate_trust(value) or validate_codes(value)


class UncertaintyWorkChain(Steps, WorkChain):
    """Put a committee, a sampled posterior and the distance from the training set on trial, on labels already paid for.

    All are trained on the first labels of a finished run and judged on those that came after them. No label is asked
    for.
    """

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs, outputs and outline."""
        super().define(spec)
        spec.input("dataset", valid_type=DatasetData, help="Of a finished run.")
        spec.input("production", valid_type=FramesData, required=False, help="Labels of the run's frozen phase.")
        spec.input("model", valid_type=MaceModelData, help="Foundation model that all training starts from.")
        spec.input(
            "replay",
            valid_type=(DatasetData, FramesData),
            required=False,
            help="Replay set, where the training takes one.",
        )
        spec.input("finetune", valid_type=orm.Dict, help="Hyperparameters, with a committee of two or more.")
        spec.input("seed", valid_type=orm.Int, help="Root seed.")
        worker_ports(spec)
        for group in ("uncertainty", "posterior", "executor"):
            settings_port(spec, group)
        spec.inputs.validator = validate_uncertainty
        spec.outline(
            cls.start,
            cls.train_committee,
            cls.sample_posterior,
            cls.inspect_training,
            cls.ask_committee,
            cls.ask_posterior,
            cls.ask_single,
            cls.measure,
            cls.inspect_answers,
            cls.judge,
        )
        spec.output("scores", valid_type=orm.Dict, help="What each estimator is worth.")
        spec.output("frames", valid_type=FramesData, help="The labels that were held back, in their order.")
        spec.output_namespace("answers", dynamic=True, valid_type=orm.ArrayData, help="What each estimator said.")
        spec.output_namespace(
            "trained", dynamic=True, valid_type=orm.Dict, help="Reports of the fine-tuning and of the sampler."
        )
        spec.exit_code(480, "ERROR_TRAINING_FAILED", message="{what} failed: {message}")
        spec.exit_code(481, "ERROR_ANSWER_FAILED", message="{what} failed: {message}")

    @classmethod
    def get_builder_from_run(
        cls, run: orm.WorkChainNode, *, protocol: str | None = None, overrides: Mapping[str, Any] | None = None
    ) -> Any:
        """Return a builder for the labels of a finished run.

        Reference energies of isolated atoms are replaced by estimated ones, since nothing is labelled.

        :param run: a finished run of any protocol with a dataset.
        :param protocol: name of a set of settings; None takes the default.
        :param overrides: of the groups ``uncertainty``, ``posterior`` and ``finetune``, and ``committee``, its size.
        :raises ValueError: if the run has no labels to train on, or for an unknown setting.
        """
        if not run.is_finished_ok:
            raise ValueError(f"run <{run.pk}> has not finished: its labels are not all there.")
        if "dataset" not in run.outputs or not isinstance(run.inputs.model, MaceModelData):
            raise ValueError(f"run <{run.pk}> ({run.process_label}) trained no model: there is nothing to try.")
        given = run.inputs.finetune.get_dict() if "finetune" in run.inputs else None
        if given is not None and given.get("e0") == "isolated":
            # No atom is labelled here.
            given["e0"] = "estimated"
        settings = uncertainty_inputs(given, protocol, overrides)
        builder: Any = cls.get_builder()
        builder.dataset = run.outputs.dataset
        builder.model = run.inputs.model
        builder.seed = run.inputs.seed
        # Nothing is labelled here, so that no code is needed for it.
        builder.executor = orm.Dict({**run.inputs.executor.get_dict(), "label": "local", "dynamics": "local"})
        if "replay" in run.inputs:
            builder.replay = run.inputs.replay
        if "production" in run.outputs:
            builder.production = run.outputs.production
        if "worker" in run.inputs and "code" in run.inputs.worker:
            builder.worker.code = run.inputs.worker.code
        for group, values in settings.items():
            builder[group] = orm.Dict(values)
        return builder

    def _run(self, key: str, task: str, job: Any, local: Any, inputs: dict[str, Any]) -> ToContext | None:
        worker = self.inputs.get("worker", {})
        return dispatch(
            self, key, key, task, job, local, inputs, code=worker.get("code"), options=worker.get("options")
        )  # fmt: skip

    # Training ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Hold labels back."""
        inputs = {name: self.inputs[name] for name in ("dataset", "seed", "production") if name in self.inputs}
        node = self.call_once_node("hold_back", hold_back, settings=self.inputs.uncertainty, **inputs)
        self.ctx.cut = node.uuid

    @property
    def cut(self) -> Any:
        """Return what the labels were cut into: ``first``, ``later``, ``stream``."""
        return orm.load_node(self.ctx.cut).outputs

    def train_committee(self) -> ToContext | None:
        """Fine-tune the committee."""
        inputs = {
            "model": self.inputs.model,
            "dataset": self.cut["first"],
            "hyperparameters": self.inputs.finetune,
            "seed": self.inputs.seed,
        }
        if "replay" in self.inputs:
            inputs["replay"] = self.inputs.replay
        return self._run("finetune", "finetune", FinetuneCalculation, finetune_local, inputs)

    def sample_posterior(self) -> ToContext | None:
        """Sample the posterior."""
        inputs = {
            "model": self.inputs.model,
            "dataset": self.cut["first"],
            "hyperparameters": self.inputs.posterior,
            "stream": self.cut["stream"],
        }
        return self._run("posterior", "posterior", PosteriorCalculation, posterior_local, inputs)

    def inspect_training(self) -> Any:
        """Look at what was trained."""
        for key, what, report in (
            ("finetune", "the fine-tuning of the committee", "training"),
            ("posterior", "the sampling of the posterior", "posterior"),
        ):
            problem = failed(self.ctx[key])
            if problem:
                return self.exit_codes.ERROR_TRAINING_FAILED.format(what=what, message=problem)
            self.out(f"trained.{key}", self.ctx[key].outputs[report])
        return None

    # Answers ----------------------------------------------------------------------------------------------------------

    def ask_committee(self) -> ToContext | None:
        """Let the committee predict the labels that were held back."""
        members = {member_name(index): model for index, model in enumerate(committee_of(self.ctx.finetune))}
        inputs = {MEMBERS: members, "frames": self.cut["later"]}
        return self._run("committee", "predict", PredictEnsembleCalculation, predict_ensemble_local, inputs)

    def ask_posterior(self) -> ToContext | None:
        """Let the sampled posterior predict them."""
        outputs = self.ctx.posterior.outputs
        inputs = {MEMBERS: dict(outputs[MEMBERS]), "heads": outputs["heads"], "frames": self.cut["later"]}
        return self._run("sampled", "predict", PredictEnsembleCalculation, predict_ensemble_local, inputs)

    def ask_single(self) -> ToContext | None:
        """Let the committee's first member predict them alone: the model whose error a distance should tell."""
        inputs = {"model": self.ctx.finetune.outputs.model, "frames": self.cut["later"]}
        return self._run("single", "predict", PredictCalculation, predict_local, inputs)

    def measure(self) -> ToContext | None:
        """Measure how far they are from what was trained on."""
        settings = self.call_once_node("soap_settings", soap_settings, settings=self.inputs.uncertainty)
        inputs = {"dataset": self.cut["first"], "frames": self.cut["later"], "settings": settings.outputs.result}
        return self._run("coverage", "predict", CoverageCalculation, coverage_local, inputs)

    def inspect_answers(self) -> Any:
        """Take the answers."""
        for key, name, what in (
            ("committee", "predictions", "the prediction of the committee"),
            ("sampled", "predictions", "the prediction of the posterior"),
            ("single", "predictions", "the prediction of the single model"),
            ("coverage", "coverage", "the comparison with the training set"),
        ):
            problem = failed(self.ctx[key])
            if problem:
                return self.exit_codes.ERROR_ANSWER_FAILED.format(what=what, message=problem)
            self.out(f"answers.{'posterior' if key == 'sampled' else key}", self.ctx[key].outputs[name])
        return None

    def judge(self) -> None:
        """Score all of them."""
        frames = self.cut["later"]
        node = self.call_once_node(
            "score", score_uncertainty,
            frames=frames,
            settings=self.inputs.uncertainty,
            committee=self.ctx.committee.outputs.predictions,
            posterior=self.ctx.sampled.outputs.predictions,
            single=self.ctx.single.outputs.predictions,
            coverage=self.ctx.coverage.outputs.coverage,
        )  # fmt: skip
        self.out("frames", frames)
        self.out("scores", node.outputs.result)
