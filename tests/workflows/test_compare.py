"""Comparison of protocols: analytic surfaces in the quick lane, fine-tuned MACE models in the slow one."""

import re

import numpy as np
import pytest
from aiida import orm

from aiida_slhmc import models
from aiida_slhmc.data import MaceModelData
from aiida_slhmc.engine.runner import run_foreground
from aiida_slhmc.provenance.audit import audit
from aiida_slhmc.provenance.progress import run_status
from aiida_slhmc.workflows.compare import CompareWorkChain
from aiida_slhmc.workflows.from_runs import compare_builder, protocol_names, reference_builder
from aiida_slhmc.workflows.reference import ReferenceWorkChain
from aiida_slhmc.workflows.rounds import RelabelWorkChain
from aiida_slhmc.workflows.runfile import rutile
from aiida_slhmc.workflows.slhmc import SlhmcWorkChain
from tests.fixtures import RIGHT, SAMPLING, TESTS, breathing, finished


def problem_of(builder):
    """Return what the validators say, without running anything."""
    return str(builder.process_class.spec().inputs.validate(builder._inputs(prune=True)))


@pytest.fixture
def runs(replicas):
    return replicas


@pytest.fixture
def reference(reference_run):
    return reference_run


@pytest.fixture
def comparison(comparison_run):
    return comparison_run


def test_the_reference_holds_the_end_of_every_trajectory_out(reference):
    kept = reference.outputs.reference
    # 30 samples each, a fifth held out.
    assert kept.get_array("chain").tolist() == [0] * 24 + [1] * 24
    assert kept.base.attributes.get("kind") == "reference"
    tests = reference.outputs.tests
    assert {name: tests[name].n_frames for name in tests} == {"ensemble": 4, "random": 3}
    sampled = kept.get_array("positions").reshape(48, -1)
    for frame in tests["ensemble"].get_array("positions"):
        assert np.abs(sampled - frame.ravel()).max(axis=1).min() > 1e-6
    cells = tests["random"].get_array("cells")
    strain = np.linalg.inv(rutile().cell[:]) @ cells - np.eye(3)
    assert np.abs(strain - np.transpose(strain, (0, 2, 1))).max() < 1e-12
    assert 0 < np.abs(strain).max() <= 0.02
    status = run_status(reference)
    assert (status.labels + status.labels_reused, status.labels_total) == (7, 7)
    report = audit(reference)
    assert report.passed, report.findings


def test_every_candidate_has_a_row(comparison, runs):
    table = comparison.outputs.comparison.get_dict()
    assert set(table["rows"]) == {"foundation", "slhmc_seed_3", "slhmc_seed_4"}
    for row in table["rows"].values():
        assert row["problem"] is None
        assert set(row["errors"]) == {"ensemble", "random"}
        assert row["errors"]["random"]["force_rmse"] > 0
        assert row["quantities"]["distance"]["error"] > 0
        assert row["distances"]["w1"]["floor_95"] > row["distances"]["w1"]["floor"] > 0
        assert {"rdf O-Ti", "rdf O-O", "rdf Ti-Ti"} < set(row["distances"])
        assert "pressure" not in row["quantities"]
    first = table["rows"]["slhmc_seed_3"]
    # One start, two chains of three adaptive and two production cycles.
    assert first["labels"]["spent"] == 11
    assert first["labels"]["trained_on"] == runs[0].outputs.dataset.n_frames
    assert len(first["chains"]["blocks"]) == 2
    assert set(comparison.outputs.analyses) == set(table["rows"])
    status = run_status(comparison)
    assert (status.models_done, status.models_total) == (3, 3)


def test_a_wrong_spring_is_seen(comparison):
    row = comparison.outputs.comparison.get_dict()["rows"]["foundation"]
    # Proposal and target differ by a shift of the sites: the labels' forces by spring times shift, and by the springs.
    assert row["errors"]["ensemble"]["force_rmse"] > 0.05
    assert row["labels"]["spent"] == 0


def test_replicas_are_averaged(comparison):
    table = comparison.outputs.comparison.get_dict()
    assert set(table["protocols"]) == {"foundation", "slhmc"}
    group = table["protocols"]["slhmc"]
    assert group["members"] == ["slhmc_seed_3", "slhmc_seed_4"]
    for part, name in (("quantities", "distance"), ("distances", "w1")):
        values = [table["rows"][member][part][name]["value"] for member in group["members"]]
        entry = group[part][name]
        assert entry["n"] == 2
        assert entry["value"] == pytest.approx(np.mean(values))
        assert entry["error"] >= np.std(values, ddof=1) / np.sqrt(2) * (1 - 1e-9)


def test_the_audit_passes(comparison):
    report = audit(comparison)
    assert report.passed, report.findings


def test_equal_seeds_give_equal_tables(runs, reference, comparison):
    again = finished(compare_builder(runs, [reference], seed=3, protocol="fast", overrides={"dynamics": SAMPLING}))
    tables = [node.outputs.comparison.get_dict() for node in (comparison, again)]
    for table in tables:
        for row in table["rows"].values():
            row["sampling"].pop("wall_time")
    assert tables[0] == tables[1]


def test_states_of_a_production_phase_are_a_reference(analytic_run):
    settings = {"frames": 2, "random": 0, "held_out": 0.5}
    node = finished(reference_builder(analytic_run.inputs, [analytic_run], seed=1, overrides={"reference": settings}))
    assert set(node.outputs.reference.get_array("chain")) == {0, 1}
    # The states have labels, which cost nothing again... but the run did not share its own.
    assert 1 <= node.outputs.tests["ensemble"].n_frames <= 2
    assert not [child for child in node.called if "dynamics" in child.process_label]
    assert audit(node).passed


def test_a_candidate_that_explodes_costs_no_other(runs, reference):
    builder = compare_builder(runs[:1], [reference], seed=3, overrides={"dynamics": {**SAMPLING, "timestep": 1.0}})
    # One femtosecond is far too long for springs so stiff.
    bad = breathing(1e5)
    builder.candidates = {
        **dict(builder.candidates),
        "bad": {"model": orm.Dict(bad), "details": orm.Dict({"protocol": "bad"})},
    }
    builder.dynamics = orm.Dict(
        {**builder.dynamics.get_dict(), "method": "langevin", "thinning": 40, "thermostat_time": 50.0}
        | dict.fromkeys(("length", "length_law", "centre_of_mass", "bulk_modulus"))
    )
    node = finished(builder)
    table = node.outputs.comparison.get_dict()
    assert table["rows"]["bad"]["problem"] == "its ensemble could not be sampled"
    assert "quantities" not in table["rows"]["bad"]
    assert table["rows"]["bad"]["errors"]["random"]["force_rmse"] > 1
    assert table["protocols"]["bad"]["problems"]
    assert table["rows"]["slhmc_seed_3"]["problem"] is None
    assert audit(node).passed


def test_protocols_are_told_apart_by_their_settings(runs):
    assert protocol_names(runs) == ["slhmc", "slhmc"]
    with pytest.raises(ValueError, match="no replica of itself"):
        compare_builder([runs[0], runs[0]], [runs[0]])


def test_a_training_set_is_no_test_set(runs, reference):
    problem = problem_of(compare_builder(runs, [reference], [runs[1].outputs.dataset]))
    assert re.search(r"of its 7 structures are in the dataset that 'slhmc_seed_\d' was trained on", problem)


def test_what_is_no_reference(runs, reference):
    guided = runs[0].outputs.states.clone()
    guided.base.attributes.set("kind", "target-guided")
    builder = compare_builder(runs, [guided])
    assert "no sample of the target's ensemble" in problem_of(builder)
    builder.reference = {"x": orm.ArrayData({"positions": np.zeros((1, 6, 3))})}
    assert "lacks cells, numbers" in problem_of(builder)
    with pytest.raises(ValueError, match="is no reference"):
        compare_builder(runs, [runs[0].inputs.structure])
    other = reference_builder(runs[0].inputs, seed=1, overrides={"reference": {"trajectories": 0}})
    assert "reference.trajectories must be 0 where" in problem_of(other)
    assert other.process_class is ReferenceWorkChain


def test_settings_are_checked(runs, reference):
    for change, says in (
        ({"pair": ["Ti"]}, "two element symbols"),
        ({"windows": {"O-Ti": [2.0, 1.0]}}, "two ascending distances"),
        ({"multiples": [1, 2]}, "three numbers greater than 0"),
        ({"multiples": [1, 2, "x"]}, "three numbers greater than 0"),
    ):
        with pytest.raises(ValueError, match=says):
            compare_builder(runs, [reference], overrides={"comparison": change})
    with pytest.raises(ValueError, match="no setting of 'comparison' 'bins'"):
        compare_builder(runs, [reference], overrides={"comparison": {"bins": 3}})


def test_a_reference_that_cannot_be_planned_stops_before_the_candidates(runs, reference):
    node = run_foreground(compare_builder(runs, [reference], overrides={"comparison": {"pair": ["Ti", "Fe"]}}))
    assert node.exit_status == 471
    assert "Fe" in node.exit_message
    assert not [child for child in node.called if child.process_label == "CandidateWorkChain"]


def trained(process, seed, **overrides):
    moved = rutile()
    moved.rattle(0.03, seed=1)
    overrides = {"finetune": {"max_epochs": 2}, **overrides}
    return finished(
        process.get_builder_from_protocol(
            structure=orm.StructureData(ase=moved),
            model=MaceModelData(models.path("tio2-pbe-small")),
            level=breathing(RIGHT),
            seed=seed,
            protocol="fast",
            overrides=overrides,
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize("ensemble", ["NVT", "NPT"])
def test_fine_tuned_models_of_two_protocols(aiida_profile, ensemble):
    law = {"ensemble": ensemble, **({"cell": "orthorhombic", "pressure": 0.0} if ensemble == "NPT" else {})}
    budget = {"chains": 1, "blocks": 2, "cycles": 4, "production_cycles": 0}
    dynamics = {"samples": 9, "discard": 1, "thinning": 3}
    runs = [
        trained(SlhmcWorkChain, 1, budget=budget, proposal={"length": 4}, ensemble=law),
        trained(RelabelWorkChain, 1, rounds={"labels": 9}, dynamics=dynamics, ensemble=law),
    ]
    sampling = {"samples": 24, "discard": 2, "length": 4}
    overrides = {"reference": TESTS, "dynamics": sampling}
    reference = finished(reference_builder(runs[0].inputs, seed=7, overrides=overrides))
    node = finished(compare_builder(runs, [reference], overrides={"dynamics": sampling}))
    assert isinstance(node, orm.WorkChainNode)
    assert node.process_class is CompareWorkChain
    rows = node.outputs.comparison.get_dict()["rows"]
    assert set(rows) == {"foundation", "slhmc_seed_1", "relabel_seed_1"}
    assert rows["relabel_seed_1"]["labels"]["spent"] == 9
    # A trajectory that leaves what makes sense is rejected without a label.
    blocks = runs[0].outputs.history["blocks"]
    assert rows["slhmc_seed_1"]["labels"]["spent"] == 9 - sum(block["divergent"] for block in blocks)
    assert rows["slhmc_seed_1"]["training"]["times"] == 2
    # Judged before the first and before the second training; the relabelled model only once.
    assert [point["labels"] for point in rows["slhmc_seed_1"]["learning"]] == [0, 5 - blocks[0]["divergent"]]
    assert [point["labels"] for point in rows["relabel_seed_1"]["learning"]] == [0]
    for name in ("slhmc_seed_1", "relabel_seed_1"):
        assert rows[name]["errors"]["random"]["energy_rmse"] < rows["foundation"]["errors"]["random"]["energy_rmse"]
        wanted = {"a", "b", "c", "volume"} if ensemble == "NPT" else {"pressure"}
        assert wanted <= set(rows[name]["quantities"])
    assert audit(node).passed
