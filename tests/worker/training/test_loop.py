import numpy as np
import pytest
import torch
from mace.tools import torch_geometric

from aiida_slhmc.worker.hyperparameters import Hyperparameters
from aiida_slhmc.worker.models import read
from aiida_slhmc.worker.training import dataset, loop

from ..rutile import MODEL, labelled, rattled, rutile


def settings(**values):
    return Hyperparameters.from_dict({"protocol": "paper", **values})


@pytest.fixture(scope="module")
def model():
    return read(MODEL)


@pytest.fixture(scope="module")
def graphs(model):
    chunks = [labelled(rattled(4, seed=1)), labelled(rattled(1, seed=2, repeat=(1, 1, 2)))]
    chunks[0]["stresses"][1] = np.nan
    parts = dataset.read_frames(chunks, [[0] * 4, [0]])
    return dataset.graphs(parts[0], model, 0)


def test_weighted_loss_of_one_graph(model):
    """One 2-atom graph, 0.2 eV off in energy, 0.1 eV/Å in every force: 1 (0.2/2)² + 100 (0.1)² = 1.01."""
    atoms = rutile()[:2]
    chunk = {
        "numbers": [atoms.numbers],
        "positions": [atoms.positions],
        "cells": [atoms.cell[:]],
        "pbc": [atoms.pbc],
        "energies": [-10.0],
        "forces": [np.zeros((2, 3))],
    }
    frames = dataset.read_frames([chunk], [[0]])[0]
    batch = torch_geometric.Batch.from_data_list(dataset.graphs(frames, model, 0))
    prediction = {"energy": batch.energy + 0.2, "forces": batch.forces + 0.1, "stress": batch.stress + 1.0}
    assert float(loop.loss_function(settings(), torch.float64)(pred=prediction, ref=batch)) == pytest.approx(1.01)


def test_errors_are_those_of_a_plain_sum(model, graphs):
    weights = settings(energy_weight=3.0, forces_weight=2.0, stress_weight=50.0, valid_batch_size=2)
    errors = loop.evaluate(model, graphs, weights)
    energy, forces, stress = [], [], []
    for graph in graphs:
        answer = loop._forward(model, torch_geometric.Batch.from_data_list([graph]), training=False, stress=True)
        energy.append(float(answer["energy"] - graph.energy) / len(graph.positions))
        forces.append((answer["forces"].detach() - graph.forces).numpy().ravel())
        if float(graph.stress_weight):
            stress.append((answer["stress"].detach() - graph.stress).numpy().ravel())
    rms = [
        float(np.sqrt(np.mean(np.concatenate([np.atleast_1d(v) for v in values]) ** 2)))
        for values in (energy, forces, stress)
    ]
    assert (errors.energy, errors.forces, errors.stress) == pytest.approx(rms, rel=1e-10)
    assert len(stress) == len(graphs) - 1
    assert len(errors.energies) == len(graphs)


def test_evaluation_changes_nothing(model, graphs):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [p.requires_grad for p in model.parameters()]
    first = loop.evaluate(model, graphs, settings())
    assert loop.evaluate(model, graphs, settings()) == first
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == flags
    assert not any(graph.positions.requires_grad for graph in graphs)


def test_optimizer_has_maces_groups(model):
    """The same parameters decay, at the same rate, as in MACE's own optimizer."""
    from argparse import Namespace

    from mace.tools.scripts_utils import get_params_options

    arguments = Namespace(lr=0.01, weight_decay=5e-7, amsgrad=True, beta=0.9, lr_params_factors="{}", freeze=None)
    theirs = {
        id(parameter): group["weight_decay"]
        for group in get_params_options(arguments, model)["params"]
        for parameter in group["params"]
    }
    adam = loop.optimizer(model, settings())
    ours = {id(parameter): group["weight_decay"] for group in adam.param_groups for parameter in group["params"]}
    assert ours == theirs
    assert {group["lr"] for group in adam.param_groups} == {0.01}
    assert all(group["amsgrad"] for group in adam.param_groups)


def test_schedules(model):
    adam = loop.optimizer(model, settings())
    plateau = loop.Schedule(adam, settings(scheduler_patience=1, scheduler_factor=0.5))
    rates = []
    for epoch, loss in enumerate([1.0, 2.0, 2.0, 2.0], 1):
        plateau.step(epoch, loss)
        rates.append(adam.param_groups[0]["lr"])
    assert rates == pytest.approx([0.01, 0.01, 0.005, 0.005])
    adam = loop.optimizer(model, settings())
    cosine = loop.Schedule(adam, settings(scheduler="cosine", scheduler_floor=0.1, max_epochs=4))
    rates = []
    for epoch in (2, 4):
        cosine.step(epoch, 1.0)
        rates.append(adam.param_groups[1]["lr"])
    assert rates == pytest.approx([0.0055, 0.001])
