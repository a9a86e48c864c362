"""A block of all chains, run and judged: what self-learning runs and production runs share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from aiida import orm
from aiida.engine import ToContext

from aiida_slhmc.calculations.diagnose import diagnose
from aiida_slhmc.calculations.history import record_block
from aiida_slhmc.calculations.streams import begin_production, chain_name, rungs
from aiida_slhmc.data import FramesData, MaceModelData

from .chain import ChainWorkChain, merge_all
from .judging import Judging
from .replicas import ReplicasWorkChain
from .steps import failed, settings_port, target_ports, worker_ports

#: What a chain hands from block to block.
ENDS = ("state", "label", "stream")


class Blocks(Judging):
    """Give a WorkChain blocks of chains.

    The context holds ``block``, ``model``, ``proposal``, ``history`` and, of every chain, ``state_<chain>``,
    ``label_<chain>`` and ``stream_<chain>``.
    """

    @classmethod
    def define_blocks(cls, spec: Any) -> None:
        """Declare what blocks take and leave.

        :param spec: process specification.
        """
        target_ports(spec)
        worker_ports(spec)
        for group in ("ensemble", "budget", "driver", "proposal", "failure", "labelling", "executor"):
            settings_port(spec, group)
        spec.output("history", valid_type=orm.Dict, help="One row a block.")
        spec.output("diagnostics", valid_type=orm.Dict, help="How far the chains of the last block can be trusted.")
        spec.output("proposal", valid_type=orm.Dict, help="Settings of the proposals at the end.")
        spec.output_namespace(
            "ends", dynamic=True, valid_type=(orm.StructureData, FramesData, orm.Dict),
            help="state_<chain>, label_<chain>, stream_<chain>: where a production run goes on.",
        )  # fmt: skip
        spec.output("production", valid_type=FramesData, required=False, help="Labels of the production phase.")
        spec.output("states", valid_type=orm.ArrayData, required=False, help="The chains of the production phase.")
        spec.exit_code(451, "ERROR_CHAIN_FAILED", message="chain {chain} of block {block} failed: {message}")
        cls.define_judging(spec)

    @property
    def chain_names(self) -> list[str]:
        """Return the names of the chains."""
        return [chain_name(index) for index in range(self.inputs.budget.get_dict()["chains"])]  # type: ignore[attr-defined]

    @property
    @abstractmethod
    def production(self) -> bool:
        """Return whether the current block is one of production."""

    # Running ----------------------------------------------------------------------------------------------------------

    def run_chains(self: Any) -> ToContext:
        """Run the block on all chains, side by side or in step."""
        streams = {}
        for name in self.chain_names:
            stream = self.ctx[f"stream_{name}"]
            if self.production:
                stream = self.call_once_node(
                    self._label(f"begin_{name}"), begin_production, stream=stream
                ).outputs.result
            streams[name] = stream
        shared = {
            "model": self.ctx.model,
            "target": self.inputs.target,
            "proposal": self.ctx.proposal,
            **{group: self.inputs[group] for group in ("budget", "driver", "failure", "labelling", "executor")},
        }
        if "worker" in self.inputs:
            shared["worker"] = self.inputs.worker
        ensembles = self._ensembles()
        if self.inputs.driver.get_dict()["lockstep"]:
            child = self.submit_once(
                self._label("chains"),
                ReplicasWorkChain,
                states={name: self.ctx[f"state_{name}"] for name in streams},
                labels={name: self.ctx[f"label_{name}"] for name in streams},
                streams=streams,
                ensembles=ensembles,
                **shared,
            )
            return ToContext(run_all=child)
        children = {}
        for name, stream in streams.items():
            children[f"run_{name}"] = self.submit_once(
                self._label(name),
                ChainWorkChain,
                state=self.ctx[f"state_{name}"],
                label=self.ctx[f"label_{name}"],
                stream=stream,
                ensemble=ensembles[name],
                **shared,
            )
        return ToContext(**children)

    def _ensembles(self: Any) -> dict[str, orm.Dict]:
        """Return the ensemble of every chain: the run's, unless each has its own temperature."""
        if self.inputs.driver.get_dict()["temperatures"] is None:
            return dict.fromkeys(self.chain_names, self.inputs.ensemble)
        node = self.call_once_node("rungs", rungs, ensemble=self.inputs.ensemble, driver=self.inputs.driver)
        return {name: node.outputs[name] for name in self.chain_names}

    def inspect_chains(self: Any) -> Any:
        """Take up the chains' ends and their frames."""
        in_step = self.inputs.driver.get_dict()["lockstep"]
        nodes = {"all": self.ctx.run_all} if in_step else {name: self.ctx[f"run_{name}"] for name in self.chain_names}
        for name, node in nodes.items():
            problem = failed(node)
            if problem:
                return self.exit_codes.ERROR_CHAIN_FAILED.format(chain=name, block=self.ctx.block, message=problem)
        for name in self.chain_names:
            for what in ENDS:
                ends = nodes["all"].outputs[f"{what}s"][name] if in_step else nodes[name].outputs[what]
                self.ctx[f"{what}_{name}"] = ends
        self.ctx.chunk = merge_all(
            self, {name: node.outputs.chunk for name, node in nodes.items()}, self._label("merge")
        )
        aside = {name: node.outputs.aside for name, node in nodes.items() if "aside" in node.outputs}
        self.ctx.aside = merge_all(self, aside, self._label("merge_aside")) if aside else None
        return None

    # Judging ----------------------------------------------------------------------------------------------------------

    def can_judge(self: Any) -> bool:
        """Return whether there is a model to judge, and a proposal to judge it on."""
        # One frame may be the starting state, which is no draw of the proposal stream.
        return isinstance(self.ctx.model, MaceModelData) and self.ctx.chunk.n_frames > len(self.chain_names)

    def judge(self: Any) -> Any:
        """Turn predictions into prequential errors, and the block's chains into diagnostics."""
        problem = super().judge()
        if problem is not None:
            return problem
        inputs = {"chunk": self.ctx.chunk, "ensemble": self.inputs.ensemble}
        if "errors" in self.ctx.errors:
            inputs["errors"] = self.ctx.errors["errors"]
        self.ctx.diagnostics = self.call_once_node(self._label("diagnose"), diagnose, **inputs).outputs.result
        return None

    def record(self: Any, training: orm.Dict | None = None) -> None:
        """Write the block into the history.

        :param training: what the fine-tuning after the block reported.
        """
        inputs = {"chunk": self.ctx.chunk, "proposal": self.ctx.proposal, "ensemble": self.inputs.ensemble}
        inputs.update(self.ctx.errors)
        if self.ctx.history is not None:
            inputs["previous"] = self.ctx.history
        if training is not None:
            inputs["training"] = training
        self.ctx.history = self.call_once_node(self._label("record"), record_block, **inputs).outputs.result

    def hand_on(self: Any) -> None:
        """Attach where the chains stand and how far they can be trusted."""
        self.out("history", self.ctx.history)
        self.out("diagnostics", self.ctx.diagnostics)
        self.out("proposal", self.ctx.proposal)
        for name in self.chain_names:
            for what in ENDS:
                self.out(f"ends.{what}_{name}", self.ctx[f"{what}_{name}"])
