"""Molecular dynamics on the port of a potential: massive Nosé-Hoover chains of our own, Langevin and MTK of ASE.

ASE's integrators have traps, which this module steps around; ``tests/worker/test_md.py`` has a test of each.

- ASE's Nosé-Hoover chain is one for all atoms and counts 3N degrees of freedom, although 3 of them, the total momentum,
  never move: the others end at T N/(N - 1). Here the total momentum is taken out and the chain counts 3N - 3. A target
  temperature rescaled by (N - 1)/N sets the atoms right, but leaves the chain's further links and the cell too cold.
- ``MTKNPT`` holds the momentum of the cell symmetric, with 6 degrees of freedom, and thermostats 9: cells fluctuate too
  much. It is not offered; a flexible cell is moved by ``nose-hoover`` or ``hmc``.
- Integrators of this family copy positions and momenta when they are made, so momenta come first.
- ``Langevin(fixcm=True)`` does not sample the canonical ensemble. ``LangevinBAOAB`` has no such thing, all 3N momenta
  are thermostatted, and its positions have the smaller error of the time step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes

from aiida_slhmc.numerics import mtk, nose_hoover
from aiida_slhmc.numerics.cells import CellKind, law_of
from aiida_slhmc.numerics.momenta import draw
from aiida_slhmc.numerics.potential import Array, Evaluation, Potential

from .errors import TaskError

#: Total momentum that a run may gain, in units of its thermal spread sqrt(sum m kT), where none is thermostatted.
MOMENTUM_TOLERANCE = 1e-3
#: Methods, beside hybrid Monte Carlo, and what each can hold constant.
METHODS = {"nose-hoover": ("NVT", "NPT"), "langevin": ("NVT",), "mtk": ("NPT",)}


@dataclass(frozen=True)
class Settings:
    """Hold what defines the dynamics beside the surface.

    :param temperature: in K.
    :param timestep: in fs.
    :param thermostat_time: in fs: tau of Q = kT tau² of a chain, or 1/friction of Langevin.
    :param chain_length: links of a chain; not used by Langevin.
    :param pressure: in GPa; None: the cell is fixed.
    :param cell: what of the cell moves; None: nothing.
    :param barostat_time: in fs: tau of the cell's mass (3N + 3) kT tau².
    """

    temperature: float
    timestep: float
    thermostat_time: float
    chain_length: int | None = None
    pressure: float | None = None
    cell: CellKind | None = None
    barostat_time: float | None = None


@dataclass(frozen=True)
class Snapshot:
    """Hold a point of a run.

    :param positions: (N, 3) in Å; not wrapped.
    :param cell: (3, 3) in Å.
    :param momenta: (N, 3) in ASE's unit.
    :param evaluation: of the surface.
    :param conserved: conserved quantity in eV; NaN where there is none.
    """

    positions: Array
    cell: Array
    momenta: Array
    evaluation: Evaluation
    conserved: float


def degrees_of_freedom(method: str, n_atoms: int) -> int:
    """Return how many momenta are thermostatted: 3N, or 3N - 3 where the total momentum is conserved.

    :param method: one of :data:`METHODS`.
    :param n_atoms: N.
    """
    return 3 * n_atoms - 3 if method == "mtk" else 3 * n_atoms


class PortCalculator(Calculator):
    """Be an ASE calculator in front of a potential.

    :param potential: the potential.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, potential: Potential):
        super().__init__()
        self.potential = potential
        self.evaluation: Evaluation | None = None

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        """Evaluate the atoms."""
        super().calculate(atoms, properties, system_changes)
        answer = self.evaluation = self.potential.evaluate(atoms.get_positions(), np.array(atoms.cell[:]))
        self.results = {"energy": answer.energy, "free_energy": answer.energy, "forces": answer.forces}
        if answer.stress is not None:
            s = answer.stress
            self.results["stress"] = np.array([s[0, 0], s[1, 1], s[2, 2], s[1, 2], s[0, 2], s[0, 1]])


def langevin(atoms: Atoms, settings: Settings, rng: np.random.Generator) -> Any:
    """Return ASE's Langevin dynamics (Leimkuhler and Matthews, J. Chem. Phys. 138, 174102, 2013), momenta drawn.

    :param atoms: with a calculator.
    :param settings: temperature, time step, thermostat time.
    :param rng: where the numbers come from: momenta first, then the noise.
    :raises TaskError: ``missing_dependency`` for an ASE before 3.27.
    """
    atoms.set_momenta(draw(atoms.get_masses(), settings.temperature, rng))
    return baoab(atoms, settings, rng)


def baoab(atoms: Atoms, settings: Settings, rng: np.random.Generator) -> Any:
    """Return ASE's Langevin dynamics from the momenta that the atoms have.

    :param atoms: with momenta and a calculator.
    :param settings: temperature, time step, thermostat time.
    :param rng: where the noise comes from.
    :raises TaskError: ``missing_dependency`` for an ASE before 3.27.
    """
    try:
        from ase.md.langevinbaoab import LangevinBAOAB
    except ImportError as error:
        raise TaskError(
            "missing_dependency", "the method 'langevin' needs ase 3.27 or newer: pip install ase."
        ) from error
    return LangevinBAOAB(
        atoms,
        settings.timestep * units.fs,
        temperature_K=settings.temperature,
        T_tau=settings.thermostat_time * units.fs,
        rng=rng,
    )


def martyna(atoms: Atoms, settings: Settings, rng: np.random.Generator) -> Any:
    """Return ASE's MTK dynamics with the total momentum taken out, isotropic or orthorhombic, momenta drawn.

    With N - 1 in place of N in every count of degrees of freedom, the chain holds 3N - 3 of them at T and the flow of
    positions, momenta and cell keeps its volume: the law is V^(N-1) exp(-PV/kT) dV.

    :param atoms: with a calculator that has a stress.
    :param settings: with a pressure.
    :param rng: where the momenta come from.
    :raises TaskError: ``bad_input`` for a cell that ASE does not move correctly; ``missing_dependency`` for an ASE that
        lacks the integrator or has changed inside.
    """
    try:
        from ase.md.nose_hoover_chain import IsotropicMTKNPT, MaskedMTKNPT
    except ImportError as error:
        raise TaskError("missing_dependency", "the method 'mtk' needs ase 3.28 or newer: pip install ase.") from error
    if settings.cell not in ("isotropic", "orthorhombic"):
        raise TaskError(
            "bad_input",
            f"ASE moves a {settings.cell} cell with 6 degrees of freedom and a thermostat for 9, which makes it"
            " fluctuate too much: take the method 'nose-hoover' or 'hmc', or an isotropic or orthorhombic cell.",
        )
    if len(atoms) < 2:
        raise TaskError("bad_input", "a single atom has no degree of freedom without its total momentum.")
    assert settings.pressure is not None
    assert settings.barostat_time is not None
    _law(settings.cell, np.array(atoms.cell[:]))
    # The integrator copies the momenta when it is made.
    atoms.set_momenta(draw(atoms.get_masses(), settings.temperature, rng, "remove"))
    kind, more = (IsotropicMTKNPT, {}) if settings.cell == "isotropic" else (MaskedMTKNPT, {"mask": (True, True, True)})
    dynamics = kind(
        atoms,
        settings.timestep * units.fs,
        temperature_K=settings.temperature,
        pressure_au=settings.pressure * units.GPa,
        tdamp=settings.thermostat_time * units.fs,
        pdamp=settings.barostat_time * units.fs,
        tchain=settings.chain_length,
        pchain=settings.chain_length,
        **more,
    )
    for part in (dynamics, dynamics._thermostat):
        if getattr(part, "_num_atoms_global", None) != len(atoms):
            raise TaskError(
                "missing_dependency",
                "this version of ASE counts the degrees of freedom elsewhere, and 'mtk' cannot set them right: take the"
                " method 'nose-hoover', or ase 3.28 or 3.29.",
            )
        part._num_atoms_global = len(atoms) - 1
    return dynamics


def _law(cell: CellKind, h: Array) -> None:
    try:
        law_of(cell, h)
    except ValueError as error:
        raise TaskError("bad_input", f"{error}.") from error


def run(
    method: str,
    numbers: Array,
    positions: Array,
    cell: Array,
    masses: Array,
    pbc: Any,
    potential: Potential,
    settings: Settings,
    rng: np.random.Generator,
) -> Iterator[Snapshot]:
    """Return a run that never ends: the start, then the point after every step.

    :param method: one of :data:`METHODS`.
    :param numbers: atomic numbers (N,).
    :param positions: (N, 3) in Å.
    :param cell: (3, 3) in Å.
    :param masses: (N,) in amu.
    :param pbc: (3,).
    :param potential: the surface.
    :param settings: of the dynamics.
    :param rng: where all random numbers come from.
    :raises TaskError: ``bad_input`` for a method that does not exist or cannot do this.
    """
    ensemble = "NVT" if settings.cell is None else "NPT"
    if method not in METHODS:
        raise TaskError("bad_input", f"'method' must be one of hmc, {', '.join(METHODS)}, not '{method}'.")
    if ensemble not in METHODS[method]:
        able = [name for name, ensembles in METHODS.items() if ensemble in ensembles]
        raise TaskError("bad_input", f"the method '{method}' cannot do {ensemble}: take hmc or {' or '.join(able)}.")
    if method == "nose-hoover":
        return _own(positions, cell, masses, potential, settings, rng)
    calculator = PortCalculator(potential)
    atoms = Atoms(numbers, positions=positions, cell=cell, pbc=pbc, masses=masses, calculator=calculator)
    make = langevin if method == "langevin" else martyna
    return _ase(make(atoms, settings, rng), calculator, settings)


def _own(
    positions: Array,
    cell: Array,
    masses: Array,
    potential: Potential,
    settings: Settings,
    rng: np.random.Generator,
) -> Iterator[Snapshot]:
    assert settings.chain_length is not None
    bath = nose_hoover.Bath(settings.temperature, settings.thermostat_time, settings.chain_length)
    piston = None
    if settings.cell is None:
        phase = nose_hoover.start(positions, cell, masses, potential, bath, rng)
    else:
        assert settings.pressure is not None
        assert settings.barostat_time is not None
        _law(settings.cell, cell)
        mass = mtk.piston_mass(len(masses), settings.temperature, settings.barostat_time, settings.cell)
        piston = mtk.Piston(settings.pressure, settings.cell, mass)
        phase = mtk.start(positions, cell, masses, potential, bath, piston, rng)
    while True:
        if piston is None:
            total = nose_hoover.conserved(phase, masses, bath)
        else:
            total = mtk.conserved(phase, masses, bath, piston)
        yield Snapshot(phase.positions, phase.cell, phase.momenta, phase.evaluation, total)
        if piston is None:
            phase = nose_hoover.step(phase, masses, potential, bath, settings.timestep)
        else:
            phase = mtk.step(phase, masses, potential, bath, piston, settings.timestep)


def _ase(dynamics: Any, calculator: PortCalculator, settings: Settings) -> Iterator[Snapshot]:
    atoms = dynamics.atoms
    atoms.get_forces()
    while True:
        assert calculator.evaluation is not None
        total = math.nan
        if settings.cell is not None:
            total = dynamics.get_conserved_energy()
            _check_total_momentum(atoms, settings.temperature)
        yield Snapshot(
            atoms.get_positions(), np.array(atoms.cell[:]), atoms.get_momenta(), calculator.evaluation, total
        )
        dynamics.step()


def _check_total_momentum(atoms: Atoms, temperature: float) -> None:
    """Check that nothing pushes the atoms as a whole, whose degrees of freedom are not counted.

    :param atoms: with momenta.
    :param temperature: in K.
    :raises TaskError: ``bad_input`` if something does.
    """
    momenta = atoms.get_momenta()
    gained = float(np.abs(momenta.sum(axis=0)).max())
    allowed = MOMENTUM_TOLERANCE * math.sqrt(atoms.get_masses().sum() * units.kB * temperature)
    # Atoms that fly apart leave a sum of the size of their rounding; that is for the guard to stop.
    if gained > allowed + 1e-9 * float(np.abs(momenta).sum()):
        raise TaskError(
            "bad_input",
            "the method 'mtk' needs a surface that does not change under translation; this one pushes the atoms as a"
            " whole: take the method 'nose-hoover' or 'hmc'.",
        )
