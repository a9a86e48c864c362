"""Task ``propose``: one trajectory on the proposal surface."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from aiida_slhmc.numerics import hmc
from aiida_slhmc.numerics.verlet import Limits

from .potentials import build_potential


def kernel_settings(payload: Mapping[str, Any]) -> hmc.Settings:
    """Return the settings of the kernel from a payload.

    :param payload: temperature (K), timestep (fs), length (steps), length_law, centre_of_mass, min_distance (Å),
        max_energy_change (eV).
    """
    return hmc.Settings(
        temperature=float(payload["temperature"]),
        timestep=float(payload["timestep"]),
        length=int(payload["length"]),
        length_law=payload["length_law"],
        centre_of_mass=payload["centre_of_mass"],
        limits=Limits(payload.get("min_distance"), payload.get("max_energy_change")),
    )


def propose(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Propose a state.

    :param payload: structure, ``potential``, ``seed``, ``chain``, ``cycle`` and the settings of the kernel.
    :returns: positions (N, 3) and cell (3, 3) in Å of the endpoint; potential and kinetic energies at both ends, drift
        (eV); n_steps, divergent, reason, wall_time (s).
    :raises TaskError: if the potential cannot be had.
    """
    started = time.perf_counter()
    potential = build_potential(payload["potential"], payload["numbers"], payload["pbc"])
    move = hmc.propose(
        payload["positions"],
        payload["cell"],
        payload["masses"],
        potential,
        kernel_settings(payload),
        seed=int(payload["seed"]),
        chain=int(payload["chain"]),
        cycle=int(payload["cycle"]),
    )
    return {
        "positions": move.positions,
        "cell": move.cell,
        "potential_start": move.potential_start,
        "potential_end": move.potential_end,
        "kinetic_start": move.kinetic_start,
        "kinetic_end": move.kinetic_end,
        "n_steps": move.n_steps,
        "drift": move.drift,
        "divergent": move.divergent,
        "reason": move.reason,
        "wall_time": time.perf_counter() - started,
    }
