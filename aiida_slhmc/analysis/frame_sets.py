"""Sets of frames that come one at a time: distances, cells and errors of whatever they hold, frames not kept."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.typing import NDArray

from .cell import CellSeries, cell_series
from .distributions import Frames, Ragged
from .errors import Residuals, residuals
from .files import KEYS, find_property
from .neighbours import coordination_numbers, nearest_neighbours, shell_means

#: Atoms of a frame and its prediction further apart than this (Å) are not those of one structure.
SAME = 1e-2

Array = NDArray[np.float64]


# Distances ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Distances:
    """Hold the nearest neighbours in the frames of a chain.

    :param values: distances to the nearest neighbour in Å, by frame.
    :param coordination: (F,) mean number of neighbours within the cut-off.
    :param shells: (F, parts + 1) mean distances in Å in the parts of the first shell and in all of it; None: not split.
    :param skipped: by reason, number of frames that are left out.
    """

    values: Frames
    coordination: Array
    shells: Array | None
    skipped: Mapping[str, int]

    @property
    def means(self) -> Array:
        """Return the mean distance of every frame in Å, (F,)."""
        if isinstance(self.values, Ragged):
            return self.values.frame_means()
        return np.asarray(self.values.mean(axis=1))


def distances(frames: Iterable[Atoms], pair: tuple[str, str], cutoff: float, shell: Sequence[int] = ()) -> Distances:
    """Return the nearest neighbours in the frames of a chain.

    :param frames: in the order of time; of any composition, periodic or not. Those without both elements, and lone
        atoms, are left out and counted.
    :param pair: distances are counted from every atom of the first element to the nearest of the second.
    :param cutoff: of the coordination in Å.
    :param shell: numbers of neighbours of the parts of the first shell; empty: it is not split.
    """
    centre, neighbour = pair
    kind = {"centre": centre, "neighbour": neighbour}
    values: list[Array] = []
    coordination, shells = [], []
    skipped: Counter[str] = Counter()
    for atoms in frames:
        symbols = set(atoms.get_chemical_symbols())
        missing = " and ".join(sorted({centre, neighbour} - symbols))
        if missing:
            skipped[f"no {missing}"] += 1
            continue
        where = (atoms.positions, atoms.cell[:], atoms.numbers)
        count = max(1, sum(shell))
        try:
            nearest = nearest_neighbours(*where, **kind, count=count, pbc=atoms.pbc)
        except ValueError:
            skipped[f"fewer than {count} {neighbour} around {centre}"] += 1
            continue
        values.append(nearest[0, :, 0])
        coordination.append(float(coordination_numbers(*where, **kind, cutoff=cutoff, pbc=atoms.pbc)[0]))
        if shell:
            shells.append(shell_means(nearest, shell)[0])
    same = len({len(row) for row in values}) == 1
    return Distances(
        np.stack(values) if same else Ragged.of(values),
        np.array(coordination),
        np.array(shells) if shell else None,
        dict(skipped),
    )


# Cells ----------------------------------------------------------------------------------------------------------------


@dataclass
class Cells:
    """Hold the cells of the frames of a chain, by formula.

    :param cells: by formula, one (3, 3) in Å a frame.
    :param numbers: by formula, atomic numbers.
    :param skipped: number of frames that are not periodic in all directions.
    """

    cells: dict[str, list[Array]] = field(default_factory=dict)
    numbers: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    skipped: int = 0

    def series(self, formula: str, multiples: Sequence[float]) -> CellSeries:
        """Return lengths, angles and volumes of the cells of a formula.

        :param formula: as in ``cells``.
        :param multiples: what the lengths are divided by.
        """
        return cell_series(self.cells[formula], self.numbers[formula], multiples)


def cells(frames: Iterable[Atoms]) -> Cells:
    """Return the cells of the frames of a chain.

    :param frames: in the order of time, of any composition.
    """
    found = Cells()
    for atoms in frames:
        if not atoms.pbc.all():
            found.skipped += 1
            continue
        formula = atoms.get_chemical_formula("metal")
        found.cells.setdefault(formula, []).append(np.array(atoms.cell[:], dtype=np.float64))
        found.numbers.setdefault(formula, atoms.numbers.copy())
    return found


# Errors ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Values:
    """Hold what is known of a frame.

    :param energy: in eV.
    :param forces: (N, 3) in eV/Å; None: not known.
    :param stress: (3, 3) in eV/Å³; None: not known.
    """

    energy: float
    forces: Array | None = None
    stress: Array | None = None


def values_of(atoms: Atoms, prefix: str | None, where: str) -> Values | None:
    """Return energy, forces and stress that a frame comes with.

    :param atoms: the frame.
    :param prefix: of their keys, such as ``REF_``; None: those that ASE's reader takes for results.
    :param where: name of the frame, for messages.
    :returns: None without an energy.
    :raises ValueError: if one is no number, not finite, or of the wrong shape.
    """
    keys = KEYS if prefix is None else {name: (f"{prefix}{name}",) for name in KEYS}
    found = {name: find_property(atoms, names) for name, names in keys.items()}
    if found["energy"] is None:
        return None
    arrays: dict[str, Array] = {}
    for name, value in found.items():
        if value is None:
            continue
        try:
            arrays[name] = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where}: '{keys[name][0]}' is no number") from error
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{where}: '{keys[name][0]}' is not finite")
    sizes = {"energy": (1,), "forces": (3 * len(atoms),), "stress": (6, 9)}
    for name, array in arrays.items():
        if array.size not in sizes[name]:
            raise ValueError(f"{where}: '{keys[name][0]}' has {array.size} numbers for {len(atoms)} atoms")
    forces, stress = arrays.get("forces"), arrays.get("stress")
    if stress is not None:
        stress = voigt_6_to_full_3x3_stress(stress.ravel()) if stress.size == 6 else stress.reshape(3, 3)
    return Values(
        float(arrays["energy"].reshape(())) if arrays["energy"].size == 1 else math.nan,
        None if forces is None else forces.reshape(-1, 3),
        stress,
    )


@dataclass
class ErrorTotals:
    """Sum up the errors of predictions, frame by frame.

    :param parts: residuals of every frame.
    :param elements: by symbol, by frame: squares of the force component errors in (eV/Å)², and their number.
    :param energies: labelled and predicted energy of every frame in eV/atom.
    :param atoms: number of atoms of every frame.
    :param forces: labelled and predicted force components in eV/Å of some frames, evenly spread.
    """

    parts: list[Residuals] = field(default_factory=list)
    elements: dict[str, list[tuple[int, float, int]]] = field(default_factory=dict)
    energies: list[tuple[float, float]] = field(default_factory=list)
    atoms: list[int] = field(default_factory=list)
    forces: list[Array] = field(default_factory=list)
    _stride: int = 1
    #: Force components kept for a figure.
    components: int = 60_000

    def add(self, atoms: Atoms, label: Values, prediction: Values) -> None:
        """Add a frame.

        :param atoms: the frame.
        :param label: what is right.
        :param prediction: what is predicted.
        """
        frame, n_atoms = len(self.parts), len(atoms)
        self.energies.append((label.energy / n_atoms, prediction.energy / n_atoms))
        self.atoms.append(n_atoms)
        if label.forces is None or prediction.forces is None:
            nothing, unknown = np.zeros(1), np.full(1, np.nan)
            energy = np.array([(prediction.energy - label.energy) / n_atoms])
            self.parts.append(Residuals(energy, nothing, np.zeros(1, dtype=np.int64), unknown, nothing, unknown))
            return
        both = label.stress is not None and prediction.stress is not None
        self.parts.append(
            residuals(
                energies=[label.energy],
                forces=label.forces[None],
                predicted_energies=[prediction.energy],
                predicted_forces=prediction.forces[None],
                stresses=np.asarray(label.stress)[None] if both else None,
                predicted_stresses=np.asarray(prediction.stress)[None] if both else None,
            )
        )
        squares = np.sum((prediction.forces - label.forces) ** 2, axis=1)
        for symbol in sorted(set(atoms.get_chemical_symbols())):
            own = atoms.symbols == symbol
            self.elements.setdefault(symbol, []).append((frame, float(squares[own].sum()), 3 * int(own.sum())))
        if frame % self._stride == 0:
            self.forces.append(np.stack([label.forces.ravel(), prediction.forces.ravel()]))
            if sum(part.shape[1] for part in self.forces) > self.components and len(self.forces) > 1:
                self.forces = self.forces[::2]
                self._stride *= 2

    def of_element(self, symbol: str) -> tuple[Array, Array]:
        """Return squares and numbers of an element's force component errors, frame by frame; both (F,).

        :param symbol: chemical symbol.
        """
        squares, counts = np.zeros(len(self.parts)), np.zeros(len(self.parts))
        for frame, square, count in self.elements[symbol]:
            squares[frame], counts[frame] = square, count
        return squares, counts


def check_same(one: Atoms, other: Atoms, where: str) -> None:
    """Check that two frames are one structure.

    :param one: a frame.
    :param other: the other.
    :param where: their names, for messages.
    :raises ValueError: if they differ in elements, their order, cell, or positions by more than ``SAME``.
    """
    if not np.array_equal(one.numbers, other.numbers):
        raise ValueError(
            f"{where} hold {one.get_chemical_formula()} and {other.get_chemical_formula()}, or other orders"
        )
    cell: Any = np.asarray(one.cell[:], dtype=np.float64)
    if one.pbc.any() and np.abs(cell - other.cell[:]).max() > SAME:
        raise ValueError(f"{where} have different cells")
    offsets = other.positions - one.positions
    if one.pbc.any() and one.cell.rank == 3:
        fractional = offsets @ np.linalg.inv(cell)
        offsets = (fractional - np.where(one.pbc, np.round(fractional), 0.0)) @ cell
    if np.linalg.norm(offsets, axis=1).max() > SAME:
        raise ValueError(
            f"{where} are not the same structure: an atom is {np.linalg.norm(offsets, axis=1).max():.2g} Å off"
        )
