"""From proposal endpoints to the states of the chain."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class StateIndices(NamedTuple):
    """The state after every cycle, ordered by chain, then cycle.

    :param chain: (S,) which chain.
    :param cycle: (S,) which cycle the state is the result of.
    :param row: (S,) which row of the endpoint arrays is the state.
    """

    chain: NDArray[np.int64]
    cycle: NDArray[np.int64]
    row: NDArray[np.int64]


def state_indices(
    chain: ArrayLike,
    cycle: ArrayLike,
    accepted: ArrayLike,
    *,
    spans: ArrayLike | None = None,
    swaps: ArrayLike | None = None,
) -> StateIndices:
    """Return the row of the state after every cycle, with repeats.

    A rejected proposal repeats the state before it. The repeats belong to the sample: for two states of probability 0.8
    and 0.2 with the other one proposed every time, the chain spends 0.8 and 0.2 of its cycles in them, whereas its
    accepted proposals alternate between the two.

    :param chain: (F,) chain of every endpoint; any order of rows.
    :param cycle: (F,) its cycle; a chain's starting state stands at the cycle before its first, that is -1 unless
        ``spans`` says otherwise.
    :param accepted: (F,) whether it was accepted.
    :param spans: (C, >= 3), a row a chain or a piece of one: chain, first cycle, last cycle. A cycle within the span
        but without a row had no label (a divergent trajectory) and counts as rejected. Without spans every cycle from 0
        to a chain's last must have its row.
    :param swaps: (W, 4), a row a swap that replica exchange tried: cycle after which, one chain, the other, whether it
        was accepted. The state of a chain is then the one it holds after the swap.
    :returns: chain, cycle and row of every state.
    :raises ValueError: if a starting state is missing, a cycle stands twice, or one is missing without a span over it.
    """
    chains = np.asarray(chain, dtype=np.int64)
    cycles = np.asarray(cycle, dtype=np.int64)
    taken = np.asarray(accepted, dtype=bool)
    if not chains.shape == cycles.shape == taken.shape or chains.ndim != 1:
        raise ValueError("chain, cycle and accepted need one entry an endpoint each")
    ranges = _ranges(chains, cycles, spans)
    parts: list[StateIndices] = []
    for index, (first, last) in ranges.items():
        rows = np.flatnonzero(chains == index)
        rows = rows[np.argsort(cycles[rows], kind="stable")]
        numbers = cycles[rows]
        if (np.diff(numbers) == 0).any():
            raise ValueError(f"chain {index} holds a cycle twice")
        if first - 1 not in numbers:
            raise ValueError(f"the starting state of chain {index} (cycle {first - 1}) is not among the frames")
        inside = (numbers >= first) & (numbers <= last)
        if spans is None and inside.sum() != last - first + 1:
            raise ValueError(f"chain {index} lacks a cycle between {first} and {last}")
        # The row that holds from a cycle on: that of the latest acceptance, or the start before the first of them.
        holder = np.full(last - first + 2, -1, dtype=np.int64)
        holder[0] = rows[numbers == first - 1][0]
        moves = inside & taken[rows]
        holder[numbers[moves] - first + 1] = rows[moves]
        latest = np.maximum.accumulate(np.where(holder >= 0, np.arange(holder.size), 0))
        span = np.arange(first, last + 1)
        parts.append(StateIndices(np.full(span.size, index), span, holder[latest][1:]))
    if swaps is not None and np.asarray(swaps).size and parts:
        return _swapped(parts, chains, cycles, taken, np.asarray(swaps, dtype=np.int64))
    if not parts:
        empty = np.zeros(0, dtype=np.int64)
        return StateIndices(empty, empty, empty)
    return StateIndices(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _swapped(
    parts: list[StateIndices],
    chains: NDArray[np.int64],
    cycles: NDArray[np.int64],
    taken: NDArray[np.bool_],
    swaps: NDArray[np.int64],
) -> StateIndices:
    """Follow the states of chains that exchange them, cycle by cycle.

    :param parts: the states of each chain by itself: which cycles there are.
    :param chains: (F,) of the endpoints.
    :param cycles: (F,).
    :param taken: (F,) whether an endpoint was accepted.
    :param swaps: (W, 4).
    :returns: ordered by chain, then cycle.
    """
    row_of = {(int(c), int(n)): row for row, (c, n) in enumerate(zip(chains, cycles, strict=True))}
    first = {int(part.chain[0]): int(part.cycle[0]) for part in parts}
    holder = {index: row_of[index, start - 1] for index, start in first.items()}
    accepted = swaps[swaps[:, 3] == 1]
    states: dict[int, list[int]] = {index: [] for index in first}
    for number in range(min(first.values()), max(int(part.cycle[-1]) for part in parts) + 1):
        for index in first:
            row = row_of.get((index, number))
            if row is not None and taken[row] and number >= first[index]:
                holder[index] = row
        for _, one, other, _ in accepted[accepted[:, 0] == number]:
            holder[int(one)], holder[int(other)] = holder[int(other)], holder[int(one)]
        for index in first:
            if number >= first[index]:
                states[index].append(holder[index])
    rows = [np.array(states[int(part.chain[0])][: part.row.size], dtype=np.int64) for part in parts]
    return StateIndices(
        np.concatenate([part.chain for part in parts]),
        np.concatenate([part.cycle for part in parts]),
        np.concatenate(rows),
    )


def _ranges(
    chains: NDArray[np.int64], cycles: NDArray[np.int64], spans: ArrayLike | None
) -> dict[int, tuple[int, int]]:
    if spans is None:
        return {int(index): (0, int(cycles[chains == index].max())) for index in np.unique(chains)}
    table = np.atleast_2d(np.asarray(spans, dtype=np.int64))
    ranges = {}
    for index in np.unique(table[:, 0]):
        own = table[table[:, 0] == index]
        ranges[int(index)] = (int(own[:, 1].min()), int(own[:, 2].max()))
    return ranges
