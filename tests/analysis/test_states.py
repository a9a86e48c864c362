"""From endpoints to states: by hand, the repeat-count trap, and random chains against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_slhmc.analysis.states import state_indices


def test_by_hand() -> None:
    states = state_indices([0] * 6, [-1, 0, 1, 2, 3, 4], [True, False, True, False, False, True])
    assert states.row.tolist() == [0, 2, 2, 2, 5]
    assert states.cycle.tolist() == [0, 1, 2, 3, 4]
    assert states.chain.tolist() == [0] * 5


def test_the_starting_row_needs_no_acceptance() -> None:
    assert state_indices([0, 0], [-1, 0], [False, False]).row.tolist() == [0]


def test_repeats_belong_to_the_sample() -> None:
    # pi = (0.8, 0.2), always propose the other state: with repeats 0.8 and 0.2, accepted endpoints alone alternate.
    rng = np.random.default_rng(0)
    n, probability = 20000, {0: 0.25, 1: 1.0}
    endpoint, accepted, state = [0], [True], 0
    for _ in range(n):
        proposed = 1 - state
        accepted.append(bool(rng.random() < probability[state]))
        endpoint.append(proposed)
        state = proposed if accepted[-1] else state
    values = np.array(endpoint)
    rows = state_indices(np.zeros(n + 1), np.arange(-1, n), accepted).row
    assert rows.size == n
    assert values[rows].mean() == pytest.approx(0.2, abs=0.01)
    assert values[np.array(accepted)].mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_chains_agree_with_a_plain_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 20, size=4)
    chain = np.concatenate([np.full(n + 1, index) for index, n in enumerate(lengths)])
    cycle = np.concatenate([np.arange(-1, n) for n in lengths])
    accepted = rng.random(chain.size) < 0.4
    order = rng.permutation(chain.size)
    chain, cycle, accepted = chain[order], cycle[order], accepted[order]
    expected = []
    for index, n in enumerate(lengths):
        current = next(row for row in range(chain.size) if chain[row] == index and cycle[row] == -1)
        for number in range(n):
            row = next(row for row in range(chain.size) if chain[row] == index and cycle[row] == number)
            current = row if accepted[row] else current
            expected.append((index, number, current))
    states = state_indices(chain, cycle, accepted)
    assert list(zip(*(array.tolist() for array in states), strict=True)) == expected


def test_a_cycle_without_a_label_repeats_the_state() -> None:
    # Cycles 11 and 14 diverged; the block runs from 10 to 14 and its start is the state after cycle 9.
    spans = [[3, 10, 12, 1], [3, 13, 14, 1]]
    states = state_indices([3, 3, 3, 3], [9, 10, 12, 13], [True, True, False, True], spans=spans)
    assert states.row.tolist() == [1, 1, 1, 3, 3]
    assert states.cycle.tolist() == [10, 11, 12, 13, 14]
    only_divergent = state_indices([0], [-1], [True], spans=[[0, 0, 2]])
    assert only_divergent.row.tolist() == [0, 0, 0]


def test_what_cannot_be_known_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks a cycle"):
        state_indices([0, 0, 0], [-1, 0, 2], [True, True, True])
    with pytest.raises(ValueError, match="starting state of chain 1"):
        state_indices([0, 0, 1], [-1, 0, 0], [True, True, True])
    with pytest.raises(ValueError, match="holds a cycle twice"):
        state_indices([0, 0, 0], [-1, 0, 0], [True, True, True])
    with pytest.raises(ValueError, match="one entry"):
        state_indices([0, 0], [-1, 0], [True])


def test_no_cycles_no_states() -> None:
    assert state_indices([], [], []).row.size == 0
    assert state_indices([0], [-1], [True]).row.size == 0
