"""Task ``propose``: one trajectory on the proposal surface."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, get_args

import numpy as np

from aiida_slhmc.numerics import driving, hmc
from aiida_slhmc.numerics.cells import Barostat, CellKind, law_of
from aiida_slhmc.numerics.length import Law
from aiida_slhmc.numerics.limits import Limits
from aiida_slhmc.numerics.momenta import CentreOfMass

from .errors import TaskError, need
from .potentials import build_potential

_WHAT = "the payload of the trajectory"


def kernel_settings(payload: Mapping[str, Any]) -> hmc.Settings:
    """Return the settings of the kernel from a payload.

    :param payload: temperature (K), timestep (fs), length (steps), length_law, centre_of_mass, min_distance (Å),
        max_energy_change (eV), max_volume_change (a ratio), pbc (3,); ``ensemble``, and for NPT pressure (GPa),
        cell_kind, cell_mass (eV fs², or eV fs²/Å² for a flexible cell).
    :raises TaskError: ``bad_input`` if one is missing or out of its range.
    """
    values = {
        key: need(payload, key, _WHAT) for key in ("temperature", "timestep", "length", "length_law", "centre_of_mass")
    }
    for key, unit in (("temperature", "K"), ("timestep", "fs"), ("length", "steps")):
        _positive(key, values[key], unit)
    for key, known in (("length_law", get_args(Law)), ("centre_of_mass", get_args(CentreOfMass))):
        _one_of(key, values[key], known)
    pbc = [bool(value) for value in payload.get("pbc", (True, True, True))]
    return hmc.Settings(
        temperature=float(values["temperature"]),
        timestep=float(values["timestep"]),
        length=int(values["length"]),
        length_law=values["length_law"],
        centre_of_mass=values["centre_of_mass"],
        limits=Limits(
            payload.get("min_distance"),
            payload.get("max_energy_change"),
            payload.get("max_volume_change"),
            (pbc[0], pbc[1], pbc[2]),
        ),
        barostat=_barostat(payload),
    )


def _barostat(payload: Mapping[str, Any]) -> Barostat | None:
    ensemble = payload.get("ensemble", "NVT")
    _one_of("ensemble", ensemble, ("NVT", "NPT"))
    if ensemble == "NVT":
        return None
    pressure, cell, mass = (need(payload, key, _WHAT) for key in ("pressure", "cell_kind", "cell_mass"))
    if not np.isfinite(pressure):
        raise TaskError("bad_input", f"'pressure' must be a number of GPa, not {pressure}.")
    _one_of("cell_kind", cell, get_args(CellKind))
    if mass is None:
        raise TaskError("bad_input", "'cell_mass' must be given for NPT (eV fs²).")
    _positive("cell_mass", mass, "eV fs²")
    return Barostat(float(pressure), cell, float(mass))


def _positive(key: str, value: Any, unit: str) -> None:
    if not value > 0 or not np.isfinite(value):
        raise TaskError("bad_input", f"'{key}' must be greater than 0, not {value} {unit}.")


def _one_of(key: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise TaskError("bad_input", f"'{key}' must be one of {', '.join(known)}, not '{value}'.")


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
        and kinetic energies and what a moving cell adds, at both ends, drift (eV); n_steps, divergent, reason,
        wall_time (s).
    :raises TaskError: if the input is bad or the potential cannot be had. A trajectory that diverges is no failure.
    """
    started = time.perf_counter()
    potential = build_potential(
        need(payload, "potential", _WHAT), need(payload, "numbers", _WHAT), need(payload, "pbc", _WHAT)
    )
    trajectory = trajectory_of(payload)
    with refusals():
        move = driving.run(trajectory, potential)
    return {**report(move), "wall_time": time.perf_counter() - started}


def trajectory_of(payload: Mapping[str, Any]) -> driving.Driven[hmc.Proposal]:
    """Return the trajectory that a payload describes, to be driven.

    :param payload: as of :func:`propose`, less the potential.
    :raises TaskError: ``bad_input``.
    """
    positions, cell, masses = geometry(payload)
    settings = kernel_settings(payload)
    stream = {key: int(need(payload, key, _WHAT)) for key in ("seed", "chain", "cycle")}
    if settings.barostat is not None:
        with refusals():
            law_of(settings.barostat.cell, cell)
    return hmc.proposing(positions, cell, masses, settings, **stream)


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what the kernel refuses into bad input: only the surface can tell whether it is pinned, or has no stress."""
    try:
        yield
    except ValueError as error:
        raise TaskError("bad_input", str(error)) from error


def report(move: hmc.Proposal) -> dict[str, Any]:
    """Return a proposal in plain types.

    :param move: the proposal.
    """
    ends = {"start": move.cell_start, "end": move.cell_end}
    return {
        "positions": move.positions,
        "cell": move.cell,
        "potential_start": move.potential_start,
        "potential_end": move.potential_end,
        "kinetic_start": move.kinetic_start,
        "kinetic_end": move.kinetic_end,
        **{f"cell_kinetic_{end}": terms.kinetic for end, terms in ends.items()},
        **{f"pressure_volume_{end}": terms.pressure_volume for end, terms in ends.items()},
        **{f"log_volume_{end}": terms.log_volume for end, terms in ends.items()},
        "n_steps": move.n_steps,
        "drift": move.drift,
        "divergent": move.divergent,
        "reason": move.reason,
    }
