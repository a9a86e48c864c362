from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase import units
from mace.tools import torch_geometric
from scipy import stats
from scipy.spatial.transform import Rotation

from aiida_slhmc.worker.graphs import GraphBuilder, outputs
from aiida_slhmc.worker.models import read
from aiida_slhmc.worker.posterior.likelihood import ForceHead, invariant_columns, log_likelihood, log_prior
from aiida_slhmc.worker.posterior.settings import KCAL_PER_MOL, PosteriorSettings
from aiida_slhmc.worker.training import dataset

from ..rutile import MODEL, labelled, rattled


@pytest.fixture
def model():
    return read(MODEL)


def batch(chunks):
    parts = dataset.read_frames(chunks, [np.zeros(len(chunk["energies"]), dtype=int) for chunk in chunks])
    return torch_geometric.batch.Batch.from_data_list(dataset.graphs(parts[dataset.TRAIN], read(MODEL), 0))


def test_constants_of_the_paper() -> None:
    """In kcal/mol: 0.1 K, 0.1 per Å, 0.1/16 per Å³."""
    settings = PosteriorSettings()
    assert pytest.approx(0.0433641, rel=1e-6) == KCAL_PER_MOL
    assert settings.force_sigma * units.mol / units.kcal == pytest.approx(0.1)
    assert settings.stress_sigma * units.mol / units.kcal == pytest.approx(0.00625)
    assert settings.energy_share == 0.1


def test_against_scipy_atom_by_atom() -> None:
    """Two structures of 6 and 12 atoms, the second without a stress, against sums of Gaussian log densities."""
    small, large = labelled(rattled(1, 1)), labelled(rattled(1, 2, repeat=(1, 1, 2)))
    large["stresses"][:] = np.nan
    labels = batch([small, large])
    rng = np.random.default_rng(3)
    answer = {
        "energy": labels.energy + torch.from_numpy(0.3 * rng.normal(size=2)),
        "forces": labels.forces + torch.from_numpy(0.1 * rng.normal(size=(18, 3))),
        "stress": torch.from_numpy(rng.normal(size=(2, 3, 3))),
    }
    answer["stress"] = answer["stress"] + answer["stress"].mT
    answer["stress"][1] = math.nan
    sigma = torch.from_numpy(np.exp(rng.normal(size=18)))
    found = log_likelihood(answer, labels, energy_sigma=0.2, force_sigma=sigma, stress_sigma=0.7)
    expected = stats.norm.logpdf((labels.energy - answer["energy"]).numpy(), scale=0.2)
    forces = stats.norm.logpdf((labels.forces - answer["forces"]).numpy(), scale=sigma.numpy()[:, None]).sum(axis=1)
    expected += [forces[:6].sum(), forces[6:].sum()]
    rows, columns = np.triu_indices(3)
    expected[0] += stats.norm.logpdf(
        (small["stresses"][0] - answer["stress"][0].numpy())[rows, columns], scale=0.7
    ).sum()
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_gradient_with_a_missing_stress_is_finite() -> None:
    labels = SimpleNamespace(
        energy=torch.zeros(1), forces=torch.zeros(2, 3), batch=torch.zeros(2, dtype=torch.int64),
        stress=torch.full((1, 3, 3), math.nan), stress_weight=torch.zeros(1),
    )  # fmt: skip
    stress = torch.full((1, 3, 3), math.nan, requires_grad=True)
    energy = torch.ones(1, requires_grad=True)
    answer = {"energy": energy, "forces": torch.ones(2, 3), "stress": stress}
    log_likelihood(answer, labels, energy_sigma=1.0, force_sigma=torch.ones(2), stress_sigma=1.0).sum().backward()
    assert float(energy.grad) == -1.0
    assert stress.grad is None


def test_head_starts_constant_and_draws_nothing(model) -> None:
    state = torch.get_rng_state()
    head = ForceHead(model, 0.1 * KCAL_PER_MOL)
    assert torch.equal(state, torch.get_rng_state())
    assert [tuple(p.shape) for p in head.parameters()] == [(64, 32), (64,), (16, 64), (16,), (1, 16), (1,)]
    assert all(bool((p == 0).all()) for p in head.parameters())
    assert head(torch.randn(5, 32, dtype=torch.float64)).tolist() == [0.1 * KCAL_PER_MOL] * 5


def turned_features(model, rotation: np.ndarray) -> torch.Tensor:
    atoms = rattled(1, 4)[0]
    graph = GraphBuilder(model)(atoms.numbers, atoms.positions @ rotation.T, atoms.cell[:] @ rotation.T, atoms.pbc)
    return outputs(model, graph)["node_feats"]


@pytest.fixture(scope="module")
def equivariant():
    """Return an untrained model whose first layer has vectors beside its scalars."""
    from e3nn import o3
    from mace.modules import ScaleShiftMACE, interaction_classes

    from aiida_slhmc.worker.graphs import default_dtype

    with torch.random.fork_rng(), default_dtype(torch.float64):
        torch.manual_seed(1)
        kind = interaction_classes["RealAgnosticResidualInteractionBlock"]
        return ScaleShiftMACE(
            r_max=4.0, num_bessel=4, num_polynomial_cutoff=5, max_ell=2, interaction_cls=kind,
            interaction_cls_first=kind, num_interactions=2, num_elements=2, hidden_irreps=o3.Irreps("8x0e + 8x1o"),
            MLP_irreps=o3.Irreps("4x0e"), atomic_energies=np.array([[-1.0, -2.0]]), avg_num_neighbors=8.0,
            atomic_numbers=[8, 22], correlation=2, gate=torch.nn.functional.silu, radial_MLP=[16],
            atomic_inter_scale=1.0, atomic_inter_shift=0.0, radial_type="bessel", heads=["Default"],
        )  # fmt: skip


@pytest.mark.parametrize("kind", ["scalars", "vectors"])
def test_columns_do_not_turn_with_the_structure(kind: str, model, equivariant) -> None:
    network = model if kind == "scalars" else equivariant
    columns = invariant_columns(network)
    before = turned_features(network, np.eye(3))
    turn = -Rotation.from_euler("xyz", [0.3, 1.1, -0.7]).as_matrix()
    after = turned_features(network, turn)
    torch.testing.assert_close(before[:, columns], after[:, columns], rtol=1e-9, atol=1e-9)
    assert len(columns) == (32 if kind == "scalars" else 16)
    if kind == "vectors":
        others = sorted(set(range(before.shape[1])) - set(columns))
        assert len(others) == 24
        assert float((before[:, others] - after[:, others]).abs().max()) > 1e-3


def test_log_prior() -> None:
    values = [torch.tensor([1.0, 2.0]), torch.tensor([[3.0]])]
    centres = [torch.tensor([1.0, 1.0]), torch.tensor([[1.0]])]
    assert log_prior(values, centres, 0.5) == pytest.approx(-(1.0 + 4.0) / 0.5)
