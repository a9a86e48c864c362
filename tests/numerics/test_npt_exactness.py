"""The defining tests at constant pressure: a wrong model moves atoms and cell, the target's ensemble comes out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from ase import units

from aiida_slhmc.numerics import hmc, npt
from aiida_slhmc.numerics.analytic import BreathingCrystal
from aiida_slhmc.numerics.cells import Barostat, CellKind
from aiida_slhmc.numerics.momenta import CentreOfMass
from aiida_slhmc.numerics.potential import Array, Potential
from tests.statistics_plugin import ZScores

from .chains import means
from .surfaces import UNIT_TEMPERATURE, UNIT_TIME, IdealGas, StressTurned, Sum, log_shape, tilts

#: Chains of each test.
N_CHAINS = 24
KINDS = ["isotropic", "orthorhombic", "flexible"]


def barostat(kind: CellKind, pressure: float, mass: float, power: float | None = None) -> Barostat:
    """Return a barostat in natural units: pressure in eV/Å³, mass in eV ASE times² (Å^-2)."""
    return Barostat(pressure / units.GPa, kind, mass / units.fs**2, power)


def shaped(kind: CellKind, volume: float, stiffness: float, rng: np.random.Generator) -> Array:
    """Draw a cell of a volume, its shape from the law of :class:`IdealGas`."""
    y, tilt = np.zeros(3), np.zeros((3, 3))
    if kind != "isotropic":
        y = rng.standard_normal(3) / math.sqrt(stiffness)
    if kind == "flexible":
        tilt = np.tril(rng.standard_normal((3, 3)), -1) / math.sqrt(stiffness)
    return np.asarray(volume ** (1 / 3) * (np.diag(np.exp(y - y.mean())) + tilt))


def run(
    starts: list[tuple[Array, Array]],
    target: Potential,
    proposal: Potential,
    settings: hmc.Settings,
    *,
    n_cycles: int,
    seed: int,
) -> list[hmc.ChainRecord]:
    """Run one chain from each structure."""
    return [
        hmc.run_chain(
            positions, cell, np.ones(len(positions)), target, proposal, settings,
            n_cycles=n_cycles, seed=seed, chain=chain,
        )
        for chain, (positions, cell) in enumerate(starts)
    ]  # fmt: skip


def volumes(record: hmc.ChainRecord) -> Array:
    """Return the volumes of the states, (C,) in Å³."""
    return np.asarray(np.linalg.det(record.cells))


def check_volume(zscore: ZScores, name: str, records: list[hmc.ChainRecord], mean: float, variance: float) -> None:
    """Compare mean and variance of the volume, and the balance of delta and -delta, with the exact ones."""
    zscore.chains(f"{name}: mean V (Å³)", means(records, volumes), mean)
    zscore.chains(f"{name}: variance V (Å⁶)", means(records, lambda record: (volumes(record) - mean) ** 2), variance)

    # P(-delta) = P(delta) exp(-delta/kT) makes the mean of exp(-delta/kT) 1 over |delta| < 3 kT, and over all;
    # but over all, what proposals beyond 8 kT, say, belong to is brought in by events too rare to be seen.
    def excess(record: hmc.ChainRecord) -> Array:
        near = np.abs(record.deltas) < 3.0
        return np.where(near, np.exp(-np.where(near, record.deltas, 0.0)) - 1.0, 0.0)

    zscore.chains(f"{name}: mean exp(-delta/kT) - 1, |delta| < 3 kT", means(records, excess), 0.0)


def creutz(zscore: ZScores, name: str, records: list[hmc.ChainRecord]) -> None:
    """Compare the mean of exp(-delta/kT) over all proposals with 1."""
    # Trajectories that were rejected unseen are left out: their reverses were, too.
    weights = means(records, lambda record: np.exp(-record.deltas[~record.divergent]))
    zscore.chains(f"{name}: mean exp(-delta/kT)", weights, 1.0)


def acceptance(records: list[hmc.ChainRecord]) -> float:
    """Return the mean acceptance probability."""
    return float(means(records, lambda record: record.probabilities).mean())


# Ideal gas ------------------------------------------------------------------------------------------------------------


def gas(
    kind: CellKind,
    n_atoms: int,
    pressure: float,
    seed: int,
    *,
    n_cycles: int,
    target: IdealGas,
    proposal: IdealGas,
    mass: float = 9.0,
    timestep: float = 0.4,
    centre_of_mass: CentreOfMass = "keep",
    power: float | None = None,
    shape: int | None = None,
) -> list[hmc.ChainRecord]:
    """Sample an ideal gas from starts of its law, volumes of Gamma(shape)."""
    rng = np.random.default_rng(seed)
    starts = []
    for volume in rng.gamma(n_atoms + 1 if shape is None else shape, 1 / pressure, N_CHAINS):
        cell = shaped(kind, float(volume), target.stiffness, rng)
        starts.append((rng.random((n_atoms, 3)) @ cell, cell))
    settings = hmc.Settings(
        UNIT_TEMPERATURE, timestep * UNIT_TIME, 4,
        centre_of_mass=centre_of_mass, barostat=barostat(kind, pressure, mass, power),
    )  # fmt: skip
    return run(starts, target, proposal, settings, n_cycles=n_cycles, seed=seed)


#: Treatment of the centre of mass, c of -c kT ln V (None: the default), and the power of V in the law of V, plus one.
CONVENTIONS = [("keep", None, 9), ("remove", None, 9), ("remove", 1.0, 8), ("keep", 0.0, 8)]


@pytest.mark.statistics
@pytest.mark.parametrize(("centre_of_mass", "power", "shape"), CONVENTIONS)
def test_the_volume_of_an_ideal_gas(
    centre_of_mass: CentreOfMass, power: float | None, shape: int, zscore: ZScores, seed: int
) -> None:
    # 8 atoms at 0.5 eV/Å³: V ~ Gamma(shape, kT/P); the model believes in walls that pull.
    records = gas(
        "isotropic", 8, 0.5, seed, n_cycles=200, target=IdealGas(), proposal=IdealGas(tension=0.05),
        centre_of_mass=centre_of_mass, power=power, shape=shape,
    )  # fmt: skip
    name = f"ideal gas, {centre_of_mass}, c={'default' if power is None else f'{power:g}'}"
    assert 0.7 < acceptance(records) < 0.99
    check_volume(zscore, name, records, 2.0 * shape, 4.0 * shape)
    creutz(zscore, name, records)


@pytest.mark.statistics
@pytest.mark.parametrize("kind", ["orthorhombic", "flexible"])
def test_the_shape_of_a_cell(kind: CellKind, zscore: ZScores, seed: int) -> None:
    # 6 atoms at 0.7 eV/Å³, stiffness 8 eV: the volume is that of the ideal gas, the shape Gaussian.
    target, proposal = IdealGas(8.0), IdealGas(6.5, 0.05)
    # Small flexible cells oscillate fast: shorter steps.
    mass, timestep = (9.0, 0.4) if kind == "orthorhombic" else (3.0, 0.3)
    records = gas(kind, 6, 0.7, seed, n_cycles=240, target=target, proposal=proposal, mass=mass, timestep=timestep)
    assert 0.6 < acceptance(records) < 0.99
    name = f"gas in a cell, {kind}"
    check_volume(zscore, name, records, 10.0, 100 / 7)
    y = [np.array([log_shape(cell) for cell in record.cells]) for record in records]
    for axis in range(3):
        mean = np.array([np.mean(value[:, axis] ** 2) for value in y])
        # Two of three freedoms, each of variance kT/k: a third of them on an axis.
        zscore.chains(f"{name}: mean y{'xyz'[axis]}²", mean, 2 / 24)
    if kind == "flexible":
        for a, b in ((1, 0), (2, 0), (2, 1)):
            square = np.array([np.mean([tilts(cell)[a, b] ** 2 for cell in record.cells]) for record in records])
            zscore.chains(f"{name}: mean tilt² {'xyz'[a]}{'xyz'[b]}", square, 1 / 8)
    # Shape and volume know nothing of each other.
    product = [
        np.mean([np.sum(log_shape(cell) ** 2 + np.sum(tilts(cell) ** 2) / 3) for cell in record.cells]
                * (volumes(record) - 10.0))
        for record in records
    ]  # fmt: skip
    zscore.chains(f"{name}: covariance of shape and V", np.array(product), 0.0)


# Breathing crystal ----------------------------------------------------------------------------------------------------

SITES = np.random.default_rng(5).random((8, 3))
#: k = 50 eV/Å², B = 3 eV/Å³, V0 = 16 Å³; at P = 0.5 eV/Å³: <V> = 40/3, variance 16/3, springs of Gamma(12, kT).
TARGET = BreathingCrystal(SITES, 50.0, 3.0, 16.0)
#: Deliberately wrong in all it says.
MODEL = BreathingCrystal(SITES + np.random.default_rng(6).normal(0.0, 0.003, (8, 3)), 40.0, 2.2, 15.0)
MEAN, VARIANCE = 40 / 3, 16 / 3


def crystal(
    kind: CellKind, seed: int, n_cycles: int, proposal: Potential = MODEL, mass: float = 4.0
) -> list[hmc.ChainRecord]:
    """Sample the breathing crystal by proposals of a wrong model, from starts of its law."""
    rng = np.random.default_rng(seed)
    starts = []
    for volume in rng.normal(MEAN, math.sqrt(VARIANCE), N_CHAINS):
        cell = shaped(kind, float(volume), 20.0, rng)
        starts.append((SITES @ cell + rng.standard_normal((8, 3)) / math.sqrt(50.0), cell))
    settings = hmc.Settings(UNIT_TEMPERATURE, 0.055 * UNIT_TIME, 8, barostat=barostat(kind, 0.5, mass))
    return run(
        starts,
        Sum((TARGET, IdealGas(20.0))),
        Sum((proposal, IdealGas(17.0))),
        settings,
        n_cycles=n_cycles,
        seed=seed,
    )


def springs(record: hmc.ChainRecord) -> Array:
    """Return the energies of the springs of the states, (C,) in eV."""
    d = record.positions - SITES @ record.cells
    return np.asarray(25.0 * np.sum(d**2, axis=(1, 2)))


@pytest.mark.statistics
@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_model_samples_the_breathing_crystal(kind: CellKind, zscore: ZScores, seed: int) -> None:
    records = crystal(kind, seed, 140, mass=1.0 if kind == "flexible" else 4.0)
    # The model's error costs acceptance, and nothing else.
    assert 0.35 < acceptance(records) < 0.75
    name = f"breathing crystal, {kind}, acceptance {acceptance(records):.2f}"
    check_volume(zscore, name, records, MEAN, VARIANCE)
    if kind == "isotropic":
        creutz(zscore, name, records)
    zscore.chains(f"{name}: mean U of the springs/kT", means(records, springs), 12.0)
    zscore.chains(f"{name}: its variance", means(records, lambda record: (springs(record) - 12.0) ** 2), 12.0)
    energy = means(records, lambda record: record.energies - springs(record))
    # What is left: (V - V0)² B/2V0 and the freedoms of the shape, kT/2 each.
    shape = {"isotropic": 0.0, "orthorhombic": 1.0, "flexible": 2.5}[kind]
    zscore.chains(f"{name}: mean U of the cell/kT", energy, 3 / 32 * (VARIANCE + (MEAN - 16) ** 2) + shape)


@pytest.mark.statistics
def test_a_wrong_sign_of_the_models_stress_costs_acceptance_alone(zscore: ZScores, seed: int) -> None:
    right = acceptance(crystal("isotropic", seed, 20))
    records = crystal("isotropic", seed, 200, StressTurned(MODEL))
    assert acceptance(records) < right - 0.1
    name = f"stress of the model turned, acceptance {acceptance(records):.2f} instead of {right:.2f}"
    zscore.chains(f"{name}: mean V (Å³)", means(records, volumes), MEAN)
    zscore.chains(f"{name}: mean U of the springs/kT", means(records, springs), 12.0)


# Wrong kernels --------------------------------------------------------------------------------------------------------

#: What a wrong kernel makes of kinetic energy, P V and -c kT ln V of the cell.
MISTAKES: dict[str, tuple[float, float, float]] = {
    "-c kT ln V forgotten": (1.0, 1.0, 0.0),
    "kinetic energy of the cell forgotten": (0.0, 1.0, 1.0),
    "P V forgotten": (1.0, 0.0, 1.0),
    # As in a Monte Carlo move of the volume, whose proposal does not scale momenta.
    "V^N counted twice": (1.0, 1.0, 9.0),
}


def mistake(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the decision see wrong terms of the cell."""
    terms = npt.cell_terms

    def wrong(*arguments: Any) -> tuple[float, ...]:
        return tuple(factor * term for factor, term in zip(MISTAKES[name], terms(*arguments), strict=True))

    monkeypatch.setattr(npt, "cell_terms", wrong)


@pytest.mark.statistics
@pytest.mark.parametrize("name", MISTAKES)
def test_a_wrong_decision_is_caught(name: str, zscore: ZScores, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    mistake(name, monkeypatch)
    records = gas("isotropic", 8, 0.5, seed, n_cycles=120, target=IdealGas(), proposal=IdealGas())
    if name == "kinetic energy of the cell forgotten":
        # Moves away from the mean take kinetic energy from the cell, and now seem to cost: V stays close to its mean.
        spread = means(records, lambda record: (volumes(record) - 18.0) ** 2)
        zscore.wrong(f"ideal gas, {name}: variance V (Å⁶)", spread, 36.0, bound=8.0)
    else:
        zscore.wrong(f"ideal gas, {name}: mean V (Å³)", means(records, volumes), 18.0, bound=8.0)


def geweke(seed: int, n_cycles: int) -> tuple[Array, Array, Array]:
    """Alternate V | P by the kernel with P | V exactly; return the means of P, P² and (PV - 9 kT)² of the chains.

    Prior P ~ Gamma(3, rate 6), V | P ~ Gamma(9, kT/P): the marginal of P stays the prior (Geweke, J. Am. Stat. Assoc.
    99, 799, 2004), and PV/kT ~ Gamma(9).
    """
    first, second, third = [], [], []
    for chain in range(N_CHAINS):
        rng = np.random.default_rng([seed, chain])
        pressure = rng.gamma(3.0, 1 / 6.0)
        cell = rng.gamma(9.0, 1 / pressure) ** (1 / 3) * np.eye(3)
        positions = rng.random((8, 3)) @ cell
        pressures, products = np.empty(n_cycles), np.empty(n_cycles)
        for cycle in range(n_cycles):
            settings = hmc.Settings(UNIT_TEMPERATURE, 0.4 * UNIT_TIME, 4, barostat=barostat("isotropic", pressure, 9.0))
            record = hmc.run_chain(
                positions, cell, np.ones(8), IdealGas(), IdealGas(tension=0.02 * pressure), settings,
                n_cycles=1, seed=seed, chain=chain, first_cycle=cycle,
            )  # fmt: skip
            positions, cell = record.positions[-1], record.cells[-1]
            products[cycle] = pressure * np.linalg.det(cell)
            pressure = pressures[cycle] = rng.gamma(12.0, 1 / (6.0 + np.linalg.det(cell)))
        first.append(pressures.mean())
        second.append((pressures**2).mean())
        third.append(((products - 9.0) ** 2).mean())
    return np.array(first), np.array(second), np.array(third)


@pytest.mark.statistics
def test_geweke(zscore: ZScores, seed: int) -> None:
    first, second, third = geweke(seed, 200)
    zscore.chains("Geweke at constant pressure: mean P", first, 0.5)
    zscore.chains("Geweke at constant pressure: mean P²", second, 1 / 3)
    zscore.chains("Geweke at constant pressure: variance PV", third, 9.0)


@pytest.mark.statistics
def test_geweke_catches_a_forgotten_term(zscore: ZScores, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        mistake("-c kT ln V forgotten", patch)
        zscore.wrong("Geweke, -c kT ln V forgotten: mean P", geweke(seed, 120)[0], 0.5, bound=6.0)
    mistake("kinetic energy of the cell forgotten", monkeypatch)
    zscore.wrong("Geweke, kinetic energy of the cell forgotten: variance PV", geweke(seed, 120)[2], 9.0, bound=6.0)


# Surfaces -------------------------------------------------------------------------------------------------------------

SURFACES: dict[str, Potential] = {
    "gas": IdealGas(tension=0.3),
    "gas with a shape": IdealGas(8.0, 0.3),
    "crystal": TARGET,
    "crystal, a spring an atom": BreathingCrystal(SITES, np.linspace(5.0, 60.0, 8), 3.0, 16.0, -7.0),
    "sum": Sum((TARGET, IdealGas(20.0))),
}


@pytest.mark.parametrize("name", SURFACES)
def test_stress_and_forces_of_the_surfaces_are_the_gradient(name: str) -> None:
    surface = SURFACES[name]
    rng = np.random.default_rng(2)
    cell = np.array([[2.5, 0.0, 0.0], [0.4, 2.2, 0.0], [-0.3, 0.5, 2.6]])
    positions = SITES @ cell + rng.normal(0.0, 0.1, (8, 3))
    answer = surface.evaluate(positions, cell)

    def derivative(shift: Array, strain: Array) -> float:
        up, down = (
            surface.evaluate((positions + s * shift) @ (np.eye(3) + s * strain), cell @ (np.eye(3) + s * strain)).energy
            for s in (1e-5, -1e-5)
        )
        return (up - down) / 2e-5

    assert answer.stress is not None
    assert np.abs(answer.stress).max() > 0.01
    for a, b in np.ndindex(3, 3):
        strain = np.zeros((3, 3))
        strain[a, b] = 1.0
        by_strain = derivative(np.zeros((8, 3)), strain)
        assert by_strain / np.linalg.det(cell) == pytest.approx(answer.stress[a, b], abs=1e-7)
    for index in ((0, 0), (3, 1), (7, 2)):
        shift = np.zeros((8, 3))
        shift[index] = 1.0
        assert -derivative(shift, np.zeros((3, 3))) == pytest.approx(answer.forces[index], abs=1e-6)
