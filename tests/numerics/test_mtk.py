"""Martyna-Tobias-Klein dynamics with massive chains: what is conserved, which measure is kept, which ensemble comes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from ase import units

from aiida_slhmc.numerics import mtk
from aiida_slhmc.numerics.analytic import BreathingCrystal, EinsteinCrystal
from aiida_slhmc.numerics.cells import CellKind
from aiida_slhmc.numerics.mtk import Piston
from aiida_slhmc.numerics.nose_hoover import Bath, Chains, Phase
from aiida_slhmc.numerics.potential import Array, Potential
from tests.statistics_plugin import ZScores

from .surfaces import UNIT_TEMPERATURE, UNIT_TIME, IdealGas, Sum, log_shape, tilts
from .test_npt_exactness import shaped

KINDS: list[CellKind] = ["isotropic", "orthorhombic", "flexible"]
CELLS = {
    "isotropic": np.array([[2.4, 0.3, 0.0], [0.0, 2.4, 0.1], [0.0, 0.5, 2.4]]),
    "orthorhombic": np.diag([2.2, 2.4, 2.6]),
    "flexible": np.array([[2.4, 0.0, 0.0], [0.3, 2.2, 0.0], [0.2, 0.5, 2.6]]),
}
SITES = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, 0.0, 0.2]])
MASSES = np.array([1.0, 1.5, 2.0])
SURFACE = Sum((BreathingCrystal(SITES, 4.0, 3.0, 16.0), IdealGas(2.0)))
BATH = Bath(UNIT_TEMPERATURE, UNIT_TIME)
N_CHAINS = 24


def piston(kind: CellKind, pressure: float = 0.5, mass: float = 60.0) -> Piston:
    """Return a piston in natural units."""
    return Piston(pressure / units.GPa, kind, mass / units.fs**2)


def begin(kind: CellKind, bath: Bath = BATH, n_atoms: int = 3) -> Phase:
    rng = np.random.default_rng(11)
    cell = CELLS[kind]
    surface = SURFACE if n_atoms == 3 else IdealGas(2.0)
    positions = SITES[:n_atoms] @ cell + rng.normal(0.0, 0.3, (n_atoms, 3))
    return mtk.start(positions, cell, MASSES[:n_atoms], surface, bath, piston(kind), rng)


def spread(kind: CellKind, timestep: float, n_steps: int) -> float:
    """Return the largest change of the conserved quantity along a trajectory."""
    phase, what = begin(kind), piston(kind)
    first = mtk.conserved(phase, MASSES, BATH, what)
    largest = 0.0
    for _ in range(n_steps):
        phase = mtk.step(phase, MASSES, SURFACE, BATH, what, timestep * UNIT_TIME)
        largest = max(largest, abs(mtk.conserved(phase, MASSES, BATH, what) - first))
    return largest


@pytest.mark.parametrize("kind", KINDS)
def test_the_conserved_quantity_moves_with_the_square_of_the_time_step(kind):
    coarse, middle, fine = (spread(kind, 0.04 / 2**power, 60 * 2**power) for power in range(3))
    assert coarse > 1e-3
    assert coarse / middle == pytest.approx(4.0, abs=0.2)
    assert middle / fine == pytest.approx(4.0, abs=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_reversed_velocities_lead_back(kind):
    start = phase = begin(kind)
    largest = 0.0
    for _ in range(2):
        for _ in range(80):
            phase = mtk.step(phase, MASSES, SURFACE, BATH, piston(kind), 0.03 * UNIT_TIME)
        largest = max(largest, float(np.abs(phase.cell - start.cell).max()))
        chains = Chains(phase.chains.positions, -phase.chains.velocities)
        phase = replace(phase, momenta=-phase.momenta, cell_momenta=-phase.cell_momenta, chains=chains)
    assert largest > 0.05
    assert np.abs(phase.positions - start.positions).max() < 1e-10
    assert np.abs(phase.cell - start.cell).max() < 1e-10
    assert np.abs(phase.momenta - start.momenta).max() < 1e-10
    assert np.abs(phase.cell_momenta - start.cell_momenta).max() < 1e-9
    assert np.abs(phase.chains.positions - start.chains.positions).max() < 1e-10


ROWS, COLUMNS = np.tril_indices(3)


def cell_coordinates(kind: CellKind, cell: Array) -> Array:
    """Return the coordinates in which the measure is stated: ln V/3, three ln L, or six entries."""
    if kind == "isotropic":
        return np.array([math.log(np.linalg.det(cell) / np.linalg.det(CELLS[kind])) / 3.0])
    return np.log(np.diagonal(cell)) if kind == "orthorhombic" else cell[ROWS, COLUMNS]


def cell_of(kind: CellKind, coordinates: Array) -> Array:
    """Return the cell of coordinates."""
    if kind == "isotropic":
        return np.asarray(math.exp(coordinates[0]) * CELLS[kind])
    if kind == "orthorhombic":
        return np.diag(np.exp(coordinates))
    cell = np.zeros((3, 3))
    cell[ROWS, COLUMNS] = coordinates
    return cell


def log_weight(kind: CellKind, phase: Phase) -> float:
    """Return the logarithm of the density of the measure that the flow keeps, over flat coordinates."""
    cell = phase.cell
    if kind == "flexible":
        of_cell = -2.0 * math.log(cell[0, 0]) - math.log(cell[1, 1])
    else:
        of_cell = math.log(np.linalg.det(cell))
    return of_cell + float(phase.chains.positions.sum())


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_keeps_the_stated_measure(kind):
    """The determinant of the Jacobian is the ratio of the densities: what makes the ensemble V^N exp(-PV/kT) dV."""
    bath, what, masses = Bath(UNIT_TEMPERATURE, UNIT_TIME, 2), piston(kind, mass=3.0), MASSES[:1]
    surface = Sum((BreathingCrystal(SITES[:1] + 0.3, 4.0, 3.0, 16.0), IdealGas(2.0)))
    first = begin(kind, bath, 1)
    first = replace(first, evaluation=surface.evaluate(first.positions, first.cell))
    k = len(first.cell_momenta)
    sizes = np.cumsum([3, k, 3, k, 2 * (3 + k)])

    def pack(phase: Phase) -> Array:
        chains = phase.chains
        parts = (
            phase.positions, cell_coordinates(kind, phase.cell), phase.momenta, phase.cell_momenta,
            chains.positions, chains.velocities,
        )  # fmt: skip
        return np.concatenate([part.ravel() for part in parts])

    def forward(vector: Array) -> Phase:
        r, xi, p, p_cell, chain, velocity = np.split(vector, sizes)
        positions, cell = r.reshape(1, 3), cell_of(kind, xi)
        chains = Chains(chain.reshape(2, -1), velocity.reshape(2, -1))
        phase = Phase(positions, cell, p.reshape(1, 3), p_cell, chains, surface.evaluate(positions, cell))
        return mtk.step(phase, masses, surface, bath, what, 0.2 * UNIT_TIME)

    x, delta = pack(first), 1e-5
    columns = [(pack(forward(x + delta * e)) - pack(forward(x - delta * e))) / (2 * delta) for e in np.eye(len(x))]
    determinant = np.linalg.det(np.array(columns).T)
    end = forward(x)
    change = log_weight(kind, first) - log_weight(kind, end)
    assert abs(change) > 0.05
    assert abs(np.linalg.det(end.cell) - np.linalg.det(first.cell)) > 0.05
    assert math.log(abs(determinant)) == pytest.approx(change, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_cell_stays_of_its_kind(kind):
    phase = begin(kind)
    for _ in range(50):
        phase = mtk.step(phase, MASSES, SURFACE, BATH, piston(kind), 0.03 * UNIT_TIME)
    cell, start = phase.cell, CELLS[kind]
    assert np.abs(cell - start).max() > 0.02
    if kind == "isotropic":
        np.testing.assert_allclose(cell, cell[0, 0] / start[0, 0] * start, atol=1e-12)
    else:
        np.testing.assert_array_equal(np.triu(cell, 1), 0.0)
    if kind == "orthorhombic":
        np.testing.assert_array_equal(np.tril(cell, -1), 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_free_momenta_follow_the_cell(kind):
    """Without a force or a thermostat p h' V^(1/Nf) is constant: h' the transpose, Nf = 3N."""
    bath = Bath(UNIT_TEMPERATURE, 1e9 * UNIT_TIME, 1)
    phase, gas = begin(kind, bath), IdealGas(2.0)
    phase = replace(phase, evaluation=gas.evaluate(phase.positions, phase.cell))

    def constant(point: Phase) -> Array:
        return np.asarray(point.momenta @ point.cell.T * np.linalg.det(point.cell) ** (1.0 / 9.0))

    first, cell = constant(phase), phase.cell
    for _ in range(20):
        phase = mtk.step(phase, MASSES, gas, bath, piston(kind), 0.05 * UNIT_TIME)
    assert np.abs(phase.cell - cell).max() > 0.05
    np.testing.assert_allclose(constant(phase), first, atol=1e-8)


def test_the_mass_of_the_piston():
    # (3 * 48 + 3) kT tau² at 300 K
    assert mtk.piston_mass(48, 300.0, 1000.0, "isotropic") == pytest.approx(147 * 0.02585200 * 1e6, rel=1e-6)
    assert mtk.piston_mass(48, 300.0, 1000.0, "flexible") == pytest.approx(49 * 0.02585200 * 1e6, rel=1e-6)
    with pytest.raises(ValueError, match="time of a barostat"):
        mtk.piston_mass(48, 300.0, 0.0, "isotropic")


def test_the_volume_of_a_stiff_cell_swings_with_the_period_that_is_stated():
    """With the atoms and the chains out of the way, W d²ln(V)/dt²/3 = -9 B V dlnV/3."""
    modulus, volume, n = 3.0, 16.0, 3
    time = 5.0 * UNIT_TIME
    mass = mtk.piston_mass(n, UNIT_TEMPERATURE * 1e-3, time, "isotropic")
    what = Piston(0.0, "isotropic", mass)
    cell = np.eye(3) * (1.001 * volume) ** (1 / 3)
    surface = BreathingCrystal(SITES, 1e-9, modulus, volume)
    bath = Bath(UNIT_TEMPERATURE * 1e-3, 1e9 * UNIT_TIME, 1)
    phase = mtk.start(SITES @ cell, cell, MASSES, surface, bath, what, np.random.default_rng(0))
    phase = replace(phase, momenta=0.0 * phase.momenta, cell_momenta=np.zeros(1))
    period = 2 * math.pi * 5.0 * math.sqrt((3 * n + 3) * 1e-3 / (9 * modulus * volume))
    steps = 200
    for _ in range(steps // 2):
        phase = mtk.step(phase, MASSES, surface, bath, what, period / steps * UNIT_TIME)
    assert np.linalg.det(phase.cell) == pytest.approx(0.999 * volume, rel=2e-6)


def test_what_cannot_be_moved():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="along x, y and z"):
        mtk.start(SITES, CELLS["flexible"], MASSES, SURFACE, BATH, piston("orthorhombic"), rng)
    with pytest.raises(ValueError, match="mass of a cell"):
        mtk.start(SITES, CELLS["flexible"], MASSES, SURFACE, BATH, Piston(0.0, "flexible", 0.0), rng)
    blind = EinsteinCrystal(SITES, 1.0)
    phase = mtk.start(SITES, CELLS["isotropic"], MASSES, blind, BATH, piston("isotropic"), rng)
    with pytest.raises(ValueError, match="needs a stress"):
        mtk.step(phase, MASSES, blind, BATH, piston("isotropic"), 0.01)


def chain(
    start: tuple[Array, Array],
    surface: Potential,
    what: Piston,
    quantities: Callable[[Phase], list[float]],
    *,
    seed: int,
    timestep: float,
    n_steps: int,
) -> Array:
    """Return the time means of quantities along one trajectory from a start in equilibrium."""
    masses = np.ones(len(start[0]))
    phase = mtk.start(*start, masses, surface, BATH, what, np.random.default_rng(seed))
    rows = []
    for index in range(n_steps):
        phase = mtk.step(phase, masses, surface, BATH, what, timestep * UNIT_TIME)
        if index % 4 == 0:
            rows.append(quantities(phase))
    return np.mean(rows, axis=0)


@pytest.mark.statistics
def test_the_breathing_crystal(zscore: ZScores, seed: int):
    """p(V) is Gaussian: mean V0 (1 - P/B), variance V0 kT/B; the springs' energy is 3N kT/2."""
    rng = np.random.default_rng(seed)
    n, spring, modulus, volume, pressure, dt = 3, 4.0, 3.0, 16.0, 0.5, 0.05
    surface, mean, variance = BreathingCrystal(SITES, spring, modulus, volume), 16.0 * (1 - 0.5 / 3.0), 16.0 / 3.0

    def quantities(phase: Phase) -> list[float]:
        v = float(np.linalg.det(phase.cell))
        x = phase.positions - SITES @ phase.cell
        kinetic = float((phase.momenta**2).sum())
        virial = -float(np.trace(phase.evaluation.stress)) * v  # type: ignore[arg-type]
        instant = (kinetic + virial) / (3.0 * v)
        return [v, (v - mean) ** 2, 0.5 * spring * float((x**2).sum()), kinetic, instant]

    means = []
    for _ in range(N_CHAINS):
        cell = np.eye(3) * rng.normal(mean, math.sqrt(variance)) ** (1 / 3)
        start = SITES @ cell + rng.normal(0.0, 1 / math.sqrt(spring), (n, 3)), cell
        means.append(
            chain(
                start,
                surface,
                piston("isotropic", pressure),
                quantities,
                seed=int(rng.integers(2**31)),
                timestep=dt,
                n_steps=2000,
            )
        )
    table = np.array(means)
    zscore.chains("MTK breathing crystal: mean V (Å³)", table[:, 0], mean)
    zscore.chains("MTK breathing crystal: variance V (Å⁶)", table[:, 1], variance)
    # velocity Verlet's own spring is softer by w²dt²/4
    energy = 1.5 * n / (1.0 - 0.25 * spring * dt**2)
    zscore.chains("MTK breathing crystal: energy of the springs (kT)", table[:, 2], energy)
    zscore.chains("MTK breathing crystal: 2K (kT)", table[:, 3], 3.0 * n)
    zscore.chains("MTK breathing crystal: mean instantaneous pressure (eV/Å³)", table[:, 4], pressure)


STIFFNESS, PRESSURE, ATOMS = 8.0, 0.5, 3


def gas_means(kind: CellKind, seed: int, n_steps: int) -> Array:
    """Return the means of V, V², the shape's y² and tilts² and y_1 - y_3 of an ideal gas, one row a chain."""
    rng = np.random.default_rng(seed)

    def quantities(phase: Phase) -> list[float]:
        v, y, tilt = float(np.linalg.det(phase.cell)), log_shape(phase.cell), tilts(phase.cell)
        return [v, v**2, float(np.sum(y**2)), float(np.sum(tilt**2)), float(y[0] - y[2])]

    rows = []
    for _ in range(N_CHAINS):
        cell = shaped(kind, rng.gamma(ATOMS + 1, 1.0 / PRESSURE), STIFFNESS, rng)
        start = rng.uniform(size=(ATOMS, 3)) @ cell, cell
        rows.append(
            chain(
                start,
                IdealGas(STIFFNESS),
                piston(kind, PRESSURE, 4.0),
                quantities,
                seed=int(rng.integers(2**31)),
                timestep=0.1,
                n_steps=n_steps,
            )
        )
    return np.array(rows)


@pytest.mark.statistics
@pytest.mark.parametrize("kind", KINDS)
def test_the_ideal_gas(zscore: ZScores, seed: int, kind: CellKind):
    """The volume follows V^N exp(-PV/kT) dV: mean (N + 1) kT/P, mean square (N + 1)(N + 2)(kT/P)²."""
    table = gas_means(kind, seed, 1500)
    n, unit = ATOMS, 1.0 / PRESSURE
    zscore.chains(f"MTK ideal gas, {kind}: mean V (Å³)", table[:, 0], (n + 1) * unit)
    zscore.chains(f"MTK ideal gas, {kind}: mean V² (Å⁶)", table[:, 1], (n + 1) * (n + 2) * unit**2)
    if kind != "isotropic":
        zscore.chains(f"MTK ideal gas, {kind}: squares of the shape", table[:, 2], 2.0 / STIFFNESS)
        zscore.chains(f"MTK ideal gas, {kind}: ln(L_a/L_c)", table[:, 4], 0.0)
    if kind == "flexible":
        zscore.chains(f"MTK ideal gas, {kind}: squares of the tilts", table[:, 3], 3.0 / STIFFNESS)


@pytest.mark.statistics
def test_without_the_term_in_the_degrees_of_freedom_the_volume_is_wrong(zscore: ZScores, seed: int, monkeypatch):
    """Without (3/Nf) 2K in the force on the cell a power of V is lost: the mean is N kT/P."""
    right = mtk.force_on_cell

    def without(cell, momenta, masses, evaluation, bath, what):
        lost = 3.0 * float(np.sum(momenta**2 / masses[:, None])) / momenta.size
        return right(cell, momenta, masses, evaluation, bath, what) - lost

    monkeypatch.setattr(mtk, "force_on_cell", without)
    table = gas_means("isotropic", seed, 500)
    zscore.wrong("MTK ideal gas without (3/Nf) 2K: mean V (Å³)", table[:, 0], (ATOMS + 1) / PRESSURE, bound=5.0)


@pytest.mark.statistics
def test_without_its_correction_a_triangular_cell_is_sheared(zscore: ZScores, seed: int, monkeypatch):
    monkeypatch.setitem(mtk.CORRECTIONS, "flexible", np.zeros(6))
    table = gas_means("flexible", seed, 500)
    zscore.wrong("MTK ideal gas, flexible, no correction: ln(L_a/L_c)", table[:, 4], 0.0, bound=5.0)
