"""Strategies of fine-tuning: which weights may move, and what the model is made of while it is trained.

Each ends in a plain MACE model with the head that dynamics uses. MACE's own parts build, split and merge the models;
what they give is compared with what went in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mace.tools import AtomicNumberTable
from mace.tools.finetuning_utils import load_foundations_elements
from mace.tools.scripts_utils import extract_config_mace_model, remove_pt_head

from ..errors import TaskError
from ..graphs import GraphBuilder, atomic_numbers, default_dtype, head_index, heads_of, model_dtype, outputs
from ..hyperparameters import Hyperparameters
from .dataset import Frame

#: MACE's names of the heads: of the replayed frames, and of the target.
REPLAY_HEAD, TARGET_HEAD = "pt_head", "Default"

#: First parts of the names of weights that are held up to a layer; MACE's ``--freeze`` 1, 5 and 6.
LAYERS = {
    "embedding": ("node_embedding.", "radial_embedding."),
    "interactions": ("node_embedding.", "radial_embedding.", "interactions."),
    "products": ("node_embedding.", "radial_embedding.", "interactions.", "products."),
}

#: Largest differences that rebuilding a model may make, relative to the numbers' size.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}


@dataclass(frozen=True)
class Prepared:
    """Hold a model as it is trained.

    :param model: the model; weights that may move ask for their gradient, no others.
    :param head: number of the head of the target.
    :param replay_head: number of the head of replayed frames; None where the strategy replays none.
    """

    model: torch.nn.Module
    head: int
    replay_head: int | None = None

    @property
    def trainable(self) -> int:
        """Return the number of weights that may move."""
        return sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)


def prepare(model: torch.nn.Module, settings: Hyperparameters, seed: int, frame: Frame) -> Prepared:
    """Return a model as its strategy trains it.

    :param model: the model to start from, in the precision of the training; its weights may be shared with the result.
    :param settings: strategy and its options.
    :param seed: of random weights; the process's own random state is left as it was.
    :param frame: a structure on which rebuilt models are compared.
    :raises TaskError: ``bad_input`` for a model that the strategy cannot train.
    """
    for parameter in model.parameters():
        parameter.requires_grad = True
    head = head_index(model)
    with torch.random.fork_rng(devices=[]), default_dtype(model_dtype(model)):
        torch.manual_seed(seed)
        if settings.strategy == "frozen":
            _hold(model, LAYERS[settings.frozen_layers])
        elif settings.strategy == "lora":
            _adapt(model, settings)
        elif settings.strategy == "scratch":
            return Prepared(_anew(model), head)
        elif settings.strategy == "multihead":
            two = _two_heads(_single(model, head))
            replay, target = heads_of(two).index(REPLAY_HEAD), heads_of(two).index(TARGET_HEAD)
            for number in (replay, target):
                _check_same(model, head, two, number, frame, "building its two heads")
            return Prepared(two, target, replay)
    return Prepared(model, head)


def finish(prepared: Prepared, settings: Hyperparameters, frame: Frame) -> tuple[torch.nn.Module, int]:
    """Return a trained model as a plain one, and the number of the head to use.

    :param prepared: the model as it was trained.
    :param settings: strategy and its options.
    :param frame: a structure on which the plain model is compared with the trained one.
    :raises TaskError: ``failed`` if the plain model does not say what was trained.
    """
    model, head = prepared.model, prepared.head
    with default_dtype(model_dtype(model)):
        if settings.strategy == "multihead":
            plain = remove_pt_head(model, TARGET_HEAD)
            _check_same(model, head, plain, 0, frame, "taking out its target head")
            return plain, 0
        if settings.strategy == "lora":
            from mace.modules.lora import merge_lora_weights

            plain = merge_lora_weights(model, inplace=False)
            _check_same(model, head, plain, head, frame, "merging its adapters")
            return plain, head
    return model, head


def _hold(model: torch.nn.Module, prefixes: tuple[str, ...]) -> None:
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not name.startswith(prefixes)


def _adapt(model: torch.nn.Module, settings: Hyperparameters) -> None:
    """Put MACE's low-rank adapters on all linear layers; nothing else may move."""
    try:
        from mace.modules.lora import inject_lora
    except ImportError as error:
        raise TaskError(
            "missing_dependency", f"the strategy 'lora' needs MACE 0.3.15 or later ({error}): install it."
        ) from None
    inject_lora(model, rank=settings.lora_rank, alpha=settings.lora_alpha)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise TaskError(
            "bad_input",
            "the model has no linear layer that MACE's adapters know, so that 'lora' cannot train it: convert it to"
            " e3nn's layers, or take another strategy.",
        )


def _config(model: torch.nn.Module, why: str) -> dict[str, Any]:
    """Return the arguments that rebuild a model."""
    config = dict(extract_config_mace_model(model))
    if "error" in config:
        raise TaskError(
            "bad_input", f"MACE cannot rebuild a {type(model).__name__}, which {why}: take another strategy."
        )
    return config


def _anew(model: torch.nn.Module) -> torch.nn.Module:
    """Return a model of the same make, its weights random, its E0s, scale and shift those of the given one."""
    new = type(model)(**_config(model, "'scratch' has to"))
    held = model.state_dict()
    shapes = {name: value.shape for name, value in new.state_dict().items()}
    if {name: value.shape for name, value in held.items()} != shapes:
        raise TaskError(
            "bad_input", "MACE rebuilds this model with other weights than it has: 'scratch' cannot train it."
        )
    parameters = {name for name, _ in new.named_parameters()}
    new.load_state_dict({name: value for name, value in held.items() if name not in parameters}, strict=False)
    return new


def _single(model: torch.nn.Module, head: int) -> torch.nn.Module:
    heads = heads_of(model)
    return model if len(heads) == 1 else remove_pt_head(model, heads[head])


def _two_heads(model: torch.nn.Module) -> torch.nn.Module:
    """Return a model with a head of the replayed frames and one of the target, both as the given one's only head."""
    config = _config(model, "'multihead' has to")
    config["heads"] = [REPLAY_HEAD, TARGET_HEAD]
    config["atomic_energies"] = np.repeat(np.atleast_2d(config["atomic_energies"]), 2, axis=0)
    for name in ("atomic_inter_scale", "atomic_inter_shift"):
        config[name] = np.repeat(np.atleast_1d(config[name]), 2)
    new = type(model)(**config)
    # All elements of the model stay: replay is for what the target's frames do not have.
    table = AtomicNumberTable(atomic_numbers(model))
    with torch.no_grad():
        load_foundations_elements(new, model, table, load_readout=True, max_L=config["hidden_irreps"].lmax)
    for parameter in new.parameters():
        parameter.requires_grad = True
    return new


def _check_same(
    first: torch.nn.Module, first_head: int, second: torch.nn.Module, second_head: int, frame: Frame, what: str
) -> None:
    """Make sure that two models say the same of a structure."""
    answers = [_answer(model, head, frame) for model, head in ((first, first_head), (second, second_head))]
    scale = max(1.0, *(float(np.abs(values).max()) for values in answers[0]))
    worst = max(float(np.abs(one - other).max()) for one, other in zip(*answers, strict=True))
    if not worst <= TOLERANCE[model_dtype(first)] * scale:
        raise TaskError("failed", f"{what} changed what the model says by {worst:.2g} (eV, eV/Å): this is a defect.")


def _answer(model: torch.nn.Module, head: int, frame: Frame) -> Iterable[np.ndarray]:
    builder = GraphBuilder(model, heads_of(model)[head])
    answer = outputs(model, builder(frame.numbers, frame.positions, frame.cell, frame.pbc), stress=False)
    return [answer["energy"].detach().numpy(), answer["forces"].detach().numpy()]
