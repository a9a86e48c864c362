"""Builders of references and comparisons from finished runs: what is compared follows from what the runs were given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from aiida import orm

from aiida_slhmc.calculations.base import structure_payload
from aiida_slhmc.data import DatasetData, FramesData
from aiida_slhmc.data.content import json_hash
from aiida_slhmc.targets.level import level_hash

from .protocol import protocol_inputs

#: Groups of settings that do not make a protocol another one: where steps run, and what happens when a label fails.
INDIFFERENT = ("executor", "failure", "labelling")
#: Models of a run that a learning curve shows: every one is a link.
CURVE_MODELS = 8
#: Name of the foundation model among the candidates.
FOUNDATION = "foundation"
REFERENCE = "aiida.workflows:slhmc.reference"


def workflow_name(run: orm.WorkChainNode) -> str:
    """Return the short name of a run's protocol: ``slhmc``, ``naive``, ...

    :param run: of a protocol.
    """
    return str(run.process_type).rpartition("slhmc.")[2] or str(run.process_label)


def settings_hash(run: orm.WorkChainNode) -> str:
    """Return the hash of what makes a run's protocol: equal for replicas, which differ in their seed alone.

    :param run: of a protocol.
    """
    groups = {
        name: run.inputs[name].get_dict()
        for name in sorted(run.inputs)
        if isinstance(run.inputs[name], orm.Dict) and name not in INDIFFERENT
    }
    return json_hash([run.process_type, level_hash(run.inputs.target.level.get_dict()), groups])


def protocol_names(runs: Sequence[orm.WorkChainNode]) -> list[str]:
    """Return the name of every run's protocol; of several settings of one WorkChain with a number.

    :param runs: of protocols.
    """
    hashes: dict[str, list[str]] = {}
    for run in runs:
        known = hashes.setdefault(workflow_name(run), [])
        digest = settings_hash(run)
        if digest not in known:
            known.append(digest)
    names = []
    for run in runs:
        known = hashes[workflow_name(run)]
        number = known.index(settings_hash(run)) + 1
        names.append(workflow_name(run) + (f"_{number}" if len(known) > 1 else ""))
    return names


def details_of(run: orm.WorkChainNode, protocol: str) -> orm.Dict:
    """Return what identifies a candidate and what its labels cost, as far as the graph of its run tells.

    :param run: of a protocol.
    :param protocol: name shared with its replicas.
    """
    from aiida_slhmc.provenance.label_cost import label_counts

    counts = label_counts(run)
    labels = {"spent": counts.computed + counts.reused, "calls": counts.calls, "reused": counts.reused}
    return orm.Dict(
        {
            "protocol": protocol,
            "workflow": run.process_label,
            "seed": run.inputs.seed.value,
            "run": run.uuid,
            "label": run.label,
            "labels": {**labels, "failed": counts.failed},
        }
    )


def candidates_of(runs: Sequence[orm.WorkChainNode], curves: bool = False) -> dict[str, dict[str, Any]]:
    """Return the candidates that runs end with, and the foundation model that all began with.

    :param runs: finished runs of protocols.
    :param curves: with the models of earlier blocks, for the errors on the test sets by labels.
    :raises ValueError: if a run has not finished, or they began with different models.
    """
    for run in runs:
        if not run.is_finished_ok:
            raise ValueError(f"run <{run.pk}> has not finished: only a finished run has a model to compare.")
        if "model" not in run.outputs or "history" not in run.outputs or "seed" not in run.inputs:
            raise ValueError(f"process <{run.pk}> ({run.process_label}) is no run that ends with a model.")
    foundations = {_identity(run.inputs.model): run.inputs.model for run in runs}
    if len(foundations) != 1:
        pks = ", ".join(f"<{node.pk}>" for node in foundations.values())
        raise ValueError(f"the runs began with different foundation models ({pks}): compare those of one model.")
    details = orm.Dict({"protocol": FOUNDATION, "labels": {"spent": 0, "calls": 0, "reused": 0, "failed": 0}})
    found: dict[str, dict[str, Any]] = {
        FOUNDATION: {"model": next(iter(foundations.values())), "details": details},
    }
    for run, protocol in zip(runs, protocol_names(runs), strict=True):
        given = {"model": run.outputs.model, "details": details_of(run, protocol), "history": run.outputs.history}
        if "dataset" in run.outputs:
            given["dataset"] = run.outputs.dataset
        if curves and "models" in run.outputs:
            labels = sorted(run.outputs.models)
            places = np.unique(np.round(np.linspace(0, len(labels) - 1, min(CURVE_MODELS, len(labels)))).astype(int))
            given["models"] = {labels[place]: run.outputs.models[labels[place]] for place in places}
        name = f"{protocol}_seed_{run.inputs.seed.value}"
        if name in found:
            raise ValueError(
                f"run <{run.pk}> has protocol, settings and seed of another one: a run is no replica of itself."
            )
        found[name] = given
    return found


def _identity(model: orm.Data) -> str:
    return json_hash(model.get_dict()) if isinstance(model, orm.Dict) else model.state_sha256


def samples_of(node: orm.Node) -> tuple[dict[str, orm.ArrayData], dict[str, Any]]:
    """Return the sample of the target's ensemble that a node is or ends with, and the test sets beside it.

    :param node: a finished reference; dynamics on the target; a run with a production phase; or the sample itself.
    :returns: samples by name, test sets by name.
    :raises ValueError: if it is none of these.
    """
    if isinstance(node, orm.ArrayData) and not isinstance(node, FramesData):
        return {f"sample_{node.pk}": node}, {}
    outputs: Any = node.outputs if isinstance(node, orm.ProcessNode) else ()
    tests = {name: outputs.tests[name] for name in outputs.tests} if "tests" in outputs else {}
    for name in ("reference", "trajectory", "states"):
        if name in outputs:
            return {f"{name}_{node.pk}": outputs[name]}, tests
    raise ValueError(
        f"node <{node.pk}> is no reference: give a process of 'aiida-slhmc reference', dynamics on the target, or a run"
        " with a production phase."
    )


def tests_of(node: orm.Node) -> dict[str, Any]:
    """Return the test sets that a node is or ends with.

    :param node: labelled frames, a dataset, or a process that ends with such.
    :raises ValueError: if it is none of these.
    """
    if isinstance(node, (FramesData, DatasetData)):
        return {node.label or f"test_{node.pk}": node}
    outputs: Any = node.outputs if isinstance(node, orm.ProcessNode) else ()
    if "tests" in outputs:
        return {name: outputs.tests[name] for name in outputs.tests}
    for name in ("chunk", "dataset"):
        if name in outputs:
            return {f"{name}_{node.pk}": outputs[name]}
    raise ValueError(f"node <{node.pk}> is no test set: give labelled frames, a dataset, or a reference.")


def _common(nodes: Sequence[orm.Data], what: str) -> orm.Data:
    if len({json_hash(node.get_dict()) for node in nodes}) != 1:
        raise ValueError(f"the runs have different settings of '{what}': give a --reference that says which counts.")
    return nodes[0]


def compare_builder(
    runs: Sequence[orm.WorkChainNode],
    references: Sequence[orm.Node],
    tests: Sequence[orm.Node] = (),
    *,
    seed: int = 0,
    protocol: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    curves: bool = False,
    worker_code: Any = None,
    worker_options: Mapping[str, Any] | None = None,
) -> Any:
    """Return the builder that compares the models of finished runs.

    :param runs: of protocols; those that differ in their seed alone are replicas of one another.
    :param references: independent samples of the target's ensemble: see :func:`samples_of`. The ensemble and the
        structure are those of the first that has such inputs, else those of the runs.
    :param tests: test sets, beside those of the references: see :func:`tests_of`.
    :param seed: root seed of the comparison.
    :param protocol: of the comparison: ``fast``, ``balanced``, ``paper``.
    :param overrides: of its settings: ``comparison``, ``dynamics``, ``executor``.
    :param curves: judge the models of earlier blocks on the test sets too.
    :param worker_code: code ``slhmc-worker`` for steps whose executor is ``job``; None: that of the first run.
    :param worker_options: scheduler options of these jobs.
    :raises ValueError: if the runs cannot be compared.
    """
    from .compare import CompareWorkChain

    if not runs or not references:
        raise ValueError("a comparison needs at least one run and one reference.")
    settings = protocol_inputs(protocol, overrides, "compare")
    builder: Any = CompareWorkChain.get_builder()
    builder.candidates = candidates_of(runs, curves)
    samples: dict[str, Any] = {}
    sets: dict[str, Any] = {}
    for node in references:
        more, beside = samples_of(node)
        samples |= more
        sets |= {f"{name}_{node.pk}" if name in sets else name: value for name, value in beside.items()}
    for node in tests:
        sets |= {f"{name}_{node.pk}" if name in sets else name: value for name, value in tests_of(node).items()}
    builder.reference = samples
    builder.tests = sets
    leader = next((node for node in references if _has_inputs(node)), None)
    if leader is not None:
        builder.ensemble, builder.structure = leader.inputs.ensemble, leader.inputs.structure
    else:
        builder.ensemble = _common([run.inputs.ensemble for run in runs], "ensemble")
        builder.structure = runs[0].inputs.structure
    for run in runs:
        if not _same_atoms(run.inputs.structure, builder.structure):
            raise ValueError(f"run <{run.pk}> is of other atoms than the reference, or in another order.")
    for group in ("comparison", "dynamics"):
        builder[group] = orm.Dict(settings[group])
    executor = runs[0].inputs.executor.get_dict()
    builder.executor = orm.Dict({**executor, **dict((overrides or {}).get("executor") or {})})
    code = worker_code or (runs[0].inputs.worker.get("code") if "worker" in runs[0].inputs else None)
    if code is not None:
        builder.worker.code = code
        builder.worker.options = dict(worker_options or {})
    builder.seed = orm.Int(seed)
    return builder


def _has_inputs(node: orm.Node) -> bool:
    return isinstance(node, orm.ProcessNode) and "ensemble" in node.inputs and "structure" in node.inputs


def _same_atoms(one: orm.StructureData, other: orm.StructureData) -> bool:
    return np.array_equal(structure_payload(one)["numbers"], structure_payload(other)["numbers"])


def reference_builder(
    inputs: Any,
    samples: Sequence[orm.Node] = (),
    *,
    seed: int = 0,
    protocol: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Any:
    """Return the builder of the reference for a run.

    :param inputs: of the run, launched or not: ``structure``, ``target``, ``ensemble``, ``failure``, ``labelling``,
        ``executor`` are taken from them.
    :param samples: of the target's ensemble that are known: then none is made. See :func:`samples_of`.
    :param seed: root seed of the reference; another than the runs', whose frames it must not share.
    :param protocol: of the reference: ``fast``, ``balanced``.
    :param overrides: of its settings: ``reference``, ``dynamics``, ``executor``.
    :raises ValueError: for an unknown protocol or setting, or a node that is no sample.
    """
    from .reference import ReferenceWorkChain

    changes = dict(overrides or {})
    if samples:
        changes["reference"] = {**dict(changes.get("reference") or {}), "trajectories": 0}
    settings = protocol_inputs(protocol, changes, "reference")
    builder: Any = ReferenceWorkChain.get_builder()
    builder.structure = inputs["structure"]
    builder.ensemble = inputs["ensemble"]
    builder.target.level = inputs["target"]["level"]
    if inputs["target"].get("code") is not None:
        builder.target.code = inputs["target"]["code"]
        builder.target.options = dict(inputs["target"].get("options") or {})
    for group in INDIFFERENT:
        given = dict(inputs[group].get_dict())
        builder[group] = orm.Dict({**given, **dict(changes.get(group) or {})})
    for group in ("reference", "dynamics"):
        builder[group] = orm.Dict(settings[group])
    if samples:
        builder.samples = {name: value for node in samples for name, value in samples_of(node)[0].items()}
    builder.seed = orm.Int(seed)
    return builder
