"""The defining tests: a wrong model proposes, the target's ensemble comes out."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from ase import units
from scipy import special, stats

from aiida_slhmc.numerics import diagnostics, hmc, metropolis, momenta, proposal
from aiida_slhmc.numerics.analytic import EinsteinCrystal
from aiida_slhmc.numerics.limits import Limits, Watch
from aiida_slhmc.numerics.metropolis import Decision
from aiida_slhmc.numerics.potential import Array, Evaluation
from aiida_slhmc.numerics.verlet import integrate
from tests.statistics_plugin import ZScores

from .chains import means, run_chains
from .surfaces import CELL, UNIT_TEMPERATURE, UNIT_TIME, MeanFieldSolid, harmonic_acceptance, thermal

pytestmark = pytest.mark.statistics

#: Chains of each test: enough for the error of their mean to be known, few enough to be long.
N_CHAINS = 24
#: 45 independent oscillators.
SITES = np.zeros((15, 3))
TARGET = EinsteinCrystal(SITES, 1.0)
SETTINGS = hmc.Settings(UNIT_TEMPERATURE, 0.2 * UNIT_TIME, 8)
#: Deliberately wrong: spring constant (1 eV/Å² is right) and shift of every minimum in Å along x, y and z. Too soft
#: rather than too stiff: a model narrower than the target seldom proposes the target's tails and seldom leads out of
#: them, which is exact but makes the errors of short chains hard to know.
MODELS = {"slightly wrong": (0.95, 0.02), "wrong": (0.85, 0.06), "badly wrong": (0.75, 0.08)}


def sample(model: str, seed: int, n_cycles: int) -> list[hmc.ChainRecord]:
    """Sample the target by proposals of a wrong model."""
    spring_constant, shift = MODELS[model]
    proposal = EinsteinCrystal(SITES + shift, spring_constant)
    return run_chains(thermal(N_CHAINS, SITES, 1.0, seed), TARGET, proposal, SETTINGS, n_cycles=n_cycles, seed=seed)


@pytest.mark.parametrize(
    ("model", "low", "high"), [("slightly wrong", 0.8, 0.9), ("wrong", 0.5, 0.6), ("badly wrong", 0.25, 0.4)]
)
def test_a_wrong_model_samples_the_target(model: str, low: float, high: float, zscore: ZScores, seed: int) -> None:
    records = sample(model, seed, 240)
    # The model's error costs acceptance, and nothing else.
    acceptance = means(records, lambda record: record.probabilities).mean()
    assert low < acceptance < high
    name = f"{model} model, acceptance {acceptance:.2f}"
    # U ~ Gamma(45/2, kT).
    zscore.chains(f"{name}: mean U/kT", means(records, lambda record: record.energies), 22.5)
    zscore.chains(f"{name}: variance U/kT", means(records, lambda record: (record.energies - 22.5) ** 2), 22.5)
    zscore.chains(f"{name}: mean displacement", means(records, lambda record: record.positions), 0.0)
    if acceptance > 0.3:
        zscore.chains(f"{name}: mean exp(-delta/kT)", means(records, lambda record: np.exp(-record.deltas)), 1.0)


def accept_all(*, log_uniform: float, **_: Any) -> Decision:
    return Decision(True, 0.0, 0.0, 1.0, log_uniform)


@pytest.mark.parametrize("model", MODELS)
def test_without_the_metropolis_step_it_samples_the_model(
    model: str, zscore: ZScores, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metropolis, "decide", accept_all)
    energies = means(sample(model, seed, 120), lambda record: record.energies)
    spring_constant, shift = MODELS[model]
    zscore.wrong(f"{model} model, no Metropolis step: mean U/kT", energies, 22.5, bound=8.0)
    # What comes out instead is the model's own ensemble, up to the error of the time step.
    expected = 22.5 * (1 / spring_constant + shift**2)
    assert energies.mean() == pytest.approx(expected, rel=0.02)


#: Spring constants of target and model (eV/Å²), time step, number of steps; acceptance and mean of delta/kT.
CLOSED_FORMS = [
    (1.0, 1.0, 1.0, 5, 0.92083, 0.03125),
    (1.0, 1.2, 0.1, 12, 0.94484, 0.01509),
    (1.0, 0.5, 0.2, 10, 0.78458, 0.24770),
]


@pytest.mark.parametrize(("target", "model", "timestep", "n_steps", "acceptance", "delta"), CLOSED_FORMS)
def test_acceptance_of_an_oscillator(
    target: float,
    model: float,
    timestep: float,
    n_steps: int,
    acceptance: float,
    delta: float,
    zscore: ZScores,
    seed: int,
) -> None:
    exact_acceptance, exact_delta = harmonic_acceptance(target, model, timestep, n_steps)
    assert (exact_acceptance, exact_delta) == pytest.approx((acceptance, delta), abs=6e-6)
    # Every component of a large Einstein crystal is an oscillator of its own: one trajectory is 4e5 of them.
    sites, masses = np.zeros((133_334, 3)), np.ones(133_334)
    surface = EinsteinCrystal(sites, model)
    start = thermal(1, sites, target, seed)[0]
    drawn = momenta.draw(masses, UNIT_TEMPERATURE, np.random.default_rng([seed, 1]))
    path = integrate(start, drawn, CELL, masses, surface, timestep=timestep * UNIT_TIME, n_steps=n_steps)
    rows = np.stack([start, path.positions, drawn, path.momenta], axis=-1).reshape(-1, 4) ** 2 / 2
    decisions = [
        metropolis.decide(
            potential_start=target * a,
            potential_end=target * b,
            kinetic_start=c,
            kinetic_end=e,
            temperature=UNIT_TEMPERATURE,
            log_uniform=log_uniform,
        )
        for (a, b, c, e), log_uniform in zip(
            rows.tolist(), np.log1p(-np.random.default_rng([seed, 2]).random(len(rows))).tolist(), strict=True
        )
    ]
    probabilities = np.array([decision.probability for decision in decisions])
    accepted = np.array([decision.accepted for decision in decisions])
    deltas = np.array([decision.delta for decision in decisions])
    name = f"oscillator k={target:g} by k={model:g}, {n_steps} steps of {timestep:g}"

    def error(values: Array) -> float:
        return float(values.std() / math.sqrt(len(values)))

    zscore(f"{name}: mean probability", probabilities.mean(), exact_acceptance, error(probabilities))
    zscore(f"{name}: accepted", accepted.mean(), exact_acceptance, error(accepted))
    zscore(f"{name}: mean delta/kT", deltas.mean(), exact_delta, error(deltas))
    zscore(f"{name}: mean exp(-delta/kT)", np.exp(-deltas).mean(), 1.0, error(np.exp(-deltas)))
    # Detailed balance of the work: P(-delta) = P(delta) exp(-delta/kT), here for all |delta| beyond its median.
    far = np.median(np.abs(deltas))
    balance = (deltas < -far) - (deltas > far) * np.exp(-deltas)
    zscore(f"{name}: balance of delta and -delta", balance.mean(), 0.0, error(balance))


@pytest.mark.parametrize(("treatment", "freedoms"), [("keep", 6), ("remove", 3)])
def test_centre_of_mass_changes_the_kinetic_energy_alone(
    treatment: Any, freedoms: int, zscore: ZScores, seed: int
) -> None:
    sites = np.zeros((2, 3))
    settings = dataclasses.replace(SETTINGS, timestep=0.3 * UNIT_TIME, length=5, centre_of_mass=treatment)
    records = run_chains(
        thermal(N_CHAINS, sites, 1.0, seed),
        MeanFieldSolid(sites, 1.0),
        MeanFieldSolid(sites, 1.5),
        settings,
        n_cycles=250,
        seed=seed,
        masses=np.array([1.0, 3.0]),
    )
    zscore.chains(f"two atoms, {treatment}: mean U/kT", means(records, lambda record: record.energies), 1.5)
    kinetic = means(records, lambda record: record.kinetic_starts)
    zscore.chains(f"two atoms, {treatment}: mean K/kT", kinetic, freedoms / 2)


def test_momenta_of_fixed_kinetic_energy_are_caught(
    zscore: ZScores, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # "Exact temperature": the mean of K is right, its fluctuations are gone, and with them those of U.
    def rescaled(masses: Array, temperature: float, rng: np.random.Generator, centre_of_mass: str) -> Array:
        drawn = momenta.draw(masses, temperature, rng)
        kinetic = momenta.kinetic_energy(drawn, masses)
        return drawn * math.sqrt(1.5 * len(masses) * units.kB * temperature / kinetic)

    sites = np.zeros((2, 3))
    target = EinsteinCrystal(sites, 1.0)
    for patched in (False, True):
        if patched:
            monkeypatch.setattr(proposal, "draw", rescaled)
        records = run_chains(thermal(N_CHAINS, sites, 1.0, seed), target, target, SETTINGS, n_cycles=150, seed=seed)
        squares = means(records, lambda record: (record.energies - 3.0) ** 2)
        if patched:
            zscore.wrong("kinetic energy rescaled: variance U/kT", squares, 3.0)
        else:
            zscore.chains("kinetic energy drawn: variance U/kT", squares, 3.0)


def test_energy_of_a_solid_follows_the_gamma_law(zscore: ZScores, seed: int) -> None:
    kt = 300.0 * units.kB
    rng = np.random.default_rng(seed)
    sites = rng.uniform(0.0, 9.0, size=(48, 3))
    masses = np.repeat([47.867, 15.999], [16, 32])
    records = run_chains(
        thermal(N_CHAINS, sites, 5.0, seed, kt),
        MeanFieldSolid(sites, 5.0),
        MeanFieldSolid(sites, 5.2),
        hmc.Settings(300.0, 4.0, 10),
        n_cycles=120,
        seed=seed,
        masses=masses,
    )
    # 48 atoms less the translations: 141 degrees of freedom.
    zscore.chains("solid of 48 atoms, 300 K: mean U (eV)", means(records, lambda record: record.energies), 1.822566)
    spread = means(records, lambda record: (record.energies - 1.822566) ** 2)
    zscore.chains("solid of 48 atoms, 300 K: variance U (eV²)", spread, 0.217064**2)
    thinning = 12
    tau = np.mean([diagnostics.integrated_autocorrelation_time(record.energies)[0] for record in records])
    assert 2 * tau < thinning
    thinned = np.concatenate([record.energies[::thinning] for record in records])
    assert stats.kstest(thinned, stats.gamma(70.5, scale=kt).cdf).pvalue > 1e-4
    # It would see an ensemble that is 5 % too hot.
    assert stats.kstest(thinned, stats.gamma(70.5, scale=1.05 * kt).cdf).pvalue < 1e-4


def tight(seed: int) -> list[hmc.ChainRecord]:
    """Sample three oscillators in steps so long, on a model so wrong, that the limit strikes more often than not."""
    sites = np.zeros((1, 3))
    settings = hmc.Settings(UNIT_TEMPERATURE, 2.2 * UNIT_TIME, 2, "fixed", limits=Limits(max_energy_change=1.0))
    starts = thermal(N_CHAINS, sites, 1.0, seed)
    return run_chains(
        starts, EinsteinCrystal(sites, 1.0), EinsteinCrystal(sites, 0.5), settings, n_cycles=900, seed=seed
    )


def test_a_tight_limit_on_the_energy_keeps_the_ensemble(zscore: ZScores, seed: int) -> None:
    records = tight(seed)
    divergent = means(records, lambda record: record.divergent).mean()
    assert 0.3 < divergent < 0.9
    name = f"spread of H limited, {divergent:.2f} rejected unseen"
    zscore.chains(f"{name}: mean U/kT", means(records, lambda record: record.energies), 1.5)
    # U ~ Gamma(3/2, kT): <exp(-U/kT)> = 2^(-3/2).
    weights = means(records, lambda record: np.exp(-record.energies))
    zscore.chains(f"{name}: mean exp(-U/kT)", weights, 2**-1.5)


def test_a_limit_relative_to_the_start_is_caught(zscore: ZScores, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # |H - H(start)| < limit: the reversed trajectory has another start, and another verdict.
    def relative(self: Watch, evaluation: Evaluation, momenta: Array, kinetic: float) -> str:
        total = evaluation.energy + kinetic
        if math.isnan(self.start):
            self.start = total
        return "too far" if abs(total - self.start) > (self.limits.max_energy_change or math.inf) else ""

    monkeypatch.setattr(Watch, "visited", relative)
    weights = means(tight(seed), lambda record: np.exp(-record.energies))
    zscore.wrong("change of H since the start limited: mean exp(-U/kT)", weights, 2**-1.5, bound=4.0)


def test_a_limit_on_distances_samples_what_is_left(zscore: ZScores, seed: int) -> None:
    # Two atoms on one site: y = |r1 - r2|/sqrt(2) has the law of a 3D Gaussian, cut off below the limit.
    closest = 1.5
    sites = np.zeros((2, 3))
    target = EinsteinCrystal(sites, 1.0)
    settings = hmc.Settings(UNIT_TEMPERATURE, 0.3 * UNIT_TIME, 5, limits=Limits(min_distance=closest))
    pool = thermal(10 * N_CHAINS, sites, 1.0, seed)
    starts = pool[np.linalg.norm(pool[:, 0] - pool[:, 1], axis=1) > closest + 1e-9][:N_CHAINS]
    records = run_chains(starts, target, EinsteinCrystal(sites, 1.3), settings, n_cycles=300, seed=seed)
    assert means(records, lambda record: record.divergent).mean() > 0.1
    distances = [np.linalg.norm(record.positions[:, 0] - record.positions[:, 1], axis=1) for record in records]
    assert min(map(np.min, distances)) >= closest
    cut = closest**2 / 4
    exact = 1.5 + 1.5 * special.gammaincc(2.5, cut) / special.gammaincc(1.5, cut)
    zscore.chains("distance limited: mean U/kT", means(records, lambda record: record.energies), exact)


def geweke(seed: int, n_cycles: int) -> tuple[Array, Array]:
    """Alternate x | lam by the kernel under test with lam | x exactly; return the means of lam and lam² of each chain.

    Prior lam ~ Gamma(3, rate 2), x | lam ~ N(0, 1/lam): the marginal of lam stays the prior (Geweke, J. Am. Stat.
    Assoc. 99, 799, 2004).
    """
    sites = np.zeros((2, 3))
    settings = hmc.Settings(UNIT_TEMPERATURE, 0.4 * UNIT_TIME, 4)
    first, second = [], []
    for chain in range(N_CHAINS):
        rng = np.random.default_rng([seed, chain])
        lam = rng.gamma(3.0, 1 / 2.0)
        x = rng.standard_normal((2, 3)) / math.sqrt(lam)
        lams = np.empty(n_cycles)
        for cycle in range(n_cycles):
            target, model = EinsteinCrystal(sites, lam), EinsteinCrystal(sites, 1.3 * lam)
            record = hmc.run_chain(
                x, CELL, np.ones(2), target, model, settings, n_cycles=1, seed=seed, chain=chain, first_cycle=cycle
            )
            x = record.positions[-1]
            lam = rng.gamma(3.0 + 3.0, 1 / (2.0 + 0.5 * float((x**2).sum())))
            lams[cycle] = lam
        first.append(lams.mean())
        second.append((lams**2).mean())
    return np.array(first), np.array(second)


def test_geweke(zscore: ZScores, seed: int) -> None:
    first, second = geweke(seed, 400)
    zscore.chains("Geweke: mean lambda", first, 1.5)
    zscore.chains("Geweke: mean lambda²", second, 3.0)


def test_geweke_catches_a_forgotten_kinetic_energy(zscore: ZScores, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_kinetic(**arguments: float) -> Decision:
        return decide(**{**arguments, "kinetic_start": 0.0, "kinetic_end": 0.0})

    decide = metropolis.decide
    monkeypatch.setattr(metropolis, "decide", without_kinetic)
    zscore.wrong("Geweke, kinetic energy forgotten: mean lambda", geweke(seed, 100)[0], 1.5)


def resonant(law: Any, n_cycles: int, seed: int) -> hmc.ChainRecord:
    """Propose trajectories of one period of the oscillator, exactly or on average."""
    sites = np.zeros((1, 3))
    surface = EinsteinCrystal(sites, 1.0)
    settings = hmc.Settings(UNIT_TEMPERATURE, 2 * math.pi / 100 * UNIT_TIME, 100, law)
    start = thermal(1, sites, 1.0, seed)[0]
    return hmc.run_chain(start, CELL, np.ones(1), surface, surface, settings, n_cycles=n_cycles, seed=seed)


def test_a_fixed_length_may_resonate(seed: int) -> None:
    record = resonant("fixed", 60, seed)
    # The period of velocity Verlet is 1 - dt²/24 of the true one: a phase of 1e-3 a trajectory, whatever the momentum.
    steps = np.diff(record.positions[:, 0], axis=0)
    assert 0 < np.abs(steps).max() < 5 * 2 * math.pi * (2 * math.pi / 100) ** 2 / 24
    assert record.accepted.mean() > 0.9


def test_a_random_length_does_not_resonate(zscore: ZScores, seed: int) -> None:
    record = resonant("uniform", 300, seed)
    for axis in range(3):
        assert diagnostics.integrated_autocorrelation_time(record.positions[:, 0, axis])[0] < 5
    mean, error = diagnostics.mean_with_error(record.energies)
    zscore("length random about a resonance: mean U/kT", mean, 1.5, error)


def test_repeats_belong_to_the_chain(zscore: ZScores, seed: int) -> None:
    sites = np.zeros((2, 3))
    settings = hmc.Settings(UNIT_TEMPERATURE, 0.6 * UNIT_TIME, 6)
    target, model = EinsteinCrystal(sites, 1.0), EinsteinCrystal(sites, 0.3)
    records = run_chains(thermal(N_CHAINS, sites, 1.0, seed), target, model, settings, n_cycles=200, seed=seed)
    kept = means(records, lambda record: record.energies)
    zscore.chains("states with repeats: mean U/kT", kept, 3.0)
    accepted = means(records, lambda record: record.endpoint_energies[record.accepted])
    zscore.wrong("accepted endpoints alone, less states with repeats: mean U/kT", accepted - kept, 0.0, bound=6.0)


def test_adaptation_to_the_current_state_is_biased(zscore: ZScores, seed: int) -> None:
    sites = np.zeros((1, 3))
    surface = EinsteinCrystal(sites, 1.0)
    long, short = (hmc.Settings(UNIT_TEMPERATURE, dt * UNIT_TIME, 6) for dt in (0.25, 0.05))
    starts = thermal(N_CHAINS, sites, 1.0, seed)

    def positive(adaptive: bool, chain: int) -> float:
        """Return how often x > 0 in one chain."""
        x, signs = starts[chain], []
        for cycle in range(200):
            settings = long if not adaptive or x[0, 0] > 0 else short
            place = {"seed": seed, "chain": chain, "first_cycle": cycle}
            x = hmc.run_chain(x, CELL, np.ones(1), surface, surface, settings, n_cycles=1, **place).positions[-1]
            signs.append(x[0, 0] > 0)
        return float(np.mean(signs))

    frozen, adapted = (np.array([positive(adaptive, chain) for chain in range(N_CHAINS)]) for adaptive in (False, True))
    zscore.chains("time step frozen: probability of x > 0", frozen, 0.5)
    zscore.wrong("time step chosen by the current state: probability of x > 0", adapted, 0.5)
