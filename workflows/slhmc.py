"""Self-learning hybrid Monte Carlo: blocks of frozen proposals, with fine-tuning and adaptation in between."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ToContext, WorkChain, if_, while_

from aiida_slhmc.calculations.adapt import adapt_length, weigh_cell
from aiida_slhmc.calculations.atoms import ATOM, LEVEL, isolated_atoms, isolated_energies, symbols
from aiida_slhmc.calculations.dataset import extend
from aiida_slhmc.calculations.finetune import FinetuneCalculation, finetune_local
from aiida_slhmc.calculations.states import chain_states
from aiida_slhmc.calculations.streams import open_streams
from aiida_slhmc.data import DatasetData, MaceModelData

from .blocks import Blocks
from .label import LabelWorkChain
from .protocol import ProtocolMixin
from .steps import dispatch, failed, settings_port
from .validate import validate_run


class SlhmcWorkChain(Blocks, ProtocolMixin, WorkChain):
    """Fine-tune a model toward a target functional on the target's own distribution.

    Blocks of cycles, on every chain, with a frozen proposal model; then collect the labels of all chains, judge the
    model on them before it learns from them, fine-tune, adapt the proposal length. At the end, if asked for, a
    production phase in which nothing changes: the part of the chains that is an exact sample of the target's ensemble.
    """

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs, outputs and outline."""
        super().define(spec)
        spec.input("structure", valid_type=orm.StructureData, help="Structure that every chain starts from (Å).")
        spec.input_namespace(
            "structures",
            valid_type=orm.StructureData,
            dynamic=True,
            required=False,
            help="Starts of single chains (chain_000, ...), in place of 'structure'.",
        )
        spec.input(
            "model", valid_type=(MaceModelData, orm.Dict), help="Foundation model; or a level of theory, frozen."
        )
        cls.define_blocks(spec)
        settings_port(spec, "split")
        spec.input(
            "finetune", valid_type=orm.Dict, required=False, help="Hyperparameters; without, nothing is trained."
        )
        spec.input("seed", valid_type=orm.Int, help="Root seed: every random number of the run follows from it.")
        spec.inputs.validator = validate_run
        spec.outline(
            cls.start,
            cls.label_starts,
            cls.inspect_starts,
            if_(cls.needs_atoms)(cls.label_atoms, cls.inspect_atoms),
            while_(cls.has_blocks)(
                cls.run_chains,
                cls.inspect_chains,
                cls.predict,
                cls.predict_foundation,
                cls.judge,
                if_(cls.trains)(cls.extend, cls.finetune, cls.inspect_training),
                cls.close_block,
            ),
            cls.result,
        )
        spec.output("model", valid_type=(MaceModelData, orm.Dict), help="The model at the end.")
        spec.output_namespace("models", dynamic=True, valid_type=MaceModelData, help="The model after each block.")
        spec.output("dataset", valid_type=DatasetData, required=False, help="All labels of the adaptive blocks.")
        spec.exit_code(450, "ERROR_START_NOT_LABELLED", message="the starting structure has no label: {message}")
        spec.exit_code(454, "ERROR_ATOM_NOT_LABELLED", message="an isolated atom has no label: {message}")
        spec.exit_code(452, "ERROR_TRAINING_FAILED", message="the fine-tuning after block {block} failed: {message}")

    # Start ------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the streams and set the counters."""
        budget = self.inputs.budget.get_dict()
        self.ctx.n_blocks = budget["blocks"] + (1 if budget["production_cycles"] else 0)
        self.ctx.block = 0
        self.ctx.model = self.inputs.model
        self.ctx.proposal = self.inputs.proposal
        if self.inputs.ensemble.get_dict()["ensemble"] == "NPT":
            node = self.call_once_node(
                "weigh_cell", weigh_cell,
                proposal=self.inputs.proposal, structure=self.inputs.structure, ensemble=self.inputs.ensemble,
            )  # fmt: skip
            self.ctx.proposal = node.outputs.result
        self.ctx.dataset = None
        self.ctx.history = None
        self.ctx.training = None
        self.ctx.production_chunk = None
        node = self.call_once_node("open_streams", open_streams, seed=self.inputs.seed, budget=self.inputs.budget)
        for name in self.chain_names:
            self.ctx[f"stream_{name}"] = node.outputs[name]
            self.ctx[f"state_{name}"] = self._structure(name)

    def _structure(self, name: str) -> orm.StructureData:
        return self.inputs.get("structures", {}).get(name, self.inputs.structure)

    def _starts(self) -> dict[str, orm.StructureData]:
        """Return the distinct starts: a structure that several chains share is labelled once."""
        starts: dict[str, orm.StructureData] = {}
        for name in self.chain_names:
            structure = self._structure(name)
            starts.setdefault(structure.uuid, structure)
        return {f"start_{number:03d}": structure for number, structure in enumerate(starts.values())}

    def label_starts(self) -> ToContext:
        """Label the starts."""
        children = {
            name: self.submit_once(
                name,
                LabelWorkChain,
                structure=structure,
                target=self.inputs.target,
                failure=self.inputs.failure,
                labelling=self.inputs.labelling,
                executor=self.inputs.executor,
            )
            for name, structure in self._starts().items()
        }
        return ToContext(**children)

    def inspect_starts(self) -> Any:
        """Give every chain the label of its start."""
        by_structure = {}
        for name, structure in self._starts().items():
            problem = failed(self.ctx[name])
            if problem:
                return self.exit_codes.ERROR_START_NOT_LABELLED.format(message=problem)
            by_structure[structure.uuid] = self.ctx[name].outputs.label
        for name in self.chain_names:
            self.ctx[f"label_{name}"] = by_structure[self._structure(name).uuid]
        return None

    def needs_atoms(self) -> bool:
        """Return whether the reference energies are those of isolated atoms."""
        return "finetune" in self.inputs and self.inputs.finetune.get_dict().get("e0") == "isolated"

    def label_atoms(self) -> Any:
        """Label the isolated atom of each element."""
        node = self.call_once_node(
            "isolated_atoms", isolated_atoms, structure=self.inputs.structure, level=self.inputs.target.level
        )
        problem = failed(node)
        if problem:
            return self.exit_codes.ERROR_ATOM_NOT_LABELLED.format(message=problem)
        target = dict(self.inputs.target)
        return ToContext(
            **{
                f"{ATOM}{symbol}": self.submit_once(
                    f"{ATOM}{symbol}",
                    LabelWorkChain,
                    structure=node.outputs[f"{ATOM}{symbol}"],
                    target={**target, "level": node.outputs[f"{LEVEL}{symbol}"]},
                    failure=self.inputs.failure,
                    labelling=self.inputs.labelling,
                    executor=self.inputs.executor,
                )
                for symbol in symbols(self.inputs.structure)
            }
        )

    def inspect_atoms(self) -> Any:
        """Take the energies of the isolated atoms."""
        labels = {symbol: self.ctx[f"{ATOM}{symbol}"] for symbol in symbols(self.inputs.structure)}
        for symbol, node in labels.items():
            problem = failed(node)
            if problem:
                return self.exit_codes.ERROR_ATOM_NOT_LABELLED.format(message=f"{symbol}: {problem}")
        energies = {symbol: node.outputs.label for symbol, node in labels.items()}
        self.ctx.isolated = self.call_once_node("isolated_energies", isolated_energies, **energies).outputs.result
        return None

    # Blocks -----------------------------------------------------------------------------------------------------------

    @property
    def production(self) -> bool:
        """Return whether the current block is the production phase."""
        return bool(self.ctx.block >= self.inputs.budget.get_dict()["blocks"])

    @property
    def foundation(self) -> orm.Data:
        """Return the model before any fine-tuning."""
        return self.inputs.model

    def has_blocks(self) -> bool:
        """Return whether blocks remain."""
        return bool(self.ctx.block < self.ctx.n_blocks)

    # Learning ---------------------------------------------------------------------------------------------------------

    def trains(self) -> bool:
        """Return whether the model learns from this block."""
        return not self.production

    def extend(self) -> None:
        """Add the block's frames to the dataset."""
        inputs = {"chunk": self.ctx.chunk, "seed": self.inputs.seed, "split": self.inputs.split}
        if self.ctx.dataset is not None:
            inputs["previous"] = self.ctx.dataset
        self.ctx.dataset = self.call_once_node(self._label("extend"), extend, **inputs).outputs.result
        if self.ctx.aside is not None:
            inputs |= {"previous": self.ctx.dataset, "chunk": self.ctx.aside}
            self.ctx.dataset = self.call_once_node(self._label("extend_aside"), extend, **inputs).outputs.result

    def finetune(self) -> ToContext | None:
        """Train on all frames so far."""
        self.ctx.training = None
        if "finetune" not in self.inputs or not isinstance(self.ctx.model, MaceModelData):
            return None
        start = (
            self.ctx.model
            if self.inputs.finetune.get_dict().get("start", "previous") == "previous"
            else self.inputs.model
        )
        worker = self.inputs.get("worker", {})
        inputs = {
            "model": start,
            "dataset": self.ctx.dataset,
            "hyperparameters": self.inputs.finetune,
            "seed": self.inputs.seed,
        }
        if self.needs_atoms():
            inputs["isolated"] = self.ctx.isolated
        return dispatch(
            self, "training", self._label("finetune"), "finetune", FinetuneCalculation, finetune_local, inputs,
            code=worker.get("code"), options=worker.get("options"),
        )  # fmt: skip

    def inspect_training(self) -> Any:
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

    def close_block(self) -> None:
        """Write the block into the history and adapt the proposal length."""
        training = self.ctx.training
        self.record(None if self.production or training is None else training.outputs.training)
        if self.production:
            self.ctx.production_chunk = self.ctx.chunk
        else:
            adapted = self.call_once_node(
                self._label("adapt"), adapt_length, proposal=self.ctx.proposal, chunk=self.ctx.chunk
            )
            self.ctx.proposal = adapted.outputs.result
            if training is not None:
                self.out(f"models.block_{self.ctx.block:03d}", self.ctx.model)
        self.ctx.block += 1

    def result(self) -> None:
        """Attach the outputs."""
        self.out("model", self.ctx.model)
        self.hand_on()
        if self.ctx.dataset is not None:
            self.out("dataset", self.ctx.dataset)
        if self.ctx.production_chunk is not None:
            self.out("production", self.ctx.production_chunk)
            states = self.call_once_node(
                "chain_states", chain_states,
                chunk=self.ctx.production_chunk, ensemble=self.inputs.ensemble, proposal=self.ctx.proposal,
                model=self.ctx.model,
            )  # fmt: skip
            self.out("states", states.outputs.result)
