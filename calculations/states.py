"""States: the chain itself, one state a cycle, repeats included."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction
from numpy.typing import NDArray

from aiida_slhmc.data import FramesData
from aiida_slhmc.data.frames import SPAN

#: Arrays of a state that later analyses use.
ARRAYS = ("positions", "cells", "energies", "stresses")


def state_rows(chunk: FramesData) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, for every cycle of every chain, the row of the state after it.

    A rejected proposal repeats the state before it, and so does one without a label (a divergent trajectory): leaving
    the repeats out biases every mean.

    :param chunk: frames that hold each chain's starting state as their first row.
    :returns: chain (S,) and row (S,).
    :raises ValueError: if a chain's starting state is missing.
    """
    chain, cycle, accepted = (chunk.get_array(name) for name in ("chain", "cycle", "accepted"))
    chains: list[int] = []
    rows: list[int] = []
    spans = chunk.get_array(SPAN)
    for index in np.unique(spans[:, 0]):
        own = spans[spans[:, 0] == index]
        row_of = {int(cycle[row]): int(row) for row in np.flatnonzero(chain == index)}
        first = int(own[:, 1].min())
        if first - 1 not in row_of:
            raise ValueError(f"the starting state of chain {index} is not among the frames")
        current = row_of[first - 1]
        for number in range(first, int(own[:, 2].max()) + 1):
            row = row_of.get(number)
            if row is not None and accepted[row]:
                current = row
            chains.append(int(index))
            rows.append(current)
    return np.array(chains, dtype=np.int64), np.array(rows, dtype=np.int64)


@calcfunction
def chain_states(chunk: FramesData) -> Any:
    """Return the states of the chains of a block: the sample of the target's ensemble where the block is frozen.

    :param chunk: frames of a block, each chain's starting state included.
    """
    chains, rows = state_rows(chunk)
    arrays = {name: chunk.get_array(name)[rows] for name in ARRAYS}
    return orm.ArrayData({**arrays, "chain": chains, "numbers": chunk.get_array("numbers")[0]})
