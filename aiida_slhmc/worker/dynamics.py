"""Task ``dynamics``: sample one surface exactly, by HMC on itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from aiida_slhmc.numerics import hmc

from .errors import TaskError, need
from .potentials import Remembering, build_potential
from .propose import geometry, kernel_settings


def dynamics(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Sample the ensemble of one surface: there is no thermostat and no time-step error.

    The surface proposes and decides. Every state after the first ``discard`` is a sample, repeats included.

    :param payload: structure, ``potential``, ``seed``, ``chain``, settings of the kernel, ``samples`` and ``discard``.
    :returns: positions (S, N, 3) and cells (S, 3, 3) in Å, energies (S,) in eV, stresses (S, 3, 3) in eV/Å³ (NaN where
        there is none), probabilities (S,) of acceptance; over the whole chain: acceptance (fraction of the proposals
        that were accepted), divergent (how many trajectories diverged), wall_time (s).
    :raises TaskError: ``bad_input``; ``not_finite`` if the start has no finite energy; what the potential raises.
    """
    started = time.perf_counter()
    what = "the payload of 'dynamics'"
    positions, cell, masses = geometry(payload)
    settings = kernel_settings(payload)
    samples, discard = int(need(payload, "samples", what)), int(need(payload, "discard", what))
    if samples < 1 or discard < 0:
        raise TaskError("bad_input", f"there is nothing to sample: samples = {samples}, discard = {discard}.")
    surface = build_potential(need(payload, "potential", what), payload["numbers"], need(payload, "pbc", what))
    # The loop asks again for both ends of a trajectory, which the trajectory has evaluated already.
    potential = Remembering(surface)
    if not np.isfinite(potential.evaluate(positions, cell).energy):
        raise TaskError("not_finite", "the surface has no finite energy at the start.")
    record = hmc.run_chain(
        positions,
        cell,
        masses,
        potential,
        potential,
        settings,
        n_cycles=discard + samples,
        seed=int(need(payload, "seed", what)),
        chain=int(need(payload, "chain", what)),
    )
    kept = slice(discard, None)
    missing = np.full((3, 3), np.nan)
    stresses = [missing if state.stress is None else state.stress for state in record.evaluations[kept]]
    return {
        "positions": record.positions[kept],
        "cells": np.repeat(cell[None], samples, axis=0),
        "energies": record.energies[kept],
        "stresses": np.array(stresses),
        "probabilities": record.probabilities[kept],
        "acceptance": float(record.accepted.mean()),
        "divergent": int(record.divergent.sum()),
        "wall_time": time.perf_counter() - started,
    }
