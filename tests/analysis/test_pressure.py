"""Pressures: units and sign by hand, against ASE, and the thermodynamic definition."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT

from aiida_slhmc.analysis import pressure


def test_one_electronvolt_per_cubic_angstrom() -> None:
    stress = -np.eye(3)
    assert pressure.configurational_pressure(stress) == pytest.approx(160.21766208, rel=1e-7)
    np.testing.assert_allclose(
        pressure.configurational_pressure([stress, 2 * stress]), [160.217662, 320.435324], rtol=1e-6
    )


def test_only_the_trace_counts() -> None:
    stress = np.array([[-0.03, 5.0, 1.0], [5.0, 0.0, 2.0], [1.0, 2.0, 0.0]])
    assert pressure.configurational_pressure(stress) == pytest.approx(1.6021766, rel=1e-7)


def test_ideal_gas_law() -> None:
    # 6 atoms at 300 K in rutile's cell: N kT/V = 6 * 0.0258520 eV / 62.4349 Å³ = 0.398 GPa.
    cell = np.diag([4.5937, 4.5937, 2.9587])
    assert pressure.ideal_pressure(6, cell, 300.0) == pytest.approx(0.39805, abs=2e-5)
    assert pressure.ideal_pressure(6, cell[[1, 0, 2]], 300.0) > 0
    one_mole = pressure.ideal_pressure(1, np.eye(3) * (22.413969e24 / 6.02214076e23) ** (1 / 3) * 10, 273.15)
    assert one_mole * 1e3 == pytest.approx(0.101325, rel=1e-3)


def test_agrees_with_ase_and_with_the_derivative_of_the_energy() -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell * 0.97, scale_atoms=True)
    atoms.calc = EMT()
    ours = float(pressure.configurational_pressure(atoms.get_stress(voigt=False)))
    assert ours == pytest.approx(-atoms.get_stress()[:3].mean() / units.GPa)
    energies, volumes = [], []
    for scale in (0.9995, 1.0005):
        strained = atoms.copy()
        strained.set_cell(atoms.cell * scale, scale_atoms=True)
        strained.calc = EMT()
        energies.append(strained.get_potential_energy())
        volumes.append(strained.get_volume())
    derivative = -(energies[1] - energies[0]) / (volumes[1] - volumes[0]) / units.GPa
    assert ours == pytest.approx(derivative, rel=1e-3)
    assert ours > 0


def test_mean_adds_both_parts_and_knows_the_repeats() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=400)
    stresses = -np.eye(3) * values[:, None, None] * units.GPa
    cell = np.eye(3) * 4.0
    single = pressure.mean_pressure(stresses, cell, 6, 300.0)
    assert single.value == pytest.approx(values.mean() + float(pressure.ideal_pressure(6, cell, 300.0)))
    assert single.error == pytest.approx(values.std(ddof=1) / 20, rel=0.15)
    repeated = pressure.mean_pressure(np.repeat(stresses, 4, axis=0), cell, 6, 300.0)
    assert repeated.value == pytest.approx(single.value)
    assert repeated.tau == pytest.approx(4.0, rel=0.25)
    assert repeated.error == pytest.approx(single.error, rel=0.25)


def test_chains_are_kept_apart() -> None:
    # Two chains at different levels: one series with a step would look endlessly correlated.
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(size=200), 10 + rng.normal(size=200)])
    stresses = -np.eye(3) * values[:, None, None] * units.GPa
    apart = pressure.mean_pressure(stresses, np.eye(3) * 4, 1, 0.0, chain=np.repeat([0, 1], 200))
    together = pressure.mean_pressure(stresses, np.eye(3) * 4, 1, 0.0)
    assert apart.value == pytest.approx(together.value)
    assert apart.error < 0.2 * together.error


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="no stress"):
        pressure.mean_pressure(np.full((3, 3, 3), np.nan), np.eye(3), 2, 300.0)
    with pytest.raises(ValueError, match="finite volume"):
        pressure.ideal_pressure(2, np.zeros((3, 3)), 300.0)
    with pytest.raises(ValueError, match="negative temperature"):
        pressure.ideal_pressure(2, np.eye(3), -1.0)
