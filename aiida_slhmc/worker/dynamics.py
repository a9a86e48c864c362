"""Task ``dynamics``: sample one surface, exactly by HMC on itself, or by thermostatted molecular dynamics."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

import numpy as np
from ase import units

from aiida_slhmc.numerics import hmc
from aiida_slhmc.numerics.cells import CellKind
from aiida_slhmc.numerics.momenta import kinetic_energy
from aiida_slhmc.numerics.potential import Array, Potential
from aiida_slhmc.numerics.randomness import Purpose, generator

from . import checks, md
from .errors import TaskError, need
from .guard import Guarded
from .potentials import Remembering, build_potential
from .propose import geometry, kernel_settings, refusals

_WHAT = "the payload of 'dynamics'"


def dynamics(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Sample the ensemble of one surface.

    ``hmc``: the surface proposes and decides; every state after the first ``discard`` is a sample, repeats included;
    there is no thermostat and no error of the time step. ``nose-hoover``, ``langevin``, ``mtk``: molecular dynamics of
    (discard + samples) times ``thinning`` steps; every ``thinning``-th point is a frame. Its random numbers are those
    of (seed, chain, 0, DYNAMICS).

    :param payload: structure, ``potential``, ``seed``, ``chain``, ``samples``, ``discard`` (frames), ``method``
        (default ``hmc``), temperature (K), ``ensemble`` (default NVT) and, for NPT, pressure (GPa) and cell_kind. For
        ``hmc`` the settings of the kernel. For the others timestep (fs), thinning (steps), thermostat_time (fs),
        chain_length, min_distance (Å) and, for NPT, barostat_time (fs), max_volume_change (a ratio).
    :returns: positions (S, N, 3) and cells (S, 3, 3) in Å, energies (S,) in eV, stresses (S, 3, 3) in eV/Å³ without a
        kinetic part (NaN where there is none), temperatures (S,) in K, pressures (S,) in GPa with the kinetic part,
        volumes (S,) in Å³; wall_time (s), method, checks (see :func:`.checks.assess`), conserved_drift (eV/atom/ps,
        NaN where nothing is conserved). ``hmc``: probabilities (S,) of acceptance, and over the whole chain acceptance
        (fraction of the proposals that were accepted) and divergent (how many trajectories diverged); the temperatures
        are those of the momenta that were drawn, the pressures have the kinetic part N kT/V, its mean.
    :raises TaskError: ``bad_input``; ``not_finite`` if the start has no finite energy, or a run leaves what is finite;
        ``absurd`` if atoms come too close in a run, or its volume changes too much; what the potential raises.
    """
    started = time.perf_counter()
    samples, discard = int(need(payload, "samples", _WHAT)), int(need(payload, "discard", _WHAT))
    if samples < 1 or discard < 0:
        raise TaskError("bad_input", f"there is nothing to sample: samples = {samples}, discard = {discard}.")
    method = payload.get("method", "hmc")
    if method != "hmc" and method not in md.METHODS:
        raise TaskError("bad_input", f"'method' must be one of hmc, {', '.join(md.METHODS)}, not '{method}'.")
    geometry(payload)
    surface = build_potential(need(payload, "potential", _WHAT), payload["numbers"], need(payload, "pbc", _WHAT))
    sample = _exact if method == "hmc" else _molecular
    result = sample(payload, surface, samples, discard)
    return {**result, "method": method, "wall_time": time.perf_counter() - started}


def _exact(payload: Mapping[str, Any], surface: Potential, samples: int, discard: int) -> dict[str, Any]:
    positions, cell, masses = geometry(payload)
    settings = kernel_settings(payload)
    # The loop asks again for both ends of a trajectory, which the trajectory has evaluated already.
    potential = Remembering(surface)
    if not np.isfinite(potential.evaluate(positions, cell).energy):
        raise TaskError("not_finite", "the surface has no finite energy at the start.")
    stream = {key: int(need(payload, key, _WHAT)) for key in ("seed", "chain")}
    with refusals():
        record = hmc.run_chain(
            positions,
            cell,
            masses,
            potential,
            potential,
            settings,
            n_cycles=discard + samples,
            **stream,
        )
    kept = slice(discard, None)
    stresses = _stresses([state.stress for state in record.evaluations[kept]])
    volumes = _volumes(record.cells[kept])
    moving = 3 * len(masses) - (3 if settings.centre_of_mass == "remove" else 0)
    temperatures = 2.0 * record.kinetic_starts[kept] / (moving * units.kB)
    # All 3N: at any treatment of its momentum, the centre of mass is somewhere in the volume.
    kinetic = np.full(samples, 1.5 * len(masses) * units.kB * settings.temperature)
    pressures = _pressures(stresses, volumes, kinetic)
    pressure = None if settings.barostat is None else settings.barostat.pressure
    return {
        "positions": record.positions[kept],
        "cells": record.cells[kept],
        "energies": record.energies[kept],
        "stresses": stresses,
        "probabilities": record.probabilities[kept],
        "temperatures": temperatures,
        "pressures": pressures,
        "volumes": volumes,
        "acceptance": float(record.accepted.mean()),
        "divergent": int(record.divergent.sum()),
        "conserved_drift": math.nan,
        "checks": checks.assess(temperatures, settings.temperature, pressures, pressure),
    }


def _molecular(payload: Mapping[str, Any], surface: Potential, samples: int, discard: int) -> dict[str, Any]:
    positions, cell, masses = geometry(payload)
    method, thinning = payload["method"], int(_number(payload, "thinning", "steps"))
    if thinning < 1:
        raise TaskError("bad_input", f"'thinning' must be at least 1, not {thinning}.")
    settings = md_settings(payload)
    pbc = tuple(bool(value) for value in payload["pbc"])
    minimum, change = (need(payload, key, _WHAT) for key in ("min_distance", "max_volume_change"))
    guarded = Guarded(surface, minimum, change, (pbc[0], pbc[1], pbc[2]))
    if settings.cell is not None and guarded.evaluate(positions, cell).stress is None:
        raise TaskError("bad_input", "a cell that moves needs a stress, and the surface gives none.")
    rng = generator(int(need(payload, "seed", _WHAT)), int(need(payload, "chain", _WHAT)), 0, Purpose.DYNAMICS)
    path = md.run(method, payload["numbers"], positions, cell, masses, payload["pbc"], guarded, settings, rng)
    next(path)
    frames = []
    for step in range(1, (discard + samples) * thinning + 1):
        guarded.step = step
        try:
            # Overflows end at the guard, or in a matrix function that refuses them.
            with np.errstate(over="ignore", invalid="ignore"):
                point = next(path)
        except (ValueError, OverflowError, np.linalg.LinAlgError) as error:
            raise guarded.stop("not_finite", f"the motion cannot be continued ({error})") from error
        if step % thinning == 0 and step > discard * thinning:
            frames.append(point)
    kinetic = np.array([kinetic_energy(point.momenta, masses) for point in frames])
    cells = np.array([point.cell for point in frames])
    stresses, volumes = _stresses([point.evaluation.stress for point in frames]), _volumes(cells)
    temperatures = 2.0 * kinetic / (md.degrees_of_freedom(method, len(masses)) * units.kB)
    pressures = _pressures(stresses, volumes, kinetic)
    times = np.arange(samples, dtype=np.float64) * thinning * settings.timestep * 1e-3
    slope, uncertainty = checks.drift(times, np.array([point.conserved for point in frames]), len(masses))
    return {
        "positions": np.array([point.positions for point in frames]),
        "cells": cells,
        "energies": np.array([point.evaluation.energy for point in frames]),
        "stresses": stresses,
        "temperatures": temperatures,
        "pressures": pressures,
        "volumes": volumes,
        "conserved_drift": slope,
        "checks": checks.assess(temperatures, settings.temperature, pressures, settings.pressure, slope, uncertainty),
    }


def md_settings(payload: Mapping[str, Any]) -> md.Settings:
    """Return the settings of molecular dynamics from a payload.

    :param payload: as of :func:`dynamics`.
    :raises TaskError: ``bad_input`` if one is missing or out of its range.
    """
    method = payload["method"]
    fixed = md.Settings(
        temperature=_number(payload, "temperature", "K"),
        timestep=_number(payload, "timestep", "fs"),
        thermostat_time=_number(payload, "thermostat_time", "fs"),
        chain_length=None if method == "langevin" else int(_number(payload, "chain_length", "links")),
    )
    ensemble = payload.get("ensemble", "NVT")
    if ensemble == "NVT":
        return fixed
    if ensemble != "NPT":
        raise TaskError("bad_input", f"'ensemble' must be one of NVT, NPT, not '{ensemble}'.")
    pressure, cell = need(payload, "pressure", _WHAT), need(payload, "cell_kind", _WHAT)
    if pressure is None or not np.isfinite(pressure):
        raise TaskError("bad_input", f"'pressure' must be a number of GPa, not {pressure}.")
    if cell not in get_args(CellKind):
        raise TaskError("bad_input", f"'cell_kind' must be one of {', '.join(get_args(CellKind))}, not '{cell}'.")
    return replace(fixed, pressure=float(pressure), cell=cell, barostat_time=_number(payload, "barostat_time", "fs"))


def _number(payload: Mapping[str, Any], key: str, unit: str) -> float:
    value = need(payload, key, _WHAT)
    if value is None or not (np.isfinite(value) and value > 0):
        raise TaskError("bad_input", f"'{key}' must be greater than 0, not {value} {unit}.")
    return float(value)


def _stresses(stresses: list[Array | None]) -> Array:
    missing = np.full((3, 3), np.nan)
    return np.array([missing if stress is None else stress for stress in stresses])


def _volumes(cells: Array) -> Array:
    return np.asarray(np.abs(np.linalg.det(cells)))


def _pressures(stresses: Array, volumes: Array, kinetic: Array) -> Array:
    """Return 2K/3V - tr(stress)/3, (S,) in GPa; NaN without a stress.

    :param stresses: (S, 3, 3) in eV/Å³.
    :param volumes: (S,) in Å³.
    :param kinetic: (S,) in eV.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ideal = 2.0 * kinetic / (3.0 * volumes)
    return np.asarray((ideal - np.trace(stresses, axis1=1, axis2=2) / 3.0) / units.GPa)
