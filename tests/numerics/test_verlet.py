from __future__ import annotations

import math

import numpy as np
import pytest

from aiida_slhmc.numerics import lattice, verlet
from aiida_slhmc.numerics.analytic import AnharmonicCrystal, EinsteinCrystal
from aiida_slhmc.numerics.potential import Array, Evaluation
from aiida_slhmc.numerics.verlet import Trajectory, integrate

from .surfaces import CELL, UNIT_TIME, Cliff, Counting, MeanFieldSolid

SPRING = EinsteinCrystal(np.zeros((1, 3)), 1.0)


def oscillator(n_steps: int, timestep: float = 0.1) -> Trajectory:
    """Start one oscillator with k = m = 1 at x = 1 Å, at rest."""
    start = np.array([[1.0, 0.0, 0.0]])
    return integrate(start, 0 * start, CELL, np.ones(1), SPRING, timestep=timestep * UNIT_TIME, n_steps=n_steps)


def chaos() -> tuple[AnharmonicCrystal, Array, Array, Array]:
    """Return a strongly coupled anharmonic chain with positions, momenta and masses."""
    rng = np.random.default_rng(0)
    surface = AnharmonicCrystal(rng.uniform(0, 8, size=(6, 3)), spring_constant=0.1, quartic=0.2, coupling=3.0)
    displaced = surface.sites + 2.0 * rng.standard_normal((6, 3))
    return surface, displaced, 2.0 * rng.standard_normal((6, 3)), np.linspace(1, 3, 6)


def test_one_step_by_hand() -> None:
    path = oscillator(1)
    # The lattice moves each number by some spacings of 1.5e-11.
    assert path.positions[0, 0] == pytest.approx(0.995, abs=5e-11)
    assert path.momenta[0, 0] == pytest.approx(-0.09975, abs=5e-11)
    assert path.last.energy + 0.5 * path.momenta[0, 0] ** 2 == pytest.approx(0.49998753125, abs=1e-10)
    assert path.drift == pytest.approx(0.5 - 0.49998753125, abs=1e-10)


@pytest.mark.parametrize("n_steps", [1, 10, 1000, 10_000])
def test_shadow_energy_is_conserved(n_steps: int) -> None:
    path = oscillator(n_steps)
    x, p = path.positions[0, 0], path.momenta[0, 0]
    assert p**2 / (1 - 0.1**2 / 4) + x**2 == pytest.approx(1.0, abs=1e-8)


def test_reversal_is_exact_to_the_bit() -> None:
    surface, positions, momenta, masses = chaos()
    rest = {"cell": CELL, "masses": masses, "potential": surface, "timestep": 0.02 * UNIT_TIME, "n_steps": 4000}
    there = integrate(positions, momenta, **rest)
    back = integrate(there.positions, -there.momenta, **rest)
    assert not there.divergent
    assert np.abs(there.positions - positions).max() > 0.5
    assert np.array_equal(back.positions, lattice.snap(positions))
    assert np.array_equal(-back.momenta, lattice.snap(momenta))
    assert back.last.energy == there.first.energy


def test_without_the_lattice_reversal_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    # The chaos that the test above survives: rounding errors of 1e-16 grow to the size of the system.
    monkeypatch.setattr(verlet, "snap", lambda values: np.array(values))
    surface, positions, momenta, masses = chaos()
    rest = {"cell": CELL, "masses": masses, "potential": surface, "timestep": 0.02 * UNIT_TIME, "n_steps": 4000}
    there = integrate(positions, momenta, **rest)
    back = integrate(there.positions, -there.momenta, **rest)
    assert np.abs(back.positions - positions).max() > 0.1


def test_a_single_precision_model_reverses_too() -> None:
    surface, positions, momenta, masses = chaos()

    class Single:
        def evaluate(self, positions: Array, cell: Array) -> Evaluation:
            coarse = AnharmonicCrystal(surface.sites.astype(np.float32), 0.1, 0.2, 3.0)
            result = coarse.evaluate(positions.astype(np.float32), cell)
            return Evaluation(float(np.float32(result.energy)), result.forces.astype(np.float32))

    rest = {"cell": CELL, "masses": masses, "potential": Single(), "timestep": 0.02 * UNIT_TIME, "n_steps": 500}
    there = integrate(positions, momenta, **rest)
    back = integrate(there.positions, -there.momenta, **rest)
    assert np.array_equal(back.positions, lattice.snap(positions))
    assert np.array_equal(-back.momenta, lattice.snap(momenta))


def test_map_is_symplectic_and_preserves_volume() -> None:
    rng = np.random.default_rng(3)
    surface = AnharmonicCrystal(np.zeros((2, 3)), spring_constant=1.0, quartic=1.0, coupling=0.5)
    masses = np.array([1.0, 3.0])
    start = 0.5 * rng.standard_normal(12)

    def image(z: Array) -> Array:
        path = integrate(
            z[:6].reshape(2, 3), z[6:].reshape(2, 3), CELL, masses, surface, timestep=0.2 * UNIT_TIME, n_steps=8
        )
        return np.concatenate([path.positions.ravel(), path.momenta.ravel()])

    # Steps that are large against the lattice need a stencil of high order: 12 points, error of order h^12.
    h, weights = 0.03, {1: 6 / 7, 2: -15 / 56, 3: 5 / 63, 4: -1 / 56, 5: 1 / 385, 6: -1 / 5544}
    jacobian = np.empty((12, 12))
    for column in range(12):
        unit = np.zeros(12)
        unit[column] = h
        jacobian[:, column] = (
            sum(w * (image(start + n * unit) - image(start - n * unit)) for n, w in weights.items()) / h
        )
    assert abs(np.linalg.det(jacobian) - 1.0) < 1e-8
    form = np.block([[np.zeros((6, 6)), np.eye(6)], [-np.eye(6), np.zeros((6, 6))]])
    assert np.abs(jacobian.T @ form @ jacobian - form).max() < 1e-7
    # Far from trivial: the map stretches.
    assert np.linalg.norm(jacobian, 2) > 3.0


def test_error_of_the_energy_falls_with_the_square_of_the_time_step() -> None:
    drifts = [oscillator(round(6 / dt), dt).drift for dt in (0.2, 0.1, 0.05)]
    assert drifts[0] / drifts[1] == pytest.approx(4.0, rel=0.05)
    assert drifts[1] / drifts[2] == pytest.approx(4.0, rel=0.05)


def test_time_unit_is_the_femtosecond() -> None:
    # Period of 1 amu on 1 eV/Å²: 2 pi times 10.18 fs, one ASE time unit.
    steps = 640
    path = oscillator(steps, timestep=2 * math.pi / steps)
    assert path.positions[0, 0] == pytest.approx(1.0, abs=1e-6)
    assert 2 * math.pi * UNIT_TIME == pytest.approx(63.966, abs=2e-3)


def test_one_evaluation_a_step() -> None:
    surface = Counting(MeanFieldSolid(np.zeros((2, 3)), 1.0))
    integrate(np.eye(2, 3), np.ones((2, 3)), CELL, np.ones(2), surface, timestep=UNIT_TIME / 10, n_steps=7)
    assert surface.calls == 8


def test_a_model_that_fails_makes_a_divergent_trajectory() -> None:
    start = np.array([[0.9, 0.0, 0.0]])
    momenta = np.array([[1.0, 0.0, 0.0]])
    path = integrate(start, momenta, CELL, np.ones(1), Cliff(1.0), timestep=UNIT_TIME / 10, n_steps=50)
    assert path.divergent
    assert path.reason == "an energy, a force or a stress of the proposal model is not finite"
    assert np.array_equal(path.positions, lattice.snap(start))
    assert np.array_equal(path.momenta, momenta)


def test_a_step_far_too_long_diverges_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    surface, positions, momenta, masses = chaos()
    path = integrate(positions, momenta, CELL, masses, surface, timestep=20 * UNIT_TIME, n_steps=500)
    assert path.divergent
    assert path.reason == "a position or a momentum left the range of exact arithmetic"
    assert not recwarn.list


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timestep": 0.0}, "time step must be positive"),
        ({"timestep": math.nan}, "time step must be positive"),
        ({"n_steps": 0}, "at least 1 step"),
        ({"momenta": np.full((1, 3), np.nan)}, "not finite at the start"),
        ({"positions": np.full((1, 3), np.inf)}, "not finite at the start"),
    ],
)
def test_nonsense_is_refused(change: dict[str, object], message: str) -> None:
    arguments = {
        "positions": np.zeros((1, 3)),
        "momenta": np.zeros((1, 3)),
        "cell": CELL,
        "masses": np.ones(1),
        "potential": SPRING,
        "timestep": 1.0,
        "n_steps": 2,
    }
    with pytest.raises(ValueError, match=message):
        integrate(**{**arguments, **change})
