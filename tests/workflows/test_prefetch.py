"""Proposals and labels made ahead of their decisions: the same chain, and more labels."""

import pytest
from aiida import orm

from aiida_slhmc.engine.runner import run_foreground
from aiida_slhmc.provenance.audit import audit, step_name
from tests.fixtures import analytic_builder, einstein

from .test_slhmc import decisions

CHAIN = {"chains": 1, "blocks": 1, "cycles": 7, "production_cycles": 3}
#: So wrong that acceptances and rejections mix.
MODEL = einstein(4.0, shift=0.05)


def run(**overrides):
    builder = analytic_builder(seed=8, budget=CHAIN, **overrides)
    builder.model = orm.Dict(MODEL)
    node = run_foreground(builder)
    assert node.is_finished_ok, node.exit_message
    return node


@pytest.fixture(scope="module")
def serial(aiida_profile):
    return run()


def block(node):
    return next(child for child in node.called if child.process_label == "ChainWorkChain")


@pytest.mark.parametrize(("shape", "depth"), [("tree", 2), ("tree", 3), ("accept", 3)])
def test_the_chain_is_that_of_the_serial_run(serial, shape, depth):
    ahead = run(driver={"prefetch": depth, "prefetch_shape": shape})
    outcomes = [decision["accepted"] for decision in decisions(serial, 0)]
    assert len(set(outcomes)) == 2
    assert decisions(ahead, 0) == decisions(serial, 0)
    states = [node.outputs.states.get_array("positions") for node in (serial, ahead)]
    assert (states[0] == states[1]).all()
    assert ahead.outputs.history.get_dict() == serial.outputs.history.get_dict()
    # Labels of what did not come are training data, and no part of the chain.
    serial_chunk, *none = serial.outputs.dataset.frames()
    chunk, aside = ahead.outputs.dataset.frames()
    assert not none
    assert chunk.content_sha256 == serial_chunk.content_sha256
    assert aside.n_frames == block(ahead).outputs.aside.n_frames > 0
    assert aside.get_array("span").shape == (0, 4)
    report = audit(ahead)
    assert report.passed, report.findings
    assert report.frames == ahead.outputs.dataset.n_frames


def test_a_tree_asks_for_all_labels_of_a_window_at_once(aiida_profile):
    ahead = run(driver={"prefetch": 2})
    labels = [child for child in block(ahead).called if child.process_label == "LabelWorkChain"]
    # Windows of cycles 0-1, 2-3, 4-5 and of 6 alone: 3 + 3 + 3 + 1.
    assert len(labels) == 10
    steps = [step_name(child) for child in block(ahead).called]
    assert steps.count("metropolis") == 7
    # Both branches of the second cycle are labelled before the first is decided.
    first = min(node.ctime for node in block(ahead).called if step_name(node) == "metropolis")
    assert sum(node.ctime < first for node in labels) == 3


def test_divergent_trajectories_within_a_window(aiida_profile):
    limits = {"min_distance": 1.85}
    plain, ahead = (run(proposal=limits, driver={"prefetch": depth}) for depth in (1, 3))
    flags = [decision["divergent"] for decision in decisions(plain, 0)]
    assert len(set(flags)) == 2
    assert decisions(ahead, 0) == decisions(plain, 0)


@pytest.mark.parametrize("driver", [{"prefetch": 2}, {"lockstep": True}], ids=["ahead", "in step"])
def test_proposals_as_jobs(aiida_profile, code, driver):
    """A worker of its own process proposes, with the same decisions."""
    short = {"chains": 2 if "lockstep" in driver else 1, "blocks": 1, "cycles": 2, "production_cycles": 0}
    nodes = []
    for where in ("local", "job"):
        builder = analytic_builder(seed=8, budget=short, driver=driver, executor={"propose": where})
        builder.worker.code = code
        nodes.append(run_foreground(builder))
        assert nodes[-1].is_finished_ok, nodes[-1].exit_message
    jobs = [child for child in nodes[1].called_descendants if child.process_label.startswith("Propose")]
    assert len(jobs) == (2 if "lockstep" in driver else 3)
    assert nodes[0].outputs.dataset.frames()[0].content_sha256 == nodes[1].outputs.dataset.frames()[0].content_sha256


@pytest.mark.parametrize(
    ("driver", "says"),
    [
        ({"prefetch": 0}, "driver.prefetch .* must be 1 to 6"),
        ({"prefetch_shape": "bush"}, "driver.prefetch_shape .* one of tree, accept"),
        ({"prefetch": 2, "lockstep": True}, "exclude each other"),
        ({"exchange_every": 2}, "driver.temperatures is not"),
        ({"temperatures": [300.0, 400.0], "exchange_every": 1}, "set driver.lockstep to true"),
        ({"temperatures": [400.0, 300.0]}, "must ascend"),
        ({"temperatures": [300.0, "warm"]}, "must be numbers of K"),
    ],
)
def test_bad_drivers_are_refused(aiida_profile, driver, says):
    with pytest.raises(ValueError, match=says):
        analytic_builder(driver=driver)
