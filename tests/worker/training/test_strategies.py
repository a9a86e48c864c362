"""Strategies of fine-tuning: what may move does, nothing else, and the result is a plain model that says the same."""

import argparse

import mace  # noqa: F401  (before e3nn)
import numpy as np
import pytest
import torch
from e3nn import o3
from mace import modules
from mace.tools import torch_geometric
from mace.tools.scripts_utils import get_params_options

from aiida_slhmc.worker import models
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.finetune import finetune
from aiida_slhmc.worker.graphs import default_dtype
from aiida_slhmc.worker.hyperparameters import Hyperparameters
from aiida_slhmc.worker.predict import predict
from aiida_slhmc.worker.training import dataset, energies, loop, strategies
from aiida_slhmc.worker.training.forgetting import Forgetting

from ..rutile import MODEL, labelled, payload, rattled, split_of

CHUNK = labelled(rattled(4, 11))
FRAMES = dataset.read_frames([CHUNK], [[0, 0, 0, 1]])
SAMPLE = FRAMES[dataset.TRAIN][0]


def settings(**values):
    return Hyperparameters.from_dict({"protocol": "fast", "max_epochs": 1, "learning_rate": 1e-3, **values})


def state(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def trained(prepared, chosen):
    graphs = dataset.graphs(FRAMES[dataset.TRAIN], prepared.model, prepared.head)
    loop.train(prepared.model, graphs, graphs, chosen, seed=1)
    return prepared.model


def replay_of(count=8, amplitude=0.2, seed=5):
    """Return a replay set: far displaced cells, labelled by the parent itself."""
    chunk = labelled(rattled(count, seed, amplitude), models.load(MODEL))
    return {"frames": [chunk], "split": [split_of(count)]}


@pytest.mark.parametrize("layers", ["embedding", "interactions", "products"])
def test_frozen_weights_keep_every_bit(layers):
    model = models.read(MODEL)
    before = state(model)
    chosen = settings(strategy="frozen", frozen_layers=layers, ema_decay=0.5)
    prepared = strategies.prepare(model, chosen, 1, SAMPLE)
    after = state(trained(prepared, chosen))
    held = {name for name in before if name.startswith(strategies.LAYERS[layers])}
    names = {name for name, _ in model.named_parameters()}
    assert all(torch.equal(before[name], after[name]) for name in held)
    assert not any(torch.equal(before[name], after[name]) for name in names - held)
    assert prepared.trainable == sum(before[name].numel() for name in names - held) < 29_024


@pytest.mark.parametrize(("layers", "freeze"), [("embedding", 1), ("interactions", 5), ("products", 6)])
def test_layers_are_those_that_mace_freezes(layers, freeze):
    theirs, ours = models.read(MODEL), models.read(MODEL)
    arguments = argparse.Namespace(
        freeze=freeze, lr_params_factors="{}", lr=0.01, weight_decay=0.0, amsgrad=True, beta=0.9, optimizer="adam"
    )
    get_params_options(arguments, theirs)
    strategies.prepare(ours, settings(strategy="frozen", frozen_layers=layers), 1, SAMPLE)
    flags = [{name: p.requires_grad for name, p in model.named_parameters()} for model in (theirs, ours)]
    assert flags[0] == flags[1]


def test_merged_adapters_say_what_the_adapters_said():
    model = models.read(MODEL)
    before = state(model)
    chosen = settings(strategy="lora", lora_rank=2, learning_rate=0.02, max_epochs=3)
    prepared = strategies.prepare(model, chosen, 1, SAMPLE)
    assert prepared.trainable < 5_000
    graphs = dataset.graphs(FRAMES[dataset.TRAIN], prepared.model, prepared.head)
    untrained = loop.evaluate(prepared.model, graphs, chosen)
    loop.train(prepared.model, graphs, graphs, chosen, seed=1)
    with_adapters = loop.evaluate(prepared.model, graphs, chosen)
    plain, head = strategies.finish(prepared, chosen, SAMPLE)
    merged = loop.evaluate(plain, dataset.graphs(FRAMES[dataset.TRAIN], plain, head), chosen)
    assert with_adapters.forces < 0.9 * untrained.forces
    assert merged.energies == pytest.approx(with_adapters.energies, abs=1e-10)
    assert merged.forces == pytest.approx(with_adapters.forces, rel=1e-9)
    after = state(plain)
    assert {name: value.shape for name, value in after.items()} == {name: v.shape for name, v in before.items()}
    change = after["interactions.1.conv_tp_weights.layer1.weight"] - before[
        "interactions.1.conv_tp_weights.layer1.weight"
    ]  # fmt: skip
    assert np.linalg.matrix_rank(change.numpy(), tol=1e-12) == 2
    name = "products.0.symmetric_contractions.contractions.0.weights_max"
    assert torch.equal(after[name], before[name])


def test_adapters_follow_from_the_seed_and_the_process_keeps_its_random_state():
    before = torch.get_rng_state()
    drawn = []
    for seed in (1, 1, 2):
        prepared = strategies.prepare(models.read(MODEL), settings(strategy="lora"), seed, SAMPLE)
        drawn.append(torch.cat([p.flatten() for name, p in prepared.model.named_parameters() if "lora_A" in name]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_default_dtype() == torch.float32


def test_from_scratch_nothing_of_the_parents_weights_is_left(tmp_path):
    parent = models.read(MODEL)
    children = [strategies.prepare(parent, settings(strategy="scratch"), seed, SAMPLE).model for seed in (1, 1, 2)]
    hashes = [models.state_sha256(child) for child in children]
    assert hashes[0] == hashes[1] != hashes[2]
    held = dict(parent.named_parameters())
    assert {name: p.shape for name, p in held.items()} == {name: p.shape for name, p in children[0].named_parameters()}
    assert not any(torch.equal(held[name], p) for name, p in children[0].named_parameters())
    buffers = dict(parent.named_buffers())
    assert all(torch.equal(buffers[name], value) for name, value in children[0].named_buffers())
    # Its energies start at those of the labels all the same: E0 takes up what random weights miss.
    result = finetune(payload(tmp_path / "x.model", count=4, max_epochs=1, strategy="scratch"))
    assert result["errors"]["initial"]["energy_mev_per_atom"] < 60
    assert result["errors"]["parent"]["energy_mev_per_atom"] > 1000


def test_dynamics_and_prediction_take_the_head_that_was_trained(tmp_path):
    chosen = settings(strategy="multihead")
    prepared = strategies.prepare(models.read(MODEL), chosen, 1, SAMPLE)
    assert prepared.model.heads == ["pt_head", "Default"]
    replay = dataset.read_frames(*replay_of(count=4).values())
    energies.write(prepared.model, prepared.head, {1: -1.0, 7: -3.0, 8: -3.5, 22: -6.0})
    graphs = dataset.graphs(FRAMES[dataset.TRAIN], prepared.model, prepared.head)
    both = graphs + dataset.graphs(replay[dataset.TRAIN], prepared.model, prepared.replay_head, weight=0.1)
    loop.train(prepared.model, both, graphs, chosen, seed=1)
    plain, head = strategies.finish(prepared, chosen, SAMPLE)
    models.save(plain, tmp_path / "plain.model")
    assert (head, models.describe(tmp_path / "plain.model")["heads"]) == (0, ["Default"])
    models.save(prepared.model, tmp_path / "two.model")
    frames = {name: CHUNK[name] for name in ("numbers", "positions", "cells", "pbc")}
    said = {
        name: predict({"potential": {"engine": "mace", "file": str(tmp_path / file), "head": head}, "frames": frames})
        for name, file, head in (
            ("plain", "plain.model", None), ("target", "two.model", "Default"), ("replayed", "two.model", "pt_head"),
            ("two", "two.model", None),
        )
    }  # fmt: skip
    for name in ("energies", "forces", "stresses"):
        assert said["plain"][name] == pytest.approx(said["target"][name], abs=1e-9)
        assert said["two"][name] == pytest.approx(said["target"][name], abs=1e-12)
        assert not np.allclose(said["plain"][name], said["replayed"][name], atol=1e-3)
    potential = models.MacePotential(tmp_path / "plain.model", CHUNK["numbers"][0], CHUNK["pbc"][0])
    point = potential.evaluate(CHUNK["positions"][0], CHUNK["cells"][0])
    assert point.energy == pytest.approx(said["target"]["energies"][0], abs=1e-9)
    assert point.forces == pytest.approx(said["target"]["forces"][0], abs=1e-9)


def test_each_head_has_its_own_reference_energies(tmp_path):
    values = payload(tmp_path / "new.model", count=4, max_epochs=1, strategy="multihead")
    result = finetune({**values, "replay": replay_of()})
    assert result["e0"]["offset_before"] == pytest.approx(2.5, abs=0.3)
    assert result["e0"]["offset"] == pytest.approx(0.0, abs=0.02)
    # The replayed head counts from the parent's zero, as its labels do.
    assert result["replay"]["offset"] == pytest.approx(0.0, abs=1e-9)
    assert result["replay"]["parent"]["energy_mev_per_atom"] < 1e-6
    assert result["replay"]["head"]["energy_mev_per_atom"] < 300
    assert result["replay"]["result"]["energy_mev_per_atom"] > 2000
    assert result["replay"]["frames"] == {"train": 6, "measured": 2, "held_out": True}
    assert result["warnings"] == []


@pytest.mark.slow
def test_replay_keeps_what_naive_fine_tuning_forgets(tmp_path):
    """Errors of the forces on displaced cells that no training saw: of the replayed head less than half of naive's."""
    replay = replay_of(count=24)
    forgotten, learnt = {}, {}
    for strategy in ("naive", "multihead"):
        values = payload(tmp_path / "x.model", count=12, max_epochs=12, strategy=strategy, learning_rate=2e-3)
        values["hyperparameters"]["replay_weight"] = 1.0
        result = finetune({**values, "replay": replay})
        errors = result["replay"]["head" if strategy == "multihead" else "result"]
        forgotten[strategy] = errors["forces_mev_per_angstrom"]
        best = result["errors"]["best"]["forces_mev_per_angstrom"]
        learnt[strategy] = best / result["errors"]["initial"]["forces_mev_per_angstrom"]
    assert forgotten["multihead"] < 0.5 * forgotten["naive"]
    assert max(learnt.values()) < 0.5


def test_fewer_replayed_frames_are_a_seeded_draw():
    replay = replay_of(count=16)
    parts = dataset.read_frames(replay["frames"], replay["split"])
    drawn = [[frame.energy for frame in Forgetting(parts, settings(replay_frames=5), seed).train] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 5
    assert set(drawn[0]) < {frame.energy for frame in parts[dataset.TRAIN]}
    assert len(Forgetting(parts, settings(replay_frames=None), 1).train) == 12


def test_the_weight_of_replayed_frames_counts_in_our_loss_and_not_in_maces():
    """MACE's program switches to its universal loss for multihead, which looks at no configuration's weight."""
    model = models.read(MODEL)
    found = {}
    for weight in (1.0, 0.1):
        batch = torch_geometric.Batch.from_data_list(dataset.graphs(FRAMES[dataset.TRAIN], model, 0, weight=weight))
        said = {"energy": batch.energy + 0.1, "forces": batch.forces + 0.1, "stress": batch.stress}
        with default_dtype(torch.float64):
            universal = modules.UniversalLoss(energy_weight=1.0, forces_weight=10.0)
            found[weight] = [
                float(loss(pred=said, ref=batch))
                for loss in (loop.loss_function(settings(), torch.float64), universal)
            ]  # fmt: skip
    assert found[0.1][0] == pytest.approx(0.1 * found[1.0][0])
    assert found[0.1][1] == pytest.approx(found[1.0][1])


def tiny(kind=modules.ScaleShiftMACE, irreps="4x0e + 4x1o", heads=("Default",), **more):
    """Return a MACE with random weights and features of more than one kind."""
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    with default_dtype(torch.float64), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return kind(
            r_max=3.0, num_bessel=4, num_polynomial_cutoff=5, max_ell=1, interaction_cls=block,
            interaction_cls_first=block, num_interactions=2, num_elements=2, hidden_irreps=o3.Irreps(irreps),
            MLP_irreps=o3.Irreps("4x0e"), atomic_energies=np.array([[-1.0, -2.0]] * len(heads)), avg_num_neighbors=8.0,
            atomic_numbers=[8, 22], correlation=2, gate=torch.nn.functional.silu, radial_MLP=[8], heads=list(heads),
            **more,
        )  # fmt: skip


def shifted(heads=1):
    return {"atomic_inter_scale": [1.3] * heads, "atomic_inter_shift": [-0.7] * heads}


@pytest.mark.parametrize("strategy", ["multihead", "lora", "frozen", "scratch"])
def test_vector_features_and_models_with_two_heads(strategy):
    """The checks inside compare the rebuilt models with what went in."""
    chosen = settings(strategy=strategy)
    for model in (tiny(**shifted()), tiny(heads=("pt_head", "Default"), **shifted(2))):
        prepared = strategies.prepare(model, chosen, 1, SAMPLE)
        plain, head = strategies.finish(prepared, chosen, SAMPLE)
        assert plain.heads[head] == "Default"
        assert len(plain.heads) == (1 if strategy == "multihead" else len(model.heads))


def test_what_a_strategy_cannot_do_is_said_before_the_training(tmp_path):
    plain = tmp_path / "plain.model"
    models.save(tiny(modules.MACE, "4x0e"), plain)
    foreign = replay_of()
    foreign["frames"][0]["numbers"][0, 0] = 79
    cases = [
        ({"strategy": "multihead"}, {}, "needs a replay set"),
        ({"strategy": "multihead"}, {"replay": foreign}, r"does not know the element\(s\) Au"),
        ({"strategy": "multihead", "e0": "average"}, {"replay": replay_of()}, "'average' cannot be had"),
        ({"strategy": "multihead"}, {"replay": replay_of(), "model": str(plain)}, "cannot rebuild a MACE"),
        ({"strategy": "scratch"}, {"model": str(plain)}, "cannot rebuild a MACE"),
        ({"strategy": "adapters"}, {}, "strategy must be one of"),
        ({"strategy": "frozen", "frozen_layers": "readouts"}, {}, "frozen_layers must be one of"),
        ({"strategy": "lora", "lora_rank": 0}, {}, "lora_rank must lie between"),
    ]
    for hyperparameters, changes, says in cases:
        values = {**payload(tmp_path / "new.model", count=4, **hyperparameters), **changes}
        with pytest.raises(TaskError, match=says) as caught:
            finetune(values)
        assert caught.value.kind == "bad_input"
    assert not (tmp_path / "new.model").exists()


def test_a_model_without_linear_layers_takes_no_adapters():
    with pytest.raises(TaskError, match="no linear layer"):
        strategies._adapt(torch.nn.PReLU(), settings(strategy="lora"))


def test_replayed_energies_from_another_zero_are_warned_of(tmp_path):
    replay = replay_of()
    replay["frames"][0]["energies"] -= 6.0
    values = payload(tmp_path / "x.model", count=4, max_epochs=1, strategy="multihead")
    (warning,) = finetune({**values, "replay": replay})["warnings"]
    assert "-1000 meV/atom from those of the model to start from" in warning
