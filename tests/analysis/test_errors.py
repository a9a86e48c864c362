"""Model errors: worked numbers, exact planted errors, and bootstrap errors against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aiida_slhmc.analysis import errors


def frames(n_frames: int = 30, n_atoms: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "energies": rng.normal(size=n_frames),
        "forces": rng.normal(size=(n_frames, n_atoms, 3)),
        "stresses": rng.normal(size=(n_frames, 3, 3)),
    }


def test_stress_components_by_hand() -> None:
    labels = frames(1)
    labels["stresses"] = np.zeros((1, 3, 3))
    alike = np.full((1, 3, 3), 0.001)
    single = np.zeros((1, 3, 3))
    single[0, 0, 0] = 0.006
    for prediction, expected in ((alike, 0.001), (single, 0.006 / math.sqrt(6))):
        data = errors.residuals(
            **labels,
            predicted_energies=labels["energies"],
            predicted_forces=labels["forces"],
            predicted_stresses=prediction,
        )
        assert errors.stress_rmse(data.stress_squares) == pytest.approx(expected, rel=1e-9)
    assert expected == pytest.approx(0.0024495, abs=5e-8)


def test_planted_errors_are_found_exactly() -> None:
    labels = frames()
    shift = np.where(np.arange(30) % 2, 0.4, -0.4)
    result = errors.model_errors(
        numbers=np.zeros((30, 4)),
        **labels,
        predicted_energies=labels["energies"] + 8.0 + shift,
        predicted_forces=labels["forces"] + 0.05,
        predicted_stresses=labels["stresses"] - 0.002,
    )
    # Per atom of four: an offset of 2 eV and an alternation of 0.1 eV.
    assert result["energy_offset"] == pytest.approx(2.0)
    assert result["energy_rmse_offset_removed"] == pytest.approx(0.1)
    assert result["energy_rmse"] == pytest.approx(math.sqrt(4.01))
    assert result["force_rmse"] == pytest.approx(0.05)
    assert result["stress_rmse"] == pytest.approx(0.002)
    assert result["force_rmse_error"] == pytest.approx(0.0, abs=1e-12)
    assert (result["n_frames"], result["n_stresses"]) == (30, 30)


def test_bootstrap_errors_agree_with_repeated_experiments() -> None:
    rng = np.random.default_rng(1)
    estimates, claimed = [], []
    for _ in range(150):
        labels = frames(40, 3, seed=2)
        # Frames differ in difficulty, so that the atoms of a frame are no independent evidence.
        scale = 0.1 * rng.gamma(4.0, 0.25, size=(40, 1, 1))
        result = errors.model_errors(
            energies=labels["energies"],
            forces=labels["forces"],
            predicted_energies=labels["energies"] + 0.3 * rng.normal(size=40),
            predicted_forces=labels["forces"] + scale * rng.normal(size=(40, 3, 3)),
        )
        estimates.append([result["force_rmse"], result["energy_rmse_offset_removed"]])
        claimed.append([result["force_rmse_error"], result["energy_rmse_offset_removed_error"]])
    ratio = np.sqrt(np.mean(np.square(claimed), axis=0)) / np.std(estimates, axis=0, ddof=1)
    np.testing.assert_allclose(ratio, 1.0, atol=0.2)


def test_correlated_frames_widen_the_error() -> None:
    labels = frames(60)
    hard = np.repeat(np.random.default_rng(3).gamma(2.0, size=6), 10)[:, None, None]
    arguments = {
        **{key: labels[key] for key in ("energies", "forces")},
        "predicted_energies": labels["energies"] + 0.1 * np.random.default_rng(4).normal(size=60),
        "predicted_forces": labels["forces"] + 0.1 * hard,
    }
    data = errors.residuals(**arguments)
    blocked, single = errors.summarise(data), errors.summarise(data, block_length=1)
    assert blocked["bootstrap"]["block_length"] > 5
    assert blocked["force_rmse_error"] > 1.8 * single["force_rmse_error"]
    assert blocked["force_rmse"] == single["force_rmse"]


def test_same_input_gives_same_output() -> None:
    labels = frames()
    arguments = {**labels, "predicted_energies": labels["energies"] * 1.1, "predicted_forces": labels["forces"] * 1.1}
    one, two = (errors.summarise(errors.residuals(**arguments)) for _ in range(2))
    # The text of NaN equals itself, unlike NaN.
    assert repr(one) == repr(two)


def test_sets_of_different_sizes_are_one() -> None:
    rng = np.random.default_rng(5)
    parts, force_errors, energy_errors = [], [], []
    for n_atoms in (2, 6):
        labels = frames(10, n_atoms, seed=n_atoms)
        noise, shift = rng.normal(size=(10, n_atoms, 3)), rng.normal(size=10)
        parts.append(
            errors.residuals(
                energies=labels["energies"],
                forces=labels["forces"],
                predicted_energies=labels["energies"] + shift,
                predicted_forces=labels["forces"] + noise,
            )
        )
        force_errors.append(noise.ravel())
        energy_errors.append(shift / n_atoms)
    result = errors.summarise(errors.concatenate(parts))
    assert result["force_rmse"] == pytest.approx(np.sqrt(np.mean(np.concatenate(force_errors) ** 2)))
    assert result["energy_rmse"] == pytest.approx(np.sqrt(np.mean(np.concatenate(energy_errors) ** 2)))


def test_missing_stresses_and_frames_are_nan() -> None:
    labels = frames(5)
    half = labels["stresses"].copy()
    half[2:] = np.nan
    same = {"predicted_energies": labels["energies"], "predicted_forces": labels["forces"]}
    partly = errors.model_errors(**{**labels, "stresses": half}, **same, predicted_stresses=labels["stresses"] + 0.01)
    assert partly["stress_rmse"] == pytest.approx(0.01)
    assert partly["n_stresses"] == 2
    assert math.isnan(partly["stress_rmse_error"])
    without = errors.model_errors(energies=labels["energies"], forces=labels["forces"], **same)
    assert math.isnan(without["stress_rmse"])
    empty = errors.model_errors(
        energies=np.zeros(0),
        forces=np.zeros((0, 4, 3)),
        predicted_energies=np.zeros(0),
        predicted_forces=np.zeros((0, 4, 3)),
    )
    assert empty["n_frames"] == 0
    assert math.isnan(empty["force_rmse"])
    single = errors.model_errors(
        energies=[1.0], forces=np.zeros((1, 2, 3)), predicted_energies=[1.2], predicted_forces=np.full((1, 2, 3), 0.1)
    )
    assert single["energy_rmse"] == pytest.approx(0.1)
    assert math.isnan(single["energy_rmse_offset_removed"])
    assert math.isnan(single["force_rmse_error"])


def test_paired_difference_is_sharper_than_either_error() -> None:
    rng = np.random.default_rng(6)
    labels = frames(40)
    noise = rng.gamma(1.0, size=(40, 1, 1)) * rng.normal(size=(40, 4, 3))
    model, baseline = (
        errors.residuals(
            energies=labels["energies"],
            forces=labels["forces"],
            predicted_energies=labels["energies"],
            predicted_forces=labels["forces"] + scale * noise,
        )
        for scale in (0.10, 0.11)
    )
    gain, error = errors.force_gain(model, baseline)
    alone = errors.summarise(model)["force_rmse_error"]
    assert gain == pytest.approx(0.1 * errors.force_rmse(model.force_squares, model.force_counts))
    assert error < 0.2 * alone
    assert gain > 3 * error
    with pytest.raises(ValueError, match="same frames"):
        errors.force_gain(model, errors.concatenate([baseline, baseline]))


def test_bad_input_is_named() -> None:
    labels = frames()
    with pytest.raises(ValueError, match="forces: labels of shape"):
        errors.model_errors(
            energies=labels["energies"],
            forces=labels["forces"],
            predicted_energies=labels["energies"],
            predicted_forces=labels["forces"][:, :2],
        )
    with pytest.raises(ValueError, match="not finite"):
        errors.model_errors(
            energies=labels["energies"],
            forces=labels["forces"],
            predicted_energies=labels["energies"] * np.nan,
            predicted_forces=labels["forces"],
        )
    with pytest.raises(ValueError, match="numbers of shape"):
        errors.model_errors(
            numbers=np.zeros((30, 3)),
            energies=labels["energies"],
            forces=labels["forces"],
            predicted_energies=labels["energies"],
            predicted_forces=labels["forces"],
        )


def test_a_model_is_judged_on_the_block_after_its_labels_by_hand() -> None:
    """Prequential: after t labels with energies 1, 2, ..., t the model predicts their mean (t + 1)/2 for the next k.

    The squared error of label i is (i - (t + 1)/2)², its mean over i = t + 1, ..., t + k that of the closed form; with
    the mean error taken out, the variance (k² - 1)/12 of k consecutive integers is left, whatever t. Forces that are
    predicted to be zero miss by their own root mean square.
    """
    k, n_atoms = 30, 6
    rng = np.random.default_rng(0)
    for t in (30, 60, 390):
        labels = np.arange(t + 1, t + k + 1, dtype=float)
        forces = rng.normal(size=(k, n_atoms, 3))
        found = errors.model_errors(
            energies=labels,
            forces=forces,
            predicted_energies=np.full(k, (t + 1) / 2),
            predicted_forces=np.zeros((k, n_atoms, 3)),
        )
        mean = (t + k) / 2
        assert found["energy_offset"] == pytest.approx(-mean / n_atoms, rel=1e-12)
        assert found["energy_rmse"] == pytest.approx(np.sqrt(mean**2 + (k**2 - 1) / 12) / n_atoms, rel=1e-12)
        assert found["energy_rmse_offset_removed"] == pytest.approx(np.sqrt((k**2 - 1) / 12) / n_atoms, rel=1e-12)
        assert found["force_rmse"] == pytest.approx(np.sqrt(np.mean(forces**2)), rel=1e-12)
        assert found["n_frames"] == k
