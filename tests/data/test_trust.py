"""What came in an archive is not loaded before its user says so; what was made here is."""

import hashlib
import io
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from aiida import orm
from aiida.common.folders import Folder
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.storage.sqlite_zip.backend import SqliteZipBackend
from aiida.tools import delete_nodes
from aiida.tools.archive import create_archive, import_archive

from aiida_slhmc import models
from aiida_slhmc.calculations import base
from aiida_slhmc.calculations.import_labels import import_labels
from aiida_slhmc.calculations.predict import PredictCalculation, predict_local
from aiida_slhmc.data import FramesData, MaceModelData, trust
from aiida_slhmc.provenance.arrays import read_arrays
from aiida_slhmc.worker import io as worker_io
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.posterior.ensemble import Heads
from tests.data import hostile
from tests.fixtures import analytic_builder, einstein


@pytest.fixture
def target(tmp_path):
    """Return the file that must not appear."""
    return tmp_path / "written-by-a-model"


@pytest.fixture
def sent(aiida_profile, target, tmp_path):
    """Return a hostile model that came into the profile by an archive, and the archive."""
    node = foreign(hostile.pickled(target)).store()
    archive = tmp_path / "sent.aiida"
    create_archive([node], filename=archive)
    uuid = node.uuid
    delete_nodes([node.pk], dry_run=False)
    import_archive(archive)
    return orm.load_node(uuid), archive


def foreign(content, recorded=None):
    """Return a model as it stands in somebody else's database: it was not made of a file here."""
    node = MaceModelData()
    node.base.repository.put_object_from_bytes(content, "model.model")
    node.filename = "model.model"
    described = {"file_sha256": recorded or hashlib.sha256(content).hexdigest(), "state_sha256": "0" * 64,
                 "atomic_numbers": [8, 22]}  # fmt: skip
    node.base.attributes.set("description", described)
    return node


def frames():
    return FramesData(
        {
            "numbers": np.array([[8]]), "positions": np.zeros((1, 1, 3)), "cells": np.eye(3)[None] * 9,
            "pbc": np.ones((1, 3), dtype=bool), "energies": np.zeros(1), "forces": np.zeros((1, 1, 3)),
            "stresses": np.zeros((1, 3, 3)),
        }
    )  # fmt: skip


def test_a_model_from_an_archive_is_not_loaded_before_its_hash_is_trusted(sent, target):
    model, _ = sent
    with pytest.raises(trust.Untrusted, match=f"aiida-slhmc trust {model.file_sha256}"):
        predict_local(model=model, frames=frames())
    assert not target.exists()
    # The same with the user's word: now it is loaded, and what it says is done.
    trust.trust([model.file_sha256])
    _, process = predict_local.run_get_node(model=model, frames=frames())
    assert target.exists()
    assert process.exit_status == 210


def test_neither_is_one_in_an_archive_that_is_read_in_place(sent, target):
    _, archive = sent
    storage = SqliteZipBackend(SqliteZipBackend.create_profile(archive))
    try:
        (model,) = orm.QueryBuilder(backend=storage).append(MaceModelData, project="*").all(flat=True)
        with pytest.raises(trust.Untrusted), base.potential_spec(model):
            pass
    finally:
        storage.close()
    assert not target.exists()


def test_no_job_gets_it(sent, target, code, tmp_path):
    model, _ = sent
    builder = PredictCalculation.get_builder()
    builder.code, builder.model, builder.frames = code, model, frames()
    process = instantiate_process(get_manager().get_runner(), builder)
    with pytest.raises(trust.Untrusted):
        process.prepare_for_submission(Folder(str(tmp_path)))


def test_no_run_starts_with_it(sent):
    model, _ = sent
    builder = analytic_builder()
    builder.model = model
    with pytest.raises(ValueError, match="aiida-slhmc trust"):
        instantiate_process(get_manager().get_runner(), builder)


def test_a_copy_of_it_is_not_trusted_either(sent):
    """AiiDA's cache copies nodes: what an archive brought stays foreign."""
    model, _ = sent
    copy = model.clone()
    copy.store()
    with pytest.raises(trust.Untrusted):
        copy.require_trust()


def test_what_was_made_here_is_trusted(aiida_profile):
    content = b"made here, of no importance"
    described = {"file_sha256": hashlib.sha256(content).hexdigest(), "state_sha256": "1" * 64}
    node = MaceModelData(io.BytesIO(content), description=described)
    # A task's result is used before it is stored.
    node.require_trust()
    node.store()
    with orm.load_node(node.uuid).local_path() as path:
        assert path.read_bytes() == content
    assert trust.entries()[node.file_sha256]["why"] == trust.MADE
    assert trust.distrust(node.file_sha256)
    with pytest.raises(trust.Untrusted):
        orm.load_node(node.uuid).require_trust()


def test_models_of_the_package_need_no_word(aiida_profile):
    content = models.path("tio2-pbe-small").read_bytes()
    foreign(content).store().require_trust()


def test_the_bytes_count_and_not_what_is_recorded_of_them(aiida_profile):
    """A forged attribute must not lend a file the trust in another."""
    honest = hashlib.sha256(models.path("tio2-pbe-small").read_bytes()).hexdigest()
    node = foreign(b"something else", recorded=honest).store()
    with pytest.raises(trust.Untrusted, match="another file than it was stored with"):
        node.require_trust()


def test_a_profile_from_before_the_list_is_adopted_but_for_its_imports(sent):
    model, _ = sent
    mine = foreign(b"from before the list").store()
    assert mine.file_sha256 in trust.adopt()
    assert not trust.is_trusted(model.file_sha256)


def test_entries_of_many_at_once_are_all_kept(aiida_profile):
    digests = [f"{number:064x}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda digest: trust.trust([digest]), digests))
    assert set(digests) <= set(trust.entries())
    for digest in digests:
        trust.distrust(digest)
    assert not set(digests) & set(trust.entries())


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_broken_list_trusts_nothing(aiida_profile, content):
    before = trust.entries()
    try:
        trust.path().write_text(content)
        with pytest.raises(ValueError, match="list of trusted models"):
            trust.is_trusted("0" * 64)
    finally:
        trust.path().write_text(json.dumps(before))


def test_a_level_of_theory_that_names_code_has_to_be_trusted(aiida_profile):
    named = {"engine": "ase", "functional": "ase", "parameters": {"calculator": "subprocess:Popen", "arguments": {}}}
    with pytest.raises(trust.Untrusted, match="names code"):
        trust.require_level(named)
    trust.trust_level(named)
    trust.require_level(named)
    trust.require_level(einstein(5.0))
    with pytest.raises(ValueError, match="no parameter 'command'"):
        trust.require_level({**einstein(5.0), "parameters": {**einstein(5.0)["parameters"], "command": "rm"}})


def test_arrays_of_objects_are_never_unpickled(aiida_profile, target, tmp_path):
    for name in ("input", "heads"):
        (tmp_path / f"{name}.npz").write_bytes(hostile.npz(target, "a00000"))
    (tmp_path / "input.json").write_text(json.dumps({"x": {"__array__": "a00000"}}))
    with pytest.raises(ValueError, match="allow_pickle"):
        worker_io.read(tmp_path)
    with pytest.raises(TaskError):
        Heads.read(tmp_path / "heads.npz")
    node = orm.ArrayData()
    node.base.repository.put_object_from_bytes(hostile.npy(target), "x.npy")
    node.base.attributes.set("array|x", [1])
    node.store()
    with pytest.raises(ValueError, match="allow_pickle"):
        node.get_array("x")
    with pytest.raises(ValueError, match="allow_pickle"):
        read_arrays([node.pk], ["x"])
    assert not target.exists()


def test_names_in_an_archive_lead_nowhere(sent, tmp_path, target):
    """Members of the file with '..', and a node whose files claim to lie above their folder."""
    model, archive = sent
    hostile.poison(archive, ["../evil", "repo/../../evil", "/tmp/evil-of-a-test"])
    folder = tmp_path / "inside" / "deeper"
    folder.mkdir(parents=True)
    storage = SqliteZipBackend(SqliteZipBackend.create_profile(archive))
    try:
        assert orm.QueryBuilder(backend=storage).append(MaceModelData).count() == 1
    finally:
        storage.close()
    delete_nodes([model.pk], dry_run=False)
    import_archive(archive)
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path.parent / "evil").exists()


def test_a_node_cannot_write_above_the_folder_that_it_is_unpacked_in(aiida_profile, tmp_path, monkeypatch):
    """The file of labels says that its name is a folder, which holds '..': AiiDA would follow it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    node = orm.SinglefileData(io.BytesIO(b"1\n\nO 0 0 0\n"), filename="labels.xyz").store()
    key = node.base.repository.metadata["o"]["labels.xyz"]["k"]
    metadata = {"o": {"folder": {"o": {"..": {"o": {"..": {"o": {"evil": {"k": key}}}}}}}}}
    node.backend_entity._model.repository_metadata = metadata
    node.backend_entity._model.attributes = {"filename": "folder"}
    node.backend_entity._model.save()
    again = orm.load_node(node.uuid)
    selection = orm.Dict({"kind": "extxyz", "keys": {}, "frames": [0]})
    with pytest.raises(IsADirectoryError):
        import_labels(source=again, level=orm.Dict(einstein(5.0)), selection=selection)
    assert not list(tmp_path.rglob("evil"))
    with pytest.raises(ValueError, match="does not hold one file"):
        base.single_file(again)
