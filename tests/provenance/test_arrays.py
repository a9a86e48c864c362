"""Arrays of many nodes at once: as each node gives them, and nothing is unpickled."""

import io

import numpy as np
import pytest
from aiida import orm

from aiida_slhmc.provenance import links
from aiida_slhmc.provenance.arrays import read_arrays


def test_arrays_are_those_of_each_node(aiida_profile, monkeypatch):
    # More nodes than one query takes; two of them hold the same content, which the repository has once.
    monkeypatch.setattr(links, "BATCH", 2)
    contents = [{"x": np.arange(3.0), "y": np.eye(2)}, {"x": np.arange(3.0)}, {"x": np.array([7])}, {"z": np.ones(1)}]
    nodes = [orm.ArrayData(content).store() for content in contents]
    found = read_arrays([node.pk for node in nodes], ["x", "y"])
    for node, content in zip(nodes, contents, strict=True):
        wanted = {name: array for name, array in content.items() if name != "z"}
        assert set(found[node.pk]) == set(wanted)
        for name, array in wanted.items():
            assert np.array_equal(found[node.pk][name], array)
            assert found[node.pk][name].dtype == array.dtype


def test_no_node_no_array(aiida_profile):
    assert read_arrays([], ["x"]) == {}


def test_a_file_of_objects_is_refused(aiida_profile):
    hostile = io.BytesIO()
    np.save(hostile, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    node = orm.SinglefileData(io.BytesIO(hostile.getvalue()), filename="x.npy").store()
    with pytest.raises(ValueError, match="allow_pickle"):
        read_arrays([node.pk], ["x"])
