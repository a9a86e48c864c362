"""Collect: accepted and rejected endpoints alike become labelled frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction
from numpy.typing import NDArray

from aiida_slhmc.data import FramesData
from aiida_slhmc.data.frames import FAILURES, REQUIRED, SPAN, SWAPS

from .streams import PRODUCTION

#: Links of one kind to one process stay below this: AiiDA's cost of inputs is quadratic.
MAX_LINKS = 16
#: Prefixes of the keyword arguments of :func:`collect`.
LABEL, DECISION, START, SWAP, ASIDE = "label_", "decision_", "start", "swap_", "aside_"
#: No swaps, no chain.
NOTHING = np.zeros((0, 4), dtype=np.int64)


def _row(label: FramesData, **bookkeeping: Any) -> dict[str, NDArray[Any]]:
    row = {name: label.get_array(name) for name in REQUIRED}
    types = {
        "chain": np.int64,
        "cycle": np.int64,
        "accepted": bool,
        "probability": float,
        "delta": float,
        "length": np.int64,
        "temperature": float,
    }
    return row | {name: np.array([bookkeeping[name]], dtype=dtype) for name, dtype in types.items()}


def _concatenate(blocks: Sequence[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


@calcfunction
def collect(first: orm.Dict, **nodes: orm.Data) -> FramesData:
    """Collect the labels and decisions of consecutive cycles of one chain.

    :param first: stream of the first cycle: tells the chain and the phase.
    :param nodes: ``decision_<cycle>`` for every cycle, ``label_<cycle>`` for every cycle that has one (a divergent
        trajectory has none, nor has an endpoint whose label failed), and ``start``: the label of the state before the
        first cycle, where it is to be a frame.
    """
    position = first.get_dict()
    decisions = {int(key.removeprefix(DECISION)): node for key, node in nodes.items() if key.startswith(DECISION)}
    rows, uuids = [], []
    if START in nodes:
        start = nodes[START]
        rows.append(
            _row(
                start,
                chain=position["chain"],
                cycle=position["cycle"] - 1,
                accepted=True,
                probability=1.0,
                delta=0.0,
                length=0,
                temperature=next(iter(decisions.values())).get_dict()["temperature"],
            )
        )
        uuids.append(start.uuid)
    failures = []
    for cycle in sorted(decisions):
        label = nodes.get(f"{LABEL}{cycle:05d}")
        decision = decisions[cycle].get_dict()
        if label is None:
            if decision.get("label_failed"):
                failures.append([decision["chain"], cycle])
            continue
        delta = np.inf if decision["delta"] is None else decision["delta"]
        rows.append(
            _row(
                label,
                chain=decision["chain"],
                cycle=cycle,
                accepted=decision["accepted"],
                probability=decision["probability"],
                delta=delta,
                length=decision["length"],
                temperature=decision["temperature"],
            )
        )
        uuids.append(label.uuid)
    span = np.array(
        [[position["chain"], min(decisions), max(decisions), int(position["phase"] == PRODUCTION)]], dtype=np.int64
    )
    levels = {label.level_hash for key, label in nodes.items() if not key.startswith(DECISION)}
    if len(levels) > 1:
        raise ValueError(f"labels of {len(levels)} different levels of theory cannot be one dataset")
    arrays = _concatenate(rows) if rows else _empty()
    if failures:
        arrays[FAILURES] = np.array(failures, dtype=np.int64)
    return FramesData(
        {**arrays, SPAN: span, SWAPS: NOTHING}, level_hash=levels.pop() if levels else None, label_uuids=uuids
    )


@calcfunction
def collect_aside(stream: orm.Dict, **nodes: orm.Data) -> FramesData:
    """Collect the labels of proposals that were made ahead and then not needed: training data, but no cycle of a chain.

    :param stream: of the chain that they were made for.
    :param nodes: ``aside_<number>``: the labels.
    """
    chain = stream.get_dict()["chain"]
    labels = [nodes[key] for key in sorted(nodes) if key.startswith(ASIDE)]
    unknown = {"accepted": False, "probability": np.nan, "delta": np.nan, "length": 0, "temperature": np.nan}
    rows = [_row(label, chain=chain, cycle=-2, **unknown) for label in labels]
    levels = {label.level_hash for label in labels}
    if len(levels) > 1:
        raise ValueError(f"labels of {len(levels)} different levels of theory cannot be one dataset")
    return FramesData(
        {**_concatenate(rows), SPAN: NOTHING, SWAPS: NOTHING},
        level_hash=levels.pop(),
        label_uuids=[label.uuid for label in labels],
    )


@calcfunction
def collect_swaps(**nodes: orm.Dict) -> FramesData:
    """Collect the swaps of replica exchange as a piece without frames, to be merged with those that have some.

    :param nodes: ``swap_<cycle>_<pair>``: what :func:`aiida_slhmc.calculations.exchange.exchange` decided.
    """
    rows = [
        [decision["cycle"], *decision["chains"], int(decision["accepted"])]
        for decision in (nodes[key].get_dict() for key in sorted(nodes) if key.startswith(SWAP))
    ]
    swaps = np.array(rows, dtype=np.int64).reshape(-1, 4)
    return FramesData({**_empty(), SPAN: NOTHING, SWAPS: swaps}, level_hash=None, label_uuids=[])


def _empty() -> dict[str, NDArray[Any]]:
    """Return arrays of no frames: every proposal of the piece diverged."""
    zero = {"numbers": (0, 1), "positions": (0, 1, 3), "cells": (0, 3, 3), "pbc": (0, 3), "energies": (0,)}
    zero |= {"forces": (0, 1, 3), "stresses": (0, 3, 3)}
    arrays = {name: np.zeros(shape) for name, shape in zero.items()}
    arrays |= {name: np.zeros(0, dtype=np.int64) for name in ("chain", "cycle", "length")}
    return arrays | {
        "accepted": np.zeros(0, dtype=bool),
        "probability": np.zeros(0),
        "delta": np.zeros(0),
        "temperature": np.zeros(0),
    }


@calcfunction
def merge(**pieces: FramesData) -> FramesData:
    """Merge pieces (of one chain, or of several chains) into one chunk, in the order of their keys.

    :param pieces: blocks of frames.
    """
    nodes = [pieces[key] for key in sorted(pieces)]
    filled = [node for node in nodes if node.n_frames] or nodes[:1]
    levels = {node.level_hash for node in filled}
    if len(levels) > 1:
        raise ValueError(f"labels of {len(levels)} different levels of theory cannot be one dataset")
    tables = (SPAN, SWAPS, FAILURES)
    names = [name for name in filled[0].get_arraynames() if name not in tables]
    arrays = _concatenate([{name: node.get_array(name) for name in names} for node in filled])
    for name in tables:
        parts = [node.get_array(name) for node in nodes if name in node.get_arraynames()]
        if parts:
            arrays[name] = np.concatenate(parts)
    return FramesData(
        arrays, level_hash=levels.pop(), label_uuids=[uuid for node in filled for uuid in node.label_uuids]
    )
