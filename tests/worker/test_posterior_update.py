from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aiida_slhmc.worker import io, models
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.posterior.settings import PosteriorSettings
from aiida_slhmc.worker.posterior_update import posterior_update
from aiida_slhmc.worker.predict import predict
from aiida_slhmc.worker.predict_ensemble import predict_ensemble

from .rutile import MODEL, labelled, rattled

ACCURACY = 0.26


def given(out: Path, count: int = 6, **changes: Any) -> dict[str, Any]:
    settings = {"members": 2, "steps_per_label": 30, "step_size": 2e-3, **changes}
    return {
        "model": str(MODEL),
        "frames": [labelled(rattled(count, 11))],
        "accuracy": ACCURACY,
        "seed": 5,
        "hyperparameters": settings,
        "out": str(out),
    }


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Return the first update of two chains."""
    return posterior_update(given(tmp_path_factory.mktemp("first")))


def test_learns_and_says_how(first) -> None:
    assert [Path(path).name for path in first["models"]] == ["member-0.model", "member-1.model"]
    assert (first["steps"], first["frozen_at"], first["frames"], first["update"]) == (30, 15, 6, 0)
    assert first["log_posterior"].shape == (2, 30)
    assert first["hyperparameters"] == {
        **PosteriorSettings().to_dict(), "members": 2, "steps_per_label": 30, "step_size": 2e-3
    }  # fmt: skip
    for row, path in zip(first["members"], first["models"], strict=True):
        assert row["description"] == models.describe(path)
        assert row["log_posterior_last"] > row["log_posterior_first"]
        before, after = row["errors"]["before"], row["errors"]["after"]
        assert after["forces_mev_per_angstrom"] < 0.6 * before["forces_mev_per_angstrom"]
        assert row["wall_time"] > 0
    hashes = {row["description"]["state_sha256"] for row in first["members"]}
    assert len(hashes) == 2


def test_result_is_a_payload(first, tmp_path) -> None:
    io.write(tmp_path, first, "output")
    again = io.read(tmp_path, "output")
    np.testing.assert_array_equal(again["log_posterior"], first["log_posterior"])
    assert again["members"] == first["members"]


def test_offset_is_the_parents_energy_of_the_first_frame_minus_its_label(first) -> None:
    chunk = labelled(rattled(6, 11))
    frame = {name: chunk[name][:1] for name in ("numbers", "positions", "cells", "pbc")}
    parent = predict({"potential": {"engine": "mace", "file": str(MODEL)}, "frames": frame})["energies"][0]
    assert first["offset"] == pytest.approx(parent - chunk["energies"][0], abs=1e-9)
    # About 15 eV of reference energies, which no member has to learn with its weights.
    assert 10 < first["offset"] < 20
    assert first["members"][0]["errors"]["before"]["energy_mev_per_atom"] < 20


def test_same_seed_same_members_and_the_process_keeps_its_random_state(first, tmp_path) -> None:
    torch.manual_seed(8)
    state = torch.get_rng_state()
    again = posterior_update(given(tmp_path))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.get_default_dtype() == torch.float32
    np.testing.assert_array_equal(again["log_posterior"], first["log_posterior"])
    for one, two in zip(again["members"], first["members"], strict=True):
        assert one["description"]["state_sha256"] == two["description"]["state_sha256"]
    with np.load(again["heads"]) as ours, np.load(first["heads"]) as theirs:
        for name in theirs.files:
            np.testing.assert_array_equal(ours[name], theirs[name])
    other = posterior_update({**given(tmp_path, steps_per_label=12), "seed": 6})
    assert other["members"][0]["description"]["state_sha256"] != first["members"][0]["description"]["state_sha256"]


def test_chains_go_on_warm(first, tmp_path) -> None:
    """The second update starts where the first ended, with the offset of the first."""
    more = {**given(tmp_path, count=7), "chains": {"models": first["models"], "heads": first["heads"]}, "update": 1}
    second = posterior_update(more)
    assert second["offset"] == pytest.approx(first["offset"], abs=1e-12)
    for row, earlier in zip(second["members"], first["members"], strict=True):
        start, end = row["errors"]["before"], earlier["errors"]["after"]
        # One more frame among seven; the others are those of the first update.
        assert start["forces_mev_per_angstrom"] == pytest.approx(end["forces_mev_per_angstrom"], rel=0.3)
    # Centre of the prior is the parent, not the member: a trace that began at the prior's mode would not know of it.
    state = torch.cat([p.detach().flatten() for p in models.read(first["models"][0]).parameters()])
    parent = torch.cat([p.detach().flatten() for p in models.read(MODEL).parameters()])
    distance = float((state - parent).square().sum())
    narrow = copy.deepcopy(more)
    narrow["hyperparameters"] |= {"steps_per_label": 1}
    wide = copy.deepcopy(narrow)
    narrow["hyperparameters"]["prior_sd"] = 0.5
    wide["hyperparameters"]["prior_sd"] = 1e6
    traces = [posterior_update(values)["log_posterior"][0, 0] for values in (narrow, wide)]
    with np.load(first["heads"]) as heads:
        of_head = sum(float((heads[name][0] ** 2).sum()) for name in heads.files if name.startswith("network"))
    assert traces[1] - traces[0] == pytest.approx((distance + of_head) / (2 * 0.25), rel=1e-6)


def test_prediction_covers_the_offset_and_knows_its_doubt(first) -> None:
    test = labelled(rattled(9, 77))
    answer = predict_ensemble({"models": first["models"], "heads": first["heads"], "frames": test})
    assert answer["energies"].shape == answer["energy_sds"].shape == (9,)
    assert answer["forces"].shape == answer["force_sds"].shape == (9, 6, 3)
    assert answer["stresses"].shape == answer["stress_sds"].shape == (9, 3, 3)
    assert np.abs(answer["energies"] - test["energies"]).max() < 1.0
    assert (answer["energy_sds"] >= 0.1 * ACCURACY).all()
    assert np.sqrt(np.mean((answer["forces"] - test["forces"]) ** 2)) < 0.1
    each = [predict({"potential": {"engine": "mace", "file": path}, "frames": test}) for path in first["models"]]
    np.testing.assert_allclose(answer["forces"], np.mean([e["forces"] for e in each], axis=0), atol=1e-12)
    committee = predict_ensemble({"models": first["models"], "frames": test})
    np.testing.assert_array_equal(committee["energies"], answer["energies"])
    assert (committee["energy_sds"] < answer["energy_sds"]).all()


def test_frames_without_stress_and_molecules(tmp_path) -> None:
    values = given(tmp_path, count=3, steps_per_label=4, noise_off=1.0)
    values["frames"][0]["stresses"][:] = np.nan
    values["frames"][0]["pbc"][:] = False
    values["frames"][0]["cells"][:] = 0.0
    result = posterior_update(values)
    assert np.isfinite(result["log_posterior"]).all()
    answer = predict_ensemble({"models": result["models"], "heads": result["heads"], "frames": values["frames"][0]})
    assert np.isfinite(answer["energies"]).all()
    assert np.isnan(answer["stresses"]).all()
    assert np.isnan(answer["stress_sds"]).all()


def test_several_new_labels_take_several_times_the_steps(tmp_path) -> None:
    result = posterior_update({**given(tmp_path, count=4, steps_per_label=3), "newest": 3})
    assert result["steps"] == 9


def test_single_precision(tmp_path) -> None:
    result = posterior_update(given(tmp_path, count=3, dtype="float32"))
    assert result["members"][0]["description"]["dtype"] == "float32"
    errors = result["members"][0]["errors"]
    assert errors["after"]["forces_mev_per_angstrom"] < errors["before"]["forces_mev_per_angstrom"]


def test_divergence_leaves_no_file(tmp_path) -> None:
    with pytest.raises(TaskError, match="lower step_size") as caught:
        posterior_update(given(tmp_path / "x", count=2, step_size=1e3, noise_off=0.0))
    assert caught.value.kind == "diverged"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hyperparameters": {"steps": 3}}, "no hyperparameter 'steps'"),
        ({"accuracy": 0.0}, "accuracy K must be a positive energy"),
        ({"newest": 0}, "0 of 6 frames cannot be new"),
        ({"newest": 7}, "7 of 6 frames cannot be new"),
        ({"model": __file__}, "is not a MACE model"),
        ({"chains": {"models": []}}, "'chains' has 0 members but the hyperparameters ask for 2"),
        ({"chains": {"models": [str(MODEL)] * 2}}, "'chains' lacks 'heads'"),
        ({"chains": {"models": [str(MODEL)] * 2, "heads": __file__}}, "is no file of heads"),
        ({"frames": []}, "no training frame"),
    ],
)
def test_bad_input(tmp_path, change, message) -> None:
    with pytest.raises(TaskError, match=message) as caught:
        posterior_update({**given(tmp_path / "out"), **change})
    assert caught.value.kind == "bad_input"
    assert list(tmp_path.iterdir()) == []


def test_two_compositions_are_refused(tmp_path) -> None:
    values = given(tmp_path, count=2)
    values["frames"].append(labelled(rattled(1, 2, repeat=(1, 1, 2))))
    with pytest.raises(TaskError, match="are of 2 compositions"):
        posterior_update(values)


def test_missing_key_is_named() -> None:
    with pytest.raises(TaskError, match="lacks frames, accuracy, seed, out"):
        posterior_update({"model": str(MODEL)})
    with pytest.raises(TaskError, match="the payload lacks 'frames'"):
        predict_ensemble({"models": [str(MODEL)] * 2})
