from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from aiida_slhmc.numerics import hmc, lattice
from aiida_slhmc.numerics.analytic import AnharmonicCrystal, EinsteinCrystal
from aiida_slhmc.numerics.momenta import kinetic_energy

from .surfaces import CELL, UNIT_TEMPERATURE, UNIT_TIME, Cliff

SITES = np.random.default_rng(0).uniform(0.0, 8.0, size=(4, 3))
MASSES = np.array([1.0, 2.0, 3.0, 4.0])
TARGET = AnharmonicCrystal(SITES, 1.0, 0.3, 0.2)
MODEL = EinsteinCrystal(SITES, 1.7)
SETTINGS = hmc.Settings(UNIT_TEMPERATURE, 0.3 * UNIT_TIME, 6)


def chain(n_cycles: int = 40, **changes: object) -> hmc.ChainRecord:
    arguments = {"seed": 11, "chain": 3, **changes}
    return hmc.run_chain(SITES, CELL, MASSES, TARGET, MODEL, SETTINGS, n_cycles=n_cycles, **arguments)


def equal(first: hmc.ChainRecord, second: hmc.ChainRecord) -> bool:
    """Return whether two chains agree to the bit."""
    arrays = [field.name for field in dataclasses.fields(hmc.ChainRecord) if field.name != "evaluations"]
    return all(np.array_equal(getattr(first, name), getattr(second, name), equal_nan=True) for name in arrays)


def test_the_same_seed_replays_to_the_bit() -> None:
    assert equal(chain(), chain())
    for change in ({"seed": 12}, {"chain": 4}, {"first_cycle": 1}):
        assert not np.array_equal(chain(**change).positions, chain().positions)


def test_a_chain_in_two_parts_is_the_chain_in_one() -> None:
    whole, first = chain(40), chain(25)
    # As read back from a store that keeps 14 digits.
    stored = np.array([float(f"{value:.14g}") for value in first.positions[-1].ravel()]).reshape(4, 3)
    second = hmc.run_chain(stored, CELL, MASSES, TARGET, MODEL, SETTINGS, n_cycles=15, seed=11, chain=3, first_cycle=25)
    assert np.array_equal(np.concatenate([first.positions, second.positions]), whole.positions)
    assert np.array_equal(np.concatenate([first.deltas, second.deltas]), whole.deltas)


def test_the_record_is_consistent() -> None:
    record = chain(200)
    assert 0.2 < record.accepted.mean() < 0.95
    state, energy = SITES, TARGET.evaluate(lattice.snap(SITES), CELL).energy
    for cycle in range(200):
        end = record.endpoint_energies[cycle]
        assert end == TARGET.evaluate(record.endpoints[cycle], CELL).energy
        if record.accepted[cycle]:
            state, energy = record.endpoints[cycle], end
        assert np.array_equal(record.positions[cycle], lattice.snap(state))
        assert record.energies[cycle] == record.evaluations[cycle].energy == energy
        assert np.array_equal(record.evaluations[cycle].forces, TARGET.evaluate(record.positions[cycle], CELL).forces)
    log_uniforms = np.array([hmc.draw_log_uniform(11, 3, cycle) for cycle in range(200)])
    assert np.array_equal(record.accepted, log_uniforms <= -record.deltas)
    assert record.probabilities == pytest.approx(np.minimum(1.0, np.exp(-record.deltas)))
    assert set(record.lengths) == set(range(3, 10))


def test_delta_is_of_the_target_not_of_the_model() -> None:
    move = hmc.propose(SITES, CELL, MASSES, MODEL, SETTINGS, seed=11, chain=3, cycle=0)
    first = chain(1)
    start, end = (TARGET.evaluate(r, CELL).energy for r in (lattice.snap(SITES), move.positions))
    kinetic = kinetic_energy(move.momenta_end, MASSES) - kinetic_energy(move.momenta_start, MASSES)
    assert first.deltas[0] == pytest.approx(end - start + kinetic, abs=1e-12)
    assert first.kinetic_starts[0] == move.kinetic_start
    assert move.kinetic_end == kinetic_energy(move.momenta_end, MASSES)
    assert (move.potential_start, move.potential_end) == (
        MODEL.evaluate(lattice.snap(SITES), CELL).energy,
        MODEL.evaluate(move.positions, CELL).energy,
    )


def test_offsets_of_target_and_model_change_no_decision() -> None:
    shifted = EinsteinCrystal(SITES, 1.7, offset=-(2.0**17))
    plain = hmc.run_chain(SITES, CELL, MASSES, MODEL, MODEL, SETTINGS, n_cycles=60, seed=2)
    both = hmc.run_chain(SITES, CELL, MASSES, shifted, shifted, SETTINGS, n_cycles=60, seed=2)
    assert np.array_equal(plain.positions, both.positions)
    assert not plain.accepted.all()


def test_a_divergent_proposal_keeps_the_state() -> None:
    start = np.array([[0.5, 0.0, 0.0]])
    record = hmc.run_chain(
        start, CELL, np.ones(1), EinsteinCrystal(0 * start, 1.0), Cliff(1.0), SETTINGS, n_cycles=80, seed=3
    )
    assert 0.1 < record.divergent.mean() < 0.9
    states = np.concatenate([start[None], record.positions])
    for cycle in np.flatnonzero(record.divergent):
        assert np.array_equal(states[cycle + 1], states[cycle])
        assert np.array_equal(record.endpoints[cycle], states[cycle])
    assert np.isinf(record.deltas[record.divergent]).all()
    assert np.isnan(record.endpoint_energies[record.divergent]).all()
    assert not record.probabilities[record.divergent].any()
    assert not record.accepted[record.divergent].any()
    assert np.linalg.norm(record.positions, axis=2).max() <= 1.0


def test_a_start_without_an_energy_is_refused() -> None:
    with pytest.raises(ValueError, match="no finite energy"):
        hmc.run_chain(np.full((1, 3), 2.0), CELL, np.ones(1), Cliff(1.0), MODEL, SETTINGS, n_cycles=1, seed=0)
