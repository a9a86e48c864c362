"""At constant pressure on a real model: volumes at two pressures differ as statistical mechanics says they must."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ase import units

from aiida_slhmc import models
from aiida_slhmc.numerics import diagnostics, hmc
from aiida_slhmc.numerics.cells import Barostat, cell_mass
from aiida_slhmc.numerics.potential import Array
from aiida_slhmc.worker.potentials import Remembering, build_potential
from tests.statistics_plugin import ZScores
from tests.worker.rutile import rutile

pytestmark = pytest.mark.statistics


def slope(samples: list[list[Array]], degree: int = 1) -> tuple[Array, Array]:
    """Fit ln[p(V|1)/p(V|0)] by a polynomial; return its coefficients less the constant, and their errors.

    Maximum likelihood of which state a volume came from (Shirts, J. Chem. Theory Comput. 9, 909, 2013). The error is
    the sandwich of the information with the variance of the chains' sums of scores, which grows with their
    autocorrelation time.

    :param samples: for each of two states its chains of volumes, as many in both.
    :param degree: of the polynomial.
    """
    values = [np.array([v**power for power in range(degree + 1)]).T for state in samples for v in state]
    labels = [np.full(len(v), float(index)) for index, state in enumerate(samples) for v in state]
    x, y = np.concatenate(values), np.concatenate(labels)
    beta = np.zeros(degree + 1)
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ beta))
        information = (x * (p * (1 - p))[:, None]).T @ x
        beta = beta + np.linalg.solve(information, x.T @ (y - p))
    inverse = np.linalg.inv(information)
    variance = np.zeros(degree + 1)
    for one, label in zip(values, labels, strict=True):
        influence = (label - 1 / (1 + np.exp(-one @ beta)))[:, None] * one @ inverse
        for index, column in enumerate(influence.T):
            tau = max(diagnostics.integrated_autocorrelation_time(column)[0], 1.0)
            variance[index] += len(column) * column.var(ddof=1) * tau
    return beta[1:], np.sqrt(variance[1:])


def test_the_error_of_the_slope_knows_the_autocorrelation(zscore: ZScores, seed: int) -> None:
    # Two Gaussians one unit apart, sampled by autoregressive chains of tau = 3: the slope is exactly 1.
    rng = np.random.default_rng(seed)

    def chain(mean: float) -> Array:
        x = rng.standard_normal(400)
        for index in range(1, 400):
            x[index] = 0.5 * x[index - 1] + math.sqrt(0.75) * x[index]
        return x + mean

    fits = [slope([[chain(-0.5)], [chain(0.5)]]) for _ in range(200)]
    scores = np.array([(float(value[0]) - 1.0) / float(error[0]) for value, error in fits])
    zscore.chains("slope of two Gaussians: mean z", scores, 0.0)
    # The window cuts off some of tau, and errors scatter: 0.9 to 1.2 is well calibrated, 1.7 would be the naive error.
    assert 0.85 < scores.std() < 1.25


def test_pressure_shifts_the_volumes_of_the_real_model_as_it_must(zscore: ZScores, seed: int) -> None:
    """ln[p(V|P2)/p(V|P1)] is linear in V with slope -(P2 - P1)/kT, whatever the surface."""
    temperature, pressures = 600.0, (0.0, 12.0)
    samples: list[list[Array]] = []
    for index, pressure in enumerate(pressures):
        # A bulk modulus of about 250 GPa: 12 GPa shrink the cell by 5 %.
        scale = (1 - pressure / 250.0) ** (1 / 3)
        atoms = rutile(4.65 * scale, 2.98 * scale)
        spec = {"engine": "mace", "file": str(models.path("tio2-pbe-small"))}
        surface = Remembering(build_potential(spec, atoms.numbers, [True] * 3))
        box = Barostat(pressure, "isotropic", cell_mass(200.0, 63.0, 50.0, "isotropic"))
        settings = hmc.Settings(temperature, 4.0, 4, barostat=box)
        record = hmc.run_chain(
            atoms.positions, atoms.cell[:], atoms.get_masses(), surface, surface, settings,
            n_cycles=430, seed=seed, chain=index,
        )  # fmt: skip
        samples.append([np.linalg.det(record.cells)[40:]])
    exact = -(pressures[1] - pressures[0]) * units.GPa / (units.kB * temperature)
    centre = np.mean([chain for state in samples for chain in state])
    samples = [[chain - centre for chain in state] for state in samples]
    value, error = slope(samples)
    # Sharp enough to tell the slope from that of another temperature, or of a kinetic pressure left out.
    assert error[0] < 0.2 * abs(exact)
    zscore("rutile on the real model: slope of ln p(V|12 GPa)/p(V|0) (1/Å³)", value[0], exact, error[0])
    value, error = slope(samples, degree=2)
    zscore("rutile on the real model: its curvature (1/Å⁶)", value[1], 0.0, error[1])
