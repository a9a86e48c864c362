"""Decisions recomputed from what is stored: a whole run has no fault, and each planted one is found."""

import time

import pytest
from aiida import orm

from aiida_slhmc.provenance.decisions import recompute
from tests.fixtures import rutile
from tests.provenance.synthetic import label_of, long_run


def faults(tamper):
    """Return the messages of the faults of a small run that was tampered with, by cycle."""
    return [(fault.cycle, fault.message) for fault in recompute(long_run(2, 3, tamper)).faults]


def attributes(out, *place):
    return out.nodes[out.places[place]]["attributes"]


def test_an_untouched_run_has_no_faults(aiida_profile):
    assert faults(lambda out: None) == []


def test_decisions_of_600_cycles_take_seconds(aiida_profile):
    run = long_run(blocks=60, cycles=10)
    started = time.process_time()
    report = recompute(run)
    took = time.process_time() - started
    assert report.faults == []
    assert (report.decisions, report.chains) == (600, 1)
    assert took < 10.0, f"{took:.1f} s of CPU time"


@pytest.mark.parametrize(
    ("key", "value"),
    [("accepted", None), ("delta", 0.02), ("probability", 0.5), ("log_uniform", -9.0), ("kinetic_end", 0.1),
     ("target_start", -2.9), ("temperature", 301.0), ("length", 1), ("seed", 8), ("level_hash", "another")],
)  # fmt: skip
def test_a_changed_decision_is_found(aiida_profile, key, value):
    def tamper(out):
        stored = attributes(out, "next decision", 3)
        stored[key] = not stored[key] if value is None else value

    found = faults(tamper)
    assert any(cycle == 3 and message.startswith(f"{key} is stored as ") for cycle, message in found)


def test_a_changed_energy_is_found(aiida_profile):
    """The label of an endpoint says another energy than the decision was made with."""
    moved = rutile()
    moved.rattle(0.2, seed=1)
    other = label_of(moved).base.repository.serialize()

    def tamper(out):
        out.nodes[out.places["endpoint_label", 2]]["repository_metadata"] = other

    messages = [message for cycle, message in faults(tamper) if cycle == 2]
    assert any(message.startswith("target_end is stored as") for message in messages)
    assert any(message.startswith("delta is stored as") for message in messages)


def test_other_random_numbers_are_found(aiida_profile):
    def tamper(out):
        attributes(out, "stream", 4)["seed"] = 8

    found = [message for cycle, message in faults(tamper) if cycle == 4]
    assert any(message.startswith("log_uniform is stored as") for message in found)


def test_a_trajectory_of_another_length_is_found(aiida_profile):
    def tamper(out):
        told = attributes(out, "proposal_info", 1)
        told["n_steps"] += 1
        attributes(out, "next decision", 1)["length"] += 1

    assert faults(tamper) == [(1, "its length is not the one that its random number and the settings give.")]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("next state", "the next state is not the"),
        ("endpoint", "the label of its endpoint is of another structure."),
        ("state", "the label of its state is of another structure."),
    ],
)
def test_a_moved_state_is_found(aiida_profile, name, says):
    def tamper(out):
        values = attributes(out, name, 2)
        site = dict(values["sites"][0], position=[1e-9, 0.0, 0.0])
        values["sites"] = [site, *values["sites"][1:]]

    assert any(cycle in (1, 2) and message.startswith(says) for cycle, message in faults(tamper))


def test_a_state_that_is_not_the_last_one_is_found(aiida_profile):
    """The same structure, but another node: the chain has a gap that only its links show."""

    def tamper(out):
        spare = out.add(orm.StructureData, dict(attributes(out, "state", 2)))
        out.links = [(spare if (source, label) == (out.places["state", 2], "state") else source, target, kind, label)
                     for source, target, kind, label in out.links]  # fmt: skip

    assert (2, "it does not begin where the cycle before it ended.") in faults(tamper)


def test_a_cycle_that_was_left_out_is_found(aiida_profile):
    def tamper(out):
        gone = next(target for source, target, _, label in out.links
                    if (source, label) == (out.places["proposal_info", 2], "proposal_info"))  # fmt: skip
        out.nodes[gone]["process_type"] = "aiida.calculations:slhmc.somewhere"

    found = faults(tamper)
    assert (3, "the cycle before it in its chain is 1.") in found


def test_another_chains_proposal_is_found(aiida_profile):
    def tamper(out):
        one, other = out.places["proposal_info", 1], out.places["proposal_info", 2]
        out.links = [
            ({one: other, other: one}.get(source, source) if label == "proposal_info" and kind != "create" else source,
             target, kind, label)
            for source, target, kind, label in out.links
        ]  # fmt: skip

    assert (1, "the energies of its proposal are those of another one.") in faults(tamper)
