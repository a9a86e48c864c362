"""Task ``propose_many``: trajectories of several chains in step, evaluated in batches."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aiida_slhmc.numerics import driving
from aiida_slhmc.numerics.potential import Evaluation, Potential

from .errors import need
from .potentials import build_potential
from .propose import refusals, report, trajectory_of

_WHAT = "the payload of the trajectories"


def propose_many(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Propose a state for each of several chains on one surface.

    The trajectories advance together, so that a model evaluates all of them in one batch. A batch sums in another order
    than a single structure, so that an endpoint may differ from that of the task ``propose`` in its last digits; like
    every error of the proposal surface, that costs no exactness.

    :param payload: ``potential``; ``trajectories``: payloads as of the task ``propose``, less the potential.
    :returns: ``proposals``: what the task ``propose`` returns, in order, less the times; wall_time (s) of all.
    :raises TaskError: as the task ``propose``.
    """
    started = time.perf_counter()
    trajectories = need(payload, "trajectories", _WHAT)
    spec = need(payload, "potential", _WHAT)
    surfaces: dict[bytes, Potential] = {}
    keys = []
    for one in trajectories:
        numbers, pbc = np.asarray(need(one, "numbers", _WHAT)), np.asarray(need(one, "pbc", _WHAT))
        key = numbers.tobytes() + pbc.tobytes()
        if key not in surfaces:
            surfaces[key] = build_potential(spec, numbers, pbc)
        keys.append(key)
    driven = [trajectory_of(one) for one in trajectories]
    with refusals():
        if len(surfaces) == 1:
            surface = next(iter(surfaces.values()))
            moves = driving.run_together(driven, lambda points: evaluate_many(surface, points))
        else:
            # The order of the atoms differs between the chains: one by one.
            moves = [driving.run(one, surfaces[key]) for one, key in zip(driven, keys, strict=True)]
    return {"proposals": [report(move) for move in moves], "wall_time": time.perf_counter() - started}


def evaluate_many(potential: Potential, points: Sequence[driving.Point]) -> list[Evaluation]:
    """Evaluate several structures, in one batch if the potential takes batches.

    :param potential: the surface.
    :param points: positions (N, 3) and cell (3, 3) in Å, each.
    """
    batch = getattr(potential, "evaluate_many", None)
    if batch is None or len(points) == 1:
        return [potential.evaluate(*point) for point in points]
    return list(batch(points))
