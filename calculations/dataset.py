"""Extend: a dataset grows by one chunk, with two links."""

from __future__ import annotations

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_slhmc.data import DatasetData, FramesData
from aiida_slhmc.data.dataset import TRAIN, VALID
from aiida_slhmc.numerics.randomness import Purpose, generator


@calcfunction
def extend(chunk: FramesData, seed: orm.Int, split: orm.Dict, previous: DatasetData | None = None) -> DatasetData:
    """Extend a dataset by a chunk and fix, once and for all, which of its frames train and which validate.

    A frame's role never changes: a frame that one model trained on never judges a later one.

    :param chunk: the new frames.
    :param seed: root seed of the run.
    :param split: ``valid_fraction``: fraction of the frames kept for validation; at least one of two or more.
    :param previous: the dataset so far.
    """
    chunks = previous.chunks if previous is not None else []
    uuids = previous.chunk_uuids if previous is not None else []
    n_frames = chunk.n_frames
    roles = np.full(n_frames, TRAIN, dtype=np.int64)
    if n_frames > 1:
        n_valid = max(1, round(split.get_dict()["valid_fraction"] * n_frames))
        rng = generator(seed.value, 0, len(chunks), Purpose.SPLIT)
        roles[rng.permutation(n_frames)[:n_valid]] = VALID
    entry = {
        "content_sha256": chunk.content_sha256,
        "n_frames": n_frames,
        "level_hash": chunk.level_hash,
        "split": roles.tolist(),
    }
    return DatasetData([*chunks, entry], [*uuids, chunk.uuid])
