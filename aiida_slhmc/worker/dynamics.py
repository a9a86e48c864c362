"""Task ``dynamics``: sample one surface exactly, by HMC on itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from aiida_slhmc.numerics import hmc

from .errors import TaskError
from .potentials import build_potential
from .propose import kernel_settings


def dynamics(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Sample the ensemble of one surface; there is no thermostat and no time-step error.

    :param payload: structure, ``potential``, ``seed``, ``chain``, settings of the kernel, ``samples`` and ``discard``.
    :returns: positions (S, N, 3) and cells (S, 3, 3) in Å, energies (S,) in eV, stresses (S, 3, 3) in eV/Å³ (NaN where
        there is none), probabilities (S,); acceptance, wall_time (s).
    :raises TaskError: if the potential cannot be had or a state is not finite.
    """
    started = time.perf_counter()
    potential = build_potential(payload["potential"], payload["numbers"], payload["pbc"])
    discard, samples = int(payload["discard"]), int(payload["samples"])
    try:
        record = hmc.run_chain(
            payload["positions"],
            payload["cell"],
            payload["masses"],
            potential,
            potential,
            kernel_settings(payload),
            n_cycles=discard + samples,
            seed=int(payload["seed"]),
            chain=int(payload["chain"]),
        )
    except ValueError as error:
        raise TaskError("not_finite", f"the surface cannot be sampled from this structure: {error}") from error
    kept = slice(discard, None)
    missing = np.full((3, 3), np.nan)
    stresses = [missing if state.stress is None else state.stress for state in record.evaluations[kept]]
    return {
        "positions": record.positions[kept],
        "cells": np.repeat(np.asarray(payload["cell"], dtype=np.float64)[None], samples, axis=0),
        "energies": record.energies[kept],
        "stresses": np.array(stresses),
        "probabilities": record.probabilities[kept],
        "acceptance": float(record.accepted.mean()),
        "divergent": int(record.divergent.sum()),
        "wall_time": time.perf_counter() - started,
    }
