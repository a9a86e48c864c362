"""Batches that hold the newest data about once each, with weights that leave their mean unbiased."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def probabilities(n: int, batch_size: int, newest: int = 1) -> NDArray[np.float64]:
    """Return the probability of each datum in one draw.

    Each of the newest is expected once per batch: q = 1/B, and (1 - m/B)/(n - m) for each of the others. Where the
    newest fill a batch, they share all of it but one expected draw.

    :param n: data; the newest are the last.
    :param batch_size: B, draws in a batch, at least 2.
    :param newest: m, how many are new.
    :returns: (n,), summing to 1, none of them 0.
    :raises ValueError: for numbers that make no batch.
    """
    if n < 1 or batch_size < 2 or not 0 <= newest <= n:
        raise ValueError(
            f"a batch of {batch_size} cannot be drawn from {n} data of which {newest} are new: it takes at least one"
            " datum, a batch size of at least 2, and no more new data than there are data"
        )
    old = n - newest
    if old == 0 or newest == 0:
        return np.full(n, 1.0 / n)
    share = min(newest, batch_size - 1) / batch_size
    return np.concatenate([np.full(old, (1.0 - share) / old), np.full(newest, share / newest)])


def draw(
    n: int, batch_size: int, rng: np.random.Generator, newest: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Draw a batch and its weights w, such that the mean of w l over the batch has the mean of l over all data.

    The draws are independent, with replacement, and w = 1/(n q); where the batch would hold all data it does, with
    weight 1. Rensmeyer, Kramer and Niggemann (2025) describe this; their program's weights differ from it and are
    biased (decision 11).

    :param n: data; the newest are the last.
    :param batch_size: B, at least 2.
    :param rng: where the draws come from; not touched where the batch holds all data.
    :param newest: how many are new.
    :returns: indices and weights, (min(n, B),) each.
    :raises ValueError: as :func:`probabilities`.
    """
    chance = probabilities(n, batch_size, newest)
    if n <= batch_size:
        return np.arange(n, dtype=np.int64), np.ones(n)
    indices = rng.choice(n, size=batch_size, p=chance).astype(np.int64)
    return indices, 1.0 / (n * chance[indices])
