"""Molecular dynamics one step at a time, from a point that holds all that is needed to go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms

from aiida_slhmc.numerics import mtk, nose_hoover
from aiida_slhmc.numerics.momenta import draw
from aiida_slhmc.numerics.nose_hoover import Chains, Phase
from aiida_slhmc.numerics.potential import Array, Evaluation, Potential
from aiida_slhmc.numerics.randomness import Purpose, generator

from . import md
from .errors import TaskError, need

#: Methods that can go on from a stored point, and what each can hold constant.
METHODS = {"nose-hoover": ("NVT", "NPT"), "langevin": ("NVT",)}


class Known:
    """Answer for one point with what is known of it, and for any other with a potential.

    :param positions: (N, 3) in Å, of the point.
    :param evaluation: of the surface there.
    :param potential: the surface elsewhere; None: it is not asked.
    """

    def __init__(self, positions: Array, evaluation: Evaluation, potential: Potential | None = None):
        self.positions, self.evaluation, self.potential = positions, evaluation, potential

    def evaluate(self, positions: Array, cell: Array) -> Evaluation:
        """Evaluate one structure.

        :param positions: (N, 3) in Å.
        :param cell: (3, 3) in Å.
        """
        if self.potential is None or np.array_equal(positions, self.positions):
            return self.evaluation
        return self.potential.evaluate(positions, cell)


class Stepper:
    """Make steps of molecular dynamics, each a pure function of the point before, its number and the seed.

    :param method: one of :data:`METHODS`.
    :param numbers: (N,) atomic numbers.
    :param masses: (N,) in amu.
    :param pbc: (3,).
    :param settings: of the dynamics.
    :param seed: root seed; step k draws from (seed, 0, k, DYNAMICS), the start being step 0.
    :raises TaskError: ``bad_input`` for a method that cannot do this.
    """

    def __init__(self, method: str, numbers: Array, masses: Array, pbc: Any, settings: md.Settings, seed: int):
        ensemble = "NVT" if settings.cell is None else "NPT"
        if ensemble not in METHODS.get(method, ()):
            able = [name for name, ensembles in METHODS.items() if ensemble in ensembles]
            raise TaskError(
                "bad_input",
                f"the method '{method}' cannot go on from a stored point in {ensemble}: take {' or '.join(able)}.",
            )
        self.method, self.numbers, self.masses, self.pbc = method, numbers, masses, pbc
        self.settings, self.seed = settings, seed
        self.bath = nose_hoover.Bath(settings.temperature, settings.thermostat_time, settings.chain_length or 1)
        self.piston: mtk.Piston | None = None
        if settings.cell is not None:
            assert settings.pressure is not None
            assert settings.barostat_time is not None
            mass = mtk.piston_mass(len(masses), settings.temperature, settings.barostat_time, settings.cell)
            self.piston = mtk.Piston(settings.pressure, settings.cell, mass)

    def start(self, positions: Array, cell: Array, evaluation: Evaluation) -> Phase:
        """Return a start with momenta from their law.

        :param positions: (N, 3) in Å.
        :param cell: (3, 3) in Å.
        :param evaluation: of the surface there.
        :raises TaskError: ``bad_input`` for a cell that is not of its kind.
        """
        rng, known = generator(self.seed, 0, 0, Purpose.DYNAMICS), Known(positions, evaluation)
        if self.method == "langevin":
            nothing = np.zeros((0, positions.size))
            momenta = draw(self.masses, self.settings.temperature, rng)
            return Phase(positions, cell, momenta, np.zeros(0), Chains(nothing, nothing), evaluation)
        if self.piston is None:
            return nose_hoover.start(positions, cell, self.masses, known, self.bath, rng)
        try:
            return mtk.start(positions, cell, self.masses, known, self.bath, self.piston, rng)
        except ValueError as error:
            raise TaskError("bad_input", f"{error}.") from error

    def step(self, phase: Phase, number: int, potential: Potential) -> Phase:
        """Return the point one step on; one evaluation.

        :param phase: a point.
        :param number: of the step, from 1.
        :param potential: the surface.
        """
        if self.method == "langevin":
            return self._langevin(phase, number, potential)
        if self.piston is None:
            return nose_hoover.step(phase, self.masses, potential, self.bath, self.settings.timestep)
        return mtk.step(phase, self.masses, potential, self.bath, self.piston, self.settings.timestep)

    def _langevin(self, phase: Phase, number: int, potential: Potential) -> Phase:
        calculator = md.PortCalculator(Known(phase.positions, phase.evaluation, potential))
        atoms = Atoms(
            self.numbers, positions=phase.positions, cell=phase.cell, pbc=self.pbc, masses=self.masses,
            momenta=phase.momenta, calculator=calculator,
        )  # fmt: skip
        md.baoab(atoms, self.settings, generator(self.seed, 0, number, Purpose.DYNAMICS)).step()
        assert calculator.evaluation is not None
        return Phase(
            atoms.get_positions(), phase.cell, atoms.get_momenta(), phase.cell_momenta, phase.chains,
            calculator.evaluation,
        )  # fmt: skip

    def temperature(self, phase: Phase) -> float:
        """Return the instantaneous temperature in K.

        :param phase: a point.
        """
        from ase import units

        kinetic = float(np.sum(phase.momenta**2 / self.masses[:, None])) / 2.0
        return 2.0 * kinetic / (md.degrees_of_freedom(self.method, len(self.masses)) * units.kB)


def to_arrays(evaluation: Evaluation, prefix: str = "") -> dict[str, Array]:
    """Return an evaluation as arrays; a stress that is not there is NaN.

    :param evaluation: of a surface.
    :param prefix: of the names.
    """
    stress = np.full((3, 3), np.nan) if evaluation.stress is None else evaluation.stress
    values = {"energy": np.array([evaluation.energy]), "forces": evaluation.forces, "stress": stress}
    return {prefix + name: np.asarray(value, dtype=np.float64) for name, value in values.items()}


def from_arrays(arrays: Mapping[str, Any], prefix: str = "") -> Evaluation:
    """Return an evaluation; the inverse of :func:`to_arrays`.

    :param arrays: by name.
    :param prefix: of the names.
    :raises TaskError: ``bad_input`` if one is missing.
    """
    energy, forces, stress = (need(arrays, prefix + name, "the state") for name in ("energy", "forces", "stress"))
    known = bool(np.isfinite(stress).all())
    return Evaluation(float(energy[0]), np.asarray(forces), np.asarray(stress) if known else None)


def store(phase: Phase) -> dict[str, Array]:
    """Return a point as arrays.

    :param phase: the point.
    """
    return {
        "positions": phase.positions,
        "cell": phase.cell,
        "momenta": phase.momenta,
        "cell_momenta": phase.cell_momenta,
        "chain_positions": phase.chains.positions,
        "chain_velocities": phase.chains.velocities,
        **to_arrays(phase.evaluation),
    }


def restore(arrays: Mapping[str, Any]) -> Phase:
    """Return a point; the inverse of :func:`store`.

    :param arrays: by name.
    :raises TaskError: ``bad_input`` if one is missing.
    """
    names = ("positions", "cell", "momenta", "cell_momenta", "chain_positions", "chain_velocities")
    positions, cell, momenta, cell_momenta, *chains = (np.asarray(need(arrays, name, "the state")) for name in names)
    return Phase(positions, cell, momenta, cell_momenta, Chains(*chains), from_arrays(arrays))
