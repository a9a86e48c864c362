"""Momenta: drawn from the Maxwell-Boltzmann law at every cycle."""

from __future__ import annotations

from typing import Literal

import numpy as np
from ase import units

from .potential import Array

CentreOfMass = Literal["keep", "remove"]


def draw(masses: Array, temperature: float, rng: np.random.Generator, centre_of_mass: CentreOfMass = "keep") -> Array:
    """Draw momenta: every component is Gaussian with variance m kT (Duane et al., Phys. Lett. B 195, 216, 1987).

    ``remove`` takes out the momentum of the centre of mass, which is the exact conditional law at zero total momentum;
    the kinetic energy is never rescaled, since that would fix what has to fluctuate. Its law is Gamma(f/2, kT) with
    f the number of degrees of freedom.

    :param masses: (N,) in amu.
    :param temperature: in K.
    :param rng: where the numbers come from.
    :param centre_of_mass: ``keep`` (3N degrees of freedom) or ``remove`` (3N - 3).
    :returns: (N, 3) in ASE's unit (amu Å per ASE time).
    :raises ValueError: for another treatment of the centre of mass.
    """
    if centre_of_mass not in ("keep", "remove"):
        raise ValueError(f"the centre of mass can 'keep' its momentum or have it 'remove'd, not '{centre_of_mass}'")
    momenta = rng.standard_normal((len(masses), 3)) * np.sqrt(masses * units.kB * temperature)[:, None]
    if centre_of_mass == "remove":
        momenta -= masses[:, None] * momenta.sum(axis=0) / masses.sum()
    return np.asarray(momenta)


def kinetic_energy(momenta: Array, masses: Array) -> float:
    """Return the kinetic energy, sum p²/2m, in eV.

    :param momenta: (N, 3) in ASE's unit.
    :param masses: (N,) in amu.
    """
    return 0.5 * float((momenta**2 / masses[:, None]).sum())
