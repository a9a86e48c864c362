"""Wasserstein distances by hand, and noise floors against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aiida_slhmc.analysis import distributions

from .test_statistics import ar1


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([0, 1, 3], [5, 6, 8], 5.0),
        ([1, 2, 3, 4], [1.5, 2.5], 0.75),
        ([0, 1], [0, 2], 0.5),
        ([1.80, 1.82, 1.85], [1.81, 1.90], 0.035),
    ],
)
def test_w1_by_hand(first: list[float], second: list[float], expected: float) -> None:
    assert distributions.wasserstein(first, second) == pytest.approx(expected, abs=1e-12)
    assert distributions.wasserstein(second, first) == pytest.approx(expected, abs=1e-12)


def test_w1_of_shifts_and_widths() -> None:
    sample = np.random.default_rng(0).normal(size=(400, 3))
    assert distributions.wasserstein(sample, sample + 0.7) == pytest.approx(0.7)
    assert distributions.wasserstein(sample, sample) == 0.0
    other = np.random.default_rng(1).gamma(2.0, size=300)
    assert distributions.wasserstein(sample, other) >= abs(sample.mean() - other.mean())
    quantiles = (np.arange(20000) + 0.5) / 20000
    from scipy.stats import norm

    narrow, wide = norm.ppf(quantiles, scale=1.0), norm.ppf(quantiles, scale=1.5)
    assert distributions.wasserstein(narrow, wide) == pytest.approx(0.5 * math.sqrt(2 / math.pi), rel=1e-3)


def test_w1_refuses_what_is_not_a_sample() -> None:
    for bad in ([], [np.nan]):
        with pytest.raises(ValueError, match="finite"):
            distributions.wasserstein(bad, [1.0])


def test_floor_formula_has_the_quoted_numbers() -> None:
    spread = distributions.GAUSSIAN_SPREAD
    assert distributions.independent_floor(spread, 500, 600) == pytest.approx(0.0780, abs=5e-5)
    assert distributions.independent_floor(spread, 8000, 9600) == pytest.approx(0.0195, abs=5e-5)


def test_spread_integral_of_known_laws() -> None:
    rng = np.random.default_rng(2)
    assert distributions.spread_integral(rng.normal(size=200000)) == pytest.approx(
        distributions.GAUSSIAN_SPREAD, rel=0.01
    )
    # Uniform on (0, 1): the integral of sqrt(x (1 - x)) is pi / 8.
    assert distributions.spread_integral((np.arange(10000) + 0.5) / 10000) == pytest.approx(math.pi / 8, rel=1e-3)


def test_independent_floor_agrees_with_simulation() -> None:
    rng = np.random.default_rng(3)
    simulated = [distributions.wasserstein(rng.normal(size=500), rng.normal(size=600)) for _ in range(200)]
    formula = distributions.independent_floor(distributions.GAUSSIAN_SPREAD, 500, 600)
    assert np.mean(simulated) == pytest.approx(formula, rel=0.06)
    bootstrap = distributions.bootstrap_floor(rng.normal(size=600), 500, 600, block_length=1, rng=rng)
    assert bootstrap.mean() == pytest.approx(formula, rel=0.12)


def test_bootstrap_floor_respects_the_correlation() -> None:
    # tau = 9. What counts is the correlation of "x lies below X", which is shorter than that of x: the floor stands
    # between that of independent values and that of n / tau values.
    pairs = ar1(0.8, 1000, 120, seed=4)
    truth = np.mean([distributions.wasserstein(one, two) for one, two in pairs.reshape(60, 2, 1000)])
    independent = distributions.independent_floor(distributions.GAUSSIAN_SPREAD, 1000, 1000)
    assert 1.8 * independent < truth < 3.0 * independent
    rng = np.random.default_rng(5)
    blocked = np.mean(
        [
            distributions.bootstrap_floor(run, 1000, 1000, block_length=36, rng=rng, resamples=20).mean()
            for run in pairs[:30]
        ]
    )
    assert blocked / truth == pytest.approx(0.93, abs=0.12)
    split = np.mean([distributions.split_floor(run, 1000, 1000) for run in pairs])
    assert split / truth == pytest.approx(1.0, abs=0.12)


def test_bootstrap_floor_keeps_atoms_of_a_frame_together() -> None:
    # Sixteen copies of one number a frame are one number, not sixteen.
    rng = np.random.default_rng(6)
    copies = np.repeat(rng.normal(size=(300, 1)), 16, axis=1)
    floor = distributions.bootstrap_floor(copies, 300, 300, block_length=1, rng=rng).mean()
    assert floor == pytest.approx(distributions.independent_floor(distributions.GAUSSIAN_SPREAD, 300, 300), rel=0.15)


def test_split_floor_sees_a_drift() -> None:
    drifting = np.linspace(0.0, 1.0, 200)
    assert distributions.split_floor(drifting, 200, 200) > 5 * distributions.independent_floor(
        distributions.spread_integral(drifting), 200, 200
    )
    with pytest.raises(ValueError, match="two frames"):
        distributions.split_floor([1.0], 10, 10)


def test_compare_tells_a_difference_from_noise() -> None:
    rng = np.random.default_rng(7)
    reference = 1.84 + 0.04 * ar1(0.5, 400, 2, seed=8).T
    same = 1.84 + 0.04 * ar1(0.5, 300, 2, seed=9).T
    apart = same + 0.03
    near = distributions.compare(same, reference, rng=rng)
    far = distributions.compare(apart, reference, rng=rng)
    assert not near.resolved
    assert far.resolved
    assert far.w1 == pytest.approx(0.03, abs=0.008)
    assert far.floor_independent < far.floor < far.floor_95
    assert 0 < far.w1_error < far.w1
    assert far.mean == pytest.approx(apart.mean())
    assert far.as_dict()["resolved"] is True


def test_false_alarms_of_compare_are_rare() -> None:
    runs = ar1(0.5, 300, 80, seed=10)
    rng = np.random.default_rng(11)
    alarms = sum(
        distributions.compare(one, two, rng=rng, resamples=60).resolved for one, two in runs.reshape(40, 2, 300)
    )
    # 5 % nominal; 40 pairs give 2 on average, and more than 8 once in a thousand.
    assert alarms <= 8


def test_compare_takes_chains() -> None:
    rng = np.random.default_rng(12)
    one, two = ar1(0.5, 200, 2, seed=13)
    chains = distributions.compare([one, two[:150]], one, rng=rng)
    assert chains.mean == pytest.approx(np.concatenate([one, two[:150]]).mean())
    with pytest.raises(ValueError, match="frame"):
        distributions.compare([], one, rng=rng)


def test_frames_of_several_sizes_are_compared_as_frames_of_one() -> None:
    """Of equal sizes, ragged frames give exactly what a table gives; of others, W1 is that of all values."""
    rng = np.random.default_rng(3)
    one, two = rng.normal(size=(60, 4)), rng.normal(0.2, 1.0, size=(50, 4))
    table = distributions.compare(one, two, rng=np.random.default_rng(0), resamples=50)
    ragged = distributions.compare(
        distributions.Ragged.of(list(one)),
        [distributions.Ragged.of(list(two))],
        rng=np.random.default_rng(0),
        resamples=50,
    )
    assert table.as_dict() == pytest.approx(ragged.as_dict(), rel=1e-12)

    frames = [rng.normal(size=size) for size in (1, 3, 2, 5, 4, 1, 1, 2)]
    uneven = distributions.Ragged.of(frames)
    assert (len(uneven), uneven.size) == (8, 19)
    np.testing.assert_allclose(uneven.frame_means(), [frame.mean() for frame in frames])
    np.testing.assert_array_equal(uneven[[3, 0, 3]], np.concatenate([frames[3], frames[0], frames[3]]))
    np.testing.assert_array_equal(uneven[:2], np.concatenate(frames[:2]))
    mixed = distributions.compare(uneven, two, rng=rng, resamples=50)
    assert mixed.w1 == pytest.approx(distributions.wasserstein(np.concatenate(frames), two))
    assert mixed.mean == pytest.approx(np.mean([frame.mean() for frame in frames]))
    assert mixed.floor > 0
