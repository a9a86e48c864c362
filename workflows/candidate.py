"""One candidate of a comparison: sample its ensemble, judge it on the test sets, put all into one row."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ToContext, WorkChain

from aiida_slhmc.calculations.compare import (
    CURVE,
    ERRORS,
    INFO,
    analyse_sample,
    candidate_row,
    compare_sample,
    merge_scores,
    score,
)
from aiida_slhmc.calculations.dynamics import DynamicsCalculation, dynamics_local
from aiida_slhmc.calculations.predict import PredictCalculation, predict_local
from aiida_slhmc.calculations.rounds import STREAM, trajectory_name
from aiida_slhmc.data import DatasetData, FramesData, MaceModelData

from .steps import Steps, dispatch, failed, settings_port, worker_ports


class CandidateWorkChain(Steps, WorkChain):
    """Sample the ensemble of a model, compare the sample with the reference, and score the model on test sets.

    What fails is missing in the row, which says so: a model that explodes has its errors all the same.
    """

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs, outputs and outline."""
        super().define(spec)
        spec.input("model", valid_type=(MaceModelData, orm.Dict), help="The model; or a level of theory.")
        spec.input("details", valid_type=orm.Dict, help="protocol, workflow, seed, run, labels, as far as known.")
        spec.input("history", valid_type=orm.Dict, required=False, help="History of the run that made the model.")
        spec.input("dataset", valid_type=DatasetData, required=False, help="What the model was trained on.")
        spec.input_namespace(
            "models", dynamic=True, required=False, valid_type=MaceModelData,
            help="block_<number>: the model after blocks of its history, for a curve of errors on the test sets.",
        )  # fmt: skip
        spec.input("structure", valid_type=orm.StructureData, help="Start of every trajectory (Å).")
        spec.input_namespace("streams", dynamic=True, valid_type=orm.Dict, help="stream_<trajectory>: random numbers.")
        spec.input("plan", valid_type=orm.Dict, help="How samples are analysed.")
        spec.input("reference", valid_type=orm.ArrayData, help="The analysed reference.")
        spec.input_namespace("tests", dynamic=True, valid_type=FramesData, required=False, help="Test sets.")
        spec.input("seed", valid_type=orm.Int, help="Root seed.")
        worker_ports(spec)
        for group in ("ensemble", "dynamics", "comparison", "executor"):
            settings_port(spec, group)
        spec.outline(cls.sample, cls.predict, cls.analyse, cls.score, cls.result)
        spec.output("row", valid_type=orm.Dict, help="All numbers, with errors.")
        spec.output("analysis", valid_type=orm.ArrayData, required=False, help="Distances, cell, distributions.")
        spec.output_namespace("trajectories", dynamic=True, valid_type=orm.ArrayData, help="The sample.")
        spec.exit_code(470, "ERROR_INCOMPLETE", message="the row lacks what could not be computed: {message}")

    def _dispatch(self, key: str, task: str, job: Any, local: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        worker = self.inputs.get("worker", {})
        waiting = dispatch(
            self, key, key, task, job, local, inputs, code=worker.get("code"), options=worker.get("options")
        )
        return dict(waiting or {})

    @property
    def trajectories(self) -> list[str]:
        """Return the names of the trajectories."""
        return [trajectory_name(index) for index in range(len(self.inputs.streams))]

    def sample(self) -> ToContext | None:
        """Run the trajectories."""
        self.ctx.problems = []
        awaited: dict[str, Any] = {}
        for index, name in enumerate(self.trajectories):
            inputs = {
                "model": self.inputs.model,
                "structure": self.inputs.structure,
                "ensemble": self.inputs.ensemble,
                "settings": self.inputs.dynamics,
                "seed": self.inputs.seed,
                "stream": self.inputs.streams[f"{STREAM}{index:03d}"],
            }
            awaited |= self._dispatch(name, "dynamics", DynamicsCalculation, dynamics_local, inputs)
        return ToContext(**awaited) if awaited else None

    def predict(self) -> ToContext | None:
        """Predict the test sets."""
        awaited: dict[str, Any] = {}
        for name, frames in self.inputs.get("tests", {}).items():
            for suffix, model in self._stages().items():
                inputs = {"model": model, "frames": frames}
                key = f"predict_{name}{suffix}"
                awaited |= self._dispatch(key, "predict", PredictCalculation, predict_local, inputs)
        return ToContext(**awaited) if awaited else None

    def _stages(self) -> dict[str, orm.Data]:
        """Return the model, and those of earlier blocks, by the ending of the labels of their steps."""
        earlier = {f"_{block}": model for block, model in sorted(self.inputs.get("models", {}).items())}
        return {"": self.inputs.model, **earlier}

    def _succeeded(self, key: str, what: str) -> Any:
        """Return a child that ended well; None, and its problem noted, if it did not."""
        node = self.ctx[key] if isinstance(key, str) else key
        problem = failed(node)
        if problem:
            self.ctx.problems.append(f"{what}: {problem}")
            self.report(f"{what} failed: {problem}")
            return None
        return node

    def analyse(self) -> None:
        """Analyse the sample and set it against the reference."""
        nodes = [self._succeeded(name, name) for name in self.trajectories]
        self.ctx.sampled = [name for name, node in zip(self.trajectories, nodes, strict=True) if node is not None]
        self.ctx.result = None
        if not self.ctx.sampled:
            return
        samples = {name: self.ctx[name].outputs.trajectory for name in self.ctx.sampled}
        for name, node in samples.items():
            self.out(f"trajectories.{name}", node)
        analysis = self.call_once_node("analyse", analyse_sample, plan=self.inputs.plan, **samples)
        if failed(analysis):
            self.ctx.problems.append(f"analysis: {failed(analysis)}")
            return
        self.out("analysis", analysis.outputs.result)
        compared = self.call_once_node(
            "compare", compare_sample,
            analysis=analysis.outputs.result, reference=self.inputs.reference, plan=self.inputs.plan,
            comparison=self.inputs.comparison, seed=self.inputs.seed,
        )  # fmt: skip
        if failed(compared):
            self.ctx.problems.append(f"comparison: {failed(compared)}")
            return
        self.ctx.result = compared.outputs.result

    def score(self) -> None:
        """Score the model on the test sets."""
        self.ctx.errors = {}
        for name, frames in self.inputs.get("tests", {}).items():
            scores = {}
            for suffix in self._stages():
                node = self._succeeded(f"predict_{name}{suffix}", f"prediction of '{name}'{suffix}")
                if node is None:
                    continue
                scored = self.call_once_node(
                    f"score_{name}{suffix}", score, frames=frames, predictions=node.outputs.predictions
                )
                if failed(scored):
                    self.ctx.problems.append(f"errors on '{name}'{suffix}: {failed(scored)}")
                elif suffix:
                    scores[suffix.removeprefix("_")] = scored.outputs.result
                else:
                    self.ctx.errors[f"{ERRORS}{name}"] = scored.outputs.result
            if scores:
                merged = self.call_once_node(f"curve_{name}", merge_scores, **scores)
                self.ctx.errors[f"{CURVE}{name}"] = merged.outputs.result

    def result(self) -> Any:
        """Put all into one row."""
        inputs = {name: self.inputs[name] for name in ("details", "history", "dataset") if name in self.inputs}
        if self.ctx.result is not None:
            inputs["result"] = self.ctx.result
        infos = {f"{INFO}{name}": self.ctx[name].outputs.dynamics_info for name in self.ctx.sampled}
        row = self.call_once_node("row", candidate_row, **inputs, **infos, **self.ctx.errors)
        self.out("row", row.outputs.result)
        if self.ctx.problems:
            return self.exit_codes.ERROR_INCOMPLETE.format(message="; ".join(self.ctx.problems))
        return None
