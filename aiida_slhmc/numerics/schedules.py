"""Schedules of stochastic-gradient sampling over one update."""

from __future__ import annotations

import math

#: Step size that is left at the end of a cycle.
FLOOR = 1e-8


def cosine(step: int, period: int, first: float, floor: float = FLOOR) -> float:
    """Return the step size within cosine cycles: (first/2) (1 + cos(pi i/period)) + floor, i the step in its cycle.

    Zhang et al., Cyclical stochastic gradient MCMC (ICLR 2020); Rensmeyer, Kramer and Niggemann (2025).

    :param step: from 0; a new cycle begins at every multiple of the period.
    :param period: steps in a cycle, at least 1.
    :param first: step size at the beginning of a cycle.
    :param floor: step size that is left where the cosine vanishes.
    :raises ValueError: for a step below 0 or a period below 1.
    """
    if step < 0 or period < 1:
        raise ValueError(f"there is no step {step} in cycles of {period} steps")
    return first / 2.0 * (1.0 + math.cos(math.pi * (step % period) / period)) + floor


def ramp(step: int, begin: int, length: int) -> float:
    """Return the factor of the noise: 0 before ``begin``, then rising linearly to 1 over ``length`` steps.

    :param step: from 0.
    :param begin: the last step without noise is the one before it.
    :param length: steps that the rise takes; 0 rises at once.
    :raises ValueError: for a number below 0.
    """
    if min(step, begin, length) < 0:
        raise ValueError(f"step {step}, begin {begin} and length {length} of a ramp must be at least 0")
    if step < begin:
        return 0.0
    return 1.0 if length == 0 else min(1.0, (step - begin + 1) / length)
