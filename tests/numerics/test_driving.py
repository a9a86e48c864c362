"""Trajectories that ask for evaluations: alone and in step they get the same answers."""

import numpy as np
import pytest

from aiida_slhmc.numerics.driving import run, run_together
from aiida_slhmc.numerics.potential import Evaluation


class Counted:
    """Energy of a point is its number; counts how it is asked."""

    def __init__(self):
        self.batches = []

    def evaluate(self, positions, cell):
        return self.evaluate_many([(positions, cell)])[0]

    def evaluate_many(self, points):
        self.batches.append(len(points))
        return [Evaluation(float(positions.sum()), -positions, None) for positions, _ in points]


def walk(start, steps):
    """Ask for ``steps`` points; return the energies."""
    energies = []
    for step in range(steps):
        answer = yield np.full((1, 3), start + step), np.eye(3)
        energies.append(answer.energy)
    return energies


def test_a_trajectory_gets_every_answer_and_returns_its_result():
    potential = Counted()
    assert run(walk(2.0, 3), potential) == [6.0, 9.0, 12.0]
    assert potential.batches == [1, 1, 1]


def test_in_step_each_leaves_when_it_is_done_and_results_keep_their_order():
    potential, lengths = Counted(), [3, 0, 1, 2]
    together = run_together([walk(10.0 * i, n) for i, n in enumerate(lengths)], potential.evaluate_many)
    assert together == [run(walk(10.0 * i, n), Counted()) for i, n in enumerate(lengths)]
    assert potential.batches == [3, 2, 1]


def test_no_trajectory_asks_nothing():
    potential = Counted()
    assert run_together([], potential.evaluate_many) == []
    assert run_together([walk(0.0, 0)], potential.evaluate_many) == [[]]
    assert potential.batches == []


def test_a_batch_of_another_size_is_an_error():
    with pytest.raises(ValueError, match="shorter"):
        run_together([walk(0.0, 2), walk(1.0, 2)], lambda points: Counted().evaluate_many(points[:1]))


def test_what_goes_wrong_in_a_trajectory_is_not_its_end():
    def broken():
        yield np.zeros((1, 3)), np.eye(3)
        raise RuntimeError("of the surface")

    with pytest.raises(RuntimeError, match="of the surface"):
        run(broken(), Counted())
