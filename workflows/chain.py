"""One chain's block: (propose, label, decide) times the cycles, with everything frozen."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ToContext, WorkChain, if_, while_

from aiida_slhmc.calculations import collect as collecting
from aiida_slhmc.calculations.metropolis import metropolis
from aiida_slhmc.calculations.propose import ProposeCalculation, propose_local
from aiida_slhmc.calculations.streams import PRODUCTION, advance
from aiida_slhmc.data import FramesData, MaceModelData
from aiida_slhmc.numerics.prefetch import Branch, plan

from .label import LabelWorkChain, warm_start
from .steps import Steps, dispatch, failed, links, settings_port, target_ports, worker_ports

#: Letters of the outcomes of earlier cycles that a proposal made ahead builds on.
ACCEPTED, REJECTED = "a", "r"


def letters(path: tuple[bool, ...]) -> str:
    """Return outcomes as letters, for link labels.

    :param path: whether each cycle was accepted.
    """
    return "".join(ACCEPTED if outcome else REJECTED for outcome in path)


def cycle_label(cycle: int, step: str, path: str = "") -> str:
    """Return the call link label of a step of a cycle.

    :param cycle: number of the cycle within the chain.
    :param step: ``propose``, ``label`` or ``decide``.
    :param path: outcomes of the cycles before, since the last decision, that a step made ahead builds on.
    """
    return f"cycle_{cycle:05d}_{step}" + (f"_{path}" if path else "")


class ChainWorkChain(Steps, WorkChain):
    """Run the cycles of one chain within one block.

    The context holds the current state, its label, the stream and counters, never a history: the history is the graph.

    With ``driver.prefetch`` above 1 a window of cycles is proposed and labelled before the first of them is decided,
    for all outcomes (``tree``) or for acceptances alone (``accept``); then the decisions are replayed in order. Random
    numbers belong to chain and cycle, so that the chain is the one of the serial run. Labels of outcomes that did not
    come are handed on as training data.
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
        worker_ports(spec)
        for group in ("ensemble", "proposal", "budget", "driver", "failure", "labelling", "executor"):
            settings_port(spec, group)
        spec.outline(
            cls.start,
            while_(cls.has_cycles)(
                cls.open_window,
                if_(cls.proposes_by_job)(while_(cls.has_level)(cls.propose)),
                cls.label,
                cls.decide,
                while_(cls.lacks_label)(cls.wait_for_user, cls.label_again, cls.decide),
            ),
            cls.collect,
        )
        spec.output("state", valid_type=orm.StructureData, help="State after the last cycle (Å).")
        spec.output("label", valid_type=FramesData, help="Its label.")
        spec.output("stream", valid_type=orm.Dict, help="Stream of the next cycle.")
        spec.output("chunk", valid_type=FramesData, help="All labelled endpoints, accepted and rejected.")
        spec.output("aside", valid_type=FramesData, required=False, help="Labels made ahead for what did not come.")
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

    def has_cycles(self) -> bool:
        """Return whether cycles remain."""
        return bool(self.ctx.cycle < self.ctx.end)

    # Proposals --------------------------------------------------------------------------------------------------------

    def open_window(self) -> None:
        """Begin with the cycles that are proposed before the next decision: one, unless more are fetched ahead."""
        for key in [key for key in self.ctx if key.startswith(("proposal_", "labelling_"))]:
            del self.ctx[key]
        self.ctx.first = self.ctx.cycle
        self.ctx.base = self.ctx.state
        self.ctx.level = 0
        self.ctx.path = ""
        self.ctx.attempt = 0
        self.ctx.lacking = False

    def proposes_by_job(self) -> bool:
        """Return whether the proposal is a job to wait for; else it is made in the step that asks for its label."""
        return bool(self.inputs.executor.get_dict()["propose"] == "job")

    @property
    def depth(self) -> int:
        """Return how many cycles the window covers."""
        return int(min(self.inputs.driver.get_dict()["prefetch"], self.ctx.end - self.ctx.first))

    def has_level(self) -> bool:
        """Return whether cycles of the window are still to be proposed."""
        return bool(self.ctx.level < self.depth)

    def _branches(self) -> dict[str, Branch]:
        """Return the proposals of the window by the letters of the outcomes that they build on."""
        shape = self.inputs.driver.get_dict()["prefetch_shape"]
        return {letters(branch.path): branch for branch in plan(self.depth, shape)}

    def _origin(self, branch: Branch) -> orm.StructureData | None:
        """Return the state that a proposal starts from; None if it cannot come to that."""
        for level, outcome in enumerate(branch.path):
            proposal = self.ctx.get(f"proposal_{letters(branch.path[:level])}")
            if proposal is None or not proposal.is_finished_ok:
                return None
            # A divergent trajectory cannot be accepted.
            if outcome and proposal.outputs.proposal_info.get_dict()["divergent"]:
                return None
        if branch.origin is None:
            return self.ctx.base
        return self.ctx[f"proposal_{letters(branch.origin)}"].outputs.endpoint

    def propose(self) -> ToContext | None:
        """Run the trajectories of the next level of the window on the model's surface."""
        cycle = self.ctx.first + self.ctx.level
        if self.ctx.level == 0:
            self.ctx.ahead = self.ctx.stream
        else:
            node = self.call_once_node(cycle_label(cycle, f"advance_{self.ctx.first}"), advance, stream=self.ctx.ahead)
            self.ctx.ahead = node.outputs.result
        worker = self.inputs.get("worker", {})
        awaited: dict[str, Any] = {}
        for path, branch in self._branches().items():
            state = self._origin(branch) if branch.level == self.ctx.level else None
            if state is None:
                continue
            inputs = {
                "model": self.inputs.model,
                "state": state,
                "stream": self.ctx.ahead,
                "ensemble": self.inputs.ensemble,
                "proposal": self.inputs.proposal,
            }
            waiting = dispatch(
                self, f"proposal_{path}", cycle_label(cycle, "propose", path), "propose", ProposeCalculation,
                propose_local, inputs, code=worker.get("code"), options=worker.get("options"),
            )  # fmt: skip
            awaited |= waiting or {}
        self.ctx.level += 1
        return ToContext(**awaited) if awaited else None

    # Labels -----------------------------------------------------------------------------------------------------------

    def label(self) -> Any:
        """Ask the target for the endpoints' energies; a divergent trajectory needs none."""
        if not self.proposes_by_job():
            while self.has_level():
                self.propose()
        problem = failed(self.ctx["proposal_"])
        if problem:
            return self.exit_codes.ERROR_PROPOSAL_FAILED.format(cycle=self.ctx.cycle, message=problem)
        children = {}
        for path, branch in self._branches().items():
            proposal = self.ctx.get(f"proposal_{path}")
            if proposal is None or not proposal.is_finished_ok:
                continue
            if not proposal.outputs.proposal_info.get_dict()["divergent"]:
                label = cycle_label(self.ctx.first + branch.level, "label", path)
                children[f"labelling_{path}"] = self._submit_label(label, proposal)
        return ToContext(**children)

    def _submit_label(self, label: str, proposal: Any) -> orm.ProcessNode:
        return self.submit_once(
            label,
            LabelWorkChain,
            structure=proposal.outputs.endpoint,
            target=self.inputs.target,
            failure=self.inputs.failure,
            labelling=self.inputs.labelling,
            executor=self.inputs.executor,
            # Of what is labelled ahead, too: the state that the window started from is near to all of it.
            **warm_start(self.inputs, self.ctx.label),
        )

    def lacks_label(self) -> bool:
        """Return whether the label that is needed failed, and the policy is to stop for the user."""
        return bool(self.ctx.lacking)

    def wait_for_user(self) -> None:
        """Pause: when the chain is played again, the label is tried again."""
        self.ctx.attempt += 1
        reason = failed(self.ctx[f"labelling_{self.ctx.path}"])
        message = f"cycle {self.ctx.cycle}: {reason}. Mend the cause and resume: it is tried again."
        self.report(message)
        self.pause(message)

    def label_again(self) -> ToContext:
        """Ask again for the lacking label, and for those further on in the window that failed as well."""
        children = {}
        for key in [key for key in self.ctx if key.startswith(f"labelling_{self.ctx.path}")]:
            if failed(self.ctx[key]):
                path = key.removeprefix("labelling_")
                cycle = self.ctx.first + len(path)
                # The cycle that lacks its label tells the rounds apart, since each counts its own.
                step = f"label_again_{self.ctx.cycle - self.ctx.first}_{self.ctx.attempt}"
                children[key] = self._submit_label(cycle_label(cycle, step, path), self.ctx[f"proposal_{path}"])
        return ToContext(**children)

    # Decisions --------------------------------------------------------------------------------------------------------

    def decide(self) -> Any:
        """Accept or reject by the target's energy, cycle by cycle, as far as the window was prepared."""
        self.ctx.lacking = False
        while self.ctx.cycle < self.ctx.first + self.depth and f"proposal_{self.ctx.path}" in self.ctx:
            proposal = self.ctx[f"proposal_{self.ctx.path}"]
            problem = failed(proposal)
            if problem:
                return self.exit_codes.ERROR_PROPOSAL_FAILED.format(cycle=self.ctx.cycle, message=problem)
            labelling = self.ctx.get(f"labelling_{self.ctx.path}")
            if labelling is not None and failed(labelling) and self.inputs.failure.get_dict()["policy"] == "stop":
                self.ctx.lacking = True
                return None
            inputs = {
                "state": self.ctx.state,
                "label": self.ctx.label,
                "endpoint": proposal.outputs.endpoint,
                "proposal_info": proposal.outputs.proposal_info,
                "stream": self.ctx.stream,
                "ensemble": self.inputs.ensemble,
                "failure": self.inputs.failure,
            }
            if labelling is not None and labelling.is_finished_ok:
                inputs["endpoint_label"] = labelling.outputs.label
            node = self.call_once_node(cycle_label(self.ctx.cycle, "decide"), metropolis, **inputs)
            problem = failed(node)
            if problem:
                return self.exit_codes.ERROR_DECISION_FAILED.format(cycle=self.ctx.cycle, message=problem)
            accepted = node.outputs.decision.get_dict()["accepted"]
            if accepted:
                self.ctx.label = labelling.outputs.label
            self.ctx.state = node.outputs.state
            self.ctx.stream = node.outputs.stream
            self.ctx.path += ACCEPTED if accepted else REJECTED
            self.ctx.cycle += 1
            self.ctx.attempt = 0
        return None

    def collect(self) -> None:
        """Turn labels and decisions into frames, in pieces of few links, and hand on the state."""
        children = links(self, "cycle_")
        decisions = {int(name.split("_")[1]): node for name, node in children.items() if name.endswith("_decide")}
        pieces = collect_chain(self, self.inputs.stream, self.inputs.label, decisions)
        self.out("chunk", merge_all(self, pieces))
        used = {node.inputs.endpoint_label.uuid for node in decisions.values() if "endpoint_label" in node.inputs}
        labels = {name: node.outputs.label for name, node in children.items() if "label" in node.outputs}
        aside = [labels[name] for name in sorted(labels) if labels[name].uuid not in used]
        if aside:
            self.out("aside", merge_all(self, collect_aside(self, self.inputs.stream, aside), "merge_aside"))
        self.out("state", self.ctx.state)
        self.out("label", self.ctx.label)
        self.out("stream", self.ctx.stream)


def collect_chain(
    workchain: Any, stream: orm.Dict, start: FramesData, decisions: dict[int, orm.ProcessNode], name: str = ""
) -> dict[str, FramesData]:
    """Collect the frames of one chain, in pieces of few links.

    :param workchain: that calls.
    :param stream: of the first cycle.
    :param start: label of the state before it.
    :param decisions: the decisions by cycle.
    :param name: of the chain, where the WorkChain runs several.
    :returns: the pieces by name.
    """
    position = stream.get_dict()
    first, end = position["cycle"], max(decisions) + 1
    half = collecting.MAX_LINKS // 2
    pieces = {}
    for begin in range(first, end, half):
        nodes: dict[str, orm.Data] = {}
        for cycle in range(begin, min(begin + half, end)):
            decision = decisions[cycle]
            nodes[f"{collecting.DECISION}{cycle:05d}"] = decision.outputs.decision
            if "endpoint_label" in decision.inputs:
                nodes[f"{collecting.LABEL}{cycle:05d}"] = decision.inputs.endpoint_label
        # The starting state of the run is a label like any other; that of a production block makes its states readable
        # from the block alone.
        if begin == first and (first == 0 or position["phase"] == PRODUCTION):
            nodes[collecting.START] = start
        key = f"{name}{begin:05d}"
        piece = workchain.call_once_node(
            f"collect_{key}", collecting.collect, first=decisions[begin].inputs.stream, **nodes
        )
        pieces[f"piece_{key}"] = piece.outputs.result
    return pieces


def collect_aside(workchain: Any, stream: orm.Dict, labels: list[FramesData]) -> dict[str, FramesData]:
    """Collect labels of proposals that were made ahead and not needed, in pieces of few links.

    :param workchain: that calls.
    :param stream: of the chain.
    :param labels: the labels.
    :returns: the pieces by name.
    """
    pieces = {}
    for begin in range(0, len(labels), collecting.MAX_LINKS):
        some = labels[begin : begin + collecting.MAX_LINKS]
        nodes = {f"{collecting.ASIDE}{begin + index:05d}": label for index, label in enumerate(some)}
        piece = workchain.call_once_node(f"aside_{begin:05d}", collecting.collect_aside, stream=stream, **nodes)
        pieces[f"piece_{begin:05d}"] = piece.outputs.result
    return pieces


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
