"""Potentials with known ensembles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import units
from numpy.typing import ArrayLike

from aiida_slhmc.numerics.analytic import BreathingCrystal, EinsteinCrystal
from aiida_slhmc.numerics.potential import Array
from aiida_slhmc.worker.errors import TaskError, need


def einstein(
    level: Mapping[str, Any], numbers: ArrayLike, pbc: ArrayLike = (), log: str | None = None
) -> EinsteinCrystal:
    """Return the analytic Einstein crystal of a level of theory.

    :param level: with ``parameters``: sites (N, 3) in Å, spring_constant in eV/Å², one or (N,), offset in eV.
    :param numbers: atomic numbers (N,).
    :param pbc: not used.
    :param log: not used.
    :raises TaskError: ``bad_input`` if it has another number of atoms.
    """
    return EinsteinCrystal(*_springs(level, numbers, "the Einstein crystal"))


def breathing(
    level: Mapping[str, Any], numbers: ArrayLike, pbc: ArrayLike = (), log: str | None = None
) -> BreathingCrystal:
    """Return the analytic breathing crystal of a level of theory.

    :param level: with ``parameters``: sites (N, 3), fractional; spring_constant in eV/Å², one or (N,); bulk_modulus in
        GPa; volume in Å³; offset in eV.
    :param numbers: atomic numbers (N,).
    :param pbc: not used.
    :param log: not used.
    :raises TaskError: ``bad_input`` if it has another number of atoms.
    """
    what = "the breathing crystal"
    sites, springs, offset = _springs(level, numbers, what)
    parameters = level["parameters"]
    bulk_modulus, volume = (float(need(parameters, key, what)) for key in ("bulk_modulus", "volume"))
    return BreathingCrystal(sites, springs, bulk_modulus * units.GPa, volume, offset)


def _springs(level: Mapping[str, Any], numbers: ArrayLike, what: str) -> tuple[Array, Array, float]:
    if level.get("functional", "analytic") != "analytic":
        raise TaskError("bad_input", f"{what} has no functional '{level['functional']}'; it is analytic.")
    parameters = need(level, "parameters", "the level of theory")
    n_atoms = len(np.asarray(numbers))
    sites = np.asarray(need(parameters, "sites", what), dtype=np.float64)
    if sites.shape != (n_atoms, 3):
        raise TaskError("bad_input", f"{what} has {len(sites)} sites, but the structure has {n_atoms} atoms.")
    springs = np.asarray(need(parameters, "spring_constant", what), dtype=np.float64)
    if springs.shape not in ((), (n_atoms,)):
        raise TaskError("bad_input", f"{what} has {springs.size} springs for {n_atoms} atoms.")
    return sites, springs, float(parameters.get("offset", 0.0))
