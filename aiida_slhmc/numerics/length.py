"""The proposal length: its law within a block, its adaptation between blocks."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

Law = Literal["uniform", "fixed", "geometric"]


def draw_length(length: int, law: Law, rng: np.random.Generator) -> int:
    """Draw the number of integration steps of one trajectory, independently of the state.

    A fixed length can resonate with a vibration, and then never moves it: Bou-Rabee and Sanz-Serna, Ann. Appl. Probab.
    27, 2159 (2017), doi 10.1214/16-AAP1255; Neal, Handbook of Markov Chain Monte Carlo, ch. 5 (2011).

    :param length: proposal length in steps (the mean of the law).
    :param law: ``uniform`` on ceil(length/2)..floor(3 length/2), ``geometric`` on 1, 2, ..., or ``fixed``.
    :param rng: where the number comes from.
    :raises ValueError: for another law, or a length below 1.
    """
    if length < 1:
        raise ValueError(f"the proposal length must be at least 1 step, not {length}")
    if law == "fixed":
        return length
    if law == "uniform":
        return int(rng.integers(math.ceil(length / 2), math.floor(3 * length / 2) + 1))
    if law == "geometric":
        return int(rng.geometric(1.0 / length))
    raise ValueError(f"there is no law '{law}' of the proposal length: uniform, fixed, geometric")


def adapt_length(
    length: int,
    mean_probability: float,
    *,
    target: float = 0.65,
    width: float = 0.25,
    minimum: int = 1,
    maximum: int = 1000,
) -> int:
    """Return the proposal length of the next block: length * 2^clip((mean - target)/width, -1, 1), rounded and clipped.

    The rule is this project's own; the default target is the optimum 0.651 of large systems (Beskos et al.,
    Bernoulli 19, 1501, 2013). A length that depends on the chain's past is adaptation: it belongs to the phase before
    production.

    :param length: of this block, in steps.
    :param mean_probability: mean acceptance probability of the block (not the fraction accepted: less noise).
    :param target: acceptance to steer to.
    :param width: distance from the target that doubles or halves the length.
    :param minimum: in steps.
    :param maximum: in steps.
    :raises ValueError: for a probability outside [0, 1].
    """
    if not 0.0 <= mean_probability <= 1.0:
        raise ValueError(f"a mean acceptance probability lies between 0 and 1, not at {mean_probability}")
    exponent = min(1.0, max(-1.0, (mean_probability - target) / width))
    return int(min(maximum, max(minimum, round(length * 2.0**exponent))))
