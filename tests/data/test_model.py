import io

import pytest
from aiida import orm

from aiida_slhmc import models
from aiida_slhmc.data import MaceModelData
from aiida_slhmc.worker.errors import TaskError


def test_model_node_says_what_it_holds(aiida_profile):
    node = MaceModelData(models.path("tio2-pbe-small")).store()
    again = orm.load_node(node.pk)
    assert {8, 22} <= set(again.atomic_numbers)
    assert len(again.state_sha256) == 64
    assert again.description["versions"]["mace"]
    assert again.get_content(mode="rb") == models.path("tio2-pbe-small").read_bytes()


def test_same_file_same_hash_whatever_its_name(aiida_profile, tmp_path):
    copy = tmp_path / "other-name.model"
    copy.write_bytes(models.path("tio2-pbe-small").read_bytes())
    one, two = MaceModelData(models.path("tio2-pbe-small")).store(), MaceModelData(copy).store()
    assert one.base.caching.get_hash() == two.base.caching.get_hash()


def test_a_foreign_file_is_refused(aiida_profile):
    with pytest.raises(TaskError, match="MACE"):
        MaceModelData(io.BytesIO(b"this is no model"))
