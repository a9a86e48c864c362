"""The likelihood of labels given a MACE model whose forces carry a standard deviation of their own.

Rensmeyer, Kramer and Niggemann, on-the-fly Bayesian fine-tuning (2025): energies and stresses are Gaussian about the
model's with a fixed standard deviation, the forces on each atom with one that a small network reads from the atom's
features.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from e3nn import o3

from ..errors import TaskError

#: Widths of the hidden layers of the network behind the standard deviation of forces.
HIDDEN = (64, 16)


def invariant_columns(model: torch.nn.Module) -> list[int]:
    """Return which of a model's node features do not change under rotation and inversion: all scalars of all layers.

    With two layers these are the first and the last features, as in the paper.

    :param model: a MACE model.
    :returns: column numbers of the output ``node_feats``.
    :raises TaskError: ``bad_input`` if the model has none.
    """
    columns: list[int] = []
    start = 0
    for product in model.products:
        irreps = o3.Irreps(str(product.linear.irreps_out))
        for piece, (_, irrep) in zip(irreps.slices(), irreps, strict=True):
            if irrep.is_scalar():
                columns += range(start + piece.start, start + piece.stop)
        start += irreps.dim
    if not columns:
        raise TaskError("bad_input", "the model has no invariant node features to read an uncertainty from.")
    return columns


class ForceHead(torch.nn.Module):
    """Read the standard deviation of each atom's force components from its invariant features v: s exp(MLP(v)).

    All weights start at 0, so that it is s everywhere; the sampler's noise breaks the symmetry among the hidden units.

    :param model: a MACE model, whose features and precision count.
    :param sigma: s in eV/Å.
    """

    def __init__(self, model: torch.nn.Module, sigma: float):
        super().__init__()
        columns = invariant_columns(model)
        self.sigma = sigma
        self.columns: torch.Tensor
        self.register_buffer("columns", torch.tensor(columns), persistent=False)
        widths = (len(columns), *HIDDEN, 1)
        layers: list[torch.nn.Module] = []
        dtype = next(model.parameters()).dtype
        for before, after in itertools.pairwise(widths):
            # Made without drawing numbers: the state of the process must not show in a result, nor change.
            layer = torch.nn.utils.skip_init(torch.nn.Linear, before, after, dtype=dtype)
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
            layers += [layer, torch.nn.SiLU()]
        self.network = torch.nn.Sequential(*layers[:-1])

    def forward(self, node_feats: torch.Tensor) -> torch.Tensor:
        """Return the standard deviation of a force component.

        :param node_feats: (N, features) as the model gives them.
        :returns: (N,) in eV/Å.
        """
        return self.sigma * torch.exp(self.network(node_feats[:, self.columns]).squeeze(-1))


def log_likelihood(
    answer: Mapping[str, torch.Tensor],
    labels: Any,
    *,
    energy_sigma: float,
    force_sigma: torch.Tensor,
    stress_sigma: float,
) -> torch.Tensor:
    """Return the logarithm of the likelihood of every structure's labels, normalisation included.

    A stress counts by its six independent components; a structure without a labelled stress counts without it.

    :param answer: of the model: energy (G,) in eV, forces (N, 3) in eV/Å, stress (G, 3, 3) in eV/Å³ (None if no label
        has one).
    :param labels: a batch of MACE's: energy, forces, stress, stress_weight (0 where there is none), batch, num_graphs.
    :param energy_sigma: in eV.
    :param force_sigma: (N,) in eV/Å.
    :param stress_sigma: in eV/Å³.
    :returns: (G,).
    """
    energy = _gaussian((labels.energy - answer["energy"]).square(), energy_sigma, 1)
    squares = (labels.forces - answer["forces"]).square().sum(dim=1)
    atoms = -squares / (2.0 * force_sigma.square()) - 3.0 * torch.log(force_sigma) - 1.5 * math.log(2.0 * math.pi)
    total = energy.index_add(0, labels.batch, atoms)
    labelled = torch.nonzero(labels.stress_weight.reshape(-1) > 0).squeeze(-1)
    if len(labelled) == 0:
        return total
    # Only the rows with a label are touched: the others may hold anything, also what is no number.
    difference = labels.stress.reshape(-1, 3, 3)[labelled] - answer["stress"].reshape(-1, 3, 3)[labelled]
    row, column = torch.triu_indices(3, 3)
    stress = _gaussian(difference[:, row, column].square().sum(dim=1), stress_sigma, 6)
    return total.index_add(0, labelled, stress)


def _gaussian(squares: torch.Tensor, sigma: float, count: int) -> torch.Tensor:
    """Return the log density of ``count`` Gaussian numbers whose squared deviations sum to ``squares``."""
    return -squares / (2.0 * sigma**2) - count * (math.log(sigma) + 0.5 * math.log(2.0 * math.pi))


def log_prior(values: Sequence[torch.Tensor], centres: Sequence[torch.Tensor], sd: float) -> float:
    """Return the logarithm of the prior N(centre, sd²) of all weights but for its constant.

    :param values: weights.
    :param centres: their prior means, same shapes.
    :param sd: prior standard deviation.
    """
    pairs = zip(values, centres, strict=True)
    return -sum(float((value.detach() - centre).square().sum()) for value, centre in pairs) / (2.0 * sd**2)
