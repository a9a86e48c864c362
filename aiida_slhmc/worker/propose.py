"""Task ``propose``: one trajectory on the proposal surface."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from aiida_slhmc.numerics import hmc
from aiida_slhmc.numerics.verlet import Limits

from .errors import TaskError, need
from .potentials import build_potential

_WHAT = "the payload of the trajectory"


def kernel_settings(payload: Mapping[str, Any]) -> hmc.Settings:
    """Return the settings of the kernel from a payload.

    :param payload: temperature (K), timestep (fs), length (steps), length_law, centre_of_mass, min_distance (Å),
        max_energy_change (eV).
    :raises TaskError: ``bad_input`` if one is missing or out of its range.
    """
    values = {
        key: need(payload, key, _WHAT) for key in ("temperature", "timestep", "length", "length_law", "centre_of_mass")
    }
    for key, unit in (("temperature", "K"), ("timestep", "fs"), ("length", "steps")):
        if not values[key] > 0 or not np.isfinite(values[key]):
            raise TaskError("bad_input", f"'{key}' must be greater than 0, not {values[key]} {unit}.")
    for key, known in (("length_law", ("uniform", "fixed", "geometric")), ("centre_of_mass", ("keep", "remove"))):
        if values[key] not in known:
            raise TaskError("bad_input", f"'{key}' must be one of {', '.join(known)}, not '{values[key]}'.")
    return hmc.Settings(
        temperature=float(values["temperature"]),
        timestep=float(values["timestep"]),
        length=int(values["length"]),
        length_law=values["length_law"],
        centre_of_mass=values["centre_of_mass"],
        limits=Limits(payload.get("min_distance"), payload.get("max_energy_change")),
    )


def geometry(payload: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return positions (N, 3) in Å, cell (3, 3) in Å and masses (N,) in amu of a payload.

    :param payload: with the structure.
    :raises TaskError: ``bad_input`` if they are missing, misshapen or not finite.
    """
    positions, cell, masses = (
        np.asarray(need(payload, key, _WHAT), dtype=np.float64) for key in ("positions", "cell", "masses")
    )
    n_atoms = len(need(payload, "numbers", _WHAT))
    for name, value, shape in (
        ("positions", positions, (n_atoms, 3)),
        ("cell", cell, (3, 3)),
        ("masses", masses, (n_atoms,)),
    ):
        if value.shape != shape:
            raise TaskError("bad_input", f"'{name}' has the shape {value.shape} where {shape} is due.")
        if not np.isfinite(value).all():
            raise TaskError("bad_input", f"'{name}' is not finite.")
    return positions, cell, masses


def propose(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Propose a state.

    :param payload: structure, ``potential``, ``seed``, ``chain``, ``cycle`` and the settings of the kernel.
    :returns: positions (N, 3) and cell (3, 3) in Å of the endpoint (the start, if the trajectory diverged); potential
        and kinetic energies at both ends, drift (eV); n_steps, divergent, reason, wall_time (s).
    :raises TaskError: if the input is bad or the potential cannot be had. A trajectory that diverges is no failure.
    """
    started = time.perf_counter()
    positions, cell, masses = geometry(payload)
    settings = kernel_settings(payload)
    potential = build_potential(need(payload, "potential", _WHAT), payload["numbers"], need(payload, "pbc", _WHAT))
    stream = {key: int(need(payload, key, _WHAT)) for key in ("seed", "chain", "cycle")}
    try:
        move = hmc.propose(positions, cell, masses, potential, settings, **stream)
    except ValueError as error:
        # 'remove' on a surface that is pinned in space is not reversible, and only the surface can tell.
        raise TaskError("bad_input", str(error)) from error
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
