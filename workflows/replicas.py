"""Several chains in step: one proposal step for all of them, and exchange between their temperatures."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ToContext, WorkChain, if_, while_

from aiida_slhmc.calculations import collect as collecting
from aiida_slhmc.calculations import propose as proposing
from aiida_slhmc.calculations.exchange import exchange
from aiida_slhmc.calculations.metropolis import metropolis
from aiida_slhmc.calculations.propose import ProposeManyCalculation, propose_many_local
from aiida_slhmc.calculations.streams import PRODUCTION
from aiida_slhmc.data import FramesData, MaceModelData
from aiida_slhmc.numerics.exchange import attempt_after, pairs

from .chain import collect_chain, cycle_label, merge_all
from .label import LabelWorkChain, warm_start
from .steps import Steps, dispatch, failed, links, settings_port, target_ports, worker_ports

#: Chains that one proposal step carries at most: AiiDA's cost of links to one process is quadratic.
TOGETHER = 8


class ReplicasWorkChain(Steps, WorkChain):
    """Run the cycles of several chains within one block, in step.

    One proposal step carries up to eight chains, whose trajectories a model evaluates in batches; labels run side by
    side. Every ``driver.exchange_every`` cycles neighbouring chains may exchange their states; the energies are known,
    so that it costs no label.
    """

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs, outputs and outline."""
        super().define(spec)
        spec.input_namespace("states", valid_type=orm.StructureData, dynamic=True, help="States to start from (Å).")
        spec.input_namespace("labels", valid_type=FramesData, dynamic=True, help="Their labels by the target.")
        spec.input_namespace("streams", valid_type=orm.Dict, dynamic=True, help="Seed, chain, cycle, phase.")
        spec.input_namespace("ensembles", valid_type=orm.Dict, dynamic=True, help="Ensemble of each chain.")
        spec.input("model", valid_type=(MaceModelData, orm.Dict), help="Proposal model; or a level of theory.")
        target_ports(spec)
        worker_ports(spec)
        for group in ("proposal", "budget", "driver", "failure", "labelling", "executor"):
            settings_port(spec, group)
        spec.outline(
            cls.start,
            while_(cls.has_cycles)(
                if_(cls.proposes_by_job)(cls.propose),
                cls.label,
                while_(cls.lacks_label)(cls.wait_for_user, cls.label_again),
                cls.decide,
                if_(cls.exchanges)(cls.exchange),
            ),
            cls.collect,
        )
        spec.output_namespace("states", valid_type=orm.StructureData, dynamic=True, help="States at the end (Å).")
        spec.output_namespace("labels", valid_type=FramesData, dynamic=True, help="Their labels.")
        spec.output_namespace("streams", valid_type=orm.Dict, dynamic=True, help="Streams of the next cycle.")
        spec.output("chunk", valid_type=FramesData, help="All labelled endpoints, accepted and rejected.")
        spec.exit_code(440, "ERROR_PROPOSAL_FAILED", message="the proposals of cycle {cycle} failed: {message}")
        spec.exit_code(441, "ERROR_DECISION_FAILED", message="the decision of cycle {cycle} failed: {message}")

    def start(self) -> None:
        """Take up the chains where the inputs say."""
        self.ctx.chains = sorted(self.inputs.states)
        for name in self.ctx.chains:
            self.ctx[f"state_{name}"] = self.inputs.states[name]
            self.ctx[f"label_{name}"] = self.inputs.labels[name]
            self.ctx[f"stream_{name}"] = self.inputs.streams[name]
        position = self.inputs.streams[self.ctx.chains[0]].get_dict()
        budget = self.inputs.budget.get_dict()
        self.ctx.cycle = position["cycle"]
        self.ctx.end = self.ctx.cycle + (
            budget["production_cycles"] if position["phase"] == PRODUCTION else budget["cycles"]
        )
        self.ctx.attempt = 0

    def has_cycles(self) -> bool:
        """Return whether cycles remain."""
        return bool(self.ctx.cycle < self.ctx.end)

    def proposes_by_job(self) -> bool:
        """Return whether the proposals are jobs to wait for."""
        return bool(self.inputs.executor.get_dict()["propose"] == "job")

    def _groups(self) -> list[list[str]]:
        chains = self.ctx.chains
        return [chains[begin : begin + TOGETHER] for begin in range(0, len(chains), TOGETHER)]

    def propose(self) -> ToContext | None:
        """Run the trajectories of all chains on the model's surface."""
        worker = self.inputs.get("worker", {})
        awaited: dict[str, Any] = {}
        for number, group in enumerate(self._groups()):
            inputs = {"model": self.inputs.model, "proposal": self.inputs.proposal}
            for name in group:
                inputs[proposing.STATE + name] = self.ctx[f"state_{name}"]
                inputs[proposing.STREAM + name] = self.ctx[f"stream_{name}"]
                inputs[proposing.LAW + name] = self.inputs.ensembles[name]
            waiting = dispatch(
                self, f"proposals_{number}", cycle_label(self.ctx.cycle, "propose", str(number)), "propose",
                ProposeManyCalculation, propose_many_local, inputs,
                code=worker.get("code"), options=worker.get("options"),
            )  # fmt: skip
            awaited |= waiting or {}
        return ToContext(**awaited) if awaited else None

    def _proposal(self, name: str, what: str) -> Any:
        number = self.ctx.chains.index(name) // TOGETHER
        return self.ctx[f"proposals_{number}"].outputs[f"{what}{name}"]

    def label(self) -> Any:
        """Ask the target for the endpoints' energies; a divergent trajectory needs none."""
        if not self.proposes_by_job():
            self.propose()
        for number, _ in enumerate(self._groups()):
            problem = failed(self.ctx[f"proposals_{number}"])
            if problem:
                return self.exit_codes.ERROR_PROPOSAL_FAILED.format(cycle=self.ctx.cycle, message=problem)
        children = {}
        for name in self.ctx.chains:
            self.ctx[f"labelling_{name}"] = None
            if not self._proposal(name, proposing.INFO).get_dict()["divergent"]:
                children[f"labelling_{name}"] = self._submit_label(name, "label")
        return ToContext(**children)

    def _submit_label(self, name: str, step: str) -> orm.ProcessNode:
        return self.submit_once(
            cycle_label(self.ctx.cycle, step, name),
            LabelWorkChain,
            structure=self._proposal(name, proposing.ENDPOINT),
            target=self.inputs.target,
            failure=self.inputs.failure,
            labelling=self.inputs.labelling,
            executor=self.inputs.executor,
            **warm_start(self.inputs, self.ctx[f"label_{name}"]),
        )

    def _lacking(self) -> list[str]:
        if self.inputs.failure.get_dict()["policy"] != "stop":
            return []
        labellings = {name: self.ctx[f"labelling_{name}"] for name in self.ctx.chains}
        return [name for name, node in labellings.items() if node is not None and failed(node)]

    def lacks_label(self) -> bool:
        """Return whether a label failed and the policy is to stop for the user."""
        return bool(self._lacking())

    def wait_for_user(self) -> None:
        """Pause: when the chains are played again, the labels that lack are tried again."""
        self.ctx.attempt += 1
        reasons = "; ".join(f"{name}: {failed(self.ctx[f'labelling_{name}'])}" for name in self._lacking())
        message = f"cycle {self.ctx.cycle}: {reasons}. Mend the cause and resume: it is tried again."
        self.report(message)
        self.pause(message)

    def label_again(self) -> ToContext:
        """Ask for the lacking labels again."""
        step = f"label_again_{self.ctx.attempt}"
        return ToContext(**{f"labelling_{name}": self._submit_label(name, step) for name in self._lacking()})

    def decide(self) -> Any:
        """Accept or reject by the target's energies."""
        for name in self.ctx.chains:
            labelling = self.ctx[f"labelling_{name}"]
            inputs = {
                "state": self.ctx[f"state_{name}"],
                "label": self.ctx[f"label_{name}"],
                "endpoint": self._proposal(name, proposing.ENDPOINT),
                "proposal_info": self._proposal(name, proposing.INFO),
                "stream": self.ctx[f"stream_{name}"],
                "ensemble": self.inputs.ensembles[name],
                "failure": self.inputs.failure,
            }
            if labelling is not None and labelling.is_finished_ok:
                inputs["endpoint_label"] = labelling.outputs.label
            node = self.call_once_node(cycle_label(self.ctx.cycle, "decide", name), metropolis, **inputs)
            problem = failed(node)
            if problem:
                return self.exit_codes.ERROR_DECISION_FAILED.format(cycle=self.ctx.cycle, message=problem)
            if node.outputs.decision.get_dict()["accepted"]:
                self.ctx[f"label_{name}"] = labelling.outputs.label
            self.ctx[f"state_{name}"] = node.outputs.state
            self.ctx[f"stream_{name}"] = node.outputs.stream
        self.ctx.cycle += 1
        self.ctx.attempt = 0
        return None

    def exchanges(self) -> bool:
        """Return whether neighbours may exchange their states after this cycle."""
        return self._attempt() is not None

    def _attempt(self) -> int | None:
        # The cycle that just ended.
        return attempt_after(self.ctx.cycle - 1, self.inputs.driver.get_dict()["exchange_every"])

    def exchange(self) -> None:
        """Let neighbouring temperatures exchange their states."""
        attempt = self._attempt()
        for one, other in pairs(len(self.ctx.chains), 0 if attempt is None else attempt):
            a, b = self.ctx.chains[one], self.ctx.chains[other]
            node = self.call_once_node(
                cycle_label(self.ctx.cycle - 1, "exchange", f"{one:03d}"), exchange,
                state_a=self.ctx[f"state_{a}"], state_b=self.ctx[f"state_{b}"],
                label_a=self.ctx[f"label_{a}"], label_b=self.ctx[f"label_{b}"],
                ensemble_a=self.inputs.ensembles[a], ensemble_b=self.inputs.ensembles[b],
                stream_a=self.ctx[f"stream_{a}"], stream_b=self.ctx[f"stream_{b}"],
            )  # fmt: skip
            self.ctx[f"state_{a}"], self.ctx[f"state_{b}"] = node.outputs.state_a, node.outputs.state_b
            if node.outputs.swap.get_dict()["accepted"]:
                self.ctx[f"label_{a}"], self.ctx[f"label_{b}"] = self.ctx[f"label_{b}"], self.ctx[f"label_{a}"]

    def collect(self) -> None:
        """Turn labels and decisions into frames, and hand on the states."""
        children = links(self, "cycle_")
        pieces: dict[str, FramesData] = {}
        for name in self.ctx.chains:
            decisions = {
                int(label.split("_")[1]): node for label, node in children.items() if label.endswith(f"_decide_{name}")
            }
            pieces |= collect_chain(self, self.inputs.streams[name], self.inputs.labels[name], decisions, f"{name}_")
        swaps = [children[label].outputs.swap for label in sorted(children) if "_exchange_" in label]
        for begin in range(0, len(swaps), collecting.MAX_LINKS):
            some = swaps[begin : begin + collecting.MAX_LINKS]
            nodes = {f"{collecting.SWAP}{begin + index:05d}": node for index, node in enumerate(some)}
            piece = self.call_once_node(f"swaps_{begin:05d}", collecting.collect_swaps, **nodes)
            pieces[f"swaps_{begin:05d}"] = piece.outputs.result
        self.out("chunk", merge_all(self, pieces))
        for name in self.ctx.chains:
            for what in ("state", "label", "stream"):
                self.out(f"{what}s.{name}", self.ctx[f"{what}_{name}"])
