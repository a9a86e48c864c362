"""Chains in step, with one proposal step for all, and replica exchange."""

import numpy as np
import pytest
from ase import units

from aiida_slhmc.calculations.base import structure_payload
from aiida_slhmc.engine.runner import run_foreground
from aiida_slhmc.numerics.exchange import run_ladder
from aiida_slhmc.provenance.audit import audit, step_name
from aiida_slhmc.provenance.progress import run_status
from aiida_slhmc.worker.potentials import build_potential
from aiida_slhmc.worker.propose import kernel_settings
from aiida_slhmc.workflows.runfile import RunFileError, check
from tests.fixtures import RIGHT, WRONG, analytic_builder, einstein

LADDER = {"lockstep": True, "temperatures": [300.0, 450.0, 650.0], "exchange_every": 1}


def replicas(node):
    return [child for child in node.called if child.process_label == "ReplicasWorkChain"]


def steps(node, name):
    return [child for block in replicas(node) for child in block.called if step_name(child) == name]


def test_chains_in_step_are_the_chains_by_themselves(analytic_run):
    together = run_foreground(analytic_builder(driver={"lockstep": True}))
    assert together.is_finished_ok, together.exit_message
    # One proposal step a cycle carries both chains, and each proposal is still a node of its own.
    assert len(steps(together, "propose_many")) == 3 + 2
    assert len(steps(together, "metropolis")) == 2 * (3 + 2)
    assert (
        together.outputs.dataset.frames()[0].content_sha256 == analytic_run.outputs.dataset.frames()[0].content_sha256
    )
    states = [node.outputs.states.get_array("positions") for node in (together, analytic_run)]
    assert np.array_equal(*states)
    report = audit(together)
    assert report.passed, report.findings
    status = run_status(together)
    assert (status.cycles_done, status.labels) == (10, 11)


def all_decisions(node):
    return [child.outputs.decision.get_dict() for child in steps(node, "metropolis")]


@pytest.fixture(scope="module")
def ladder(aiida_profile):
    budget = {"chains": 3, "blocks": 1, "cycles": 4, "production_cycles": 6}
    node = run_foreground(analytic_builder(seed=2, budget=budget, driver=LADDER))
    assert node.is_finished_ok, node.exit_message
    return node


def test_the_ladder_equals_the_bare_ladder(ladder):
    """The graph adds provenance, and nothing else: the bare ladder is tested against closed forms."""
    geometry = structure_payload(ladder.inputs.structure)
    surfaces = [
        build_potential(level, geometry["numbers"], geometry["pbc"])
        for level in (einstein(RIGHT), einstein(WRONG, shift=0.02))
    ]
    # The proposal length was adapted after the first block.
    length = next(node for node in ladder.called if node.process_label == "adapt_length").outputs.result["length"]
    start = [(geometry["positions"], geometry["cell"])] * 3
    first = 0
    for n_cycles, steps_each in ((4, 12), (6, length)):
        payload = {**ladder.inputs.proposal.get_dict(), "length": steps_each, "pbc": geometry["pbc"]}
        rungs = [kernel_settings({**payload, "temperature": temperature}) for temperature in LADDER["temperatures"]]
        bare = run_ladder(
            start, geometry["masses"], *surfaces, rungs,
            n_cycles=n_cycles, every=1, seed=ladder.inputs.seed.value, first_cycle=first,
        )  # fmt: skip
        for chain, rung in enumerate(bare.rungs):
            found = sorted((row for row in all_decisions(ladder) if row["chain"] == chain), key=lambda r: r["cycle"])
            own = found[first : first + n_cycles]
            assert [row["accepted"] for row in own] == rung.accepted.tolist()
            assert np.allclose([row["delta"] for row in own], rung.deltas, rtol=1e-9, atol=1e-12)
        swaps = {
            row["cycle"]: row["accepted"] for row in (n.outputs.swap.get_dict() for n in steps(ladder, "exchange"))
        }
        assert [swaps[swap.cycle] for swap in bare.swaps] == [swap.decision.accepted for swap in bare.swaps]
        start = [(rung.positions[-1], rung.cells[-1]) for rung in bare.rungs]
        first += n_cycles
    ends = ladder.outputs.states.get_array("positions").reshape(3, 6, 6, 3)[:, -1]
    assert np.allclose(ends, [positions for positions, _ in start], rtol=0, atol=1e-11)


def test_exchange_follows_its_schedule_and_costs_no_label(ladder):
    swaps = sorted((node.outputs.swap.get_dict() for node in steps(ladder, "exchange")), key=lambda s: s["cycle"])
    assert [swap["cycle"] for swap in swaps] == list(range(10))
    assert [swap["chains"] for swap in swaps] == [[0, 1], [1, 2]] * 5
    assert 0 < sum(swap["accepted"] for swap in swaps) < 10
    assert run_status(ladder).labels == 1 + 3 * 10
    for swap in swaps:
        a, b = (1 / (units.kB * temperature) for temperature in swap["temperatures"])
        log_p = min(0.0, (a - b) * (swap["energies"][0] - swap["energies"][1]))
        assert swap["log_probability"] == pytest.approx(log_p, abs=1e-9)
        assert swap["accepted"] == (swap["log_uniform"] <= log_p)
    assert audit(ladder).passed


def test_the_states_of_a_rung_follow_the_swaps(ladder):
    states = ladder.outputs.states
    energies = states.get_array("energies").reshape(3, 6)
    assert states.get_array("temperature").reshape(3, 6)[:, 0].tolist() == [300.0, 450.0, 650.0]
    # After each cycle and its swap, the labels that the chains hold are those of the states.
    ends = ladder.outputs.ends
    assert [ends[f"label_chain_00{index}"].energy for index in range(3)] == energies[:, -1].tolist()
    for swap in (node.outputs.swap.get_dict() for node in steps(ladder, "exchange")):
        row = swap["cycle"] - 4
        if row >= 0:
            held = [energies[chain, row] for chain in swap["chains"]]
            expected = swap["energies"][::-1] if swap["accepted"] else swap["energies"]
            assert held == pytest.approx(expected, abs=1e-12)


def test_each_rung_decides_at_its_own_temperature(ladder):
    for node in steps(ladder, "metropolis"):
        decision = node.outputs.decision.get_dict()
        assert decision["temperature"] == LADDER["temperatures"][decision["chain"]]


@pytest.mark.parametrize(
    ("driver", "says"),
    [
        ({"temperatures": [300.0, 400.0, 500.0]}, "names 3 temperatures for budget.chains = 2"),
        ({"temperatures": [310.0, 400.0]}, "lacks ensemble.temperature 300.0 K"),
    ],
)
def test_bad_ladders_are_refused(aiida_profile, driver, says):
    with pytest.raises(RunFileError, match=says):
        check(analytic_builder(driver=driver))
