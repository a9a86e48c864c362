"""Compare models: their ensembles with the target's own, their errors on common test sets."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ToContext, WorkChain

from aiida_slhmc.calculations.collect import MAX_LINKS
from aiida_slhmc.calculations.compare import (
    ROW,
    analyse_sample,
    candidate_row,
    conclude,
    frames_of,
    join_samples,
    merge_rows,
    plan_analysis,
)
from aiida_slhmc.calculations.rounds import open_round
from aiida_slhmc.data import DatasetData, FramesData, MaceModelData

from .candidate import CandidateWorkChain
from .steps import Steps, failed, settings_port, worker_ports
from .validate_compare import validate_compare

#: Call link labels of the children.
CANDIDATE = "candidate_"
#: Inputs that every candidate gets as they are.
SHARED = ("structure", "seed", "ensemble", "dynamics", "comparison", "executor")


class CompareWorkChain(Steps, WorkChain):
    """Give every model the same production dynamics, the same analyses and the same tests.

    The candidates run side by side; one that fails costs no other.
    """

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs, outputs and outline."""
        super().define(spec)
        spec.input_namespace(
            "candidates", dynamic=True, valid_type=(MaceModelData, orm.Dict, DatasetData),
            help="By name: model, details (protocol, seed, ...) and, where there are such, history and dataset.",
        )  # fmt: skip
        spec.input_namespace(
            "reference", dynamic=True, valid_type=orm.ArrayData,
            help="Independent samples of the target's own ensemble.",
        )  # fmt: skip
        spec.input_namespace(
            "tests", dynamic=True, required=False, valid_type=(FramesData, DatasetData),
            help="Labelled test sets, which no candidate was trained on.",
        )  # fmt: skip
        spec.input("structure", valid_type=orm.StructureData, help="Start of every trajectory (Å).")
        spec.input("seed", valid_type=orm.Int, help="Root seed.")
        worker_ports(spec)
        for group in ("ensemble", "dynamics", "comparison", "executor"):
            settings_port(spec, group)
        spec.inputs.validator = validate_compare
        spec.outline(cls.prepare, cls.run_candidates, cls.conclude)
        spec.output("comparison", valid_type=orm.Dict, help="Rows of all candidates and of all protocols.")
        spec.output("reference", valid_type=orm.ArrayData, help="The analysed reference.")
        spec.output("plan", valid_type=orm.Dict, help="How all samples were analysed.")
        spec.output_namespace("analyses", dynamic=True, valid_type=orm.ArrayData, help="By candidate: curves.")
        spec.exit_code(471, "ERROR_REFERENCE", message="the reference cannot be used: {message}")
        spec.exit_code(472, "ERROR_TEST_SET", message="the test set '{name}' cannot be used: {message}")
        spec.exit_code(473, "ERROR_NO_CANDIDATE", message="no candidate could be compared; the first: {message}")

    # Reference and tests ----------------------------------------------------------------------------------------------

    def prepare(self) -> Any:
        """Analyse the reference, join the test sets, open the random numbers."""
        problem = self._analyse_reference()
        if problem:
            return self.exit_codes.ERROR_REFERENCE.format(message=problem)
        for name, node in self.inputs.get("tests", {}).items():
            if isinstance(node, DatasetData):
                joined = self.call_once_node(f"frames_of_{name}", frames_of, dataset=node)
                problem = failed(joined)
                if problem:
                    return self.exit_codes.ERROR_TEST_SET.format(name=name, message=problem)
                self.ctx[f"tests_{name}"] = joined.outputs.result
            else:
                self.ctx[f"tests_{name}"] = node
        opened = self.call_once_node("open", open_round, seed=self.inputs.seed, rounds=self.inputs.comparison)
        self.ctx.opened = opened.uuid
        return None

    def _analyse_reference(self) -> str | None:
        """Analyse the reference, and return why it cannot be; else leave plan and analysis in the context."""
        inputs = self.inputs
        joined = self.call_once_node("join", join_samples, ensemble=inputs.ensemble, **dict(inputs.reference))
        if failed(joined):
            return failed(joined)
        sample = joined.outputs.result
        plan = self.call_once_node(
            "plan", plan_analysis, reference=sample, ensemble=inputs.ensemble, comparison=inputs.comparison
        )
        if failed(plan):
            return failed(plan)
        self.ctx.plan = plan.outputs.result
        analysis = self.call_once_node("analyse", analyse_sample, plan=self.ctx.plan, trajectory_000=sample)
        if failed(analysis):
            return failed(analysis)
        self.ctx.reference = analysis.outputs.result
        return None

    # Candidates -------------------------------------------------------------------------------------------------------

    def run_candidates(self) -> ToContext:
        """Run all candidates."""
        inputs = self.inputs
        shared = {name: inputs[name] for name in SHARED}
        if "worker" in inputs:
            shared["worker"] = inputs.worker
        tests = {name: self.ctx[f"tests_{name}"] for name in inputs.get("tests", {})}
        if tests:
            shared["tests"] = tests
        streams = orm.load_node(self.ctx.opened).outputs
        children = {
            f"{CANDIDATE}{name}": self.submit_once(
                f"{CANDIDATE}{name}",
                CandidateWorkChain,
                **dict(given),
                **shared,
                plan=self.ctx.plan,
                reference=self.ctx.reference,
                streams={label: streams[label] for label in streams},
            )
            for name, given in inputs.candidates.items()
        }
        return ToContext(**children)

    def conclude(self) -> Any:
        """Put the rows of all candidates into one table."""
        rows, problems = {}, []
        for name, given in self.inputs.candidates.items():
            node = self.ctx[f"{CANDIDATE}{name}"]
            if failed(node):
                problems.append(f"{name}: {failed(node)}")
            if "row" in node.outputs:
                rows[f"{ROW}{name}"] = node.outputs.row
            else:
                known = {key: given[key] for key in ("details", "history", "dataset") if key in given}
                rows[f"{ROW}{name}"] = self.call_once_node(f"{ROW}{name}", candidate_row, **known).outputs.result
            if "analysis" in node.outputs:
                self.out(f"analyses.{name}", node.outputs.analysis)
        concluded = self.call_once_node(
            "conclude", conclude, rows=self._merged(rows), reference=self.ctx.reference, plan=self.ctx.plan,
            ensemble=self.inputs.ensemble, comparison=self.inputs.comparison,
        )  # fmt: skip
        self.out("comparison", concluded.outputs.result)
        self.out("reference", self.ctx.reference)
        self.out("plan", self.ctx.plan)
        if len(problems) == len(rows):
            return self.exit_codes.ERROR_NO_CANDIDATE.format(message=problems[0])
        return None

    def _merged(self, rows: dict[str, orm.Dict]) -> orm.Dict:
        """Return one table of rows, merged by a tree of few links a node."""
        level = 0
        while True:
            names = sorted(rows)
            merged = {}
            for start in range(0, len(names), MAX_LINKS):
                some = {name: rows[name] for name in names[start : start + MAX_LINKS]}
                node = self.call_once_node(f"merge_{level}_{start:05d}", merge_rows, **some)
                merged[f"table_{start:05d}"] = node.outputs.result
            if len(merged) == 1:
                return next(iter(merged.values()))
            rows, level = merged, level + 1
