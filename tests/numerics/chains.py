"""Many independent chains of the real loop, started from the law that they are to sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from aiida_slhmc.numerics import hmc
from aiida_slhmc.numerics.potential import Array, Potential

from .surfaces import CELL


def run_chains(
    starts: Iterable[Array],
    target: Potential,
    proposal: Potential,
    settings: hmc.Settings,
    *,
    n_cycles: int,
    seed: int,
    masses: Array | None = None,
) -> list[hmc.ChainRecord]:
    """Run one chain from each start; starts drawn from the target's law need no burn-in."""
    return [
        hmc.run_chain(
            start,
            CELL,
            np.ones(len(start)) if masses is None else masses,
            target,
            proposal,
            settings,
            n_cycles=n_cycles,
            seed=seed,
            chain=chain,
        )
        for chain, start in enumerate(starts)
    ]


def means(records: list[hmc.ChainRecord], quantity: Callable[[hmc.ChainRecord], Array]) -> Array:
    """Return the mean of a quantity over each chain, (chains,)."""
    return np.array([np.mean(quantity(record)) for record in records])
