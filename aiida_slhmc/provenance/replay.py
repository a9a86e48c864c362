"""Replay: recompute the decisions of a run from what is stored, and run its steps again to compare."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from aiida import orm

from .again import ENGINE, FAILED, UNTRUSTED, Replay, replay_step, versions_now
from .comparing import DIFFERS
from .decisions import ChainReport, recompute
from .links import called
from .steps import step_name

#: Steps that decide how the next block proposes: run again with the decisions, which they follow from.
ADAPTING = ("adapt", "weigh_cell")
#: What a progress display is told: a step that was run again.
OnStep = Callable[[Replay], None]


@dataclass
class ReplayReport:
    """Say what was recomputed and run again, and what came of it.

    :param pk: of the process.
    :param uuid: likewise.
    :param chains: of the decisions; None if the process made none.
    :param steps: steps that were run again, in order.
    :param sampled: ``of_each_kind`` and ``seed``, where steps were drawn at random.
    :param now: versions of the packages that ran them.
    """

    pk: int
    uuid: str
    chains: ChainReport | None
    steps: list[Replay] = field(default_factory=list)
    sampled: dict[str, int] | None = None
    now: dict[str, str] = field(default_factory=versions_now)

    @property
    def passed(self) -> bool:
        """Return whether nothing differs."""
        return not (self.chains is not None and self.chains.faults) and not self.different

    @property
    def different(self) -> list[Replay]:
        """Return the steps that differ."""
        return [one for one in self.steps if one.verdict == DIFFERS]

    @property
    def left_out(self) -> int:
        """Return how many steps could not be run again here."""
        return sum(one.verdict in (ENGINE, UNTRUSTED, FAILED) for one in self.steps)

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many steps of each kind came out how."""
        found: dict[str, Counter[str]] = {}
        for one in self.steps:
            found.setdefault(one.step, Counter())[one.verdict] += 1
        return {step: dict(counts) for step, counts in found.items()}

    @property
    def first(self) -> str | None:
        """Return the first thing that differs, in one sentence; None if nothing does."""
        if self.chains is not None and self.chains.faults:
            fault = self.chains.faults[0]
            return f"cycle {fault.cycle} of chain {fault.chain} <{fault.pk}>: {fault.message}"
        for one in self.different:
            difference = next((item for item in one.differences if not item.within), None)
            return f"{one.step} <{one.pk}>: {one.reason if difference is None else difference}"
        return None

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values, for JSON."""
        return {
            **asdict(self),
            "passed": self.passed,
            "first": self.first,
            "counts": self.counts,
            "left_out": self.left_out,
        }


def replay(
    root: orm.ProcessNode,
    *,
    everything: bool = False,
    sample: int | None = None,
    seed: int | None = None,
    on_step: OnStep | None = None,
) -> ReplayReport:
    """Replay a process: a run, a part of one, or a step.

    Of a run every decision is recomputed from stored numbers, and the adaptation of its proposals run again; a step, or
    what is no run and decides nothing, is run again as a whole.

    :param root: a process that has ended.
    :param everything: run all its steps again.
    :param sample: run so many steps of each kind again, drawn at random.
    :param seed: of the draw; None: a new one, which the report names.
    :param on_step: is told of every step.
    """
    if isinstance(root, orm.CalculationNode):
        report = ReplayReport(int(root.pk or 0), root.uuid, None)
        chosen = [root]
    else:
        chains = recompute(root)
        report = ReplayReport(int(root.pk or 0), root.uuid, chains if chains.decisions else None)
        chosen = steps_below(root)
        if sample is not None:
            report.sampled = {"of_each_kind": sample, "seed": secrets.randbits(31) if seed is None else seed}
            drawn = _draw(chosen, sample, report.sampled["seed"])
            chosen = [node for node in chosen if node.pk in drawn or step_name(node) in ADAPTING]
        elif not everything and chains.decisions:
            chosen = [node for node in chosen if step_name(node) in ADAPTING]
    for node in chosen:
        one = replay_step(node)
        report.steps.append(one)
        if on_step is not None:
            on_step(one)
    return report


def steps_below(root: orm.ProcessNode) -> list[orm.CalculationNode]:
    """Return all steps below a workflow in the order in which they began.

    :param root: the workflow.
    """
    kind = {"node_type": {"like": "process.calculation.%"}}
    nodes = [row[0] for row in called(int(root.pk or 0), ["*"], kind)]
    # By time: an archive that is imported numbers its nodes anew.
    return sorted(nodes, key=lambda node: (node.ctime, int(node.pk or 0)))


def _draw(nodes: list[orm.CalculationNode], count: int, seed: int) -> set[int]:
    """Return primary keys of so many steps of each kind.

    :param nodes: all steps.
    :param count: how many of each kind.
    :param seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    kinds: dict[str, list[int]] = {}
    for node in nodes:
        kinds.setdefault(step_name(node) or str(node.process_label), []).append(int(node.pk or 0))
    drawn: set[int] = set()
    for kind in sorted(kinds):
        pks = kinds[kind]
        drawn |= set(rng.choice(pks, min(count, len(pks)), replace=False).tolist())
    return drawn
