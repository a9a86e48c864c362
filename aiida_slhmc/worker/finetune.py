"""Task ``finetune``: train a MACE model on labelled frames and keep the best of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .errors import TaskError
from .graphs import head_index, model_dtype
from .hyperparameters import Hyperparameters
from .models import describe, read, reference_energies, save, state_sha256
from .training import dataset, energies, loop, strategies
from .training.forgetting import Forgetting, plain

#: Frames by their part of the split.
Parts = Mapping[int, Sequence[dataset.Frame]]

_KEYS = ("model", "frames", "split", "seed", "out")


def finetune(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Fine-tune a model, or each member of a committee on the same frames.

    The weights of the epoch with the least validation loss are the result; the model to start from, with its new
    reference energies, counts as epoch 0. Without validation frames the training frames judge. Frames of a replay set
    are trained on by the strategy 'multihead' alone; whatever the strategy, they tell what was forgotten.

    :param payload: ``model`` (path), ``frames`` (a list of chunks: numbers (F, N), positions (F, N, 3) in Å, cells
        (F, 3, 3) in Å, pbc (F, 3), energies (F,) in eV, forces (F, N, 3) in eV/Å, stresses (F, 3, 3) in eV/Å³ with rows
        of NaN where there is none), ``split`` (for each chunk (F,): 0 train, 1 valid, 2 test), ``hyperparameters`` (see
        :class:`~aiida_slhmc.worker.hyperparameters.Hyperparameters`), ``seed``, ``out`` (path of the new model);
        ``isolated`` (energies of isolated atoms in eV by symbol) for the policy e0 'isolated'; ``replay`` (``frames``
        and ``split``, as above, with the energies of the model that is started from); ``members`` (further members of a
        committee: each with its own ``model``, ``seed``, ``out``).
    :returns: ``model`` (path); ``curve`` (lists by epoch); ``errors`` of the parent as it was, initially (with the new
        E0s), of the best epoch (the result), of the last epoch, on the test frames; ``improved``, ``stopped_early``,
        ``epochs``, ``best_epoch``, ``frames`` (counts; ``distinct`` ones where they were resampled), ``validated_on``,
        ``hyperparameters`` (complete), ``trainable`` (number of weights that could move), ``seed``, ``e0`` (policy;
        values in eV by symbol, before and after; mean energy error in eV/atom on the training frames, before and
        after), ``replay`` (None without a replay set; ``frames`` trained on and measured on, errors of the ``parent``,
        of the ``result`` and of the replayed ``head`` on the latter), ``warnings`` (sentences, if an energy offset
        remains), ``description``, ``versions``, ``wall_time`` (s); ``committee``: the same of each further member.
        Errors are in meV/atom, meV/Å and meV/Å³.
    :raises TaskError: ``bad_input`` for what cannot be trained on, ``diverged`` if a training ran away; then no file
        is written.
    """
    missing = [key for key in _KEYS if key not in payload]
    if missing:
        raise TaskError("bad_input", f"the input of a fine-tuning lacks {', '.join(missing)}.")
    settings = Hyperparameters.from_dict(payload.get("hyperparameters") or {})
    members = [payload, *payload.get("members", ())]
    if len(members) != settings.committee:
        raise TaskError(
            "bad_input",
            f"the hyperparameters ask for a committee of {settings.committee}, but {len(members)} models are to be "
            "trained: 'members' must name all but the first.",
        )
    parts = dataset.read_frames(payload["frames"], payload["split"])
    given = payload.get("replay")
    if given is None and settings.strategy == "multihead":
        raise TaskError("bad_input", "the strategy 'multihead' needs a replay set: give 'replay'.")
    replay = None if given is None else dataset.read_frames(given["frames"], given["split"])
    trained = [
        _train(member, _resampled(parts, member) if index and settings.bootstrap else parts, replay, settings, payload)
        for index, member in enumerate(members)
    ]
    # Only when all have ended well, so that a failure leaves no part of a committee.
    records = [_finish(*one, Path(member["out"])) for one, member in zip(trained, members, strict=True)]
    return {**records[0], "committee": records[1:]}


def _resampled(parts: Parts, member: Mapping[str, Any]) -> Parts:
    """Return the split with as many training frames, drawn with replacement by the member's seed."""
    frames = parts[dataset.TRAIN]
    rows = np.random.default_rng(int(member["seed"])).integers(len(frames), size=len(frames))
    return {**parts, dataset.TRAIN: [frames[row] for row in rows]}


def _train(
    member: Mapping[str, Any],
    parts: Parts,
    replay: Parts | None,
    settings: Hyperparameters,
    payload: Mapping[str, Any],
) -> tuple[torch.nn.Module, int, dict[int, float], dict[str, Any]]:
    """Train one model and return it, its head, its reference energies in eV by atomic number, and what to tell."""
    started = time.perf_counter()
    seed = int(member["seed"])
    model = read(member["model"]).to(getattr(torch, settings.dtype))
    head = head_index(model)
    judge = dataset.VALID if parts[dataset.VALID] else dataset.TRAIN
    frames, sample = parts[dataset.TRAIN], parts[dataset.TRAIN][0]
    before = reference_energies(model)
    parent = loop.evaluate(model, dataset.graphs(parts[judge], model, head), settings)
    forgetting = None if replay is None else Forgetting(replay, settings, seed)
    if forgetting is not None:
        forgetting.measure("parent", model, head)

    prepared = strategies.prepare(model, settings, seed, sample)
    data = {part: dataset.graphs(some, prepared.model, prepared.head) for part, some in parts.items()}
    predicted = np.array(loop.evaluate(prepared.model, data[dataset.TRAIN], settings).energies)
    values = energies.new_energies(
        settings.e0, prepared.model, prepared.head, frames, predicted, payload.get("isolated")
    )
    energies.write(prepared.model, prepared.head, values)
    shifts = [sum(values[number] - before[number] for number in frame.numbers.tolist()) for frame in frames]
    offsets = [energies.offset(frames, predicted.tolist()), energies.offset(frames, (predicted + shifts).tolist())]
    warnings = energies.doubts(settings.e0, *offsets)
    replayed: list[Any] = []
    if forgetting is not None and prepared.replay_head is not None:
        warnings += forgetting.doubts()
        replayed = dataset.graphs(forgetting.train, prepared.model, prepared.replay_head, settings.replay_weight)

    outcome = loop.train(prepared.model, data[dataset.TRAIN] + replayed, data[judge], settings, seed)

    test = loop.evaluate(prepared.model, data[dataset.TEST], settings).to_dict() if parts[dataset.TEST] else None
    final, final_head = strategies.finish(prepared, settings, sample)
    if forgetting is not None:
        forgetting.measure("result", final, final_head)
        if prepared.replay_head is not None:
            forgetting.measure("head", prepared.model, prepared.replay_head)
    record = {
        "curve": _columns(outcome.curve),
        "errors": {
            "parent": plain(parent.to_dict()),
            "initial": _valid(outcome.curve[0]),
            "best": _valid(outcome.curve[outcome.best_epoch]),
            "last": _valid(outcome.curve[-1]),
            "test": None if test is None else plain(test),
        },
        "improved": outcome.best_epoch > 0,
        "stopped_early": outcome.stopped_early,
        "epochs": outcome.epochs,
        "best_epoch": outcome.best_epoch,
        "frames": {
            "train": len(frames),
            "distinct": len({id(frame) for frame in frames}),
            "valid": len(parts[dataset.VALID]),
            "test": len(parts[dataset.TEST]),
        },
        "validated_on": "valid" if judge == dataset.VALID else "train",
        "hyperparameters": settings.to_dict(),
        "trainable": prepared.trainable,
        "seed": seed,
        "e0": {
            "policy": settings.e0,
            "before": _by_symbol(before),
            "values": _by_symbol(values),
            "offset_before": offsets[0],
            "offset": offsets[1],
        },
        "replay": None if forgetting is None else forgetting.to_dict(len(replayed)),
        "warnings": warnings,
        "wall_time": time.perf_counter() - started,
    }
    return final, final_head, values, record


def _finish(
    model: torch.nn.Module, head: int, values: dict[int, float], record: dict[str, Any], out: Path
) -> dict[str, Any]:
    """Write a trained model and describe its file."""
    _write(model, out, head, values)
    description = describe(out)
    return {"model": str(out), **record, "description": description, "versions": description["versions"]}


def _write(model: torch.nn.Module, out: Path, head: int, values: dict[int, float]) -> None:
    """Write the model and make sure that the file holds the weights and the reference energies it should."""
    save(model, out)
    written = read(out)
    energies.check_written(written, head, values)
    if state_sha256(written) != state_sha256(model) or model_dtype(written) != model_dtype(model):
        raise TaskError("failed", f"the file '{out}' does not hold the weights that were written to it.")


def _columns(rows: Sequence[Mapping[str, float]]) -> dict[str, list[float | None]]:
    return {key: [plain(row)[key] for row in rows] for key in rows[0]}


def _valid(row: Mapping[str, float]) -> dict[str, float | None]:
    return {key.removeprefix("valid_"): value for key, value in plain(row).items() if key.startswith("valid_")}


def _by_symbol(values: Mapping[int, float]) -> dict[str, float]:
    from ase.data import chemical_symbols

    return {chemical_symbols[number]: value for number, value in values.items()}
