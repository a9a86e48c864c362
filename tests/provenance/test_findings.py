"""A finding names kind, node and fault."""

from aiida import orm

from aiida_slhmc.provenance.findings import Finding, finding


def test_a_finding_names_its_node(aiida_profile):
    node = orm.Int(3).store()
    one = finding("orphan", node, "Int has no creator.")
    assert one == Finding("orphan", node.pk, node.uuid, "Int has no creator.")
    assert one.as_dict() == {"kind": "orphan", "pk": node.pk, "uuid": node.uuid, "message": "Int has no creator."}


def test_of_a_node_that_is_not_stored_the_number_is_none_that_a_node_has():
    assert finding("orphan", orm.Int(3), "it is not stored.").pk == 0
