"""Where a model comes from: true to the run that made it, and told within a second or two."""

import json
import time

import pytest
from aiida import orm
from aiida.common.links import LinkType

from aiida_slhmc.calculations.finetune import finetune_local
from aiida_slhmc.calculations.import_labels import import_labels
from aiida_slhmc.data import DatasetData, FramesData, MaceModelData
from aiida_slhmc.data.label_files import format_frame
from aiida_slhmc.numerics.randomness import Purpose, generator
from aiida_slhmc.provenance.pedigree import pedigree
from aiida_slhmc.provenance.progress import run_status
from aiida_slhmc.targets.level import level_hash
from tests.fixtures import RIGHT, einstein
from tests.provenance.synthetic import long_run


def test_the_lineage_goes_back_to_the_foundation(trained_run, found):
    models = [trained_run.inputs.model, trained_run.outputs.models.block_000, trained_run.outputs.model]
    assert [one.uuid for one in found.generations] == [model.uuid for model in models]
    assert [one.state_sha256 for one in found.generations] == [model.state_sha256 for model in models]
    assert [one.file_sha256 for one in found.generations] == [model.description["file_sha256"] for model in models]
    assert found.foundation.step is None
    assert [one.step for one in found.generations[1:]] == ["finetune", "finetune"]
    assert {one.run for one in found.generations[1:]} == {trained_run.uuid}
    assert found.generations[2].dataset == trained_run.outputs.dataset.uuid
    assert found.warnings == [
        f"generation {number}: {text}"
        for number, model in enumerate(models)
        if number
        for text in model.creator.outputs.training["warnings"]
    ]


def test_trainings_are_told_with_seed_and_complete_hyperparameters(trained_run, found):
    for number, model in enumerate([trained_run.outputs.models.block_000, trained_run.outputs.model], start=1):
        report, one = model.creator.outputs.training.get_dict(), found.generations[number]
        assert one.hyperparameters["max_epochs"] == 2
        assert set(report["hyperparameters"]) <= set(one.hyperparameters)
        # What the payload of the task says of it.
        rule = generator(trained_run.inputs.seed.value, 0, number, Purpose.TRAINING)
        assert one.training["seed"] == int(rule.integers(2**31))
        assert one.training["errors"] == report["errors"]
        assert {"seed": one.training["seed"], "of": f"training of generation {number}", "node": model.creator.uuid} in (
            found.seeds
        )
    assert found.seeds[0] == {
        "seed": trained_run.inputs.seed.value,
        "of": f"run {trained_run.uuid}",
        "node": trained_run.inputs.seed.uuid,
    }


def test_labels_are_told_apart_by_origin_and_those_of_production_are_no_part_of_it(trained_run, found):
    frames = trained_run.outputs.dataset.frames()
    accepted = sum(int(flag) for chunk in frames for flag in chunk.get_array("accepted")[chunk.get_array("cycle") >= 0])
    kinds = found.labels["frames_by_kind"]
    assert kinds == {"start": 1, "accepted": accepted, "rejected": 4 - accepted, "dynamics": 0, "aside": 0}
    status = run_status(trained_run)
    # The one label of the production phase came after the last training.
    assert found.labels["distinct"] == found.labels["computed"] == found.labels["calls"] == status.labels - 1 == 5
    assert (found.labels["reused"], found.labels["imported"], found.labels["missing"]) == (0, 0, 0)
    assert [(level["level_hash"], level["labels"]) for level in found.levels] == [(level_hash(einstein(RIGHT)), 5)]
    assert found.levels[0]["parameters"] == einstein(RIGHT)["parameters"]


def test_cost_and_versions(trained_run, found):
    assert {step: row["steps"] for step, row in found.time.items()} == {"propose": 4, "label": 5, "finetune": 2}
    assert all(row["seconds"] > 0 for row in found.time.values())
    made = trained_run.base.attributes.get("version")
    assert (found.versions["aiida"], found.versions["plugin"]) == ([made["core"]], [made["plugin"]])
    assert set(found.versions["packages"]) == {"torch", "mace", "e3nn"}
    assert found.versions["engines"] == {"einstein": [made["plugin"]]}
    assert json.loads(json.dumps(found.as_dict()))["model"]["uuid"] == trained_run.outputs.model.uuid


def test_labels_of_another_run_and_of_a_file_are_told_apart(trained_run, tmp_path):
    """A dataset of one label that another run computed and one that came from a file."""
    known = trained_run.outputs.dataset.frames()[0]
    theirs = orm.load_node(known.label_uuids[0])
    path = tmp_path / "one.xyz"
    frame = {name: array[1:2] for name, array in known.arrays.items() if name in theirs.arrays}
    path.write_text(format_frame(frame, {"level_hash": theirs.level_hash}))
    source = orm.SinglefileData(path.resolve(), filename="one.xyz")
    selection = orm.Dict({"kind": "extxyz", "keys": {}, "frames": [0]})
    _, imported = import_labels.run_get_node(source=source, level=orm.Dict(einstein(RIGHT)), selection=selection)
    mine = FramesData(
        {name: array[:2] for name, array in known.arrays.items()},
        level_hash=known.level_hash,
        label_uuids=[theirs.uuid, imported.outputs.label_000000.uuid],
    ).store()
    entry = {"content_sha256": mine.content_sha256, "n_frames": 2, "level_hash": mine.level_hash, "split": [0, 1]}
    dataset = DatasetData([entry], [mine.uuid]).store()
    _, training = finetune_local.run_get_node(
        model=trained_run.inputs.model, dataset=dataset, hyperparameters=orm.Dict({"max_epochs": 1, "committee": 2}),
        seed=orm.Int(3),
    )  # fmt: skip
    second = pedigree(training.outputs.committee.member_001)
    labels = second.labels
    assert (labels["distinct"], labels["computed"], labels["reused"], labels["imported"]) == (2, 0, 1, 1)
    # What is told of a member of a committee is its own training.
    assert second.generations[1].training["seed"] == training.outputs.training["committee"][0]["seed"]
    assert second.generations[1].training["seed"] != training.outputs.training["seed"]
    assert second.foundation.uuid == trained_run.inputs.model.uuid


def test_a_lineage_that_does_not_fit_is_told(trained_run):
    """A model whose training was given another parent than its description names."""
    model = trained_run.outputs.model
    forged = MaceModelData()
    forged.base.repository.put_object_from_bytes(model.get_content(mode="rb"), "model.model")
    forged.filename = "model.model"
    forged.base.attributes.set("description", {**model.description, "parent_state_sha256": "0" * 64})
    process = orm.CalcFunctionNode()
    process.process_type = "aiida.calculations:slhmc.finetune.local"
    process.base.links.add_incoming(trained_run.inputs.model, LinkType.INPUT_CALC, "model")
    process.store()
    forged.base.links.add_incoming(process, LinkType.CREATE, "model")
    forged.store()
    process.seal()
    assert any("names another parent" in text for text in pedigree(forged).warnings)


def test_the_pedigree_of_600_cycles_takes_less_than_two_seconds(aiida_profile):
    run = long_run(blocks=60, cycles=10)
    # The repository's and the database's own caches are warm after a first look, as in any command that follows one.
    started = time.process_time()
    long = pedigree(run.outputs.model)
    took = time.process_time() - started
    assert len(long.generations) == 61
    # The label of the start is no frame of these chunks.
    assert (long.labels["frames"], long.labels["distinct"], long.labels["calls"]) == (600, 600, 600)
    assert long.labels["frames_by_kind"]["rejected"] == 60 * 4
    assert long.time["propose"] == {"seconds": 1200.0, "steps": 600}
    assert long.time["label"]["seconds"] == pytest.approx(36000.0)
    assert took < 2.0, f"{took:.2f} s of CPU time"
