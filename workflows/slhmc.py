"""Self-learning hybrid Monte Carlo: blocks of frozen proposals, with fine-tuning and adaptation in between."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ToContext, WorkChain, if_, while_

from aiida_slhmc.calculations.adapt import adapt_length, weigh_cell
from aiida_slhmc.calculations.states import chain_states
from aiida_slhmc.calculations.streams import open_streams
from aiida_slhmc.data import MaceModelData

from .blocks import Blocks
from .learning import Learning
from .protocol import ProtocolMixin
from .steps import failed, start_ports
from .validate import validate_run


class SlhmcWorkChain(Blocks, Learning, ProtocolMixin, WorkChain):
    """Fine-tune a model toward a target functional on the target's own distribution.

    Blocks of cycles, on every chain, with a frozen proposal model; then collect the labels of all chains, judge the
    model on them before it learns from them, fine-tune, adapt the proposal length. At the end, if asked for, a
    production phase in which nothing changes: the part of the chains that is an exact sample of the target's ensemble.
    """

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs, outputs and outline."""
        super().define(spec)
        start_ports(spec, "chain", "chain_000")
        spec.input(
            "model", valid_type=(MaceModelData, orm.Dict), help="Foundation model; or a level of theory, frozen."
        )
        cls.define_blocks(spec)
        cls.define_learning(spec)
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
        spec.exit_code(450, "ERROR_START_NOT_LABELLED", message="the starting structure has no label: {message}")

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
        children = {name: self._submit_label(name, structure) for name, structure in self._starts().items()}
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

    # Blocks -----------------------------------------------------------------------------------------------------------

    @property
    def production(self) -> bool:
        """Return whether the current block is the production phase."""
        return bool(self.ctx.block >= self.inputs.budget.get_dict()["blocks"])

    def has_blocks(self) -> bool:
        """Return whether blocks remain."""
        return bool(self.ctx.block < self.ctx.n_blocks)

    # Learning ---------------------------------------------------------------------------------------------------------

    def trains(self) -> bool:
        """Return whether the model learns from this block."""
        return not self.production

    def extend(self) -> None:
        """Add the block's frames to the dataset, and those of proposals made ahead that were not needed."""
        super().extend()
        if self.ctx.aside is not None:
            self._extend("extend_aside", self.ctx.aside)

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
        self.hand_on_learning()
        self.hand_on()
        if self.ctx.production_chunk is not None:
            self.out("production", self.ctx.production_chunk)
            states = self.call_once_node(
                "chain_states", chain_states,
                chunk=self.ctx.production_chunk, ensemble=self.inputs.ensemble, proposal=self.ctx.proposal,
                model=self.ctx.model,
            )  # fmt: skip
            self.out("states", states.outputs.result)
