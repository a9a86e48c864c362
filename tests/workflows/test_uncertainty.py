"""Uncertainties on trial with the labels of a finished run: really trained, sampled and judged, here and as jobs."""

import json

import numpy as np
import pytest
from aiida import orm

from aiida_slhmc.calculations.uncertainty import ESTIMATORS
from aiida_slhmc.cli.uncertainty import try_uncertainties
from aiida_slhmc.data.frames import REQUIRED
from aiida_slhmc.engine.runner import run_foreground
from aiida_slhmc.provenance.audit import audit
from aiida_slhmc.provenance.label_cost import label_counts
from aiida_slhmc.report.uncertainty import uncertainty_report
from aiida_slhmc.workflows.protocol import finetune_settings, uncertainty_inputs
from aiida_slhmc.workflows.rounds import NaiveWorkChain, PeriodicWorkChain
from aiida_slhmc.workflows.uncertainty import UncertaintyWorkChain

from .test_rounds import builder as rounds_builder

pytest.importorskip("dscribe", reason="dscribe is not installed: pip install 'aiida-slhmc[worker]'")

pytestmark = pytest.mark.slow

#: The least that shows how everything works.
SMALL = {
    "committee": 2,
    "finetune": {"max_epochs": 2},
    "posterior": {"members": 2, "steps_per_label": 1},
    "uncertainty": {"r_cut": 4.0, "n_max": 3, "l_max": 2, "components": 3},
}


@pytest.fixture(scope="module")
def labelled_run(aiida_profile):
    """Return a finished run of two rounds."""
    run = run_foreground(rounds_builder(PeriodicWorkChain, rounds={"rounds": 2, "labels": 6}))
    assert run.is_finished_ok, run.exit_message
    return run


@pytest.fixture(scope="module")
def trial(labelled_run):
    """Return a finished trial of it."""
    node = run_foreground(UncertaintyWorkChain.get_builder_from_run(labelled_run, overrides=SMALL))
    assert node.is_finished_ok, node.exit_message
    return node


def test_what_is_judged_by_was_never_trained_on(labelled_run, trial):
    first, second = labelled_run.outputs.dataset.frames()
    later = trial.outputs.frames
    for name in REQUIRED:
        np.testing.assert_array_equal(later.get_array(name), second.get_array(name))
    (training,) = [node for node in trial.called if "training" in node.outputs]
    assert training.inputs.dataset.chunk_uuids == [first.uuid]
    assert trial.outputs.trained.posterior["frames"] == first.n_frames
    assert label_counts(trial).calls == 0


def test_all_estimators_are_scored_alike(trial):
    result = trial.outputs.scores.get_dict()
    assert set(result["scores"]) == set(ESTIMATORS)
    assert result["frames"] == {"calibration": 3, "scored": 3}
    for name in ESTIMATORS:
        for quantity, count in (("energy", 3), ("force", 3 * 6 * 3)):
            part = result["scores"][name][quantity]
            assert part["calibrated"]["n"] == count
            assert part["detection"]["threshold"] == result["thresholds"][quantity]
            assert ("raw" in part) == (name in ("committee", "posterior"))
    # A fifth of the errors of all estimators together lies beyond the threshold.
    above = sum(result["scores"][name]["force"]["detection"]["above"] for name in ESTIMATORS)
    assert above == pytest.approx(0.2 * 4 * 18, abs=4)
    # Both distances are those of one model.
    assert result["scores"]["q"]["force"]["calibrated"]["rmse"] == result["scores"]["t2"]["force"]["calibrated"]["rmse"]


def test_the_audit_passes_and_counts_the_frames(trial):
    report = audit(trial)
    assert report.passed, report.findings
    assert report.frames >= 12


def test_the_report_is_a_figure_a_table_and_numbers(trial, tmp_path):
    uncertainty_report(trial, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"uncertainty.{ending}" for ending in ("csv", "json", "pdf", "png")
    ]
    assert len((tmp_path / "uncertainty.csv").read_text().splitlines()) == 1 + 4 * 2
    assert json.loads((tmp_path / "uncertainty.json").read_text())["scores"] == trial.outputs.scores["scores"]


def test_the_command_reports_a_trial_that_is_there(trial, tmp_path, capsys):
    try_uncertainties(str(trial.pk), tmp_path / "anew")
    text = capsys.readouterr().out
    assert "3 frames set the scales, 3 were scored" in text
    assert text.count("AUROC") == 8
    assert (tmp_path / "anew" / "uncertainty.png").exists()


def test_jobs_do_what_the_process_does(labelled_run, trial, code):
    asked = UncertaintyWorkChain.get_builder_from_run(labelled_run, overrides=SMALL)
    jobs = dict.fromkeys(("finetune", "predict", "posterior"), "job")
    asked.executor = orm.Dict({**asked.executor.get_dict(), **jobs})
    asked.worker.code = code
    node = run_foreground(asked)
    assert node.is_finished_ok, node.exit_message
    for name in ("committee", "posterior", "single", "coverage"):
        for array in trial.outputs.answers[name].get_arraynames():
            np.testing.assert_allclose(
                node.outputs.answers[name].get_array(array), trial.outputs.answers[name].get_array(array),
                rtol=1e-5, atol=1e-8, err_msg=f"{name} {array}",
            )  # fmt: skip
    assert audit(node).passed


def test_a_run_with_one_chunk_has_nothing_to_judge_by(aiida_profile):
    run = run_foreground(rounds_builder(NaiveWorkChain, rounds={"trajectories": 1, "labels": 3}, finetune=None))
    assert run.is_finished_ok, run.exit_message
    with pytest.raises(ValueError, match="leaves fewer than 4 labels after its first 1 of 1 chunks"):
        run_foreground(UncertaintyWorkChain.get_builder_from_run(run, overrides=SMALL))


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"committee": 1}, "finetune.committee is 1"),
        ({"uncertainty": {"chunks": 3}}, "uncertainty.chunks is 3, but the dataset has 2"),
        ({"posterior": {"members": 1}}, "members must lie between 2"),
    ],
)
def test_bad_input_is_said_before_anything_runs(labelled_run, overrides, says):
    with pytest.raises(ValueError, match=says):
        run_foreground(UncertaintyWorkChain.get_builder_from_run(labelled_run, overrides={**SMALL, **overrides}))


@pytest.mark.parametrize(
    ("protocol", "overrides", "says"),
    [
        ("quick", {}, "no protocol 'quick'"),
        (None, {"uncertainity": {}}, "Did you mean 'uncertainty'"),
        (None, {"posterior": {"step": 2}}, "no setting of 'posterior' 'step'"),
    ],
)
def test_unknown_settings_are_errors(protocol, overrides, says):
    with pytest.raises(ValueError, match=says):
        uncertainty_inputs(None, protocol, overrides)


def test_all_start_from_the_foundation_model():
    """A committee that starts from a model that has seen the labels held back could not be judged by them."""
    settings = uncertainty_inputs(finetune_settings("paper"))
    assert (settings["finetune"]["start"], settings["finetune"]["committee"]) == ("foundation", 4)
