"""The decision to ask for a label."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aiida_slhmc.numerics.calibration import Calibration
from aiida_slhmc.numerics.gate import Gate

#: Standard deviation in units of the accuracy at which P = 0.95 without any error seen (a = 1.5, b = 10).
THRESHOLD = 0.121698


def gate(**changes) -> Gate:
    values = {"accuracy": 0.26, "energy": Calibration(), "forces": Calibration(), **changes}
    return Gate(**values)


def test_the_paper_decides_on_the_energy() -> None:
    below, above = (gate().judge(factor * THRESHOLD * 0.26, np.full((4, 3), 9.0)) for factor in (0.999, 1.001))
    assert (below.asks, below.reason) == (False, None)
    assert (above.asks, above.reason) == (True, "energy")
    assert below.energy < 0.05 < above.energy
    assert math.isnan(below.forces)


@pytest.mark.parametrize(
    ("decide", "energy", "force", "reason"),
    [
        ("forces", 9.0, 0.9, None),
        ("forces", 0.0, 1.1, "forces"),
        ("both", 0.9, 0.9, None),
        ("both", 1.1, 0.9, "energy"),
        ("both", 0.9, 1.1, "forces"),
        ("both", 1.1, 1.1, "both"),
    ],
)
def test_one_doubtful_component_is_enough(decide, energy, force, reason) -> None:
    sds = np.zeros((4, 3))
    sds[2, 1] = force * THRESHOLD * 0.1
    verdict = gate(decide=decide, force_accuracy=0.1).judge(energy * THRESHOLD * 0.26, sds)
    assert verdict.reason == reason


def test_each_has_a_calibration_of_its_own() -> None:
    known = Calibration().update(np.ones(20), np.ones(20))
    sds = np.full((4, 3), 0.2 * 0.1)
    both = {"decide": "both", "force_accuracy": 0.1}
    assert gate(**both, energy=known).judge(0.2 * 0.26, sds).reason == "forces"
    assert gate(**both, forces=known).judge(0.2 * 0.26, sds).reason == "energy"
    assert gate(**both, forces=known, energy=known).judge(0.2 * 0.26, sds).reason is None


def test_the_tolerance_counts() -> None:
    assert not gate(tolerance=0.2).judge(0.2 * 0.26, 0.0).asks
    assert gate(tolerance=0.1).judge(0.2 * 0.26, 0.0).asks


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"decide": "stress"}, "decides on energy, forces, both, not on 'stress'"),
        ({"decide": "both"}, "needs an accuracy of the forces"),
        ({"accuracy": 0.0}, "accuracy of a gate must be positive"),
        ({"force_accuracy": -1.0}, "force_accuracy of a gate must be positive"),
        ({"force_accuracy": math.nan}, "force_accuracy of a gate must be positive"),
        ({"tolerance": 1.0}, "above 0 and below 1"),
    ],
)
def test_what_makes_no_gate(changes, says) -> None:
    with pytest.raises(ValueError, match=says):
        gate(**changes)


def test_a_doubt_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="negative or no number"):
        gate().judge(math.nan, 0.0)
