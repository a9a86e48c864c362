"""SLHMC through AiiDA, really run."""

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from ase import units

from aiida_slhmc import models
from aiida_slhmc.calculations.base import structure_payload
from aiida_slhmc.calculations.streams import chain_name
from aiida_slhmc.data import MaceModelData
from aiida_slhmc.engine.runner import run_foreground
from aiida_slhmc.numerics import hmc
from aiida_slhmc.provenance.audit import audit, step_name
from aiida_slhmc.provenance.progress import run_status
from aiida_slhmc.worker.potentials import build_potential
from aiida_slhmc.worker.propose import kernel_settings
from aiida_slhmc.workflows.slhmc import SlhmcWorkChain
from tests.fixtures import RIGHT, WRONG, analytic_builder, einstein, rutile


def decisions(run, chain):
    """Return the decisions of one chain over all blocks, in the order of the cycles."""
    found = []
    for child in run.called:
        if child.process_label == "ChainWorkChain" and child.inputs.stream["chain"] == chain:
            found += [node.outputs.decision.get_dict() for node in child.called if step_name(node) == "metropolis"]
    return sorted(found, key=lambda decision: decision["cycle"])


def test_outputs_are_whole(analytic_run):
    outputs = analytic_run.outputs
    assert outputs.dataset.n_frames == 2 + 2 * 3  # both chains hold the label of their common start
    assert outputs.production.n_frames == 2 + 2 * 2
    assert outputs.states.get_array("positions").shape == (4, 6, 3)
    rows = outputs.history.get_dict()["blocks"]
    assert [row["production"] for row in rows] == [False, True]
    assert [row["cycles"] for row in rows] == [6, 4]


def test_a_start_that_chains_share_is_labelled_once(analytic_run):
    status = run_status(analytic_run)
    assert status.labels == 1 + 2 * 3 + 2 * 2
    assert (status.cycles_done, status.cycles_total) == (10, 10)
    assert status.state == "finished"


def test_every_cycle_equals_the_bare_loop_to_the_bit(analytic_run):
    """The graph adds provenance, and nothing else: same proposals, same decisions, same states."""
    geometry = structure_payload(analytic_run.inputs.structure)
    proposal = analytic_run.inputs.proposal.get_dict()
    surfaces = [
        build_potential(einstein(k, s), geometry["numbers"], geometry["pbc"]) for k, s in ((RIGHT, 0), (WRONG, 0.02))
    ]
    for chain in range(2):
        found = decisions(analytic_run, chain)
        settings = kernel_settings({**proposal, "temperature": 300.0})
        record = hmc.run_chain(
            geometry["positions"], geometry["cell"], geometry["masses"], surfaces[0], surfaces[1], settings,
            n_cycles=3, seed=analytic_run.inputs.seed.value, chain=chain,
        )  # fmt: skip
        assert [decision["accepted"] for decision in found[:3]] == record.accepted.tolist()
        assert [decision["length"] for decision in found[:3]] == record.lengths.tolist()
        deltas = [decision["delta"] for decision in found[:3]]
        assert np.allclose(deltas, record.deltas, rtol=1e-12, atol=1e-13)  # stored with 14 digits


def test_the_frozen_phase_continues_the_chain(analytic_run):
    for chain in range(2):
        assert [decision["cycle"] for decision in decisions(analytic_run, chain)] == [0, 1, 2, 3, 4]
        assert [decision["phase"] for decision in decisions(analytic_run, chain)] == ["adaptive"] * 3 + [
            "production"
        ] * 2


def test_each_data_node_between_two_steps_has_one_creator(analytic_run):
    for child in analytic_run.called_descendants:
        for link in child.base.links.get_incoming(link_type=(LinkType.INPUT_CALC, LinkType.INPUT_WORK)).all():
            if isinstance(link.node, orm.Data) and link.node.creator is None:
                named = [
                    n.uuid for n in analytic_run.base.links.get_incoming(link_type=LinkType.INPUT_WORK).all_nodes()
                ]
                assert link.node.uuid in named


def test_the_same_seed_gives_the_same_decisions_and_another_seed_others(analytic_run):
    again = run_foreground(analytic_builder())
    for chain in range(2):
        assert decisions(again, chain) == decisions(analytic_run, chain)
    short = {"chains": 1, "blocks": 1, "cycles": 1, "production_cycles": 0}
    other = run_foreground(analytic_builder(seed=4, budget=short))
    assert decisions(other, 0) != decisions(analytic_run, 0)[:1]
    assert again.outputs.dataset.base.caching.get_hash() == analytic_run.outputs.dataset.base.caching.get_hash()


def test_chains_may_start_from_different_structures(aiida_profile):
    builder = analytic_builder(budget={"chains": 2, "blocks": 1, "cycles": 1, "production_cycles": 0})
    moved = rutile()
    moved.rattle(0.05, seed=1)
    builder.structures = {chain_name(1): orm.StructureData(ase=moved)}
    run = run_foreground(builder)
    assert run.is_finished_ok
    chunk = run.outputs.dataset.frames()[0]
    starts = chunk.get_array("positions")[chunk.get_array("cycle") == -1]
    assert np.abs(starts[0] - starts[1]).max() > 0.01
    assert run_status(run).labels == 2 + 2


def test_divergent_proposals_are_rejections_and_the_run_goes_on(aiida_profile):
    # No trajectory from rutile keeps all atoms 1.96 Å apart: every one is rejected without a label.
    budget = {"chains": 1, "blocks": 1, "cycles": 3, "production_cycles": 2}
    builder = analytic_builder(budget=budget, proposal={"min_distance": 1.96})
    run = run_foreground(builder)
    assert run.is_finished_ok, run.exit_message
    rows = run.outputs.history.get_dict()["blocks"]
    assert [row["divergent"] for row in rows] == [3, 2]
    assert run_status(run).labels == 1
    states = run.outputs.states.get_array("positions")
    assert np.array_equal(states, np.repeat(states[:1], len(states), axis=0))


def spread_of_bare_chains(run, rng, count):
    """Return the standard deviation (eV) of the mean energy of a chain of 30 cycles, from the bare loop."""
    geometry = structure_payload(run.inputs.structure)
    right, wrong = (
        build_potential(einstein(k, s), geometry["numbers"], geometry["pbc"]) for k, s in ((RIGHT, 0), (WRONG, 0.02))
    )
    settings = kernel_settings({**run.inputs.proposal.get_dict(), "temperature": 300.0})
    width = np.sqrt(units.kB * 300.0 / RIGHT)
    means = []
    for chain in range(count):
        start = geometry["positions"] + rng.normal(0.0, width, geometry["positions"].shape)
        record = hmc.run_chain(
            start, geometry["cell"], geometry["masses"], right, wrong, settings, n_cycles=30, seed=1, chain=chain
        )
        means.append(record.energies.mean())
    return np.std(means, ddof=1)


@pytest.mark.statistics
def test_wrong_proposals_sample_the_right_ensemble_through_the_workchain(aiida_profile, zscore, seed):
    """U follows Gamma(3N/2, kT) of the target; without the decision its mean would be 5/3 of that, and more."""
    builder = analytic_builder(
        seed=seed % 2**31,
        budget={"chains": 4, "blocks": 0, "cycles": 1, "production_cycles": 30},
        proposal={"length": 20},
    )
    kt = units.kB * 300.0
    # Starts drawn from the law itself need no burn-in.
    rng = np.random.default_rng(seed)
    starts = {}
    for chain in range(4):
        atoms = rutile()
        atoms.positions += rng.normal(0.0, np.sqrt(kt / RIGHT), atoms.positions.shape)
        starts[chain_name(chain)] = orm.StructureData(ase=atoms)
    builder.structures = starts
    run = run_foreground(builder)
    assert run.is_finished_ok, run.exit_message
    energies = (run.outputs.states.get_array("energies") + 3.0) / kt
    chains = run.outputs.states.get_array("chain")
    means = np.array([energies[chains == chain].mean() for chain in range(4)])
    # Chains this short cannot tell their own error: it is that of bare chains of the same kernel.
    error = spread_of_bare_chains(run, rng, 200) / kt / np.sqrt(4)
    # The proposal surface's own mean: the test means something only if it is far away.
    rejected = (15.0 - means.mean()) / error
    zscore("WorkChain: <U>/kT", means.mean(), 9.0, error)
    assert rejected > 4
    assert 0.2 < np.mean([decision["accepted"] for chain in range(4) for decision in decisions(run, chain)]) < 0.95
    assert audit(run).passed


def test_self_learning_with_a_real_model_and_a_teacher(aiida_profile):
    """The main job in small: a MACE model proposes, CHGNet's r2SCAN decides, the model learns, and gets better."""
    foundation = MaceModelData(models.path("tio2-pbe-small"))
    builder = SlhmcWorkChain.get_builder_from_protocol(
        structure=orm.StructureData(ase=rutile()),
        model=foundation,
        level={"engine": "chgnet", "functional": "r2SCAN"},
        seed=2,
        protocol="fast",
        overrides={
            "budget": {"chains": 1, "blocks": 2, "cycles": 6, "production_cycles": 3},
            "finetune": {"max_epochs": 10},
        },
    )
    run = run_foreground(builder)
    assert run.is_finished_ok, run.exit_message
    outputs = run.outputs
    assert set(outputs.models) == {"block_000", "block_001"}
    assert outputs.models.block_000.description["parent_state_sha256"] == foundation.state_sha256
    assert outputs.models.block_001.description["parent_state_sha256"] == outputs.models.block_000.state_sha256
    assert outputs.model.uuid == outputs.models.block_001.uuid
    rows = outputs.history.get_dict()["blocks"]
    assert "foundation_errors" not in rows[0]
    assert rows[2]["errors"]["force_rmse"] < rows[2]["foundation_errors"]["force_rmse"]
    report = audit(run)
    assert report.passed, report.findings
    assert report.frames == outputs.dataset.n_frames == 13
