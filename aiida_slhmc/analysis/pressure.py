"""Pressure of an ensemble at fixed cell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import units
from numpy.typing import ArrayLike, NDArray

from .statistics import Estimate, mean_of_chains


def configurational_pressure(stresses: ArrayLike) -> NDArray[np.float64]:
    """Return the configurational part of the pressure, -tr(sigma)/3.

    :param stresses: (F, 3, 3) or (3, 3) in eV/Å³, sign of ASE: sigma = (1/V) dE/d(strain), no kinetic part.
    :returns: (F,) or () in GPa; positive under compression.
    """
    sigma = np.asarray(stresses, dtype=np.float64)
    return np.asarray(-np.trace(sigma, axis1=-2, axis2=-1) / 3.0 / units.GPa)


def ideal_pressure(n_atoms: int, cells: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Return the kinetic part of the pressure, its exact mean N kT/V.

    The sampled positions carry no momenta (they are redrawn every cycle), and need none: the mean over the
    Maxwell-Boltzmann law of all 3N components is known, so that using it adds no noise.

    :param n_atoms: N.
    :param cells: (F, 3, 3) or (3, 3) in Å.
    :param temperature: in K.
    :returns: (F,) or () in GPa.
    :raises ValueError: if a cell has no volume or the temperature is negative.
    """
    volumes = np.abs(np.linalg.det(np.asarray(cells, dtype=np.float64)))
    if (volumes <= 0.0).any():
        raise ValueError("a pressure needs a cell of finite volume")
    if temperature < 0.0:
        raise ValueError(f"negative temperature: {temperature} K")
    return np.asarray(n_atoms * units.kB * temperature / volumes / units.GPa)


def pressure(stresses: ArrayLike, cells: ArrayLike, n_atoms: int, temperature: float) -> NDArray[np.float64]:
    """Return the pressure of every state: configurational part -tr(sigma)/3 plus ideal part N kT/V.

    :param stresses: (F, 3, 3) in eV/Å³, sign of ASE, without a kinetic part.
    :param cells: (F, 3, 3) or (3, 3) in Å.
    :param n_atoms: N.
    :param temperature: in K.
    :returns: (F,) in GPa.
    :raises ValueError: if a stress is missing (NaN).

    Source: virial theorem; Allen and Tildesley, Computer Simulation of Liquids, section 2.4.
    """
    values = configurational_pressure(stresses) + ideal_pressure(n_atoms, cells, temperature)
    if not np.isfinite(values).all():
        raise ValueError("a state has no stress: the target engine gives none, and the pressure cannot be told")
    return values


def mean_pressure(
    stresses: ArrayLike,
    cells: ArrayLike,
    n_atoms: int,
    temperature: float,
    *,
    chain: ArrayLike | None = None,
) -> Estimate:
    """Return the mean pressure (configurational + ideal) with an error that knows the autocorrelation time.

    :param stresses: (S, 3, 3) in eV/Å³, one for the state after every cycle, repeats included.
    :param cells: (S, 3, 3) or (3, 3) in Å.
    :param n_atoms: N.
    :param temperature: in K.
    :param chain: (S,) which chain a state belongs to; None: all of one chain.
    :returns: mean and standard error in GPa.
    :raises ValueError: if there is no state, or a stress is missing (NaN).
    """
    values = pressure(stresses, cells, n_atoms, temperature)
    return mean_of_chains(split_chains(values, chain))


def split_chains(values: ArrayLike, chain: ArrayLike | None) -> Sequence[NDArray[np.float64]]:
    """Return the values of each chain apart, in their order.

    :param values: (S, ...).
    :param chain: (S,) which chain a value belongs to; None: all of one chain.
    """
    array = np.asarray(values, dtype=np.float64)
    if chain is None:
        return [array]
    labels = np.asarray(chain)
    return [array[labels == label] for label in np.unique(labels)]
