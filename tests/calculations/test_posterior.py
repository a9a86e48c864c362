"""Updates of the posterior as nodes: locally and as a job, first and warm, with the frames that count as new."""

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_slhmc.calculations.dataset import extend
from aiida_slhmc.calculations.posterior import PosteriorCalculation, in_order, posterior_local
from aiida_slhmc.data import FramesData, MaceModelData
from aiida_slhmc.provenance.audit import audit
from tests.worker.rutile import MODEL, labelled, rattled

SETTINGS = {"accuracy": 0.26, "members": 2, "steps_per_label": 4, "step_size": 2e-3}


def frames(count, seed):
    return FramesData(labelled(rattled(count, seed)), level_hash="somewhere")


@pytest.fixture(scope="module")
def first(aiida_profile):
    """Return the inputs of a first update on a dataset, and its node."""
    chunk = frames(3, 11).store()
    dataset = extend(chunk=chunk, seed=orm.Int(5), split=orm.Dict({"valid_fraction": 0.3}))
    inputs = {
        "model": MaceModelData(MODEL).store(),
        "dataset": dataset,
        "hyperparameters": orm.Dict(SETTINGS).store(),
        "stream": orm.Dict({"seed": 5, "update": 0}).store(),
    }
    _, node = run_get_node(posterior_local, **inputs)
    assert node.is_finished_ok, node.exit_message
    return inputs, node


def test_members_know_their_parent(first):
    inputs, node = first
    parent = inputs["model"].state_sha256
    members = in_order(node.outputs.members)
    assert sorted(node.outputs.members) == ["member_000", "member_001"]
    assert {member.description["parent_state_sha256"] for member in members} == {parent}
    assert len({member.state_sha256 for member in members} | {parent}) == 3
    report = node.outputs.posterior.get_dict()
    # All three frames are new, and all are trained on, the one for validation too.
    assert (report["frames"], report["steps"], report["accuracy"]) == (3, 12, 0.26)
    assert np.shape(report["trace"]) == (2, 12)
    assert report["members"][0]["log_posterior_last"] > report["members"][0]["log_posterior_first"]
    assert "description" not in report["members"][0]
    with node.outputs.heads.as_path() as path, np.load(path) as heads:
        assert float(heads["accuracy"]) == 0.26


def test_a_job_does_what_the_process_does_and_goes_on_warm(first, code):
    inputs, node = first
    _, job = run_get_node(PosteriorCalculation, code=code, **inputs)
    assert job.is_finished_ok, job.exit_message
    # Another number of threads may add in another order.
    np.testing.assert_allclose(job.outputs.posterior["trace"], node.outputs.posterior["trace"], rtol=1e-6)
    more = {
        **{name: inputs[name] for name in ("model", "dataset", "hyperparameters")},
        "chunk": frames(2, 12).store(),
        "stream": orm.Dict({"seed": 5, "update": 1}),
        "members": dict(node.outputs.members),
        "heads": node.outputs.heads,
        "posterior": node.outputs.posterior,
    }
    _, local = run_get_node(posterior_local, **more)
    _, job = run_get_node(PosteriorCalculation, code=code, **more)
    for run in (local, job):
        assert run.is_finished_ok, run.exit_message
        report = run.outputs.posterior.get_dict()
        # Two of five frames are new.
        assert (report["frames"], report["steps"], report["update"]) == (5, 8, 1)
        assert report["offset"] == pytest.approx(node.outputs.posterior["offset"], abs=1e-9)
    np.testing.assert_allclose(job.outputs.posterior["trace"], local.outputs.posterior["trace"], rtol=1e-6)
    assert {label.link_label for label in local.base.links.get_incoming().all()} >= {
        "members__member_000", "members__member_001", "heads", "chunk"
    }  # fmt: skip


def test_the_audit_asks_for_its_seed(first):
    findings = audit(first[1]).findings
    assert [finding.message for finding in findings if finding.kind == "seed"] == []
    bare = orm.CalcFunctionNode()
    bare.process_type = "aiida.calculations:slhmc.posterior.local"
    bare.set_process_state("finished")
    bare.set_exit_status(0)
    assert any(finding.kind == "seed" for finding in audit(bare.store().seal()).findings)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hyperparameters": {"members": 2}}, "lacks accuracy"),
        ({"hyperparameters": SETTINGS | {"step": 1}}, "no hyperparameter 'step'"),
        ({"posterior": {"frames": 3}}, "0 of 3 frames cannot be new"),
    ],
)
def test_bad_input(first, changes, says):
    inputs = first[0] | {name: orm.Dict(value) for name, value in changes.items()}
    _, node = run_get_node(posterior_local, **inputs)
    assert node.exit_status == 210
    assert says in node.exit_message


def test_nothing_to_learn_from(first, code):
    inputs = {name: node for name, node in first[0].items() if name != "dataset"}
    with pytest.raises(ValueError, match="give 'dataset', 'chunk' or both"):
        run_get_node(PosteriorCalculation, code=code, **inputs)
