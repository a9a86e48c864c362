"""Many independent chains of the real loop, started from the target's own law."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from aiida_slhmc.numerics import hmc
from aiida_slhmc.numerics.analytic import EinsteinCrystal
from aiida_slhmc.numerics.potential import Array, Potential

from .surfaces import CELL, thermal


def run_chains(
    target: EinsteinCrystal,
    proposal: Potential,
    settings: hmc.Settings,
    *,
    n_chains: int,
    n_cycles: int,
    seed: int,
    masses: Array | None = None,
) -> list[hmc.ChainRecord]:
    """Run chains that need no burn-in: each starts from a draw of the target at kT = 1 eV."""
    sites = np.asarray(target.sites)
    masses = np.ones(len(sites)) if masses is None else masses
    rng = np.random.default_rng(seed)
    starts = [thermal(sites, float(np.asarray(target.spring_constant)), rng) for _ in range(n_chains)]
    return [
        hmc.run_chain(start, CELL, masses, target, proposal, settings, n_cycles=n_cycles, seed=seed, chain=chain)
        for chain, start in enumerate(starts)
    ]


def means(records: list[hmc.ChainRecord], quantity: Callable[[hmc.ChainRecord], Array]) -> Array:
    """Return the mean of a quantity over each chain, (chains,)."""
    return np.array([np.mean(quantity(record)) for record in records])
