"""The reference of a comparison: the target's own ensemble, and test sets that no model was trained on."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ToContext, WorkChain, if_

from aiida_slhmc.calculations.dynamics import DynamicsCalculation, dynamics_local
from aiida_slhmc.calculations.reference import (
    ENSEMBLE,
    HELD_OUT,
    KEPT,
    RANDOM,
    choose_tests,
    random_structures,
    split_samples,
)
from aiida_slhmc.calculations.rounds import PIECE, STREAM, open_round, trajectory_name
from aiida_slhmc.data import FramesData

from .chain import merge_all
from .label_frames import LabelFramesWorkChain
from .steps import Steps, dispatch, failed, settings_port, target_ports
from .validate_compare import validate_reference


class ReferenceWorkChain(Steps, WorkChain):
    """Sample the target's own ensemble by dynamics on the target itself, and label two test sets.

    Several independent trajectories tell how well the ensemble is known. Where the target is too dear for that, states
    of a production phase of self-learning (``samples``) take their place: they are exact samples too. The end of every
    trajectory is held out: evenly spaced frames of it are one test set (``ensemble``), rattled and strained copies of
    the structure the other (``random``).
    """

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs, outputs and outline."""
        super().define(spec)
        spec.input(
            "structure", valid_type=orm.StructureData, help="Start of every trajectory, and what is rattled (Å)."
        )
        spec.input_namespace(
            "samples", dynamic=True, required=False, valid_type=orm.ArrayData,
            help="Samples of the target's ensemble that are known, in place of trajectories.",
        )  # fmt: skip
        spec.input("seed", valid_type=orm.Int, help="Root seed.")
        target_ports(spec)
        for group in ("ensemble", "dynamics", "reference", "failure", "labelling", "executor"):
            settings_port(spec, group)
        spec.inputs.validator = validate_reference
        spec.outline(
            if_(cls.samples_target)(cls.open, cls.sample, cls.inspect_samples),
            cls.split,
            cls.choose,
            cls.label,
            cls.result,
        )
        spec.output("reference", valid_type=orm.ArrayData, help="The sample of the target's ensemble.")
        spec.output_namespace("tests", dynamic=True, valid_type=FramesData, help="Test sets: ensemble, random.")
        spec.exit_code(461, "ERROR_DYNAMICS_FAILED", message="{trajectory} on the target failed: {message}")
        spec.exit_code(462, "ERROR_SELECTION_FAILED", message="the samples cannot be used: {message}")
        spec.exit_code(463, "ERROR_NO_LABELS", message="no frame of the test set '{name}' has a label")

    def samples_target(self) -> bool:
        """Return whether the target's ensemble is still to be sampled."""
        return bool(self.inputs.reference.get_dict()["trajectories"])

    @property
    def trajectories(self) -> list[str]:
        """Return the names of the trajectories."""
        return [trajectory_name(index) for index in range(self.inputs.reference.get_dict()["trajectories"])]

    def open(self) -> None:
        """Open the random numbers of the trajectories."""
        opened = self.call_once_node("open", open_round, seed=self.inputs.seed, rounds=self.inputs.reference)
        self.ctx.opened = opened.uuid

    def sample(self) -> ToContext | None:
        """Run the trajectories on the target."""
        target, streams = self.inputs.target, orm.load_node(self.ctx.opened).outputs
        awaited: dict[str, Any] = {}
        for index, name in enumerate(self.trajectories):
            inputs = {
                "model": target.level,
                "structure": self.inputs.structure,
                "ensemble": self.inputs.ensemble,
                "settings": self.inputs.dynamics,
                "seed": self.inputs.seed,
                "stream": streams[f"{STREAM}{index:03d}"],
            }
            waiting = dispatch(
                self, name, f"sample_{name}", "dynamics", DynamicsCalculation, dynamics_local, inputs,
                code=target.get("code"), options=target.get("options"),
            )  # fmt: skip
            awaited |= waiting or {}
        return ToContext(**awaited) if awaited else None

    def inspect_samples(self) -> Any:
        """Look at the trajectories: a reference of those that did not fail would be a biased one."""
        for name in self.trajectories:
            problem = failed(self.ctx[name])
            if problem:
                return self.exit_codes.ERROR_DYNAMICS_FAILED.format(trajectory=name, message=problem)
        return None

    def split(self) -> Any:
        """Join the samples, and hold their ends out."""
        samples = dict(self.inputs.get("samples", {}))
        if not samples:
            samples = {name: self.ctx[name].outputs.trajectory for name in self.trajectories}
        node = self.call_once_node(
            "split", split_samples, ensemble=self.inputs.ensemble, reference=self.inputs.reference, **samples
        )
        if failed(node):
            return self.exit_codes.ERROR_SELECTION_FAILED.format(message=failed(node))
        self.out("reference", node.outputs[KEPT])
        self.ctx.split = node.uuid
        return None

    # Test sets --------------------------------------------------------------------------------------------------------

    def choose(self) -> None:
        """Choose or make the structures of the test sets."""
        settings, split = self.inputs.reference.get_dict(), orm.load_node(self.ctx.split)
        sources = {}
        if settings["frames"] and HELD_OUT in split.outputs:
            sources[ENSEMBLE] = split.outputs[HELD_OUT]
        if settings["random"]:
            node = self.call_once_node(
                "random", random_structures,
                structure=self.inputs.structure, reference=self.inputs.reference, seed=self.inputs.seed,
            )  # fmt: skip
            sources[RANDOM] = node.outputs.result
        self.ctx.sources = sources
        for name, samples in sources.items():
            chosen = self.call_once_node(
                f"choose_{name}", choose_tests, samples=samples, reference=self.inputs.reference, seed=self.inputs.seed
            )
            self.ctx[f"choice_{name}"] = chosen.uuid

    def _pieces(self, name: str) -> dict[str, orm.Dict]:
        """Return the pieces of a test set by the names of their labelling."""
        outputs = orm.load_node(self.ctx[f"choice_{name}"]).outputs
        return {f"labels_{name}_{piece}": outputs[piece] for piece in sorted(outputs) if piece.startswith(PIECE)}

    def label(self) -> ToContext:
        """Label the test sets."""
        children = {}
        for name, samples in self.ctx.sources.items():
            for label, piece in self._pieces(name).items():
                children[label] = self.submit_once(
                    label,
                    LabelFramesWorkChain,
                    trajectory=samples,
                    structure=self.inputs.structure,
                    piece=piece,
                    ensemble=self.inputs.ensemble,
                    target=self.inputs.target,
                    failure=self.inputs.failure,
                    labelling=self.inputs.labelling,
                    executor=self.inputs.executor,
                )
        return ToContext(**children)

    def result(self) -> Any:
        """Attach the test sets."""
        for name in self.ctx.sources:
            nodes = {label: self.ctx[label] for label in self._pieces(name)}
            chunks = {label: node.outputs.chunk for label, node in nodes.items() if "chunk" in node.outputs}
            if not chunks:
                return self.exit_codes.ERROR_NO_LABELS.format(name=name)
            self.out(f"tests.{name}", merge_all(self, chunks, f"merge_{name}"))
        return None
