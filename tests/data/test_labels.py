"""Labels are found by content: of the structure as stored, and of the level of theory."""

import time
from datetime import datetime, timezone
from uuid import uuid4

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.orm.entities import EntityTypes

from aiida_slhmc.calculations.base import structure_payload
from aiida_slhmc.calculations.label import label_local
from aiida_slhmc.data.labels import (
    KEY_DIGITS,
    PREFIX,
    as_stored,
    fault_of,
    find_label,
    frame_hash,
    hash_of,
    iterate_labels,
    label_key,
    lookup,
    make_label,
    structure_hash,
)
from aiida_slhmc.targets.level import level_hash
from aiida_slhmc.workflows.runfile import rutile
from tests.fixtures import einstein


def rattled(seed, stdev=0.05):
    atoms = rutile()
    atoms.rattle(stdev, seed=seed)
    return atoms


def labelled(seed, level):
    structure = orm.StructureData(ase=rattled(seed)).store()
    return structure, label_local(structure, orm.Dict(level))["label"]


@pytest.fixture
def level():
    return einstein(5.0, shift=0.001)


@pytest.mark.parametrize("seed", range(5))
def test_the_hash_is_the_same_before_and_after_storing(aiida_profile, seed):
    atoms = rattled(seed)
    # Numbers that a database does not give back: 17 digits, a negative zero, a whole float.
    atoms.positions[0] = (1 / 3, -0.0, 2e-17)
    atoms.positions[1, 0] = np.nextafter(1.0, 2)
    atoms.cell[0, 0] = 1e16
    unstored = orm.StructureData(ase=atoms)
    before = hash_of(unstored)
    pk = unstored.store().pk
    stored = orm.load_node(pk)
    assert hash_of(stored) == before
    content = structure_payload(stored)
    assert structure_hash(*(content[key] for key in ("numbers", "positions", "cell", "pbc"))) == before
    # What is stored is what is hashed, to the bit.
    np.testing.assert_array_equal(content["positions"] + 0.0, as_stored(atoms.positions))


def test_what_makes_a_structure_another_one(aiida_profile):
    atoms = rattled(1)
    others = [rattled(1) for _ in range(6)]
    others[0].positions[0, 0] += 1e-9
    others[1].positions += 0.1
    others[2] = others[2][[0, 1, 3, 2, 4, 5]]
    others[3].set_cell(others[3].cell[:] * (1 + 1e-9))
    others[4].pbc = (True, True, False)
    others[5].numbers[0] = 40
    hashes = {hash_of(orm.StructureData(ase=each)) for each in [atoms, *others]}
    assert len(hashes) == 7


def test_a_label_is_found_by_content(aiida_profile, level):
    structure, label = labelled(11, level)
    assert label.label.startswith(PREFIX)
    assert len(label.label) == len(PREFIX) + KEY_DIGITS
    assert label.base.attributes.get("formula") == "O4Ti2"
    assert frame_hash(label) == hash_of(structure) == label.base.attributes.get("structure_sha256")
    again = orm.StructureData(ase=rattled(11))
    assert find_label(again, level).uuid == label.uuid
    assert find_label(orm.StructureData(ase=rattled(12)), level) is None
    assert find_label(again, einstein(5.5, shift=0.001)) is None


def test_the_oldest_is_preferred(aiida_profile, level):
    structure, label = labelled(13, level)
    _, second = labelled(13, level)
    assert second.uuid != label.uuid
    assert find_label(structure, level).uuid == label.uuid


def planted(label, level, status=0, change=0.0, info=True):
    """Return a label under the key of another, made by a process whose nodes are set up by hand."""
    made = make_label(label.arrays, level)
    if change:
        # The hash of the content was taken before.
        made.set_array("energies", made.get_array("energies") + change)
    node = orm.CalcFunctionNode()
    node.base.links.add_incoming(orm.Dict(level).store(), LinkType.INPUT_CALC, "level")
    node.set_process_state("finished")
    node.set_exit_status(status)
    node.store()
    for name, data in (("label", made), ("label_info", orm.Dict({}))):
        if name == "label" or info:
            data.base.links.add_incoming(node, LinkType.CREATE, name)
            data.store()
    return made


def test_the_key_finds_and_the_content_decides(aiida_profile, level):
    structure, label = labelled(14, level)
    other, foreign = labelled(15, level)
    digest = level_hash(level)
    key = label_key(hash_of(structure), digest)
    # A label of another structure under this one's key, which anyone may write: a node's label can be changed.
    foreign.label = key
    assert lookup(hash_of(structure), digest).uuid == label.uuid
    label.label = ""
    assert lookup(hash_of(structure), digest) is None
    assert fault_of(foreign, structure=hash_of(structure), level=digest) == "it is of another structure"
    assert fault_of(foreign, structure=hash_of(other), level=level_hash(einstein(1.0))) == (
        "it is of another level of theory"
    )


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        (lambda label, level: make_label(label.arrays, level).store(), "no process that finished well made it"),
        (lambda label, level: planted(label, level, status=390), "no process that finished well made it"),
        (lambda label, level: planted(label, level, info=False), "nothing is recorded of how it was made"),
        (lambda label, level: planted(label, level, change=1e-9), "its arrays are not those that it was stored with"),
        (planted, None),
    ],
)
def test_a_label_must_have_come_about_well(aiida_profile, level, plant, says):
    structure, label = labelled(16, level)
    digests = {"structure": hash_of(structure), "level": level_hash(level)}
    assert fault_of(plant(label, level), **digests) == says


def test_labels_are_listed_by_level(aiida_profile):
    own = einstein(7.25)
    uuids = [labelled(seed, own)[1].uuid for seed in (1, 2, 3)]
    assert [label.uuid for label in iterate_labels(level_hash(own))] == uuids
    assert set(uuids) < {label.uuid for label in iterate_labels()}


def test_a_look_takes_no_longer_in_a_large_profile(aiida_profile, level):
    structure, label = labelled(18, level)
    missing = orm.StructureData(ase=rattled(19)).store()

    def median(what):
        times = []
        for _ in range(30):
            started = time.perf_counter()
            find_label(what, level)
            times.append(time.perf_counter() - started)
        return sorted(times)[15]

    before = {what.uuid: median(what) for what in (missing, structure)}
    now = datetime.now(timezone.utc)
    shared = {
        "node_type": label.node_type, "process_type": None, "description": "", "ctime": now, "mtime": now,
        "user_id": orm.User.collection.get_default().pk, "attributes": {"n_frames": 1}, "extras": {},
        "repository_metadata": {}, "dbcomputer_id": None,
    }  # fmt: skip
    backend = label.backend
    with backend.transaction():
        rows = [{**shared, "uuid": str(uuid4()), "label": f"{PREFIX}{number:040d}"} for number in range(10_000)]
        pks = backend.bulk_insert(EntityTypes.NODE, rows)
    try:
        for what in (missing, structure):
            # Without the index a look reads the whole table: some 30 times as long.
            assert median(what) < 3 * before[what.uuid] + 0.005
        assert find_label(structure, level).uuid == label.uuid
    finally:
        with backend.transaction():
            backend.delete_nodes_and_connections(pks)
