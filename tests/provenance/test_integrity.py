"""What nodes hold is what was stored, processes ended as they should, and versions are recorded."""

import hashlib
import io

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType

from aiida_slhmc.calculations.label import label_local
from aiida_slhmc.data import MaceModelData
from aiida_slhmc.engine.exactly_once import ABANDONED
from aiida_slhmc.provenance import integrity
from aiida_slhmc.provenance.audit import audit
from tests.fixtures import einstein, rutile
from tests.provenance.test_audit import finished, kinds, workflow


def made_by_a_step(data, name="finetune.local", **inputs):
    """Return a run with one step that made a node."""
    seed = orm.Int(5).store()
    root = workflow(seed=seed, **inputs)
    node = finished(orm.CalcFunctionNode())
    node.process_type = f"aiida.calculations:slhmc.{name}"
    for label, one in {"seed": seed, **inputs}.items():
        node.base.links.add_incoming(one, LinkType.INPUT_CALC, label)
    node.base.links.add_incoming(root, LinkType.CALL_CALC, name.replace(".", "_"))
    node.store()
    data.base.links.add_incoming(node, LinkType.CREATE, "result")
    data.store()
    node.seal()
    root.seal()
    return root


def written_over(node, **columns):
    """Change columns of a stored node in the database."""
    for name, value in columns.items():
        setattr(node.backend_entity._model, name, value)
    node.backend_entity._model.save()


def test_a_model_whose_file_is_another_is_found(aiida_profile):
    content, other = b"the weights that were trained", b"other weights"
    described = {"file_sha256": hashlib.sha256(content).hexdigest(), "state_sha256": "3" * 64}
    model = MaceModelData(io.BytesIO(content), description=described)
    root = made_by_a_step(model)
    assert kinds(root) == set()
    spare = orm.SinglefileData(io.BytesIO(other), filename="model.model").store()
    written_over(model, repository_metadata=spare.base.repository.serialize())
    [finding] = audit(root).findings
    assert (finding.kind, finding.uuid) == ("content", model.uuid)
    assert "not the one that its description names" in finding.message


def test_a_file_that_was_changed_in_the_repository_is_found(aiida_profile, monkeypatch):
    """The bytes are others than those whose hash the file is stored under, as after damage, or in a forged archive."""
    data = orm.SinglefileData(io.BytesIO(b"what was stored"), filename="file").store()
    root = made_by_a_step(orm.Int(1), source=data)
    assert kinds(root) == set()
    key = data.base.repository.metadata["o"]["file"]["k"]
    written_over(data, repository_metadata={"o": {"file": {"k": key}, "lost": {"k": "0" * 64}}})
    [finding] = audit(root).findings
    assert (finding.kind, finding.message) == (
        "content", f"the file 'lost' of SinglefileData <{data.pk}> is not in the repository.",
    )  # fmt: skip
    written_over(data, repository_metadata={"o": {"file": {"k": key}}})
    real = integrity._objects
    monkeypatch.setattr(
        integrity, "_objects", lambda keys: ((one, b"damaged" if one == key else text) for one, text in real(keys))
    )
    [finding] = audit(root).findings
    assert finding.message == f"the file 'file' of SinglefileData <{data.pk}> is not the one that was stored."


def test_frames_of_another_content_are_found(aiida_profile):
    structure, level = orm.StructureData(ase=rutile()).store(), orm.Dict(einstein(4.6)).store()
    label, process = label_local.run_get_node(structure, level)
    assert kinds(process) == set()
    written_over(label["label"], attributes={**label["label"].base.attributes.all, "content_sha256": "0" * 64})
    [finding] = audit(process).findings
    assert (finding.kind, finding.uuid) == ("content", label["label"].uuid)


@pytest.mark.parametrize(("exception", "expected"), [("ValueError: no", {"excepted"}), (f"{ABANDONED} a crash", set())])
def test_a_process_that_broke_off_is_found_unless_a_resumed_run_left_it_behind(aiida_profile, exception, expected):
    root = workflow(seed=orm.Int(3).store())
    node = orm.CalcFunctionNode()
    node.set_process_state("excepted")
    node.set_exception(exception)
    node.base.links.add_incoming(root, LinkType.CALL_CALC, "step")
    node.store().seal()
    root.seal()
    assert kinds(root) == expected


def test_a_step_that_does_not_say_its_versions_is_found(aiida_profile):
    root = made_by_a_step(orm.Dict({"epochs": 3}))
    [finding] = audit(root).findings
    assert finding.kind == "version"
    assert "does not say which version of its engine" in finding.message
    process = root.called[0]
    written_over(process, attributes={**process.base.attributes.all, "version": {"core": "2.9.4"}})
    assert {finding.message for finding in audit(root).findings} >= {
        f"{process.process_label} <{process.pk}> does not say with which versions it was run."
    }


def test_contents_are_read_once_and_hashed(aiida_profile):
    frames = label_local.run_get_node(orm.StructureData(ase=rutile()), orm.Dict(einstein(4.7)))[0]["label"]
    file = orm.SinglefileData(io.BytesIO(b"words"), filename="file").store()
    found = integrity.read_contents([frames, file, orm.Int(1).store()])
    assert found.files[file.pk] == {"file": hashlib.sha256(b"words").hexdigest()} == found.recorded[file.pk]
    assert set(found.arrays) == {frames.pk}
    for name, array in frames.arrays.items():
        np.testing.assert_array_equal(found.arrays[frames.pk][name], array)
    assert list(integrity.check_contents([frames, file], found)) == []


def test_arrays_of_objects_are_never_unpickled(aiida_profile):
    """A file of pickled objects in the place of an array: as missing, so that the frames' content does not fit."""
    frames = label_local.run_get_node(orm.StructureData(ase=rutile()), orm.Dict(einstein(4.8)))[0]["label"]
    hostile = io.BytesIO()
    np.save(hostile, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    spare = orm.SinglefileData(io.BytesIO(hostile.getvalue()), filename="energies.npy").store()
    objects = frames.base.repository.serialize()["o"]
    written_over(frames, repository_metadata={"o": {**objects, **spare.base.repository.serialize()["o"]}})
    found = integrity.read_contents([frames])
    assert "energies" not in found.arrays[frames.pk]
    (one,) = integrity.check_contents([frames], found)
    assert (one.kind, one.uuid) == ("content", frames.uuid)
    assert "does not have the content that is recorded" in one.message
