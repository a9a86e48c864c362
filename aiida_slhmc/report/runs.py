"""One run as a report sees it, while it goes on, after it ended, and in an archive: what there is of it so far."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from aiida import orm

from aiida_slhmc.data import DatasetData, FramesData, MaceModelData
from aiida_slhmc.provenance.computed import EXTEND
from aiida_slhmc.provenance.progress import RunStatus, last_history, latest_made, run_decisions, run_status
from aiida_slhmc.workflows.runfile import WORKFLOWS, entry_point

#: Workflows that a report is written of, by their entry point.
COMPARE, ENSEMBLE, UNCERTAINTY, REFERENCE = "slhmc.compare", "slhmc.ensemble", "slhmc.uncertainty", "slhmc.reference"
KINDS = (*(entry_point(name) for name in WORKFLOWS), "slhmc.production", COMPARE, ENSEMBLE, UNCERTAINTY, REFERENCE)
TITLES = {
    "slhmc.slhmc": "Self-learning hybrid Monte Carlo",
    "slhmc.naive": "Naive fine-tuning",
    "slhmc.periodic": "Periodic fine-tuning",
    "slhmc.relabel": "Relabelling",
    "slhmc.on_the_fly": "On-the-fly learning",
    "slhmc.production": "Production with a frozen kernel",
    COMPARE: "Comparison of protocols",
    ENSEMBLE: "Comparison of ensembles",
    UNCERTAINTY: "Trial of uncertainty estimates",
    REFERENCE: "Reference: the target's own ensemble",
}
DIAGNOSE = {"process_type": {"like": "%slhmc.diagnose"}}
TRAINED = {"process_type": {"like": "%slhmc.finetune%"}}
#: How a run that is over is called, by the state of its process.
ENDS = {"excepted": "broke off", "killed": "was killed"}


def kind_of(node: orm.Node) -> str | None:
    """Return the entry point of a process that a report can be written of; None for any other node.

    :param node: any node.
    """
    name = (getattr(node, "process_type", None) or "").removeprefix("aiida.workflows:")
    return name if isinstance(node, orm.WorkChainNode) and name in KINDS else None


@dataclass
class Run:
    """Look at one run.

    :param node: of the run.
    :param name: that its numbers are told apart by, of several runs on one page.
    :param known: UUIDs of the processes that may be looked at besides it; None: all of the profile.
    """

    node: orm.WorkChainNode
    name: str = ""
    known: set[str] | None = None

    @property
    def kind(self) -> str:
        """Return the entry point of its workflow."""
        return kind_of(self.node) or ""

    @property
    def title(self) -> str:
        """Return what a reader calls it."""
        label = f": {self.node.label}" if self.node.label else ""
        return f"{TITLES[self.kind]}{label}"

    @property
    def going(self) -> bool:
        """Return whether it goes on."""
        return not self.node.is_terminated

    @property
    def bad(self) -> bool:
        """Return whether it ended otherwise than well."""
        return self.node.is_terminated and not self.node.is_finished_ok

    @cached_property
    def status(self) -> RunStatus:
        """Return where it stands."""
        return run_status(self.node)

    def output(self, name: str) -> Any:
        """Return an output; None if there is none (yet).

        :param name: of the output.
        """
        return self.node.outputs[name] if name in self.node.outputs else None  # noqa: SIM401

    def input(self, name: str) -> Any:
        """Return an input; None if there is none.

        :param name: of the input.
        """
        return self.node.inputs[name] if name in self.node.inputs else None  # noqa: SIM401

    def settings(self, group: str) -> dict[str, Any]:
        """Return the settings of a group; none where it has no such group.

        :param group: name of the input.
        """
        node = self.input(group)
        return dict(node.get_dict()) if isinstance(node, orm.Dict) else {}

    @cached_property
    def history(self) -> orm.Dict | None:
        """Return the node of its history, as far as it is written."""
        return self.output("history") or last_history(self.node)

    @cached_property
    def blocks(self) -> list[dict[str, Any]]:
        """Return the rows of its history."""
        return [] if self.history is None else list(self.history.get_dict()["blocks"])

    @cached_property
    def diagnostics(self) -> orm.Dict | None:
        """Return the node of the diagnostics of its last block."""
        return self.output("diagnostics") or latest_made(self.node, DIAGNOSE)

    @property
    def chains(self) -> int:
        """Return the number of its chains; 0: it has none."""
        return int(self.settings("budget").get("chains", 0)) if self.blocks and "cycles" in self.blocks[0] else 0

    @cached_property
    def endpoints(self) -> dict[str, Any] | None:
        """Return chain, cycle, acceptance and length of the labelled proposals of the blocks that have ended."""
        rows = [row for row in run_decisions(self.node) if row["labelled"] and row["block"] < len(self.blocks)]
        if not rows:
            return None
        # A run that goes on from another counts its cycles on; the figure begins with its own.
        first = min(row["cycle"] for row in rows)
        found = {key: [row[key] for row in rows] for key in ("chain", "accepted", "length")}
        return {**found, "cycle": [row["cycle"] - first for row in rows]}

    @property
    def judged(self) -> bool:
        """Return whether a block has errors on labels that its model had not seen."""
        return any(block.get("errors") for block in self.blocks)

    @cached_property
    def model(self) -> MaceModelData | None:
        """Return the last model that it made; None if it made none."""
        found = self.output("model") or latest_made(self.node, TRAINED, MaceModelData, "model")
        return found if isinstance(found, MaceModelData) else None

    @cached_property
    def sample(self) -> tuple[orm.ArrayData, str] | None:
        """Return the structures that it sampled, and what they are; None if there are none yet."""
        if self.output("states") is not None:
            return self.output("states"), "states of the production phase, an exact sample of the target's ensemble"
        if self.output("reference") is not None:
            return self.output("reference"), "samples of the target's own ensemble"
        dataset = latest_made(self.node, EXTEND, DatasetData)
        chunks = [chunk for chunk in dataset.frames() if chunk.n_frames] if dataset is not None else []
        if not chunks:
            return None
        return chunks[-1], "labelled structures of the last block: training data, no sample of the ensemble"

    @property
    def structure(self) -> orm.StructureData | None:
        """Return the structure that it started from."""
        return self.input("structure")

    @cached_property
    def ensembles(self) -> orm.WorkChainNode | None:
        """Return the latest comparison of ensembles that was made of its model; None if there is none."""
        return self._used_by(ENSEMBLE, "adapted")

    @cached_property
    def comparisons(self) -> list[orm.WorkChainNode]:
        """Return the comparisons of protocols that it took part in."""
        return list({node.uuid: node for node in self._users(COMPARE, "%")}.values())

    def _used_by(self, kind: str, label: str) -> orm.WorkChainNode | None:
        return next((node for node in self._users(kind, label) if "comparison" in node.outputs), None)

    def _users(self, kind: str, label: str) -> list[orm.WorkChainNode]:
        """Return the finished workflows that took the model that this one returned, the latest first."""
        if self.model is None or "model" not in self.node.outputs:
            return []
        query = orm.QueryBuilder().append(orm.Data, filters={"id": self.model.pk}, tag="model")
        query.append(
            orm.WorkChainNode, with_incoming="model", edge_filters={"label": {"like": label}}, tag="user",
            filters={"process_type": f"aiida.workflows:{kind}", "attributes.process_state": "finished"},
        )  # fmt: skip
        found = query.order_by({"user": [{"ctime": "desc"}, {"id": "desc"}]}).all(flat=True)
        return [node for node in found if self.known is None or node.uuid in self.known]

    def state(self) -> str:
        """Return in words what became of it."""
        node = self.node
        if node.is_finished_ok:
            return "finished"
        if not self.going:
            state = node.process_state.value if node.process_state else "ended"
            reason = node.exit_message or node.exception or ""
            code = f" [{node.exit_status}]" if node.exit_status else ""
            return f"This run {ENDS.get(state, 'failed')}{code}: {reason or 'no reason was recorded.'}"
        return self._going()

    def _going(self) -> str:
        status = self.status
        parts = []
        if status.models_total is not None:
            parts.append(f"{status.models_done} of {status.models_total} models compared")
        elif status.steps_total is not None:
            parts.append(f"step {status.steps} of {status.steps_total}, {status.labels + status.labels_reused} of "
                         f"{status.labels_total} labels")  # fmt: skip
        elif status.labels_total is not None:
            parts.append(f"round {status.block} of {status.blocks}, {status.labels + status.labels_reused} of "
                         f"{status.labels_total} labels")  # fmt: skip
        elif status.cycles_total:
            parts.append(f"{status.phase} phase, block {status.block} of {status.blocks}, cycle {status.cycles_done} "
                         f"of {status.cycles_total}")  # fmt: skip
        waits = [f"It waits: {message}" for message in status.paused]
        text = f"This run is still going on: {', '.join(parts) or 'it has just begun'}."
        return " ".join([text, "The page shows what is known so far.", *waits])


def frames_of(node: orm.ArrayData) -> int:
    """Return the number of structures in a node.

    :param node: states, a trajectory or labelled frames.
    """
    return node.n_frames if isinstance(node, FramesData) else len(node.get_array("positions"))
