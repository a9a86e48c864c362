"""One chain's block: (propose, label, decide) times the cycles, with everything frozen."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ToContext, WorkChain, if_, while_

from aiida_slhmc.calculations import collect as collecting
from aiida_slhmc.calculations.metropolis import metropolis
from aiida_slhmc.calculations.propose import ProposeCalculation, propose_local
from aiida_slhmc.calculations.streams import PRODUCTION
from aiida_slhmc.data import FramesData, MaceModelData

from .label import LabelWorkChain
from .steps import Steps, dispatch, failed, links, settings_port, target_ports


def cycle_label(cycle: int, step: str) -> str:
    """Return the call link label of a step of a cycle.

    :param cycle: number of the cycle within the chain.
    :param step: ``propose``, ``label`` or ``decide``.
    """
    return f"cycle_{cycle:05d}_{step}"


class ChainWorkChain(Steps, WorkChain):
    """Run the cycles of one chain within one block.

    The context holds the current state, its label, the stream and counters, never a history: the history is the graph.
    """

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs, outputs and outline."""
        super().define(spec)
        spec.input("state", valid_type=orm.StructureData, help="State to start from (Å).")
        spec.input("label", valid_type=FramesData, help="Its label by the target (eV, Å).")
        spec.input("stream", valid_type=orm.Dict, help="Seed, chain, cycle, phase.")
        spec.input("model", valid_type=(MaceModelData, orm.Dict), help="Proposal model; or a level of theory.")
        target_ports(spec)
        spec.input("worker.code", valid_type=orm.AbstractCode, required=False, help="Code slhmc-worker, for jobs.")
        spec.input(
            "worker.options", valid_type=dict, non_db=True, required=False, help="Scheduler options of the jobs."
        )
        for group in ("ensemble", "proposal", "budget", "failure", "executor"):
            settings_port(spec, group)
        spec.outline(
            cls.start,
            while_(cls.has_cycles)(
                if_(cls.proposes_by_job)(cls.propose),
                cls.label,
                while_(cls.lacks_label)(cls.wait_for_user, cls.label),
                cls.decide,
            ),
            cls.collect,
        )
        spec.output("state", valid_type=orm.StructureData, help="State after the last cycle (Å).")
        spec.output("label", valid_type=FramesData, help="Its label.")
        spec.output("stream", valid_type=orm.Dict, help="Stream of the next cycle.")
        spec.output("chunk", valid_type=FramesData, help="All labelled endpoints, accepted and rejected.")
        spec.exit_code(440, "ERROR_PROPOSAL_FAILED", message="the proposal of cycle {cycle} failed: {message}")
        spec.exit_code(441, "ERROR_DECISION_FAILED", message="the decision of cycle {cycle} failed: {message}")

    @property
    def production(self) -> bool:
        """Return whether this block is one of production."""
        return bool(self.inputs.stream.get_dict()["phase"] == PRODUCTION)

    def start(self) -> None:
        """Take up the chain where the inputs say."""
        self.ctx.state = self.inputs.state
        self.ctx.label = self.inputs.label
        self.ctx.stream = self.inputs.stream
        self.ctx.cycle = self.inputs.stream.get_dict()["cycle"]
        budget = self.inputs.budget.get_dict()
        cycles = budget["production_cycles"] if self.production else budget["cycles"]
        self.ctx.end = self.ctx.cycle + cycles
        self.ctx.attempt = 0

    def has_cycles(self) -> bool:
        """Return whether cycles remain."""
        return bool(self.ctx.cycle < self.ctx.end)

    def proposes_by_job(self) -> bool:
        """Return whether the proposal is a job to wait for; else it is made in the step that asks for its label."""
        return bool(self.inputs.executor.get_dict()["propose"] == "job")

    def propose(self) -> ToContext | None:
        """Run a trajectory on the model's surface."""
        inputs = {
            "model": self.inputs.model,
            "state": self.ctx.state,
            "stream": self.ctx.stream,
            "ensemble": self.inputs.ensemble,
            "proposal": self.inputs.proposal,
        }
        worker = self.inputs.get("worker", {})
        return dispatch(
            self, "proposal", cycle_label(self.ctx.cycle, "propose"), "propose", ProposeCalculation, propose_local,
            inputs, code=worker.get("code"), options=worker.get("options"),
        )  # fmt: skip

    def label(self) -> Any:
        """Ask the target for the endpoint's energy; a divergent trajectory needs none."""
        if not self.proposes_by_job() and self.ctx.attempt == 0:
            self.propose()
        problem = failed(self.ctx.proposal)
        if problem:
            return self.exit_codes.ERROR_PROPOSAL_FAILED.format(cycle=self.ctx.cycle, message=problem)
        self.ctx.labelling = None
        if self.ctx.proposal.outputs.proposal_info.get_dict()["divergent"]:
            return None
        suffix = "label" if self.ctx.attempt == 0 else f"label_again_{self.ctx.attempt}"
        child = self.submit_once(
            cycle_label(self.ctx.cycle, suffix),
            LabelWorkChain,
            structure=self.ctx.proposal.outputs.endpoint,
            target=self.inputs.target,
            failure=self.inputs.failure,
            executor=self.inputs.executor,
        )
        return ToContext(labelling=child)

    def lacks_label(self) -> bool:
        """Return whether the label failed and the policy is to stop for the user."""
        labelling = self.ctx.labelling
        return labelling is not None and bool(failed(labelling)) and self.inputs.failure.get_dict()["policy"] == "stop"

    def wait_for_user(self) -> None:
        """Pause: when the chain is played again, the label is tried again."""
        self.ctx.attempt += 1
        message = f"cycle {self.ctx.cycle}: {failed(self.ctx.labelling)}. Mend the cause and resume: it is tried again."
        self.report(message)
        self.pause(message)

    def decide(self) -> Any:
        """Accept or reject by the target's energy."""
        inputs = {
            "state": self.ctx.state,
            "label": self.ctx.label,
            "endpoint": self.ctx.proposal.outputs.endpoint,
            "proposal_info": self.ctx.proposal.outputs.proposal_info,
            "stream": self.ctx.stream,
            "ensemble": self.inputs.ensemble,
            "failure": self.inputs.failure,
        }
        labelling = self.ctx.labelling
        if labelling is not None and labelling.is_finished_ok:
            inputs["endpoint_label"] = labelling.outputs.label
        node = self.call_once_node(cycle_label(self.ctx.cycle, "decide"), metropolis, **inputs)
        problem = failed(node)
        if problem:
            return self.exit_codes.ERROR_DECISION_FAILED.format(cycle=self.ctx.cycle, message=problem)
        if node.outputs.decision.get_dict()["accepted"]:
            self.ctx.label = labelling.outputs.label
        self.ctx.state = node.outputs.state
        self.ctx.stream = node.outputs.stream
        self.ctx.cycle += 1
        self.ctx.attempt = 0
        return None

    def collect(self) -> None:
        """Turn labels and decisions into frames, in pieces of few links, and hand on the state."""
        first = self.inputs.stream.get_dict()["cycle"]
        decisions = {}
        for name, node in links(self, "cycle_").items():
            if name.endswith("_decide"):
                decisions[int(name.split("_")[1])] = node
        streams = {cycle: node.inputs.stream for cycle, node in decisions.items()}
        pieces = {}
        for start in range(first, self.ctx.end, collecting.MAX_LINKS // 2):
            cycles = range(start, min(start + collecting.MAX_LINKS // 2, self.ctx.end))
            nodes: dict[str, orm.Data] = {}
            for cycle in cycles:
                decision = decisions[cycle]
                nodes[f"{collecting.DECISION}{cycle:05d}"] = decision.outputs.decision
                if "endpoint_label" in decision.inputs:
                    nodes[f"{collecting.LABEL}{cycle:05d}"] = decision.inputs.endpoint_label
            # The starting state of the run is a label like any other; that of a production block makes its states
            # readable from the block alone.
            if start == first and (first == 0 or self.production):
                nodes[collecting.START] = self.inputs.label
            piece = self.call_once_node(f"collect_{start:05d}", collecting.collect, first=streams[start], **nodes)
            pieces[f"piece_{start:05d}"] = piece.outputs.result
        self.out("chunk", merge_all(self, pieces))
        self.out("state", self.ctx.state)
        self.out("label", self.ctx.label)
        self.out("stream", self.ctx.stream)


def merge_all(workchain: Any, pieces: dict[str, FramesData], label: str = "merge") -> FramesData:
    """Merge blocks of frames by a tree of few links a node.

    :param workchain: the WorkChain that calls.
    :param pieces: blocks by name, merged in the order of the names.
    :param label: call link label of the merge.
    """
    level = 0
    while len(pieces) > 1:
        names = sorted(pieces)
        merged = {}
        for start in range(0, len(names), collecting.MAX_LINKS):
            some = {name: pieces[name] for name in names[start : start + collecting.MAX_LINKS]}
            node = workchain.call_once_node(f"{label}_{level}_{start:05d}", collecting.merge, **some)
            merged[f"piece_{start:05d}"] = node.outputs.result
        pieces = merged
        level += 1
    return next(iter(pieces.values()))
