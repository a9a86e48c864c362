"""What every protocol that trains does: grow the dataset, fine-tune, and know the reference energies."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ToContext

from aiida_slhmc.calculations.atoms import ATOM, LEVEL, isolated_atoms, isolated_energies, symbols
from aiida_slhmc.calculations.dataset import extend
from aiida_slhmc.calculations.finetune import COMMITTEE, FinetuneCalculation, committee_of, finetune_local, member_name
from aiida_slhmc.data import DatasetData, FramesData, MaceModelData

from .judging import Judging
from .label import LabelWorkChain
from .steps import dispatch, failed, settings_port


class Learning(Judging):
    """Give a WorkChain the steps that train its model on its labels.

    The context holds ``block``, ``model``, ``chunk``, ``dataset``, ``training`` and, where it is asked for,
    ``isolated``.
    """

    @classmethod
    def define_learning(cls, spec: Any) -> None:
        """Declare what learning takes and leaves.

        :param spec: process specification.
        """
        settings_port(spec, "split")
        spec.input(
            "finetune", valid_type=orm.Dict, required=False, help="Hyperparameters; without, nothing is trained."
        )
        spec.input(
            "replay", valid_type=(DatasetData, FramesData), required=False,
            help="Replay set: frames that the fine-tuned models are not to forget, with the foundation's energies.",
        )  # fmt: skip
        spec.input("seed", valid_type=orm.Int, help="Root seed: every random number of the run follows from it.")
        spec.output("model", valid_type=(MaceModelData, orm.Dict), help="The model at the end.")
        spec.output_namespace("models", dynamic=True, valid_type=MaceModelData, help="The model after each block.")
        spec.output_namespace(
            COMMITTEE, dynamic=True, valid_type=MaceModelData, required=False,
            help="Further members of the committee at the end (member_001, ...); the first is the model.",
        )  # fmt: skip
        spec.output("dataset", valid_type=DatasetData, required=False, help="All labels that were trained on.")
        spec.exit_code(452, "ERROR_TRAINING_FAILED", message="the fine-tuning after block {block} failed: {message}")
        spec.exit_code(454, "ERROR_ATOM_NOT_LABELLED", message="an isolated atom has no label: {message}")

    @property
    def foundation(self: Any) -> orm.Data:
        """Return the model before any fine-tuning."""
        return self.inputs.model

    def _submit_label(self: Any, name: str, structure: orm.StructureData, level: orm.Dict | None = None) -> Any:
        target = dict(self.inputs.target)
        if level is not None:
            target["level"] = level
        return self.submit_once(
            name,
            LabelWorkChain,
            structure=structure,
            target=target,
            failure=self.inputs.failure,
            labelling=self.inputs.labelling,
            executor=self.inputs.executor,
        )

    # Reference energies -----------------------------------------------------------------------------------------------

    def needs_atoms(self: Any) -> bool:
        """Return whether the reference energies are those of isolated atoms."""
        return "finetune" in self.inputs and self.inputs.finetune.get_dict().get("e0") == "isolated"

    def label_atoms(self: Any) -> Any:
        """Label the isolated atom of each element."""
        node = self.call_once_node(
            "isolated_atoms", isolated_atoms, structure=self.inputs.structure, level=self.inputs.target.level
        )
        problem = failed(node)
        if problem:
            return self.exit_codes.ERROR_ATOM_NOT_LABELLED.format(message=problem)
        names = {f"{ATOM}{symbol}": f"{LEVEL}{symbol}" for symbol in symbols(self.inputs.structure)}
        return ToContext(
            **{atom: self._submit_label(atom, node.outputs[atom], node.outputs[level]) for atom, level in names.items()}
        )

    def inspect_atoms(self: Any) -> Any:
        """Take the energies of the isolated atoms."""
        labels = {symbol: self.ctx[f"{ATOM}{symbol}"] for symbol in symbols(self.inputs.structure)}
        for symbol, node in labels.items():
            problem = failed(node)
            if problem:
                return self.exit_codes.ERROR_ATOM_NOT_LABELLED.format(message=f"{symbol}: {problem}")
        energies = {symbol: node.outputs.label for symbol, node in labels.items()}
        self.ctx.isolated = self.call_once_node("isolated_energies", isolated_energies, **energies).outputs.result
        return None

    # Training ---------------------------------------------------------------------------------------------------------

    def _extend(self: Any, step: str, chunk: orm.Data) -> None:
        inputs = {"chunk": chunk, "seed": self.inputs.seed, "split": self.inputs.split}
        if self.ctx.dataset is not None:
            inputs["previous"] = self.ctx.dataset
        self.ctx.dataset = self.call_once_node(self._label(step), extend, **inputs).outputs.result

    def extend(self: Any) -> None:
        """Add the block's frames to the dataset."""
        self._extend("extend", self.ctx.chunk)

    def finetune(self: Any) -> ToContext | None:
        """Train on all frames so far."""
        last, self.ctx.training = self.ctx.training, None
        if "finetune" not in self.inputs or not isinstance(self.ctx.model, MaceModelData):
            return None
        previous = self.inputs.finetune.get_dict().get("start", "previous") == "previous"
        worker = self.inputs.get("worker", {})
        inputs = {
            "model": self.ctx.model if previous else self.foundation,
            "dataset": self.ctx.dataset,
            "hyperparameters": self.inputs.finetune,
            "seed": self.inputs.seed,
        }
        if self.needs_atoms():
            inputs["isolated"] = self.ctx.isolated
        if "replay" in self.inputs:
            inputs["replay"] = self.inputs.replay
        if previous and last is not None:
            # Each member goes on from where it stood: from a common start they would differ by one training only.
            inputs |= {member_name(index): model for index, model in enumerate(committee_of(last)) if index}
        return dispatch(
            self, "training", self._label("finetune"), "finetune", FinetuneCalculation, finetune_local, inputs,
            code=worker.get("code"), options=worker.get("options"),
        )  # fmt: skip

    def inspect_training(self: Any) -> Any:
        """Take the new model."""
        if self.ctx.training is None:
            return None
        problem = failed(self.ctx.training)
        if problem:
            return self.exit_codes.ERROR_TRAINING_FAILED.format(block=self.ctx.block, message=problem)
        self.ctx.model = self.ctx.training.outputs.model
        for warning in self.ctx.training.outputs.training.get_dict()["warnings"]:
            self.report(f"block {self.ctx.block}: {warning}")
        return None

    def hand_on_learning(self: Any) -> None:
        """Attach the model and the dataset."""
        self.out("model", self.ctx.model)
        if self.ctx.training is not None:
            for index, model in enumerate(committee_of(self.ctx.training)):
                if index:
                    self.out(f"{COMMITTEE}.{member_name(index)}", model)
        if self.ctx.dataset is not None:
            self.out("dataset", self.ctx.dataset)
