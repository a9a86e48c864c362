"""Pedigree: where a model comes from, from attributes alone, in a number of queries that does not grow with the run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from aiida import orm

from aiida_slhmc.calculations.finetune import COMMITTEE, MEMBER
from aiida_slhmc.data import DatasetData, FramesData, MaceModelData
from aiida_slhmc.worker.weights import shipped_hashes

from .links import CREATE, INPUT, batches, called, neighbours, roots
from .origins import Labels, trace_labels
from .steps import PREFIX, step_of

#: What of a training's report goes into a generation; a fine-tuning's and an update's of the posterior.
TRAINING = (
    "seed", "epochs", "best_epoch", "improved", "stopped_early", "frames", "validated_on", "errors", "e0", "warnings",
    "versions", "wall_time", "accuracy", "steps", "update",
)  # fmt: skip
#: What of a model's description identifies it.
IDENTITY = ("state_sha256", "file_sha256", "parent_state_sha256")
#: Steps that go from state to state.
SAMPLING = ("propose", "dynamics", "explore")
#: Columns of a node that are handed on.
NAMES = ("id", "uuid", "ctime")


@dataclass
class Generation:
    """Say how one model of a lineage was made.

    ``step`` is None for the foundation, which no process made; ``name`` is that of a model that comes with the package.
    ``hyperparameters`` are complete, with the defaults of their time; ``training`` holds what its report says of
    :data:`TRAINING`.
    """

    pk: int
    uuid: str
    created: str
    state_sha256: str
    file_sha256: str | None
    parent_state_sha256: str | None
    name: str | None = None
    step: str | None = None
    process: str | None = None
    run: str | None = None
    dataset: str | None = None
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


@dataclass
class Pedigree:
    """Say where a model comes from.

    :param model: what identifies it: description, pk, UUID.
    :param generations: the lineage, foundation first, the model itself last.
    :param runs: the processes that no other called and that trained a generation: workflow, UUID, inputs.
    :param levels: levels of theory of the labels, with their counts.
    :param labels: frames trained on by what they are, distinct labels, where these come from, and what they cost.
    :param seeds: every declared seed, and those of trainings that follow from it.
    :param versions: of AiiDA, of this package, of libraries, of engines.
    :param codes: codes of the runs.
    :param time: seconds and number of each kind of step, with what it is the time of.
    :param warnings: what does not fit together, and what trainings warned of.
    """

    model: dict[str, Any]
    generations: list[Generation]
    runs: list[dict[str, Any]]
    levels: list[dict[str, Any]]
    labels: dict[str, Any]
    seeds: list[dict[str, Any]]
    versions: dict[str, Any]
    codes: list[dict[str, Any]]
    time: dict[str, dict[str, float]]
    warnings: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return the pedigree as plain values, for JSON."""
        return asdict(self)

    @property
    def foundation(self) -> Generation:
        """Return the first generation."""
        return self.generations[0]


@dataclass(frozen=True)
class Making:
    """Hold primary keys: of a model, of its parent and of the process that made it; and its name among the outputs."""

    model: int
    parent: int | None = None
    maker: int | None = None
    name: str = "model"


def pedigree(model: MaceModelData) -> Pedigree:
    """Return where a model comes from.

    :param model: a stored model.
    """
    lineage = _lineage(int(model.pk or 0))
    generations = _generations(lineage)
    trainings = {
        one.maker: generation for one, generation in zip(lineage, generations, strict=True) if one.maker is not None
    }
    inputs = _inputs(trainings)
    for maker, generation in trainings.items():
        _fill(generation, inputs[maker])
    _reports(trainings, {one.maker: one.name for one in lineage if one.maker is not None})
    tops = roots(trainings)
    runs = _runs(tops)
    by_pk = {run["pk"]: run["uuid"] for run in runs}
    for maker, generation in trainings.items():
        generation.run = by_pk.get(tops[maker])
    labels = trace_labels(_chunks(inputs), set(by_pk), _atoms(trainings))
    times, processes = _times(tops, trainings, labels)
    return Pedigree(
        model={"pk": model.pk, "uuid": model.uuid, "created": model.ctime.isoformat(), **model.description},
        generations=generations,
        runs=runs,
        levels=labels.levels,
        labels=labels.summary,
        seeds=_seeds(runs, generations),
        versions=_versions(model, generations, labels, [*trainings, *processes]),
        codes=_codes(by_pk),
        time=times,
        warnings=_warnings(generations),
    )


# Lineage --------------------------------------------------------------------------------------------------------------


def _lineage(pk: int) -> list[Making]:
    """Return the models from the foundation to one.

    :param pk: primary key of the last one.
    """
    query = orm.QueryBuilder()
    query.append(MaceModelData, tag="parent", project=["id"])
    given = {"type": {"in": [kind.value for kind in INPUT]}}
    query.append(
        orm.ProcessNode, with_incoming="parent", edge_filters=given, edge_project=["label"], tag="maker", project=["id"]
    )
    query.append(
        MaceModelData, with_incoming="maker", edge_filters={"type": "create"}, edge_project=["label"], project=["id"]
    )
    made: dict[int, Making] = {}
    for parent, maker, child, role, name in query.all():
        member = name.removeprefix(f"{COMMITTEE}__")
        # A member of a committee descends from a member before it, or as all others from what the process calls model.
        if role == member or (role == "model" and child not in made):
            made[child] = Making(child, parent, maker, member)
    found = [made.get(pk, Making(pk))]
    while found[-1].parent is not None:
        parent = found[-1].parent
        found.append(made.get(parent, Making(parent)))
    return found[::-1]


def _generations(lineage: list[Making]) -> list[Generation]:
    columns = [f"attributes.description.{name}" for name in IDENTITY]
    names = shipped_hashes()
    found = {}
    for batch in batches(one.model for one in lineage):
        query = orm.QueryBuilder().append(MaceModelData, filters={"id": {"in": batch}}, project=[*NAMES, *columns])
        for pk, uuid, created, state, file, parent in query.all():
            found[pk] = Generation(pk, uuid, created.isoformat(), state, file, parent, names.get(file))
    return [found[one.model] for one in lineage]


def _inputs(trainings: Iterable[int]) -> dict[int, dict[str, tuple[str, str, dict[str, Any]]]]:
    """Return UUID, type and attributes of what trainings were given, by process and by name."""
    found: dict[int, dict[str, tuple[str, str, dict[str, Any]]]] = {pk: {} for pk in trainings}
    rows = neighbours(
        found, INPUT, ["uuid", "node_type", "attributes"], forward=False, cls=orm.Data,
        filters={"node_type": {"!==": MaceModelData.class_node_type}},
    )  # fmt: skip
    for pk, uuid, kind, attributes, _, label in rows:
        found[pk][label] = (uuid, kind, attributes)
    return found


def _fill(generation: Generation, inputs: dict[str, tuple[str, str, dict[str, Any]]]) -> None:
    if "dataset" in inputs:
        generation.dataset = inputs["dataset"][0]
    if "hyperparameters" in inputs:
        generation.hyperparameters = dict(inputs["hyperparameters"][2])


def _reports(trainings: dict[int, Generation], names: dict[int, str]) -> None:
    """Write into generations what their trainings reported."""
    for batch in batches(trainings):
        query = orm.QueryBuilder()
        query.append(orm.ProcessNode, filters={"id": {"in": batch}}, project=["id", "uuid", "process_type"])
        for pk, uuid, kind in query.all():
            trainings[pk].process, trainings[pk].step = uuid, step_of(kind)
    reports = neighbours(
        trainings, CREATE, ["attributes"], forward=True, cls=orm.Dict, label={"in": ["training", "posterior"]}
    )
    for pk, attributes, _, _ in reports:
        generation = trainings[pk]
        if names[pk].startswith(MEMBER) and "committee" in attributes:
            # The report is that of the first member; the others follow.
            attributes |= attributes["committee"][int(names[pk].removeprefix(MEMBER)) - 1]
        generation.training = {name: attributes[name] for name in TRAINING if name in attributes}
        # With the defaults of their time.
        complete = attributes.get("hyperparameters") or attributes.get("settings") or {}
        generation.hyperparameters = {**generation.hyperparameters, **complete}


# Runs -----------------------------------------------------------------------------------------------------------------


def _runs(tops: dict[int, int]) -> list[dict[str, Any]]:
    """Return the processes that no other called: what they are and which plain inputs a user gave them."""
    columns = ["attributes.process_label", "attributes.version"]
    found = {}
    for batch in batches(set(tops.values())):
        query = orm.QueryBuilder()
        query.append(orm.ProcessNode, filters={"id": {"in": batch}}, project=[*NAMES, *columns])
        for pk, uuid, started, name, version in query.all():
            found[pk] = {
                "pk": pk, "uuid": uuid, "started": started.isoformat(), "workflow": name, "version": version,
                "inputs": {},
            }  # fmt: skip
    columns = ["uuid", "attributes"]
    for pk, uuid, values, _, label in neighbours(found, INPUT, columns, forward=False, cls=(orm.Dict, orm.Int)):
        # A level of theory, as target or as what proposes, is told of elsewhere.
        if "level" not in label and label != "model":
            value = values["value"] if "value" in values and label == "seed" else values
            found[pk]["inputs"][label] = value
            if label == "seed":
                found[pk]["seed_uuid"] = uuid
    return [found[pk] for pk in sorted(found)]


def _chunks(inputs: dict[int, dict[str, tuple[str, str, dict[str, Any]]]]) -> list[str]:
    """Return the UUIDs of all chunks that a generation was trained on, in order."""
    uuids: dict[str, None] = {}
    for given in inputs.values():
        for uuid, kind, attributes in given.values():
            if kind == DatasetData.class_node_type:
                uuids |= dict.fromkeys(attributes["chunk_uuids"])
            elif kind == FramesData.class_node_type:
                uuids[uuid] = None
    return list(uuids)


def _atoms(trainings: Iterable[int]) -> list[str]:
    """Return the UUIDs of the labels of isolated atoms that reference energies came from."""
    energies = {row[1] for row in neighbours(trainings, INPUT, ["id"], forward=False, label="isolated")}
    makers = {row[1] for row in neighbours(energies, CREATE, ["id"], forward=False)}
    return sorted({row[1] for row in neighbours(makers, INPUT, ["uuid"], forward=False, cls=FramesData)})


def _codes(runs: Iterable[int]) -> list[dict[str, Any]]:
    columns = ["uuid", "label", "attributes.filepath_executable"]
    kind = {"node_type": {"like": "data.core.code.%"}}
    rows = neighbours(runs, INPUT, columns, forward=False, cls=orm.Data, filters=kind)
    codes = {uuid: {"uuid": uuid, "label": name, "executable": file} for _, uuid, name, file, *_ in rows}
    return [codes[uuid] for uuid in sorted(codes)]


def _times(
    tops: dict[int, int], trainings: dict[int, Generation], labels: Labels
) -> tuple[dict[str, dict[str, float]], list[int]]:
    """Return the compute time by kind of step, and the steps besides labels and trainings.

    Of a run that goes on after the training, only what came before counts.
    """
    spent: dict[str, list[float]] = {}
    # By their times: an archive that is imported numbers its nodes anew, in another order.
    made: dict[int, Any] = {}
    for batch in batches(tops):
        made |= dict(orm.QueryBuilder().append(orm.Node, filters={"id": {"in": batch}}, project=["id", "ctime"]).all())
    steps: dict[int, str] = {}
    for top in set(tops.values()):
        last = max(made[maker] for maker, root in tops.items() if root == top)
        sampling = {"process_type": {"or": [{"like": f"{PREFIX}{step}%"} for step in SAMPLING]}}
        rows = called(top, ["id", "process_type", "ctime"], sampling)
        steps |= {pk: step_of(kind) or "" for pk, kind, began, _ in rows if began < last}
    infos = {"or": [{"like": "proposal_info%"}, {"in": ["dynamics_info", "exploration"]}]}
    seconds = dict.fromkeys(steps, 0.0)
    for pk, wall, _, _ in neighbours(steps, CREATE, ["attributes.wall_time"], forward=True, cls=orm.Dict, label=infos):
        seconds[pk] += wall or 0.0
    for pk, step in steps.items():
        spent.setdefault(step, []).append(seconds[pk])
    if labels.wall_times:
        spent["label"] = [wall or 0.0 for wall in labels.wall_times]
    for generation in trainings.values():
        spent.setdefault(generation.step or "training", []).append(generation.training.get("wall_time") or 0.0)
    # Rounded once, so that the order in which a database gives its rows does not show.
    return {step: {"seconds": math.fsum(walls), "steps": len(walls)} for step, walls in spent.items()}, list(steps)


# Seeds, versions, doubts ----------------------------------------------------------------------------------------------


def _seeds(runs: list[dict[str, Any]], generations: list[Generation]) -> list[dict[str, Any]]:
    found = [
        {"seed": run["inputs"]["seed"], "of": f"run {run['uuid']}", "node": run.get("seed_uuid")}
        for run in runs
        if "seed" in run["inputs"]
    ]
    for number, generation in enumerate(generations):
        if "seed" in generation.training:
            seed = generation.training["seed"]
            found.append({"seed": seed, "of": f"training of generation {number}", "node": generation.process})
    return found


def _versions(
    model: MaceModelData, generations: list[Generation], labels: Labels, processes: list[int]
) -> dict[str, Any]:
    """Return which versions made the model: several of one library where it changed on the way."""
    packages: dict[str, set[str]] = {}
    for versions in [model.description.get("versions", {})] + [
        generation.training.get("versions") or {} for generation in generations
    ]:
        for name, version in versions.items():
            packages.setdefault(name, set()).add(version)
    plain: dict[str, Counter[str]] = {"core": Counter(), "plugin": Counter()}
    for version in [*labels.versions, *_process_versions(processes)]:
        for name, value in (version or {}).items():
            plain.setdefault(name, Counter())[value] += 1
    return {
        "aiida": sorted(plain["core"]),
        "plugin": sorted(plain["plugin"]),
        "packages": {name: sorted(found) for name, found in sorted(packages.items())},
        "engines": labels.engines,
    }


def _process_versions(pks: list[int]) -> list[Any]:
    found = []
    for batch in batches(pks):
        query = orm.QueryBuilder()
        query.append(orm.ProcessNode, filters={"id": {"in": batch}}, project=["attributes.version"])
        found += query.all(flat=True)
    return found


def _warnings(generations: list[Generation]) -> list[str]:
    found = []
    for number, (parent, child) in enumerate(pairwise(generations), start=1):
        if child.parent_state_sha256 != parent.state_sha256:
            found.append(f"generation {number} names another parent than the model that its training was given.")
    for number, generation in enumerate(generations):
        found += [f"generation {number}: {text}" for text in generation.training.get("warnings") or []]
    first = generations[0]
    if first.parent_state_sha256 is not None:
        found.append(
            f"the first model of this graph names a parent, {first.parent_state_sha256[:12]}..., whose history it does "
            "not hold: an archive of the run that made it has it."
        )
    return found
