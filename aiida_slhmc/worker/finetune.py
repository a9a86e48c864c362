"""Task ``finetune``: train a MACE model on labelled frames and keep the best of it."""

from __future__ import annotations

import math
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
from .training import dataset, energies, loop

_KEYS = ("model", "frames", "split", "seed", "out")


def finetune(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Fine-tune a model.

    The weights of the epoch with the least validation loss are the result; the model to start from, with its new
    reference energies, counts as epoch 0. Without validation frames the training frames judge.

    :param payload: ``model`` (path), ``frames`` (a list of chunks: numbers (F, N), positions (F, N, 3) in Å, cells
        (F, 3, 3) in Å, pbc (F, 3), energies (F,) in eV, forces (F, N, 3) in eV/Å, stresses (F, 3, 3) in eV/Å³ with rows
        of NaN where there is none), ``split`` (for each chunk (F,): 0 train, 1 valid, 2 test), ``hyperparameters`` (see
        :class:`~aiida_slhmc.worker.hyperparameters.Hyperparameters`), ``seed``, ``out`` (path of the new model);
        ``isolated`` (energies of isolated atoms in eV by symbol) for the policy e0 'isolated'.
    :returns: ``model`` (path); ``curve`` (lists by epoch); ``errors`` of the parent as it was, initially (with the new
        E0s), of the best epoch (the result), of the last epoch, on the test frames; ``improved``, ``stopped_early``,
        ``epochs``, ``best_epoch``, ``frames`` (counts), ``validated_on``, ``hyperparameters`` (complete), ``seed``,
        ``e0`` (policy; values in eV by symbol, before and after; mean energy error in eV/atom on the training frames,
        before and after), ``warnings`` (sentences, if an energy offset remains), ``description``, ``versions``,
        ``wall_time`` (s).
        Errors are in meV/atom, meV/Å and meV/Å³.
    :raises TaskError: ``bad_input`` for what cannot be trained on, ``diverged`` if the training ran away; then no file
        is written.
    """
    started = time.perf_counter()
    missing = [key for key in _KEYS if key not in payload]
    if missing:
        raise TaskError("bad_input", f"the input of a fine-tuning lacks {', '.join(missing)}.")
    settings = Hyperparameters.from_dict(payload.get("hyperparameters") or {})
    parts = dataset.read_frames(payload["frames"], payload["split"])
    model = read(payload["model"]).to(getattr(torch, settings.dtype))
    head = head_index(model)
    data = {part: dataset.graphs(frames, model, head) for part, frames in parts.items()}
    judge = dataset.VALID if parts[dataset.VALID] else dataset.TRAIN
    before = reference_energies(model)
    parent = loop.evaluate(model, data[judge], settings)
    frames = parts[dataset.TRAIN]
    predicted = np.array(loop.evaluate(model, data[dataset.TRAIN], settings).energies)
    values = energies.new_energies(settings.e0, model, head, frames, predicted, payload.get("isolated"))
    energies.write(model, head, values)
    shifts = [sum(values[number] - before[number] for number in frame.numbers.tolist()) for frame in frames]
    offsets = [energies.offset(frames, predicted.tolist()), energies.offset(frames, (predicted + shifts).tolist())]
    warnings = energies.doubts(settings.e0, *offsets)

    outcome = loop.train(model, data[dataset.TRAIN], data[judge], settings, int(payload["seed"]))

    test = loop.evaluate(model, data[dataset.TEST], settings).to_dict() if parts[dataset.TEST] else None
    out = Path(payload["out"])
    _write(model, out, head, values)
    description = describe(out)
    return {
        "model": str(out),
        "curve": _columns(outcome.curve),
        "errors": {
            "parent": _plain(parent.to_dict()),
            "initial": _valid(outcome.curve[0]),
            "best": _valid(outcome.curve[outcome.best_epoch]),
            "last": _valid(outcome.curve[-1]),
            "test": None if test is None else _plain(test),
        },
        "improved": outcome.best_epoch > 0,
        "stopped_early": outcome.stopped_early,
        "epochs": outcome.epochs,
        "best_epoch": outcome.best_epoch,
        "frames": {"train": len(parts[0]), "valid": len(parts[1]), "test": len(parts[2])},
        "validated_on": "valid" if judge == dataset.VALID else "train",
        "hyperparameters": settings.to_dict(),
        "seed": int(payload["seed"]),
        "e0": {
            "policy": settings.e0,
            "before": _by_symbol(before),
            "values": _by_symbol(values),
            "offset_before": offsets[0],
            "offset": offsets[1],
        },
        "warnings": warnings,
        "description": description,
        "versions": description["versions"],
        "wall_time": time.perf_counter() - started,
    }


def _write(model: torch.nn.Module, out: Path, head: int, values: dict[int, float]) -> None:
    """Write the model and make sure that the file holds the weights and the reference energies it should."""
    save(model, out)
    written = read(out)
    energies.check_written(written, head, values)
    if state_sha256(written) != state_sha256(model) or model_dtype(written) != model_dtype(model):
        raise TaskError("failed", f"the file '{out}' does not hold the weights that were written to it.")


def _columns(rows: Sequence[Mapping[str, float]]) -> dict[str, list[float | None]]:
    return {key: [_plain(row)[key] for row in rows] for key in rows[0]}


def _plain(row: Mapping[str, float]) -> dict[str, float | None]:
    return {key: value if math.isfinite(value) else None for key, value in row.items()}


def _valid(row: Mapping[str, float]) -> dict[str, float | None]:
    return {key.removeprefix("valid_"): value for key, value in _plain(row).items() if key.startswith("valid_")}


def _by_symbol(values: Mapping[int, float]) -> dict[str, float]:
    from ase.data import chemical_symbols

    return {chemical_symbols[number]: value for number, value in values.items()}
