"""A run replayed: all as stored, as a whole, in part and as a sample."""

from aiida_slhmc.provenance.comparing import IDENTICAL
from aiida_slhmc.provenance.replay import replay, steps_below
from aiida_slhmc.provenance.steps import step_name


def test_every_step_of_a_run_comes_out_as_it_did(analytic_run):
    told = []
    report = replay(analytic_run, everything=True, on_step=told.append)
    assert report.passed, report.first
    assert (report.chains.decisions, report.chains.chains, report.chains.faults) == (10, 2, [])
    steps = steps_below(analytic_run)
    assert [one.pk for one in report.steps] == [node.pk for node in steps] == [one.pk for one in told]
    # Bookkeeping and analytic surfaces: to the bit.
    assert {one.verdict for one in report.steps} == {IDENTICAL}
    assert report.counts["propose"] == {IDENTICAL: 10}
    assert report.steps[0].then["aiida-slhmc"] == report.now["aiida-slhmc"]


def test_a_sample_has_so_many_of_each_kind_and_is_the_same_for_the_same_seed(analytic_run):
    one, other, third = (replay(analytic_run, sample=2, seed=seed) for seed in (5, 5, 6))
    assert one.sampled == {"of_each_kind": 2, "seed": 5}
    assert [step.pk for step in one.steps] == [step.pk for step in other.steps]
    assert [step.pk for step in one.steps] != [step.pk for step in third.steps]
    counts = {step: sum(found.values()) for step, found in one.counts.items()}
    assert counts["propose"] == counts["label"] == counts["metropolis"] == 2
    assert set(counts) == {step_name(node) for node in steps_below(analytic_run)}
    assert replay(analytic_run, sample=1).sampled["seed"] >= 0


def test_a_part_of_a_run_is_replayed_too(analytic_run):
    chain = next(node for node in analytic_run.called if node.process_label == "ChainWorkChain")
    report = replay(chain, everything=True)
    assert report.passed, report.first
    assert (report.chains.decisions, report.chains.chains) == (3, 1)
    labelling = next(node for node in chain.called if node.process_label == "LabelWorkChain")
    report = replay(labelling)
    assert report.chains is None
    assert [(one.step, one.verdict) for one in report.steps] == [("label", IDENTICAL)]
