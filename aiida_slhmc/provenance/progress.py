"""Where a run stands: read from the graph alone, so that it works while the run goes on, elsewhere, and afterwards."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any

from aiida import orm
from aiida.common.links import LinkType

from aiida_slhmc.analysis import live
from aiida_slhmc.analysis.doubts import too_short, warnings_of
from aiida_slhmc.analysis.series import CONFIDENCE
from aiida_slhmc.calculations.streams import PRODUCTION
from aiida_slhmc.numerics.diagnostics import acceptance_interval

from .label_cost import label_counts

#: What is read of a decision.
KEYS = (
    "chain", "cycle", "phase", "accepted", "probability", "delta", "divergent", "label_failed", "length",
    "target_start", "target_end", "temperature",
)  # fmt: skip
#: The calcfunctions that write the history: a row a block, a row a round, a row a group of labels.
RECORDS = ("history", "record_round", "record_interventions")
HISTORY = {"process_type": {"or": [{"like": f"%slhmc.{name}"} for name in RECORDS]}}
#: The steps of on-the-fly learning that count labels, and those that make steps of dynamics.
COUNTS = {"process_type": {"or": [{"like": "%slhmc.take_up"}, {"like": "%slhmc.go_without"}]}}
EXPLORATIONS = {"process_type": {"like": "%slhmc.explore%"}}
#: Number of the block in the call link label of its chains.
BLOCK = re.compile(r"^block_(\d+)_")


@dataclass
class RunStatus:
    """Say where a run stands, and how far its chains can be trusted so far.

    Cycles and acceptance count over all chains and phases; errors are those of the last block that was judged: force
    RMSE in meV/Å and offset-removed energy RMSE in meV/atom, beside the model error in meV/atom that the same block's
    acceptance implies. The Creutz identity <exp(-delta/kT)> and the autocorrelation time (cycles), effective size and
    R-hat of the target's energy are those of the present phase. Times in s. What is not known is None.

    ``labels`` were computed by this run, ``labels_reused`` were known before and cost nothing, ``labels_failed`` never
    came; ``calls`` counts the attempts of the target's engine. ``labels_total`` is what a protocol without chains asks
    for in all (None for one with chains); its rounds count as blocks. ``rejected_unlabelled`` are the cycles that the
    failure policy ``reject`` rejected because their label failed. ``models_done`` of ``models_total`` have been
    compared (None for anything but a comparison).

    On the fly, ``steps`` of ``steps_total`` steps of dynamics are made, ``interventions`` labels have tested a
    prediction, and ``outside`` of them found its energy wrong by more than the accuracy.
    """

    pk: int
    uuid: str
    state: str
    exit_status: int | None
    exit_message: str | None
    phase: str
    block: int
    blocks: int
    cycles_done: int
    cycles_total: int
    accepted: int
    mean_probability: float | None
    divergent: int
    labels: int
    labels_failed: int
    length: int | None
    force_rmse: float | None
    energy_rmse: float | None
    elapsed: float
    remaining: float | None
    labels_reused: int = 0
    calls: int = 0
    rejected_unlabelled: int = 0
    workflow: str = "SlhmcWorkChain"
    labels_total: int | None = None
    steps: int | None = None
    steps_total: int | None = None
    interventions: int | None = None
    outside: int | None = None
    models_done: int | None = None
    models_total: int | None = None
    paused: list[str] = field(default_factory=list)
    acceptance_interval: list[float] | None = None
    creutz: float | None = None
    creutz_error: float | None = None
    energy_tau: float | None = None
    energy_tau_error: float | None = None
    energy_ess: float | None = None
    energy_rhat: float | None = None
    implied_model_error: float | None = None
    implied_model_error_error: float | None = None
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the status as plain values, for JSON."""
        return asdict(self)


def run_decisions(root: orm.WorkChainNode) -> list[dict[str, Any]]:
    """Return the decisions of all cycles so far, in the order in which they fell.

    :param root: node of a WorkChain whose children run chains, whatever else it is.
    :returns: the keys of :data:`KEYS`, ``labelled`` (whether the endpoint had a label) and ``block``.
    """
    query = orm.QueryBuilder()
    query.append(orm.WorkChainNode, filters={"id": root.pk}, tag="root")
    query.append(orm.WorkChainNode, with_incoming="root", tag="chain", edge_project=["label"])
    query.append(
        orm.CalcFunctionNode,
        with_incoming="chain",
        tag="decide",
        filters={"process_type": {"like": "%slhmc.metropolis"}},
    )
    query.append(
        orm.Dict, with_incoming="decide", edge_filters={"label": "decision"}, tag="decision",
        project=["ctime", "id", "attributes"],
    )  # fmt: skip
    found = []
    for *fell, attributes, label in query.all():
        row = {key: attributes.get(key) for key in KEYS}
        row["labelled"] = not (row["divergent"] or row["label_failed"])
        block = BLOCK.match(label or "")
        found.append((fell, row | {"block": int(block.group(1)) if block else 0}))
    # By time: an archive that is imported numbers its nodes anew.
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]


def run_status(root: orm.WorkChainNode) -> RunStatus:
    """Return where a run stands.

    :param root: node of a WorkChain whose children run chains (self-learning, production, replicas), or of one of the
        protocols without chains.
    """
    budget = _settings(root, "budget")
    blocks, production = budget.get("blocks", 0), budget.get("production_cycles", 0)
    decisions = run_decisions(root)
    done = len(decisions)
    total = budget.get("chains", 1) * (blocks * budget.get("cycles", 0) + production) or done
    labels = label_counts(root)
    history = _last_history(root)
    rows = history["blocks"] if history else []
    judged = next((index for index in reversed(range(len(rows))) if rows[index].get("errors")), None)
    errors = rows[judged]["errors"] if judged is not None else {}
    now = root.mtime if root.is_terminated else datetime.now(timezone.utc)
    elapsed = (now - root.ctime).total_seconds()
    remaining = elapsed / done * (total - done) if done and not root.is_terminated else None
    accepted = sum(bool(row["accepted"]) for row in decisions)
    n_blocks = max(1, blocks + (1 if production else 0))
    rounds = _settings(root, "rounds")
    asked = None
    if rounds:
        n_blocks = rounds["rounds"]
        asked = n_blocks * rounds["trajectories"] * rounds["labels"]
        known = labels.computed + labels.reused
        remaining = elapsed / known * (asked - known) if known and not root.is_terminated else None
    on_the_fly = _on_the_fly(root)
    if on_the_fly is not None:
        asked = _settings(root, "on_the_fly")["labels"]
        n_blocks = max(len(rows) + (0 if root.is_terminated else 1), 1)
        done_share = max((labels.computed + labels.reused) / asked, on_the_fly["steps"] / on_the_fly["steps_total"])
        remaining = elapsed * (1.0 / done_share - 1.0) if done_share and not root.is_terminated else None
    tests = _settings(root, "reference") if "comparison" not in root.inputs else {}
    if tests:
        asked = tests["frames"] + tests["random"]
    done_models, total_models = _models(root)
    unlabelled = sum(bool(row["label_failed"]) for row in decisions)
    frozen = bool(decisions[-1]["phase"] == PRODUCTION) if decisions else blocks == 0
    return RunStatus(
        pk=int(root.pk or 0),
        uuid=root.uuid,
        state=root.process_state.value if root.process_state else "created",
        exit_status=root.exit_status,
        exit_message=root.exit_message,
        workflow=root.process_label or "",
        phase=_phase(root, bool(rounds), on_the_fly is not None, frozen or len(rows) >= blocks > 0),
        block=min(len(rows) + 1, n_blocks),
        blocks=n_blocks,
        cycles_done=done,
        cycles_total=total,
        accepted=accepted,
        mean_probability=sum(row["probability"] for row in decisions) / done if done else None,
        divergent=sum(bool(row["divergent"]) for row in decisions),
        labels=labels.computed,
        labels_reused=labels.reused,
        labels_failed=labels.failed,
        labels_total=asked,
        calls=labels.calls,
        models_done=done_models,
        models_total=total_models,
        rejected_unlabelled=unlabelled,
        length=decisions[-1]["length"] if decisions else None,
        force_rmse=_milli(errors.get("force_rmse")),
        energy_rmse=_milli(errors.get("energy_rmse_offset_removed")),
        elapsed=elapsed,
        remaining=remaining,
        paused=_paused(root),
        acceptance_interval=list(acceptance_interval(accepted, done, CONFIDENCE)) if done else None,
        **(on_the_fly or {}),
        **_trust(root, decisions, judged, errors.get("energy_rmse_offset_removed"), _training_warnings(rows)),
    )


def _on_the_fly(root: orm.WorkChainNode) -> dict[str, Any] | None:
    """Return how far on-the-fly learning is; None for another protocol."""
    if not _settings(root, "on_the_fly"):
        return None
    calibration = latest_made(root, COUNTS, output="calibration")
    exploration = latest_made(root, EXPLORATIONS, output="exploration")
    counts = calibration.get_dict() if calibration is not None else {"interventions": 0, "outside": 0, "step": 0}
    explored = exploration.get_dict() if exploration is not None else counts
    dynamics = _settings(root, "dynamics")
    return {
        "steps": max(counts["step"], explored["step"]),
        "steps_total": dynamics["samples"] * dynamics["thinning"],
        "interventions": counts["interventions"],
        "outside": counts["outside"],
    }


def latest_made(root: orm.WorkChainNode, steps: dict[str, Any], cls: type = orm.Dict, output: str = "%") -> Any:
    """Return what the latest of some steps of a run made; None if none has ended.

    :param root: node of the run.
    :param steps: filter on the steps that the run itself called.
    :param cls: class of what they made.
    :param output: pattern of the link label.
    """
    query = orm.QueryBuilder()
    query.append(orm.WorkChainNode, filters={"id": root.pk}, tag="root")
    query.append(orm.ProcessNode, with_incoming="root", tag="step", filters=steps)
    edge = {"type": LinkType.CREATE.value, "label": {"like": output}}
    query.append(cls, with_incoming="step", edge_filters=edge, tag="made", project=["*"])
    # By time: an archive that is imported numbers its nodes anew.
    found = query.order_by({"made": [{"ctime": "desc"}, {"id": "desc"}]}).limit(1).first()
    return found[0] if found else None


def _models(root: orm.WorkChainNode) -> tuple[int | None, int | None]:
    """Return how many models a comparison has done, and of how many; None for anything else."""
    if "candidates" not in root.inputs:
        return None, None
    query = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": root.pk}, tag="root")
    ended = {"attributes.sealed": True, "process_type": {"like": "%slhmc.candidate"}}
    done = query.append(orm.WorkChainNode, with_incoming="root", filters=ended).count()
    return done, len(root.inputs.candidates)


def _phase(root: orm.WorkChainNode, rounds: bool, on_the_fly: bool, production: bool) -> str:
    if root.is_finished_ok:
        return "done"
    if rounds:
        return "rounds"
    if on_the_fly:
        return "on the fly"
    return "production" if production else "adaptive"


def _training_warnings(rows: list[dict[str, Any]]) -> list[str]:
    """Return what the last fine-tuning warned of."""
    reports = [row["training"] for row in rows if row.get("training")]
    return list(reports[-1].get("warnings") or []) if reports else []


def _trust(
    root: orm.WorkChainNode,
    decisions: list[dict[str, Any]],
    judged: int | None,
    energy_rmse: float | None,
    warnings: list[str],
) -> dict[str, Any]:
    """Return how far the chains can be trusted.

    :param root: node of the run.
    :param decisions: all so far.
    :param judged: the last block whose model was judged.
    :param energy_rmse: of that model in eV/atom.
    :param warnings: to go before those of the chains.
    """
    if not decisions:
        return {"warnings": warnings}
    phase = decisions[-1]["phase"]
    own = [row for row in decisions if row["phase"] == phase]
    temperature = _settings(root, "ensemble").get("temperature") or min(row["temperature"] for row in own)
    report = live.judge(own, production=phase == PRODUCTION, temperature=temperature)
    block = [row for row in decisions if row["block"] == (decisions[-1]["block"] if judged is None else judged)]
    n_atoms = _n_atoms(root)
    implied, error = live.model_error(block)
    report["model_error"] = {
        "implied": implied,
        "implied_error": error,
        "measured": energy_rmse * n_atoms if energy_rmse is not None and n_atoms else None,
    }
    # While it goes on, a short chain is one that has just begun.
    silent = too_short(report) and not root.is_terminated
    energy = report["observables"]["energy"]
    return {
        "creutz": _finite(report["creutz"]["mean"]),
        "creutz_error": _finite(report["creutz"]["error"]),
        "energy_tau": _finite(energy["tau"]),
        "energy_tau_error": _finite(energy["tau_error"]),
        "energy_ess": _finite(energy["ess"]),
        "energy_rhat": _finite(energy["rhat"]),
        "implied_model_error": _milli(implied / n_atoms) if n_atoms else None,
        "implied_model_error_error": _milli(error / n_atoms) if n_atoms else None,
        "warnings": warnings + warnings_of(report)[: -1 if silent else None],
    }


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _milli(value: float | None) -> float | None:
    return _finite(None if value is None else 1000 * value)


def _settings(root: orm.WorkChainNode, group: str) -> dict[str, Any]:
    """Return the settings of a group that the run was given; none where it has no such port."""
    return dict(root.inputs[group].get_dict()) if group in root.inputs else {}


def _n_atoms(root: orm.WorkChainNode) -> int | None:
    """Return the number of atoms of the run's structures."""
    query = orm.QueryBuilder()
    query.append(orm.WorkChainNode, filters={"id": root.pk}, tag="root")
    query.append(orm.StructureData, with_outgoing="root", project=["attributes.sites"])
    found = query.limit(1).first()
    return len(found[0]) if found else None


def last_history(root: orm.WorkChainNode) -> orm.Dict | None:
    """Return the history of a run as far as it is written; None before its first block has ended.

    :param root: node of the run.
    """
    return latest_made(root, HISTORY)


def _last_history(root: orm.WorkChainNode) -> dict[str, Any] | None:
    found = last_history(root)
    return None if found is None else dict(found.get_dict())


def _paused(root: orm.WorkChainNode) -> list[str]:
    """Return why a run waits: it or its children pause; a walk over all descendants would cost seconds a look."""
    query = orm.QueryBuilder()
    query.append(orm.WorkChainNode, filters={"id": root.pk}, tag="root")
    query.append(orm.WorkChainNode, with_incoming="root", filters={"attributes.paused": True}, project=["*"])
    nodes = [node for node in [root, *query.all(flat=True)] if node.paused and not node.is_terminated]
    return [node.process_status or f"process {node.pk} is paused" for node in nodes]
