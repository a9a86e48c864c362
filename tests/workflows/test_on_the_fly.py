"""On-the-fly learning: the whole loop on targets whose labels cost nothing, and once on CHGNet's r2SCAN surface."""

import math

import numpy as np
import pytest
from aiida import orm

from aiida_slhmc import models
from aiida_slhmc.calculations.explore import unpack
from aiida_slhmc.cli.progress import plain_line
from aiida_slhmc.data import MaceModelData
from aiida_slhmc.engine.resume import resume
from aiida_slhmc.engine.runner import Paused, run_foreground
from aiida_slhmc.numerics.calibration import Calibration
from aiida_slhmc.provenance.audit import audit
from aiida_slhmc.provenance.progress import run_status
from aiida_slhmc.worker import label as labelling
from aiida_slhmc.workflows.on_the_fly import OnTheFlyWorkChain
from aiida_slhmc.workflows.runfile import rutile
from aiida_slhmc.workflows.settings import EXECUTOR
from tests.fixtures import RIGHT, breathing, einstein

from .test_failure import Flaky

CHGNET = {"engine": "chgnet", "functional": "r2SCAN"}
NPT = {"ensemble": "NPT", "cell": "orthorhombic", "pressure": 5.0}


def builder(level=None, seed=4, protocol="fast", **overrides):
    """Return the builder of a short run: so wary that every step takes a label, unless told otherwise."""
    moved = rutile()
    moved.rattle(0.03, seed=1)
    settings = {
        "on_the_fly": {"labels": 4, "block": 3, "tolerance": 1e-9},
        "posterior": {"accuracy": 0.05, "members": 2, "steps_per_label": 4},
        "dynamics": {"samples": 12, "thinning": 1},
        "finetune": {"max_epochs": 1},
        "labelling": {"reuse": False},
    }
    for group, values in overrides.items():
        settings[group] = {**settings.get(group, {}), **values} if isinstance(values, dict) else values
    return OnTheFlyWorkChain.get_builder_from_protocol(
        structure=orm.StructureData(ase=moved),
        model=MaceModelData(models.path("tio2-pbe-small")),
        level=level or einstein(RIGHT),
        seed=seed,
        protocol=protocol,
        overrides=settings,
    )


def finished(run):
    assert run.is_finished_ok, (run.exit_message, run.exception)
    report = audit(run)
    assert report.passed, report.findings
    return run


def steps_of(run, name):
    """Return the processes of a step in the order of their labels."""
    links = run.base.links.get_outgoing(node_class=orm.ProcessNode).all()
    return [link.node for link in sorted(links, key=lambda link: link.link_label) if f"_{name}" in link.link_label]


def content(run):
    """Return what a run was labelled with, and how it was calibrated, to the last digit that is stored."""
    hashes = [chunk["content_sha256"] for chunk in run.outputs.dataset.chunks]
    return hashes, run.outputs.calibration.get_dict(), run.outputs.model.state_sha256


@pytest.fixture(scope="module")
def nvt(aiida_profile):
    """Return a finished run of four labels."""
    return finished(run_foreground(builder()))


def test_it_asks_learns_and_trains_once(nvt):
    rows = nvt.outputs.history.get_dict()["blocks"]
    assert [row["labels"] for row in rows] == [3, 1]
    assert ["training" in row for row in rows] == [False, True]
    # The start is no error: the ensemble foresaw the other labels.
    assert [row["errors"]["n_frames"] for row in rows] == [2, 1]
    assert rows[0]["errors"]["force_rmse"] != rows[0]["foundation_errors"]["force_rmse"]
    assert [row["interventions"] for row in rows] == [2, 3]
    assert set(nvt.outputs.models) == {"block_001"}
    parent = nvt.inputs.model.state_sha256
    assert nvt.outputs.model.description["parent_state_sha256"] == parent
    assert sorted(nvt.outputs.members) == ["member_000", "member_001"]
    # A fine-tuning keeps frames for validation; the posterior has seen them all.
    assert [int(split.sum()) for split in nvt.outputs.dataset.splits] == [1, 0]
    updates = steps_of(nvt, "posterior")
    assert [node.outputs.posterior["frames"] for node in updates] == [1, 2, 3, 4]
    assert [node.outputs.posterior["update"] for node in updates] == [0, 1, 2, 3]
    assert {node.outputs.posterior["steps"] for node in updates} == {4}
    (chunk, last) = nvt.outputs.dataset.frames()
    assert [*chunk.get_array("cycle"), *last.get_array("cycle")] == [
        -1, *(node.outputs.calibration["step"] for node in steps_of(nvt, "take_up")[1:])
    ]  # fmt: skip


def test_status_counts_labels_and_interventions(nvt):
    status = run_status(nvt)
    assert (status.labels, status.labels_total, status.interventions, status.phase) == (4, 4, 3, "done")
    assert status.outside == nvt.outputs.calibration["outside"]
    assert 0 < status.steps <= status.steps_total == 12
    line = plain_line(status)
    assert line.startswith("On-the-fly <")
    assert f"| labels 4/4 | steps {status.steps}/12 | outside {status.outside}/3 interventions" in line


def test_every_decision_can_be_checked(nvt):
    """Errors follow from labels and predictions, decisions from calibrations, and the label acts where it was asked."""
    explorations, taken = steps_of(nvt, "explore"), steps_of(nvt, "take_up")
    assert len(explorations) == len(taken) - 1 == 3
    for number, exploration in enumerate(explorations):
        told = exploration.outputs.exploration.get_dict()
        trace = exploration.outputs.trajectory
        calibration = Calibration.from_dict(exploration.inputs.calibration["energy"])
        chance = calibration.exceedance(trace.get_array("energy_sds"), told["accuracy"])
        np.testing.assert_allclose(trace.get_array("exceedances"), chance)
        assert (chance[:-1] <= told["tolerance"]).all()
        assert chance[-1] == pytest.approx(told["exceedance"])
        assert chance[-1] > told["tolerance"]
        assert trace.get_array("steps")[-1] == told["step"] + 1
        after = taken[number + 1]
        label, state = after.inputs.label, unpack(after.outputs.state)
        np.testing.assert_allclose(label.get_array("positions")[0], state["next_positions"], atol=1e-12)
        np.testing.assert_array_equal(label.get_array("forces")[0], state["next_forces"])
        counted = after.outputs.calibration.get_dict()
        error = exploration.outputs.prediction.get_array("energy")[0] - label.energy
        assert counted["label"]["error"] == pytest.approx(error)
        assert counted["energy"]["n"] == number + 1
        # Forces count as one error a structure, whatever the number of atoms.
        assert counted["forces"]["n"] == pytest.approx(number + 1)
        assert counted["label"]["outside"] == (abs(error) > told["accuracy"])
        assert counted["label"]["alpha"] == pytest.approx(1.5 + (number + 1) / 2)
        assert counted["label"]["mode"] == pytest.approx((counted["label"]["alpha"] - 1) / counted["label"]["beta"])


def test_without_doubt_it_runs_to_its_last_step_in_segments(aiida_profile):
    run = finished(run_foreground(builder(on_the_fly={"tolerance": 0.999, "segment": 5}, finetune=None)))
    explorations = steps_of(run, "explore")
    assert [node.outputs.exploration["step"] for node in explorations] == [5, 10, 12]
    assert len(steps_of(run, "take_up")) == 1
    # Nothing was trained: the model is the foundation, the members are the Bayesian one.
    assert run.outputs.model.uuid == run.inputs.model.uuid
    (row,) = run.outputs.history.get_dict()["blocks"]
    assert "errors" not in row
    status = run_status(run)
    assert (status.labels, status.steps, status.interventions) == (1, 12, 0)


@pytest.mark.slow
def test_npt_moves_the_cell_with_the_labels_stress(aiida_profile):
    run = finished(run_foreground(builder(breathing(RIGHT), ensemble=NPT, dynamics={"barostat_time": 200.0})))
    volumes = np.concatenate([np.linalg.det(chunk.get_array("cells")) for chunk in run.outputs.dataset.frames()])
    assert np.ptp(volumes) > 0
    taken = steps_of(run, "take_up")[1]
    np.testing.assert_array_equal(
        unpack(taken.outputs.state)["next_stress"], taken.inputs.label.get_array("stresses")[0]
    )


@pytest.mark.slow
def test_langevin_and_a_gate_on_forces(aiida_profile):
    overrides = {
        "dynamics": {"method": "langevin", "chain_length": None, "barostat_time": None},
        "on_the_fly": {"decide": "both", "force_accuracy": 0.01, "labels": 3, "tolerance": 0.05},
    }
    run = finished(run_foreground(builder(**overrides)))
    asked = [node.outputs.exploration.get_dict() for node in steps_of(run, "explore")]
    # The spread of the energy stays at its floor.
    assert {row["reason"] for row in asked} == {"forces"}
    assert all(row["force_exceedance"] > 0.05 > row["exceedance"] for row in asked)


@pytest.mark.slow
def test_jobs_do_what_the_process_does(aiida_profile, nvt, code):
    jobs = builder()
    jobs.worker.code = jobs.target.code = code
    jobs.executor = orm.Dict(dict.fromkeys(EXECUTOR, "job"))
    run = finished(run_foreground(jobs))
    positions = [np.concatenate([c.get_array("positions") for c in r.outputs.dataset.frames()]) for r in (run, nvt)]
    np.testing.assert_allclose(*positions, atol=1e-7)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run_and_labels_are_not_paid_twice(aiida_profile, nvt):
    again = finished(run_foreground(builder(labelling={"reuse": True})))
    assert content(again) == content(nvt)
    status = run_status(again)
    assert (status.labels, status.labels_reused) == (0, 4)


@pytest.mark.slow
def test_stop_waits_for_the_user_and_goes_on_undisturbed(aiida_profile, nvt, monkeypatch):
    monkeypatch.setattr(labelling, "label", Flaky({3, 4}))
    with pytest.raises(Paused) as caught:
        run_foreground(builder())
    status = run_status(orm.load_node(caught.value.pk))
    assert "label 2: no label after 2 attempts" in status.paused[0]
    assert content(finished(resume(caught.value.pk))) == content(nvt)


@pytest.mark.slow
def test_reject_goes_on_with_the_ensembles_own_forces(aiida_profile, monkeypatch):
    monkeypatch.setattr(labelling, "label", Flaky({3, 4}))
    run = finished(run_foreground(builder(failure={"policy": "reject"})))
    assert run.outputs.dataset.n_frames == 3
    (row,) = run.outputs.history.get_dict()["blocks"]
    assert (row["labels"], row["labels_failed"], row["interventions"]) == (3, 1, 2)
    (without,) = steps_of(run, "go_without")
    prediction = without.inputs.prediction
    np.testing.assert_array_equal(unpack(without.outputs.state)["next_forces"], prediction.get_array("forces"))
    # The label that failed spends the budget.
    assert len(steps_of(run, "take_up")) == 3
    assert (run_status(run).labels_failed, run_status(run).calls) == (1, 5)


def test_a_start_without_a_label_ends_the_run(aiida_profile, monkeypatch):
    monkeypatch.setattr(labelling, "label", Flaky({1}, kind="bad_input"))
    run = run_foreground(builder(failure={"policy": "reject"}))
    assert run.exit_status == 450
    assert "the engine fell over" in run.exit_message


@pytest.mark.statistics
def test_few_interventions_find_the_energy_wrong_by_more_than_the_accuracy(aiida_profile):
    """The claim of the method: less than 5 % of the errors lie beyond K, within three binomial standard errors.

    Of the errors of steps that asked for nothing: tests/worker/posterior/test_on_the_fly.py.
    """
    overrides = {
        "on_the_fly": {"labels": 20, "block": 10, "tolerance": 0.05},
        "posterior": {"accuracy": 0.03, "members": 3, "steps_per_label": 40},
        "dynamics": {"samples": 60, "thinning": 20},
        # Hot enough to ask often: at 300 K a handful of labels carries the cell through the whole run.
        "ensemble": {"temperature": 1000.0},
        "finetune": None,
    }
    run = finished(run_foreground(builder(CHGNET, **overrides)))
    calibration = run.outputs.calibration.get_dict()
    counted = calibration["interventions"]
    assert counted >= 10
    assert calibration["outside"] / counted < 0.05 + 3 * math.sqrt(0.05 * 0.95 / counted)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            {"dynamics": {"like": "exact", "thinning": None}},
            "dynamics.method 'hmc' cannot go on from a stored point in NVT",
        ),
        (
            {"dynamics": {"method": "mtk"}, "ensemble": NPT},
            "cannot go on from a stored point in NPT: choose nose-hoover",
        ),
        ({"dynamics": {"discard": 3}}, "dynamics.discard has no effect"),
        ({"on_the_fly": {"decide": "forces"}}, "on_the_fly.force_accuracy is missing"),
        ({"on_the_fly": {"force_accuracy": 0.1}}, "on_the_fly.force_accuracy is given"),
        ({"on_the_fly": {"tolerance": 1.0}}, "on_the_fly.tolerance"),
        ({"on_the_fly": {"labels": 0}}, "on_the_fly.labels"),
        ({"on_the_fly": {"lables": 4}}, "Did you mean 'labels'"),
        ({"posterior": {"accuracy": -1.0}}, "posterior.accuracy"),
        ({"posterior": {"members": 9}}, "at most 8 members"),
        ({"posterior": {"members": 1}}, "members must lie between 2 and"),
        ({"posterior": {"friction": 2.0}}, "friction must lie between"),
        ({"posterior": {"dtype": "float16"}}, "dtype must be float64 or float32"),
        ({"ensemble": NPT}, "at constant pressure the labels' stress moves the cell"),
    ],
)
def test_bad_input_is_said_before_anything_runs(aiida_profile, overrides, says):
    with pytest.raises(ValueError, match=says):
        run_foreground(builder(**overrides))
