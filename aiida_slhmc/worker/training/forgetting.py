"""The replay set of a training: what of it is trained on, and what it tells of what was forgotten."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..hyperparameters import Hyperparameters
from . import dataset, energies, loop


def plain(row: Mapping[str, float]) -> dict[str, float | None]:
    """Return errors with None for what is not finite.

    :param row: errors by name.
    """
    return {key: value if math.isfinite(value) else None for key, value in row.items()}


class Forgetting:
    """Measure models on a replay set.

    The validation frames are measured on, which no training sees; without such, those that are trained on.

    :param parts: frames by their part of the split.
    :param settings: how many frames to train on.
    :param seed: of the draw of these.
    """

    def __init__(self, parts: Mapping[int, Sequence[dataset.Frame]], settings: Hyperparameters, seed: int):
        frames = list(parts[dataset.TRAIN])
        if settings.replay_frames is not None and len(frames) > settings.replay_frames:
            rows = np.random.default_rng(seed).permutation(len(frames))[: settings.replay_frames]
            frames = [frames[row] for row in sorted(rows.tolist())]
        self.train = frames
        self._measured = list(parts[dataset.VALID]) or frames
        self._held_out = bool(parts[dataset.VALID])
        self._settings = settings
        self._errors: dict[str, dict[str, float | None]] = {}
        self._offset = 0.0

    def measure(self, name: str, model: torch.nn.Module, head: int) -> None:
        """Measure a model.

        :param name: of the model: ``parent`` comes first.
        :param model: the model.
        :param head: number of its head.
        """
        errors = loop.evaluate(model, dataset.graphs(self._measured, model, head), self._settings)
        self._errors[name] = {key: value for key, value in plain(errors.to_dict()).items() if key != "loss"}
        if name == "parent":
            self._offset = energies.offset(self._measured, errors.energies)

    def doubts(self) -> list[str]:
        """Return what speaks against the replay set, one sentence each."""
        if abs(self._offset) <= energies.OFFSET_BOUND:
            return []
        return [
            f"The replay set's energies lie {-1000 * self._offset:+.0f} meV/atom from those of the model to start from:"
            " they count from another zero, and the weights that both heads share must make up for it. Take labels of"
            " the foundation model itself, or of the functional that it was trained on."
        ]

    def to_dict(self, used: int) -> dict[str, Any]:
        """Return the errors in meV/atom, meV/Å and meV/Å³ by model, and the counts of frames.

        :param used: how many frames were trained on.
        """
        counts = {"train": used, "measured": len(self._measured), "held_out": self._held_out}
        return {"frames": counts, "offset": self._offset, **self._errors}
