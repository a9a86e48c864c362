"""Random numbers that replay: each comes from the run's seed, the chain, the cycle and what it is for."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """Name what random numbers are for; streams of different purposes are independent."""

    MOMENTA = 0
    LENGTH = 1
    ACCEPTANCE = 2
    SPLIT = 3
    TRAINING = 4
    DYNAMICS = 5
    EXCHANGE = 6
    SELECTION = 7
    POSTERIOR = 8
    BOOTSTRAP = 9
    STRUCTURES = 10
    REPLAY = 11


def generator(seed: int, chain: int, cycle: int, purpose: Purpose) -> np.random.Generator:
    """Return the generator of one purpose in one cycle of one chain.

    :param seed: root seed of the run, at least 0.
    :param chain: number of the chain, at least 0.
    :param cycle: number of the cycle within the chain, at least 0.
    :param purpose: what the numbers are for.
    :returns: a generator over ``SeedSequence(seed, spawn_key=(chain, cycle, purpose))``.
    :raises ValueError: for a negative number.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(chain, cycle, int(purpose)))
    return np.random.Generator(np.random.Philox(sequence))
