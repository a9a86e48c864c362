"""The port of uncertainty: what is known of its adapters' numbers, and scores on errors whose law is known."""

import numpy as np
import pytest

from aiida_slhmc.analysis.assessments import Assessment, calibrate, errors, of_distance, of_members, score

FRAMES, ATOMS = 400, 6


def drawn(rng, factor=1.0, absolute=True, told=True):
    """Return an assessment whose errors are Gaussian with ``factor`` times the spread that it announces."""
    frame, atom = np.exp(rng.normal(size=FRAMES)), np.exp(rng.normal(size=(FRAMES, ATOMS)))
    energies = factor * frame * rng.normal(size=FRAMES)
    forces = factor * atom[..., None] * rng.normal(size=(FRAMES, ATOMS, 3))
    if not told:
        frame, atom = np.ones_like(frame), np.ones_like(atom)
    return Assessment(energies, forces, frame, atom, absolute), np.zeros(FRAMES), np.zeros((FRAMES, ATOMS, 3))


def test_members_give_the_root_mean_square_of_their_components():
    predictions = {
        "energies": [1.0],
        "forces": np.zeros((1, 2, 3)),
        "energy_sds": [0.5],
        "force_sds": np.array([[[3.0, 4.0, 0.0], [1.0, 1.0, 1.0]]]),
    }
    found = of_members(predictions)
    np.testing.assert_allclose(found.atom, [[5.0 / np.sqrt(3.0), 1.0]])
    np.testing.assert_allclose(found.frame, [0.5])
    assert found.absolute


def test_squared_distances_of_atoms_add_to_that_of_the_frame():
    predictions = {"energies": [1.0], "forces": np.zeros((1, 2, 3))}
    found = of_distance(predictions, [[9.0, 16.0]])
    np.testing.assert_allclose(found.atom, [[3.0, 4.0]])
    np.testing.assert_allclose(found.frame, [5.0])
    assert not found.absolute


def test_the_scale_is_found_from_labels(rng):
    """The factor of n Gaussian errors is known to 1/sqrt(2n): n frames, or 3 N n components."""
    assessment, energies, forces = drawn(rng, factor=2.5)
    scales = calibrate(assessment, energies, forces)
    found = {name: np.sqrt(scale.beta / scale.alpha) for name, scale in scales.items()}
    assert found["energy"] == pytest.approx(2.5, rel=4 / np.sqrt(2 * FRAMES))
    assert found["force"] == pytest.approx(2.5, rel=4 / np.sqrt(6 * FRAMES * ATOMS))
    # The components of a frame count as one error.
    assert 2 * scales["force"].alpha == pytest.approx(FRAMES)


def test_calibration_mends_the_curve_and_not_the_order(rng):
    assessment, energies, forces = drawn(rng, factor=3.0)
    scales = calibrate(assessment[:200], energies[:200], forces[:200])
    thresholds = {"energy": 3.0, "force": 3.0}
    result = score(assessment[200:], energies[200:], forces[200:], scales, thresholds)
    for name in ("energy", "force"):
        part = result[name]
        assert part["raw"]["z"] == pytest.approx(3.0, rel=0.25)
        assert part["calibrated"]["miscalibration_area"] < 3 * part["calibrated"]["miscalibration_floor"]
        assert part["raw"]["miscalibration_area"] > 0.2
        assert part["calibrated"]["auroc"] == pytest.approx(part["raw"]["auroc"])
        assert part["detection"]["auroc"] > 0.8
        assert part["detection"]["spearman"] > 0.5
    assert result["force"]["detection"]["n"] == 200 * ATOMS
    assert result["force"]["calibrated"]["n"] == 200 * ATOMS * 3


def test_a_spread_that_says_nothing_has_nothing_to_order_by(rng):
    assessment, energies, forces = drawn(rng, told=False, absolute=False)
    result = score(assessment, energies, forces, calibrate(assessment, energies, forces), {"energy": 1.0, "force": 1.0})
    for part in result.values():
        assert part["detection"]["auroc"] == pytest.approx(0.5)
        assert "raw" not in part
        assert np.isnan(part["detection"]["spearman"])


def test_an_uncertainty_of_zero_makes_no_error_infinite(rng):
    assessment, energies, forces = drawn(rng)
    assessment.atom[0, 0] = 0.0
    scales = calibrate(assessment, energies, forces)
    assert all(np.isfinite(scale.beta) for scale in scales.values())


def test_labels_that_do_not_fit_are_refused(rng):
    assessment, energies, forces = drawn(rng)
    with pytest.raises(ValueError, match="do not fit"):
        errors(assessment, energies, forces[:, :2])
