"""ASE's integrators behind the port, each trap stepped around, and what our own chains make of a run."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from ase import Atoms, units

from aiida_slhmc.numerics.analytic import BreathingCrystal, EinsteinCrystal
from aiida_slhmc.numerics.momenta import kinetic_energy
from aiida_slhmc.numerics.potential import Array, Evaluation, Potential
from aiida_slhmc.worker import md
from aiida_slhmc.worker.errors import TaskError
from tests.statistics_plugin import ZScores

UNIT_TEMPERATURE, UNIT_TIME = 1.0 / units.kB, 1.0 / units.fs
SITES = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]])
SPRINGS = np.array([1.0, 1.5, 2.5, 4.0])
MODULUS, VOLUME, PRESSURE = 3.0, 16.0, 0.5
MASSES, NUMBERS = np.ones(4), np.full(4, 18)


@dataclass(frozen=True)
class FreeCrystal:
    """Bind atoms to sites in a lattice that may move as a whole, and the volume to a volume.

    3N - 3 springs, which integrate to V^(1 - N): with the weight V^(N - 1) of a volume without total momentum it is
    Gaussian, with mean V0 (1 - P/B) and variance V0 kT/B.
    """

    def evaluate(self, positions: Array, cell: Array) -> Evaluation:
        x = positions - SITES @ cell
        x = x - SPRINGS @ x / SPRINGS.sum()
        forces = -SPRINGS[:, None] * x
        volume = float(np.linalg.det(cell))
        energy = -0.5 * float((forces * x).sum()) + 0.5 * MODULUS * (volume - VOLUME) ** 2 / VOLUME
        stress = -x.T @ forces / volume + MODULUS * (volume - VOLUME) / VOLUME * np.eye(3)
        return Evaluation(energy, forces, stress)


def settings(**changes) -> md.Settings:
    values = {"temperature": UNIT_TEMPERATURE, "timestep": 0.05 * UNIT_TIME, "thermostat_time": UNIT_TIME}
    return md.Settings(**{**values, "chain_length": 3, **changes})


def npt(**changes) -> md.Settings:
    return settings(
        **{"pressure": PRESSURE / units.GPa, "cell": "isotropic", "barostat_time": 2 * UNIT_TIME, **changes}
    )


def start(rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw a structure from the law of the free crystal."""
    volume = rng.normal(VOLUME * (1 - PRESSURE / MODULUS), math.sqrt(VOLUME / MODULUS))
    cell = np.eye(3) * volume ** (1 / 3)
    return SITES @ cell + rng.normal(size=(4, 3)) / np.sqrt(SPRINGS)[:, None], cell


def atoms(rng: np.random.Generator, surface: Potential | None = None) -> Atoms:
    positions, cell = start(rng)
    calculator = md.PortCalculator(surface or FreeCrystal())
    return Atoms(NUMBERS, positions=positions, cell=cell, pbc=True, masses=MASSES, calculator=calculator)


def run(method: str, what: md.Settings, seed: int, n_steps: int, surface: Potential | None = None) -> list[md.Snapshot]:
    rng = np.random.default_rng(seed)
    positions, cell = start(rng)
    path = md.run(method, NUMBERS, positions, cell, MASSES, [True] * 3, surface or FreeCrystal(), what, rng)
    return list(itertools.islice(path, n_steps + 1))


def temperature(points: list[md.Snapshot], method: str) -> float:
    """Return the mean of 2K/(dof kT)."""
    kinetic = np.mean([kinetic_energy(point.momenta, MASSES) for point in points])
    return 2.0 * float(kinetic) / md.degrees_of_freedom(method, 4)


def test_the_calculator_hands_the_port_through():
    found = atoms(np.random.default_rng(1))
    answer = FreeCrystal().evaluate(found.get_positions(), found.cell[:])
    assert found.get_potential_energy() == answer.energy
    assert found.get_potential_energy(force_consistent=True) == answer.energy
    assert np.array_equal(found.get_forces(), answer.forces)
    np.testing.assert_allclose(found.get_stress(voigt=False), answer.stress, atol=1e-12)


@pytest.mark.parametrize(
    ("method", "what"),
    [("langevin", settings()), ("nose-hoover", settings()), ("nose-hoover", npt()), ("mtk", npt())],
)
def test_one_evaluation_a_step_that_belongs_to_the_point(method, what):
    calls = []

    class Counting(FreeCrystal):
        def evaluate(self, positions: Array, cell: Array) -> Evaluation:
            calls.append(1)
            return super().evaluate(positions, cell)

    points = run(method, what, 3, 20, Counting())
    assert len(calls) <= 22
    for point in points:
        assert point.evaluation.energy == FreeCrystal().evaluate(point.positions, point.cell).energy
    assert not np.array_equal(points[0].positions, points[-1].positions)


@pytest.mark.parametrize(
    ("method", "what"), [("langevin", settings()), ("mtk", npt()), ("mtk", npt(cell="orthorhombic"))]
)
def test_trap_momenta_are_there_when_the_integrator_is_made(method, what):
    """An integrator that was made before the momenta would go on with zeros."""
    points = run(method, replace(what, timestep=1e-6 * UNIT_TIME), 5, 1)
    drawn = points[0].momenta
    assert kinetic_energy(drawn, MASSES) > 1.0
    # Langevin's noise has a size of sqrt(2 dt/tau) = 1.4e-3.
    np.testing.assert_allclose(points[1].momenta, drawn, atol=0.01)


def test_trap_the_global_chain_counts_the_degrees_of_freedom_that_move():
    """ASE's own count makes the temperature N/(N - 1) = 1.33 too high; a quarter of the momenta must not be lost."""
    points = run("mtk", npt(), 11, 1800)
    assert np.abs(points[-1].momenta.sum(axis=0)).max() < 1e-9
    assert temperature(points, "mtk") == pytest.approx(1.0, abs=0.15)


def test_trap_a_full_cell_of_ase_is_not_offered():
    """MTKNPT thermostats 9 degrees of freedom of a cell that has 6."""
    rng = np.random.default_rng(0)
    with pytest.raises(TaskError, match=r"6 degrees of freedom and a thermostat for 9.*'nose-hoover'"):
        md.martyna(atoms(rng), npt(cell="flexible"), rng)
    for cell, kind in (("isotropic", "IsotropicMTKNPT"), ("orthorhombic", "MaskedMTKNPT")):
        dynamics = md.martyna(atoms(rng), npt(cell=cell), rng)
        assert type(dynamics).__name__ == kind
    assert dynamics._barostat._cell_dof == 3
    assert dynamics.mask == (True, True, True)


def test_trap_langevin_thermostats_all_momenta():
    points = run("langevin", settings(), 13, 6000)
    assert temperature(points, "langevin") == pytest.approx(1.0, abs=0.08)
    # The total momentum too: the sum of its squares is 3 M kT.
    total = np.mean([float((point.momenta.sum(axis=0) ** 2).sum()) for point in points])
    assert total == pytest.approx(12.0, rel=0.35)


def test_mtk_refuses_a_surface_that_pins_the_atoms():
    pinned = BreathingCrystal(SITES, 2.0, MODULUS, VOLUME)
    with pytest.raises(TaskError, match=r"does not change under translation.*'nose-hoover'"):
        run("mtk", npt(), 1, 5, pinned)


def test_conserved_quantities():
    for method, what in (("mtk", npt()), ("mtk", npt(cell="orthorhombic")), ("nose-hoover", npt(cell="flexible"))):
        coarse, fine = (
            np.array([p.conserved for p in run(method, replace(what, timestep=dt * UNIT_TIME), 2, round(3 / dt))])
            for dt in (0.04, 0.02)
        )
        ratio = np.abs(coarse - coarse[0]).max() / np.abs(fine - fine[0]).max()
        assert ratio == pytest.approx(4.0, abs=0.5), (method, what.cell)
    assert math.isnan(run("langevin", settings(), 2, 1)[0].conserved)


@pytest.mark.parametrize(
    ("method", "what", "says"),
    [
        ("langevin", npt(), "cannot do NPT: take hmc or nose-hoover or mtk"),
        ("mtk", settings(), "cannot do NVT: take hmc or nose-hoover or langevin"),
        ("verlet", settings(), "'method' must be one of hmc, nose-hoover"),
    ],
)
def test_methods_that_cannot(method, what, says):
    with pytest.raises(TaskError, match=says):
        run(method, what, 1, 1)


@pytest.mark.parametrize("method", ["nose-hoover", "mtk"])
def test_a_cell_that_is_not_orthorhombic(method):
    rng = np.random.default_rng(0)
    cell = np.array([[3.0, 0.0, 0.0], [0.5, 3.0, 0.0], [0.0, 0.0, 3.0]])
    what = npt(cell="orthorhombic")
    with pytest.raises(TaskError, match="along x, y and z"):
        next(md.run(method, NUMBERS, SITES @ cell, cell, MASSES, [True] * 3, FreeCrystal(), what, rng))


N_CHAINS, N_STEPS = 20, 900


def mtk_means(cell: str, seed: int) -> Array:
    """Return T/T0, V, (V - <V>)² and the cell's 2K/kT of ASE's dynamics, one row a chain."""
    mean = VOLUME * (1 - PRESSURE / MODULUS)
    rows = []
    for chain in range(N_CHAINS):
        rng = np.random.default_rng([seed, chain])
        found = atoms(rng)
        dynamics = md.martyna(found, npt(cell=cell), rng)
        table = []
        for step in range(N_STEPS + 300):
            dynamics.step()
            if step >= 300 and step % 5 == 0:
                kinetic, volume = found.get_kinetic_energy(), found.get_volume()
                squares = np.sum((dynamics._p_eps if cell == "isotropic" else dynamics._p_c) ** 2)
                table.append([2 * kinetic / 9, volume, (volume - mean) ** 2, squares / dynamics._barostat.W])
        rows.append(np.mean(table, axis=0))
    return np.array(rows)


@pytest.mark.statistics
@pytest.mark.parametrize("cell", ["isotropic", "orthorhombic"])
def test_mtk_samples_the_ensemble(zscore: ZScores, seed: int, cell: str):
    table = mtk_means(cell, seed)
    zscore.chains(f"ASE MTK {cell}, 3N - 3: 2K/((3N - 3) kT)", table[:, 0], 1.0)
    zscore.chains(f"ASE MTK {cell}: 2K of the cell (kT)", table[:, 3], 1.0 if cell == "isotropic" else 3.0)
    if cell == "isotropic":
        zscore.chains("ASE MTK isotropic: mean V (Å³)", table[:, 1], VOLUME * (1 - PRESSURE / MODULUS))
        zscore.chains("ASE MTK isotropic: variance V (Å⁶)", table[:, 2], VOLUME / MODULUS)


@pytest.mark.statistics
def test_mtk_as_ase_counts_is_too_hot(zscore: ZScores, seed: int, monkeypatch):
    """The trap itself, by 4/3."""
    made = md.martyna

    def naive(*args):
        dynamics = made(*args)
        dynamics._num_atoms_global = dynamics._thermostat._num_atoms_global = 4
        return dynamics

    monkeypatch.setattr(md, "martyna", naive)
    table = mtk_means("isotropic", seed)
    zscore.wrong("ASE MTK, 3N counted: 2K/((3N - 3) kT)", table[:, 0], 1.0)
    zscore.chains("ASE MTK, 3N counted: 2K/((3N - 3) kT) is N/(N - 1)", table[:, 0], 4.0 / 3.0)


@pytest.mark.statistics
def test_langevin_samples_the_ensemble(zscore: ZScores, seed: int):
    surface = EinsteinCrystal(SITES, SPRINGS)
    rows = []
    for chain in range(N_CHAINS):
        rng = np.random.default_rng([seed, chain])
        positions = SITES + rng.normal(size=(4, 3)) / np.sqrt(SPRINGS)[:, None]
        path = md.run("langevin", NUMBERS, positions, 9 * np.eye(3), MASSES, [True] * 3, surface, settings(), rng)
        points = list(itertools.islice(path, 0, 4000, 5))
        kinetic = np.mean([kinetic_energy(point.momenta, MASSES) for point in points])
        rows.append([np.mean([point.evaluation.energy for point in points]), kinetic])
    table = np.array(rows)
    zscore.chains("BAOAB: energy of the springs (kT)", table[:, 0], 6.0)
    # BAOAB's momenta feel the time step: m kT (1 - w²dt²/4) for each spring.
    kinetic = 1.5 * float(np.sum(1 - 0.25 * SPRINGS * 0.05**2))
    zscore.chains("BAOAB: kinetic energy (kT)", table[:, 1], kinetic)
