from __future__ import annotations

import numpy as np
import pytest
import torch
from mace.tools import torch_geometric

from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.models import read
from aiida_slhmc.worker.posterior.chain import Chain
from aiida_slhmc.worker.posterior.likelihood import ForceHead
from aiida_slhmc.worker.posterior.settings import PosteriorSettings
from aiida_slhmc.worker.training import dataset

from ..rutile import MODEL, labelled, rattled, target

ACCURACY = 0.26


def frames(count: int) -> list:
    """Return graphs whose energies are near the model's, as after the offset."""
    model = read(MODEL)
    chunk = labelled(rattled(count, 11), target())
    chunk["energies"] = chunk["energies"] + 14.7
    parts = dataset.read_frames([chunk], [np.zeros(count, dtype=int)])
    return dataset.graphs(parts[dataset.TRAIN], model, 0)


def chain(**changes) -> Chain:
    model = read(MODEL)
    settings = PosteriorSettings.from_dict({"steps_per_label": 4, **changes})
    centres = [parameter.detach().clone() for parameter in model.parameters()]
    return Chain(model, ForceHead(model, settings.force_sigma), centres, ACCURACY, settings)


def moved(one: Chain, seed: int, size: float) -> list[torch.Tensor]:
    """Move all weights, so that the head is not constant; return a direction."""
    generator = torch.Generator().manual_seed(seed)
    directions = []
    with torch.no_grad():
        for parameter in one.parameters:
            parameter += size * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            directions.append(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return directions


@pytest.mark.parametrize("seed", [1, 2])
def test_gradient_is_that_of_the_log_posterior(seed: int) -> None:
    """Double backward through the forces, prior included, against central differences along a random direction."""
    one, data = chain(), frames(3)
    directions = moved(one, seed, 0.02)
    batch = torch_geometric.batch.Batch.from_data_list(data)
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    one.backward(batch, weights, 3)
    slope = -3 * sum(float((p.grad * d).sum()) for p, d in zip(one.parameters, directions, strict=True))
    values, step = [], 1e-6
    for sign in (1, -2):
        with torch.no_grad():
            for parameter, direction in zip(one.parameters, directions, strict=True):
                parameter += sign * step * direction
        values.append(one.backward(batch, weights, 3))
    assert abs(slope) > 1.0
    assert slope == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


def test_weights_without_a_say_in_the_labels_feel_their_prior() -> None:
    one, data = chain(prior_sd=0.25), frames(2)
    spare = torch.nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
    one.parameters.append(spare)
    one.centres.append(torch.tensor([1.0], dtype=torch.float64))
    one.backward(torch_geometric.batch.Batch.from_data_list(data), torch.full((2,), 0.5, dtype=torch.float64), 2)
    assert float(spare.grad) == pytest.approx(2.0 / 0.0625 / 2)


def test_batches_merge_what_was_drawn_twice_and_keep_the_mean() -> None:
    """Over 600 batches the share of each of 8 structures is 1/8 within 4.5 standard errors."""
    one = chain(batch_size=3)
    data = frames(8)
    places = {float(graph.energy): k for k, graph in enumerate(data)}
    rng = np.random.default_rng(2)
    shares = np.zeros((600, 8))
    for row in shares:
        batch, weights = one._draw(data, 1, rng)
        assert batch.num_graphs == len(set(batch.energy.tolist())) == len(weights) <= 3
        for energy, weight in zip(batch.energy.tolist(), weights.tolist(), strict=True):
            row[places[energy]] = weight
    error = shares.std(axis=0) / np.sqrt(len(shares))
    assert (np.abs(shares.mean(axis=0) - 1 / 8) < 4.5 * error).all()


def test_an_update_is_one_cycle_for_each_new_label() -> None:
    one, data = chain(steps_per_label=3, freeze=0.5), frames(2)
    trace = one.run(data, 2, np.random.default_rng(0))
    assert trace.log_posterior.shape == (6,)
    assert trace.frozen_at == 3
    assert np.isfinite(trace.log_posterior).all()


def test_the_first_tenths_without_noise_are_the_same_whatever_the_seed() -> None:
    results = []
    for seed in (0, 0, 1):
        one = chain(steps_per_label=10, noise_off=0.5)
        results.append(one.run(frames(3), 1, np.random.default_rng(seed)).log_posterior.tolist())
    # Three frames make every batch: until the noise sets in nothing is random; its first step shows one step later.
    assert results[0] == results[1]
    assert results[0][:6] == results[2][:6]
    assert results[0][6:] != results[2][6:]


@pytest.mark.parametrize("size", [30.0, 1e3])
def test_a_chain_that_runs_away_is_a_failure(size: float) -> None:
    with pytest.raises(TaskError, match="lower step_size") as caught:
        chain(step_size=size, steps_per_label=60, noise_off=0.0).run(frames(2), 1, np.random.default_rng(0))
    assert caught.value.kind == "diverged"
