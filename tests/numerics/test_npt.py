"""Trajectories at constant pressure: reversible to the bit, volume preserving, with the right forces on the cell."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from ase import units

from aiida_slhmc import models
from aiida_slhmc.numerics import cells, driving, hmc, npt
from aiida_slhmc.numerics.cells import Barostat, cell_mass, law_of
from aiida_slhmc.numerics.limits import Limits
from aiida_slhmc.numerics.momenta import draw, kinetic_energy
from aiida_slhmc.numerics.potential import Array, Evaluation, Potential
from aiida_slhmc.numerics.verlet import Trajectory
from aiida_slhmc.worker.potentials import build_potential
from tests.worker.rutile import rattled

from .surfaces import UNIT_TEMPERATURE, UNIT_TIME

KINDS = ["isotropic", "orthorhombic", "flexible"]
RNG = np.random.default_rng(8)
SITES = RNG.random((8, 3))
MASSES = RNG.uniform(1.0, 3.0, 8)
CELLS = {
    "isotropic": np.array([[2.5, 0.1, 0.0], [0.2, 2.4, -0.1], [0.0, 0.3, 2.7]]),
    "orthorhombic": np.diag([2.5, 2.4, 2.7]),
    "flexible": np.array([[2.5, 0.0, 0.0], [0.2, 2.4, 0.0], [-0.1, 0.3, 2.7]]),
}


@dataclasses.dataclass(frozen=True)
class Elastic:
    """Bind atoms to fractional sites, with a quartic term, and resist changes of volume and of shape: chaotic.

    U = sum_i (k |d_i|²/2 + q |d_i|⁴/4) + B (V - V0)²/2V0 + g |h hᵀ - M0|²/4 with d_i = (s_i - s0_i) h.
    """

    stiffness: float = 20.0

    def evaluate(self, positions: Array, cell: Array) -> Evaluation:
        d = positions - SITES @ cell
        square = np.sum(d**2, axis=1)
        volume = np.linalg.det(cell)
        metric = cell @ cell.T - 6.25 * np.eye(3)
        energy = np.sum(0.5 * self.stiffness * square + 0.25 * 30.0 * square**2)
        energy += 3.0 * (volume - 16.0) ** 2 / 32.0 + 0.25 * 0.2 * np.sum(metric**2)
        forces = -(self.stiffness + 30.0 * square)[:, None] * d
        # dE/d(strain): d scales with the cell, and so do V and the metric.
        by_strain = -d.T @ forces + 6.0 * (volume - 16.0) / 32.0 * volume * np.eye(3) + 0.2 * cell.T @ metric @ cell
        return Evaluation(float(energy), forces, by_strain / volume)


def barostat(kind: str, pressure: float = 0.3, mass: float = 30.0) -> Barostat:
    return Barostat(pressure / units.GPa, kind, mass / units.fs**2)


def start(kind: str, seed: int = 0) -> tuple[Array, Array, Array, Array]:
    rng = np.random.default_rng(seed)
    cell = CELLS[kind]
    positions, cell = npt.project(SITES @ cell + rng.normal(0, 0.1, (8, 3)), cell, barostat(kind))
    momenta = draw(MASSES, UNIT_TEMPERATURE, rng)
    size = len(law_of(kind, cell).coordinates(cell))
    return positions, momenta, cell, rng.normal(0, 5.0, size)


def integrate(
    point: tuple[Array, Array, Array, Array], kind: str, potential: Potential | None = None, **changes: object
) -> Trajectory:
    positions, momenta, cell, cell_momenta = point
    settings = {"temperature": UNIT_TEMPERATURE, "power": 1.0, "timestep": 0.05 * UNIT_TIME, "n_steps": 40} | changes
    path = npt.trajectory(positions, momenta, cell, cell_momenta, MASSES, barostat(kind), **settings)
    return driving.run(path, potential or Elastic())


def total(path: Trajectory, potential: float, kind: str) -> float:
    terms = npt.cell_terms(path.cell, path.cell_momenta, barostat(kind), UNIT_TEMPERATURE, 1.0)
    return potential + kinetic_energy(path.momenta, MASSES) + sum(terms)


@pytest.mark.parametrize("kind", KINDS)
def test_stress_of_the_test_surface(kind: str) -> None:
    positions, _, cell, _ = start(kind)
    stress = Elastic().evaluate(positions, cell).stress
    for a in range(3):
        for b in range(3):
            strain = np.zeros((3, 3))
            strain[a, b] = 1e-6
            up, down = (
                Elastic().evaluate(positions @ (np.eye(3) + s), cell @ (np.eye(3) + s)).energy
                for s in (strain, -strain)
            )
            assert (up - down) / 2e-6 / np.linalg.det(cell) == pytest.approx(stress[a, b], abs=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_a_trajectory_reverses_to_the_bit(kind: str) -> None:
    point = start(kind)
    ahead = integrate(point, kind, n_steps=200)
    assert not ahead.divergent
    assert np.linalg.det(ahead.cell) != pytest.approx(np.linalg.det(point[2]), rel=1e-3)
    back = integrate((ahead.positions, -ahead.momenta, ahead.cell, -ahead.cell_momenta), kind, n_steps=200)
    np.testing.assert_array_equal(back.positions, point[0])
    np.testing.assert_array_equal(back.cell, point[2])


@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_state_is_the_state(kind: str) -> None:
    # AiiDA keeps 14 digits.
    def stored(values: Array) -> Array:
        return np.array([float(f"{value:.14g}") for value in values.flat]).reshape(values.shape)

    ahead = integrate(start(kind), kind)
    positions, cell = npt.project(stored(ahead.positions), stored(ahead.cell), barostat(kind))
    np.testing.assert_array_equal(positions, ahead.positions)
    np.testing.assert_array_equal(cell, ahead.cell)


@pytest.mark.parametrize("kind", KINDS)
def test_the_map_preserves_volume(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # On the lattice the map is a bijection of points and has no derivative; the map that it rounds has one.
    for module in (npt, cells):
        monkeypatch.setattr(module, "snap", lambda values: values)
    positions, momenta, cell, cell_momenta = start(kind)
    law = law_of(kind, cell)
    xi = law.coordinates(cell)
    k, n = len(xi), positions.size

    def flow(x: Array) -> Array:
        s, pi, c, m = np.split(x, [n, 2 * n, 2 * n + k])
        h = law.cell(c)
        point = (s.reshape(-1, 3) @ h, npt.unscaled(pi.reshape(-1, 3), h), h, m)
        path = integrate(point, kind, n_steps=5)
        end = (npt.fractions(path.positions, path.cell), path.momenta @ path.cell.T)
        return np.concatenate([end[0].ravel(), end[1].ravel(), law.coordinates(path.cell), path.cell_momenta])

    x = np.concatenate([npt.scaled(positions, cell).ravel(), (momenta @ cell.T).ravel(), xi, cell_momenta])
    step = 1e-5
    jacobian = np.array([(flow(x + step * e) - flow(x - step * e)) / (2 * step) for e in np.eye(len(x))]).T
    assert np.linalg.det(jacobian) == pytest.approx(1.0, abs=1e-8)
    # In canonical variables the map is symplectic, which is more.
    order = np.r_[0:n, 2 * n : 2 * n + k, n : 2 * n, 2 * n + k : 2 * n + 2 * k]
    j = jacobian[np.ix_(order, order)]
    half = n + k
    form = np.block([[np.zeros((half, half)), np.eye(half)], [-np.eye(half), np.zeros((half, half))]])
    np.testing.assert_allclose(j.T @ form @ j, form, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_the_energy_error_is_of_second_order(kind: str) -> None:
    errors = []
    for n_steps in (20, 40, 80):
        path = integrate(start(kind), kind, timestep=UNIT_TIME / n_steps, n_steps=n_steps)
        errors.append(path.drift)
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.2)
    assert errors[1] / errors[2] == pytest.approx(4.0, rel=0.2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_drift_is_that_of_the_whole_hamiltonian(kind: str) -> None:
    point = start(kind)
    path = integrate(point, kind, n_steps=1)
    first = dataclasses.replace(path, momenta=point[1], cell=point[2], cell_momenta=point[3])
    change = total(path, path.last.energy, kind) - total(first, path.first.energy, kind)
    assert path.drift == pytest.approx(abs(change), rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_forces_on_the_cell_are_the_gradient_with_the_real_model(kind: str) -> None:
    """A wrong sign or unit of MACE's stress would show here."""
    atoms = rattled(1, seed=3, amplitude=0.05)[0]
    potential = build_potential(
        {"engine": "mace", "file": str(models.path("tio2-pbe-small"))}, atoms.numbers, [True] * 3
    )
    masses = atoms.get_masses()
    positions, cell = npt.project(atoms.positions, atoms.cell[:], barostat(kind))
    pressure, temperature, power = 2.0 * units.GPa, 300.0, 1.0
    law = law_of(kind, cell)
    xi = law.coordinates(cell)
    s, pi = npt.scaled(positions, cell), draw(masses, temperature, np.random.default_rng(1)) @ cell.T

    def hamiltonian(c: Array) -> float:
        h = law.cell(c)
        volume = np.linalg.det(h)
        kinetic = kinetic_energy(npt.unscaled(pi, h), masses)
        return (
            potential.evaluate(s @ h, h).energy + kinetic + pressure * volume
            - power * units.kB * temperature * math.log(volume)
        )  # fmt: skip

    volume = np.linalg.det(cell)
    p = npt.unscaled(pi, cell)
    tensor = p.T @ (p / masses[:, None]) - volume * potential.evaluate(s @ cell, cell).stress
    tensor -= (pressure * volume - power * units.kB * temperature) * np.eye(3)
    force = npt.force_on_cell(law, xi, cell, tensor)
    step = 1e-4
    for index, unit in enumerate(np.eye(len(xi))):
        # Five points: the error of the formula is of fourth order.
        values = [hamiltonian(xi + n * step * unit) for n in (-2, -1, 1, 2)]
        derivative = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
        assert force[index] == pytest.approx(-derivative, rel=1e-6, abs=1e-6 * np.abs(force).max())


def test_a_proposal_holds_what_the_decision_needs() -> None:
    settings = hmc.Settings(UNIT_TEMPERATURE, 0.05 * UNIT_TIME, 10, barostat=barostat("flexible"))
    positions, _, cell, _ = start("flexible")
    move = hmc.propose(positions, cell, MASSES, Elastic(), settings, seed=1, chain=0, cycle=0)
    # The proposal's own energy change is the error of the time step alone: the terms belong together.
    change = move.potential_end + move.kinetic_end + move.cell_end.total
    change -= move.potential_start + move.kinetic_start + move.cell_start.total
    assert abs(change) <= move.drift * (1 + 1e-9)
    assert move.cell_end.pressure_volume == pytest.approx(0.3 * np.linalg.det(move.cell))
    assert move.cell_start.kinetic > 0
    # -c kT ln V with the power of six entries and all momenta.
    assert move.cell_end.log_volume == pytest.approx(math.log(np.linalg.det(move.cell)))


def test_a_run_in_two_parts_is_the_run_in_one() -> None:
    settings = hmc.Settings(UNIT_TEMPERATURE, 0.1 * UNIT_TIME, 5, barostat=barostat("orthorhombic"))
    cell = CELLS["orthorhombic"]
    kwargs = {"target": Elastic(), "proposal_potential": Elastic(15.0), "settings": settings, "seed": 4}
    whole = hmc.run_chain(SITES @ cell, cell, MASSES, n_cycles=12, **kwargs)
    first = hmc.run_chain(SITES @ cell, cell, MASSES, n_cycles=7, **kwargs)
    second = hmc.run_chain(first.positions[-1], first.cells[-1], MASSES, n_cycles=5, first_cycle=7, **kwargs)
    np.testing.assert_array_equal(whole.positions, np.concatenate([first.positions, second.positions]))
    np.testing.assert_array_equal(whole.cells, np.concatenate([first.cells, second.cells]))
    assert 0 < whole.accepted.sum() < 12


def test_the_weight_of_a_volume_follows_the_convention() -> None:
    powers = {
        (kind, treatment): Barostat(0.0, kind, 1.0).power(treatment)
        for kind in KINDS
        for treatment in ("keep", "remove")
    }
    assert powers == {
        ("isotropic", "keep"): 1.0, ("isotropic", "remove"): 2.0,
        ("orthorhombic", "keep"): 1.0, ("orthorhombic", "remove"): 2.0,
        ("flexible", "keep"): -1.0, ("flexible", "remove"): 0.0,
    }  # fmt: skip
    assert Barostat(0.0, "flexible", 1.0, 3.0).power("keep") == 3.0


def test_mass_of_the_cell() -> None:
    assert cell_mass(210.0, 502.4, 100.0, "isotropic") == pytest.approx(1.668e5, rel=1e-3)
    assert cell_mass(210.0, 502.4, 100.0, "flexible") == pytest.approx(1.668e5 / 502.4 ** (2 / 3), rel=1e-3)
    with pytest.raises(ValueError, match="period of the cell's mass must be positive, not 0 fs"):
        cell_mass(210.0, 502.4, 0, "isotropic")


def test_small_oscillations_of_the_volume_have_the_period_asked_for() -> None:
    """A cell without atoms in motion swings with the period that its mass was made for."""

    @dataclasses.dataclass(frozen=True)
    class Volume:
        def evaluate(self, positions: Array, cell: Array) -> Evaluation:
            volume = np.linalg.det(cell)
            strain = volume / 100.0 - 1.0
            bulk = 200.0 * units.GPa
            return Evaluation(50.0 * bulk * strain**2, np.zeros_like(positions), bulk * strain * np.eye(3))

    box = Barostat(0.0, "isotropic", cell_mass(200.0, 100.0, 80.0, "isotropic"), 0.0)
    cell = 100.2 ** (1 / 3) * np.eye(3)
    ends = []
    for n_steps in (40, 80):
        path = npt.trajectory(
            np.zeros((1, 3)), np.zeros((1, 3)), cell, np.zeros(1), np.ones(1), box,
            temperature=300.0, power=0.0, timestep=1.0, n_steps=n_steps,
        )  # fmt: skip
        ends.append(np.linalg.det(driving.run(path, Volume()).cell))
    assert ends == pytest.approx([99.8, 100.2], abs=2e-3)


@pytest.mark.parametrize(
    ("kind", "cell", "words"),
    [
        ("orthorhombic", CELLS["flexible"], "lattice vectors along x, y and z"),
        ("flexible", CELLS["isotropic"], "lower-triangular"),
        ("isotropic", np.diag([1.0, 1.0, -1.0]), "right-handed"),
        ("cubic", np.eye(3), "there is no cell 'cubic'"),
    ],
)
def test_a_cell_of_another_kind_is_refused(kind: str, cell: Array, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        law_of(kind, cell)


def test_a_surface_without_stress_is_refused() -> None:
    class Stressless:
        def evaluate(self, positions: Array, cell: Array) -> Evaluation:
            return Evaluation(0.0, np.zeros_like(positions))

    with pytest.raises(ValueError, match="needs a surface with a stress"):
        integrate(start("isotropic"), "isotropic", Stressless())


@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_that_runs_away_is_a_rejection(kind: str) -> None:
    """Blown up, collapsed, or not a number: the start comes back, and nothing hangs."""
    positions, momenta, cell, cell_momenta = start(kind)
    for push in (1e3, -1e3, 1e5):
        path = integrate(
            (positions, momenta, cell, np.full_like(cell_momenta, push)), kind, limits=Limits(0.2, 50, 1.5)
        )
        assert path.divergent
        assert path.reason
        np.testing.assert_array_equal(path.positions, positions)
        np.testing.assert_array_equal(path.cell, cell)


def test_a_bound_on_the_volume_strikes_the_reverse_alike() -> None:
    struck = {}
    for seed in range(30):
        point = start("isotropic", seed)
        free = integrate(point, "isotropic", n_steps=15)
        back = (free.positions, -free.momenta, free.cell, -free.cell_momenta)
        bound = Limits(max_volume_change=1.1)
        ahead, reverse = (integrate(p, "isotropic", n_steps=15, limits=bound).divergent for p in (point, back))
        assert ahead == reverse
        struck[seed] = ahead
    assert 3 < sum(struck.values()) < 27
