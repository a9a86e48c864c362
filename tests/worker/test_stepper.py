"""Dynamics that is stored and goes on is the dynamics that never stopped."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ase import Atoms

from aiida_slhmc.numerics.analytic import BreathingCrystal
from aiida_slhmc.numerics.potential import Evaluation
from aiida_slhmc.numerics.randomness import Purpose, generator
from aiida_slhmc.worker import io, md, stepper
from aiida_slhmc.worker.errors import TaskError

SITES = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]])
CELL = np.diag([4.0, 4.1, 4.2])
MASSES, NUMBERS = np.array([1.0, 2.0, 3.0, 4.0]), np.full(4, 18)
SURFACE = BreathingCrystal(SITES, 2.0, 1.0, 68.0)
#: Method and what of the cell moves.
RUNS = [("nose-hoover", None), ("langevin", None), ("nose-hoover", "isotropic"), ("nose-hoover", "flexible")]


def make(method="nose-hoover", cell=None, seed=3) -> stepper.Stepper:
    more = {} if cell is None else {"pressure": 1.0, "cell": cell, "barostat_time": 200.0}
    settings = md.Settings(300.0, 1.0, 20.0, 3, **more)
    return stepper.Stepper(method, NUMBERS, MASSES, (True, True, True), settings, seed)


def start(motion):
    positions = SITES @ CELL + 0.05
    return motion.start(positions, CELL, SURFACE.evaluate(positions, CELL))


def walk(motion, phase, first, last):
    for number in range(first, last + 1):
        phase = motion.step(phase, number, SURFACE)
    return phase


def same(one, other):
    first, second = stepper.store(one), stepper.store(other)
    return all(np.array_equal(first[name], second[name], equal_nan=True) for name in first)


@pytest.mark.parametrize(("method", "cell"), RUNS)
def test_stored_and_gone_on_is_never_stopped(tmp_path, method, cell):
    whole = walk(make(method, cell), start(make(method, cell)), 1, 12)
    io.write(tmp_path, stepper.store(walk(make(method, cell), start(make(method, cell)), 1, 5)))
    again = stepper.restore(io.read(tmp_path))
    assert same(walk(make(method, cell), again, 6, 12), whole)
    assert (np.ptp([np.linalg.det(whole.cell), np.linalg.det(CELL)]) > 0) == (cell is not None)
    other = walk(make(method, cell, seed=4), start(make(method, cell, seed=4)), 1, 12)
    assert not same(other, whole)


@pytest.mark.parametrize("cell", [None, "isotropic"])
def test_it_is_the_dynamics_of_other_runs(cell):
    motion = make("nose-hoover", cell)
    rng = generator(3, 0, 0, Purpose.DYNAMICS)
    begin = SITES @ CELL + 0.05
    path = md.run("nose-hoover", NUMBERS, begin, CELL, MASSES, [True] * 3, SURFACE, motion.settings, rng)
    point = next(itertools.islice(path, 7, None))
    ours = walk(motion, start(motion), 1, 7)
    np.testing.assert_array_equal(ours.positions, point.positions)
    np.testing.assert_array_equal(ours.momenta, point.momenta)


def test_a_step_of_langevin_is_that_of_ase():
    motion, phase = make("langevin"), start(make("langevin"))
    atoms = Atoms(NUMBERS, positions=phase.positions, cell=CELL, pbc=True, masses=MASSES, momenta=phase.momenta)
    atoms.calc = md.PortCalculator(SURFACE)
    md.baoab(atoms, motion.settings, generator(3, 0, 1, Purpose.DYNAMICS)).step()
    ours = motion.step(phase, 1, SURFACE)
    np.testing.assert_array_equal(ours.positions, atoms.get_positions())
    np.testing.assert_array_equal(ours.momenta, atoms.get_momenta())
    assert motion.temperature(ours) == pytest.approx(atoms.get_temperature())


@pytest.mark.parametrize(("method", "cell"), RUNS)
def test_a_label_acts_in_the_step_that_asked(method, cell):
    """The step again, with other forces at its end: the same structure, and momenta that differ by dt (F' - F)/2."""
    motion, phase = make(method, cell), start(make(method, cell))
    asked = motion.step(phase, 1, SURFACE)
    before = asked.evaluation
    label = Evaluation(before.energy - 1.0, before.forces + 0.3, before.stress)
    again = motion.step(phase, 1, stepper.Known(asked.positions, label))
    np.testing.assert_array_equal(again.positions, asked.positions)
    np.testing.assert_array_equal(again.cell, asked.cell)
    assert again.evaluation is label
    gained = again.momenta - asked.momenta
    assert (gained > 0).all()
    # Chains and cell scale the kick a little.
    np.testing.assert_allclose(gained, 0.5 * 1.0 * md.units.fs * 0.3, rtol=0.1)
    # From here on the paths part.
    assert not np.array_equal(walk(motion, again, 2, 2).positions, walk(motion, asked, 2, 2).positions)


def test_an_evaluation_without_a_stress_is_kept_as_one():
    evaluation = Evaluation(-1.5, np.ones((2, 3)))
    arrays = stepper.to_arrays(evaluation, "next_")
    assert np.isnan(arrays["next_stress"]).all()
    assert stepper.from_arrays(arrays, "next_").stress is None
    with pytest.raises(TaskError, match="the state lacks 'energy'"):
        stepper.from_arrays(arrays)


@pytest.mark.parametrize(("method", "cell"), [("mtk", "isotropic"), ("langevin", "isotropic"), ("hmc", None)])
def test_what_cannot_go_on_from_a_stored_point(method, cell):
    with pytest.raises(TaskError, match="cannot go on from a stored point") as caught:
        make(method, cell)
    assert caught.value.kind == "bad_input"


def test_a_cell_of_another_kind():
    motion = make("nose-hoover", "orthorhombic")
    positions, cell = SITES @ CELL, CELL + 0.1
    with pytest.raises(TaskError, match="cell"):
        motion.start(positions, cell, SURFACE.evaluate(positions, cell))
