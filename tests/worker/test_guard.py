"""The guard of a run: what it lets through, and what never reaches the surface."""

import numpy as np
import pytest

from aiida_slhmc.numerics.analytic import BreathingCrystal
from aiida_slhmc.numerics.potential import Evaluation
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.guard import Guarded

SITES = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])
CELL = 4.0 * np.eye(3)
ALL = (True, True, True)


class Asked:
    """Count the questions to a crystal, and give it another answer."""

    def __init__(self, answer: Evaluation | None = None):
        self.calls, self.answer = 0, answer

    def evaluate(self, positions, cell):
        self.calls += 1
        return self.answer or BreathingCrystal(SITES, 2.0, 1.0, 64.0).evaluate(positions, cell)


def test_a_good_point_goes_through():
    surface = Asked()
    guard = Guarded(surface, 1.0, 1.2, ALL)
    found = guard.evaluate(SITES @ CELL + 0.1, CELL)
    assert found.energy == pytest.approx(0.06)
    guard.evaluate(SITES @ CELL, 1.05 * CELL)
    assert surface.calls == 2


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["positions", "cell"])
@pytest.mark.parametrize("bound", [None, 1.0])
def test_what_is_not_finite_is_not_asked(value, where, bound):
    surface = Asked()
    guard = Guarded(surface, bound, None, ALL)
    positions, cell = SITES @ CELL, CELL.copy()
    (positions if where == "positions" else cell)[0, 0] = value
    guard.step = 17
    with pytest.raises(TaskError, match="stopped at step 17: a position or the cell is not finite") as caught:
        guard.evaluate(positions, cell)
    assert caught.value.kind == "not_finite"
    assert surface.calls == 0


def test_atoms_that_meet_through_the_walls_are_too_close():
    surface = Asked()
    positions = np.array([[0.1, 0.0, 0.0], [3.8, 0.0, 0.0]])
    Guarded(surface, 0.2, None, ALL).evaluate(positions, CELL)
    Guarded(surface, 0.5, None, (False, True, True)).evaluate(positions, CELL)
    with pytest.raises(TaskError, match=r"at the start: two atoms are 0\.30 Å apart, .* = 0\.5 Å; mend") as caught:
        Guarded(surface, 0.5, None, ALL).evaluate(positions, CELL)
    assert caught.value.kind == "absurd"
    assert surface.calls == 2


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_volume_that_runs_away(factor):
    surface = Asked()
    guard = Guarded(surface, None, 1.2, ALL)
    guard.evaluate(SITES @ CELL, CELL)
    with pytest.raises(TaskError, match=r"the volume went from 64\.0 to .* by more than a factor of 1\.2"):
        guard.evaluate(SITES @ CELL, factor * CELL)
    assert surface.calls == 1


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Evaluation(np.nan, np.zeros((2, 3))), "the energy or a force"),
        (Evaluation(0.0, np.full((2, 3), np.inf)), "the energy or a force"),
        (Evaluation(0.0, np.zeros((2, 3)), np.full((3, 3), np.nan)), "the stress"),
    ],
)
def test_an_answer_that_is_not_finite(answer, says):
    with pytest.raises(TaskError, match=says) as caught:
        Guarded(Asked(answer), None, None, ALL).evaluate(SITES @ CELL, CELL)
    assert caught.value.kind == "not_finite"
