"""What labels cost: attempts are calls, whether they end well or not; a label that is found costs none."""

from aiida import orm
from aiida.common.links import LinkType

from aiida_slhmc.provenance.label_cost import LabelCounts, label_counts
from tests.provenance.test_audit import finished


def labelling(caller, status, attempts, label):
    """Plant a labelling with so many attempts."""
    node = orm.WorkChainNode()
    node.process_type = "aiida.workflows:slhmc.label"
    if status is None:
        node.set_process_state("running")
    else:
        finished(node).set_exit_status(status)
    node.base.links.add_incoming(caller, LinkType.CALL_WORK, label)
    node.store()
    for number in range(attempts):
        attempt = finished(orm.CalcFunctionNode())
        attempt.base.links.add_incoming(node, LinkType.CALL_CALC, f"attempt_{number}")
        attempt.store()
    # Not every step of a labelling asks the engine.
    look = finished(orm.CalcFunctionNode())
    look.base.links.add_incoming(node, LinkType.CALL_CALC, "hand_on")
    look.store()


def test_every_kind_of_label_is_counted_once(aiida_profile):
    root = orm.WorkChainNode().store()
    chain = orm.WorkChainNode()
    chain.base.links.add_incoming(root, LinkType.CALL_WORK, "block_000_chain_000")
    chain.store()
    for caller in (root, chain):
        labelling(caller, 0, 1, "computed")
        labelling(caller, 0, 3, "computed_at_the_third_attempt")
        labelling(caller, 0, 0, "reused")
        labelling(caller, 410, 2, "failed")
        labelling(caller, None, 1, "goes_on")
    assert label_counts(root) == LabelCounts(calls=2 * 7, computed=2 * 2, reused=2, failed=2)
    assert label_counts(chain) == LabelCounts(calls=7, computed=2, reused=1, failed=1)


def test_a_run_without_labels(aiida_profile):
    assert label_counts(orm.WorkChainNode().store()) == LabelCounts()


def test_the_labels_of_a_real_run(analytic_run):
    found = label_counts(analytic_run)
    chunks = [*analytic_run.outputs.dataset.frames(), analytic_run.outputs.production]
    distinct = {uuid for chunk in chunks for uuid in chunk.label_uuids}
    assert found.failed == found.reused == 0
    # Chains that start alike share the label of their start.
    assert found.calls == found.computed == len(distinct)
