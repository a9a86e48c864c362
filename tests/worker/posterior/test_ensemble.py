from __future__ import annotations

import numpy as np
import pytest
import torch

from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.graphs import collate, outputs
from aiida_slhmc.worker.models import MacePotential, read, save
from aiida_slhmc.worker.posterior.ensemble import Ensemble, EnsemblePotential, Heads, combine, stack
from aiida_slhmc.worker.posterior.likelihood import ForceHead

from ..rutile import MODEL, rattled
from ..test_models import tiny_model


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """Return three somewhat different models and a file of heads that are not constant."""
    folder = tmp_path_factory.mktemp("members")
    generator = torch.Generator().manual_seed(4)
    paths, heads = [], []
    for number in range(3):
        model = read(MODEL)
        head = ForceHead(model, 0.004)
        with torch.no_grad():
            for parameter in [*model.parameters(), *head.parameters()]:
                parameter += 0.02 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        heads.append(head)
        paths.append(folder / f"{number}.model")
        save(model, paths[-1])
    file = folder / "heads.npz"
    Heads(0.26, 0.026, 0.0003, 0.004, stack(heads)).write(file)
    return paths, file, heads


def test_total_standard_deviation_of_the_paper() -> None:
    """Variance of the members (M - 1) plus the mean of their own variances."""
    mean, total = combine([1.0, 2.0, 6.0], [0.5, 1.0, 2.0])
    assert float(mean) == 3.0
    assert float(total) == pytest.approx(np.sqrt((4 + 1 + 9) / 2 + (0.25 + 1 + 4) / 3))
    assert float(combine([1.0, 1.0], floor=0.1)[1]) == 0.1
    mean, total = combine(np.ones((2, 4, 3)), np.full((2, 4, 1), 0.3))
    assert mean.shape == total.shape == (4, 3)
    np.testing.assert_allclose(total, 0.3)


def test_total_variance_is_that_of_the_mixture() -> None:
    """Members N(m, s²) with m ~ N(0, 1), s = 0.7: a label's variance about the mean is 1.49 (1 + 1/M), 4 sigma."""
    rng = np.random.default_rng(0)
    runs, count = 40_000, 4
    values = rng.normal(size=(count, runs))
    _, total = combine(values, 0.7)
    assert np.mean(total**2) == pytest.approx(1.49, abs=4 * np.sqrt(2 / (count - 1) / runs))


def test_one_member_has_no_spread(members) -> None:
    with pytest.raises(ValueError, match="two members"):
        combine([1.0])
    with pytest.raises(TaskError, match="needs two members or more, not 1"):
        Ensemble(members[0][:1])


def test_prediction_is_the_mean_of_the_members_potentials(members) -> None:
    paths, file, heads = members
    ensemble = Ensemble(paths, file)
    cells = rattled(2, 5)
    graph = collate([ensemble.build(a.numbers, a.positions, a.cell[:], a.pbc) for a in cells])
    answer = ensemble.predict(graph)
    each = [[MacePotential(p, a.numbers, a.pbc).evaluate(a.positions, a.cell[:]) for a in cells] for p in paths]
    energies = np.array([[e.energy for e in row] for row in each])
    forces = np.array([np.concatenate([e.forces for e in row]) for row in each])
    stresses = np.array([[e.stress for e in row] for row in each])
    np.testing.assert_allclose(answer.energy, energies.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(answer.energy_sd, np.sqrt(energies.var(axis=0, ddof=1) + 0.026**2), rtol=1e-9)
    np.testing.assert_allclose(answer.forces, forces.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(answer.stress, stresses.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(answer.stress_sd, np.sqrt(stresses.var(axis=0, ddof=1) + 0.0003**2), rtol=1e-9)
    features = [outputs(model, graph)["node_feats"] for model in ensemble.models]
    with torch.no_grad():
        own = np.array([head(f).numpy() for head, f in zip(heads, features, strict=True)])
    assert own.std() > 0
    expected = np.sqrt(forces.var(axis=0, ddof=1) + np.mean(own**2, axis=0)[:, None])
    np.testing.assert_allclose(answer.forces_sd, expected, rtol=1e-9)


def test_energy_is_never_surer_than_the_floor(members, tmp_path) -> None:
    paths, file, _ = members
    heads = Heads.read(file)
    strict = tmp_path / "heads.npz"
    Heads(1000.0, 1e-9, heads.stress_sigma, heads.force_sigma, heads.weights).write(strict)
    ensemble = Ensemble(paths, strict)
    atoms = rattled(1, 5)[0]
    graph = ensemble.build(atoms.numbers, atoms.positions, atoms.cell[:], atoms.pbc)
    assert ensemble.predict(graph).energy_sd.tolist() == [100.0]


def test_committee_knows_its_spread_only(members) -> None:
    paths, _, _ = members
    atoms = rattled(1, 5)[0]
    ensemble = Ensemble([paths[0], paths[0]])
    answer = ensemble.predict(ensemble.build(atoms.numbers, atoms.positions, atoms.cell[:], atoms.pbc))
    assert answer.energy_sd.tolist() == [0.0]
    assert not answer.forces_sd.any()
    other = Ensemble(paths)
    assert other.predict(other.build(atoms.numbers, atoms.positions, atoms.cell[:], atoms.pbc)).energy_sd[0] > 0


def test_potential_keeps_its_doubt(members) -> None:
    paths, file, _ = members
    atoms = rattled(1, 6)[0]
    potential = EnsemblePotential(Ensemble(paths, file), atoms.numbers, atoms.pbc)
    answer = potential.evaluate(atoms.positions, atoms.cell[:])
    assert potential.last.energy[0] == answer.energy
    assert potential.last.energy_sd[0] > 0.026
    # The mean of energies and the mean of forces belong together.
    step, h = np.zeros((6, 3)), 1e-4
    step[2, 1] = h
    low, high = (potential.evaluate(atoms.positions + s * step, atoms.cell[:]).energy for s in (-1, 1))
    assert answer.forces[2, 1] == pytest.approx(-(high - low) / (2 * h), abs=1e-5)
    molecule = EnsemblePotential(Ensemble(paths, file), atoms.numbers, [False] * 3)
    assert molecule.evaluate(atoms.positions, atoms.cell[:]).stress is None


def test_members_of_another_kind_are_refused(members, tmp_path) -> None:
    paths, file, _ = members
    other = tmp_path / "other.model"
    save(tiny_model(["Default"], np.array([[-1.55, -2.55]]), [8, 22]), other)
    with pytest.raises(TaskError, match=r"other\.model' differs from '0\.model' in elements"):
        Ensemble([paths[0], other])
    with pytest.raises(TaskError, match="heads do not fit member 3"):
        Ensemble([*paths, paths[0]], file)
    with pytest.raises(TaskError, match="cannot be read"):
        Ensemble(paths, tmp_path / "missing.npz")
    with pytest.raises(TaskError, match="is no file of heads"):
        Ensemble(paths, paths[0])
    np.savez(tmp_path / "foreign.npz", a=np.ones(2))
    with pytest.raises(TaskError, match="is no file of heads"):
        Ensemble(paths, tmp_path / "foreign.npz")
