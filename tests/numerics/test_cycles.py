"""One cycle in parts."""

import math
from dataclasses import replace

import numpy as np

from aiida_slhmc.numerics import hmc
from aiida_slhmc.numerics.analytic import EinsteinCrystal
from aiida_slhmc.numerics.cycles import Recorder, State, decide, draw_log_uniform
from aiida_slhmc.numerics.limits import Limits
from aiida_slhmc.numerics.potential import Evaluation

SITES = np.zeros((2, 3))
TARGET = EinsteinCrystal(SITES, 2.0, 0.0)
CELL, MASSES = 9.0 * np.eye(3), np.array([20.0, 20.0])
SETTINGS = hmc.Settings(
    temperature=300.0, timestep=1.0, length=5, length_law="fixed", centre_of_mass="keep", limits=Limits(), barostat=None
)
STREAM = {"seed": 3, "chain": 1, "cycle": 4}


def move_of(state):
    return hmc.propose(state.positions, state.cell, MASSES, TARGET, SETTINGS, **STREAM)


def state_at(positions):
    positions, cell = hmc.place(positions, CELL, SETTINGS)
    return State(positions, cell, TARGET.evaluate(positions, cell))


def test_a_move_that_diverged_is_rejected_and_leaves_the_state():
    state = state_at(SITES + 0.1)
    after, decision = decide(state, replace(move_of(state), divergent=True), None, SETTINGS, **STREAM)
    assert after is state
    assert (decision.accepted, decision.probability, decision.delta) == (False, 0.0, math.inf)


def test_a_move_downhill_is_taken_and_one_far_uphill_is_not():
    state = state_at(SITES + 0.1)
    move = move_of(state)
    for energy, accepted in ((-50.0, True), (50.0, False)):
        after, decision = decide(state, move, Evaluation(energy, np.zeros((2, 3)), None), SETTINGS, **STREAM)
        assert decision.accepted is accepted
        assert (after.evaluation.energy == energy) is accepted
        assert np.array_equal(after.positions, move.positions) is accepted


def test_the_number_that_decides_belongs_to_chain_and_cycle():
    values = {(chain, cycle): draw_log_uniform(5, chain, cycle) for chain in range(3) for cycle in range(3)}
    assert len(set(values.values())) == 9
    assert all(math.isfinite(value) and value <= 0 for value in values.values())
    assert values[1, 2] == draw_log_uniform(5, 1, 2)


def test_the_record_keeps_repeats():
    state, recorder = state_at(SITES + 0.1), Recorder()
    move = move_of(state)
    bad = Evaluation(50.0, np.zeros((2, 3)), None)
    for _ in range(3):
        state, decision = decide(state, move, bad, SETTINGS, **STREAM)
        recorder.add(state, move, bad, decision)
    record = recorder.record()
    assert np.ptp(record.energies) == 0.0
    assert record.endpoint_energies.tolist() == [50.0] * 3
    assert not record.accepted.any()
    assert len(record.evaluations) == 3
