"""Cells that move: their coordinates, their masses, and the weight of a volume in the sampled ensemble."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from ase import units

from .lattice import snap
from .momenta import CentreOfMass
from .potential import Array

CellKind = Literal["isotropic", "orthorhombic", "flexible"]

#: Entries of a lower-triangular matrix, row by row.
_ROWS, _COLUMNS = np.tril_indices(3)


@dataclass(frozen=True)
class Barostat:
    """Hold what makes the ensemble one of constant pressure.

    :param pressure: external pressure in GPa.
    :param cell: ``isotropic`` (the shape is fixed), ``orthorhombic`` (three lengths) or ``flexible`` (the six entries
        of a lower-triangular cell).
    :param mass: of the cell: in eV fs² for the logarithmic coordinates of ``isotropic`` and ``orthorhombic``, in
        eV fs²/Å² for ``flexible``. It moves no average, only how fast the cell moves: see :func:`cell_mass`.
    :param volume_power: c of the term -c kT ln V; None: the one that weights a volume with V^N exp(-PV/kT) dV.
    """

    pressure: float
    cell: CellKind
    mass: float
    volume_power: float | None = None

    def power(self, centre_of_mass: CentreOfMass) -> float:
        """Return c of the term -c kT ln V in the Hamiltonian.

        The momenta integrate to V^N if all are drawn and to V^(N-1) if the centre of mass has none; a flat measure of
        ln V is dV/V, of three ln L likewise, and that of the six entries of a triangular cell is V dV times a measure
        of its shape. The default brings each to V^N dV.

        :param centre_of_mass: ``keep`` or ``remove`` its momentum.
        """
        if self.volume_power is not None:
            return self.volume_power
        keep = -1.0 if self.cell == "flexible" else 1.0
        return keep if centre_of_mass == "keep" else keep + 1.0


def cell_mass(bulk_modulus: float, volume: float, period: float, cell: CellKind) -> float:
    """Return the mass with which small oscillations of the volume have a given period: W = B V (period/2 pi)².

    For ``flexible`` it is divided by the square of the cell's mean length, which turns the coordinate from a logarithm
    into a length. To be fixed once and kept: a mass that follows the current cell would not be a constant.

    :param bulk_modulus: in GPa.
    :param volume: of a typical cell in Å³.
    :param period: in fs.
    :param cell: kind of cell.
    :returns: in eV fs², or eV fs²/Å² for ``flexible``.
    :raises ValueError: for a number that is not positive.
    """
    for name, value, unit in (
        ("bulk modulus", bulk_modulus, "GPa"), ("volume", volume, "Å³"), ("period", period, "fs"),
    ):  # fmt: skip
        if not value > 0:
            raise ValueError(f"the {name} of the cell's mass must be positive, not {value} {unit}")
    mass = bulk_modulus * units.GPa * volume * (period / (2.0 * math.pi)) ** 2
    return mass / volume ** (2.0 / 3.0) if cell == "flexible" else mass


class CellLaw(Protocol):
    """Map the coordinates of a cell to the cell; every cell of a trajectory is made by one law."""

    def coordinates(self, cell: Array) -> Array:
        """Return the coordinates (k,) of a cell, on the lattice of exact arithmetic.

        :param cell: (3, 3) in Å.
        """
        ...

    def cell(self, coordinates: Array) -> Array:
        """Return the cell (3, 3) in Å.

        :param coordinates: (k,).
        """
        ...

    def tangent(self, coordinates: Array) -> Array:
        """Return the derivative (k, 3, 3) of the cell by its coordinates.

        :param coordinates: (k,).
        """
        ...

    def proper(self, coordinates: Array) -> bool:
        """Return whether the coordinates make a cell of positive volume.

        :param coordinates: (k,).
        """
        ...


class Isotropic:
    """Scale a cell of fixed shape: h = exp(x/3) g; x is ln V up to a constant.

    The largest entry of g is 1. So x is the logarithm of one stored number, and both are found again to the bit from a
    cell that was stored with 14 digits.

    :param cell: (3, 3) in Å.
    """

    def __init__(self, cell: Array):
        self.pivot = int(np.abs(cell).argmax())
        self.shape = snap(cell / cell.flat[self.pivot])
        self.sign = float(np.sign(cell.flat[self.pivot]))

    def coordinates(self, cell: Array) -> Array:
        """Return x, (1,)."""
        return snap(np.array([3.0 * math.log(abs(cell.flat[self.pivot]))]))

    def cell(self, coordinates: Array) -> Array:
        """Return the cell."""
        return np.asarray(self.sign * np.exp(coordinates[0] / 3.0) * self.shape)

    def tangent(self, coordinates: Array) -> Array:
        """Return h/3, (1, 3, 3)."""
        return self.cell(coordinates)[None] / 3.0

    def proper(self, coordinates: Array) -> bool:
        """Return whether the logarithm is one of a sensible length."""
        return bool(np.abs(coordinates).max() < 60.0)


class Orthorhombic:
    """Stretch a cell along x, y and z: h = diag(exp(x_a))."""

    def coordinates(self, cell: Array) -> Array:
        """Return ln L, (3,)."""
        return snap(np.log(np.diagonal(cell)))

    def cell(self, coordinates: Array) -> Array:
        """Return the cell."""
        return np.diag(np.exp(coordinates))

    def tangent(self, coordinates: Array) -> Array:
        """Return the derivatives, (3, 3, 3)."""
        result = np.zeros((3, 3, 3))
        index = np.arange(3)
        result[index, index, index] = np.exp(coordinates)
        return result

    def proper(self, coordinates: Array) -> bool:
        """Return whether the logarithms are those of sensible lengths."""
        return bool(np.abs(coordinates).max() < 20.0)


class Flexible:
    """Move the six entries of a lower-triangular cell, which turns with no trajectory."""

    def coordinates(self, cell: Array) -> Array:
        """Return the entries (6,) in Å."""
        return snap(cell[_ROWS, _COLUMNS])

    def cell(self, coordinates: Array) -> Array:
        """Return the cell."""
        cell = np.zeros((3, 3))
        cell[_ROWS, _COLUMNS] = coordinates
        return cell

    def tangent(self, coordinates: Array) -> Array:
        """Return the derivatives, (6, 3, 3)."""
        result = np.zeros((6, 3, 3))
        result[np.arange(6), _ROWS, _COLUMNS] = 1.0
        return result

    def proper(self, coordinates: Array) -> bool:
        """Return whether the diagonal is positive."""
        return bool(coordinates[[0, 2, 5]].min() > 0.0)


def law_of(kind: CellKind, cell: Array) -> CellLaw:
    """Return the law of a kind of cell, checked against a cell.

    :param kind: ``isotropic``, ``orthorhombic`` or ``flexible``.
    :param cell: (3, 3) in Å, rows are lattice vectors.
    :raises ValueError: if the cell is not one that the law makes; says how to bring it there.
    """
    h = np.asarray(cell, dtype=np.float64)
    if not (np.isfinite(h).all() and np.linalg.det(h) > 0):
        raise ValueError("a cell that moves must be right-handed and have a volume: its determinant is not positive")
    if kind == "isotropic":
        return Isotropic(h)
    scale = 1e-10 * np.abs(h).max()
    if kind == "orthorhombic":
        if np.abs(h - np.diag(np.diagonal(h))).max() > scale or np.diagonal(h).min() <= 0:
            raise ValueError(
                "an orthorhombic cell has its lattice vectors along x, y and z; this one has not: turn it"
                " (ase: atoms.set_cell(atoms.cell.standard_form()[0], scale_atoms=True)), or choose 'flexible'"
            )
        return Orthorhombic()
    if kind == "flexible":
        if np.abs(np.triu(h, 1)).max() > scale or np.diagonal(h).min() <= 0:
            raise ValueError(
                "a flexible cell is lower-triangular with a positive diagonal; this one is not: turn it"
                " (ase: atoms.set_cell(atoms.cell.standard_form()[0], scale_atoms=True))"
            )
        return Flexible()
    raise ValueError(f"there is no cell '{kind}': isotropic, orthorhombic, flexible")
