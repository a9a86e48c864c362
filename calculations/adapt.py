"""Adapt: the proposal length of the next block from the acceptance of this one."""

from __future__ import annotations

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_slhmc.data import FramesData
from aiida_slhmc.data.frames import SPAN
from aiida_slhmc.numerics import length as rule


def n_cycles(chunk: FramesData) -> int:
    """Return the number of cycles that a chunk covers, those without a label (divergent) included.

    :param chunk: frames of one or more chains.
    """
    span = chunk.get_array(SPAN)
    return int((span[:, 2] - span[:, 1] + 1).sum())


def proposals(chunk: FramesData) -> np.ndarray:
    """Return which frames are endpoints of proposals (a starting state is not).

    :param chunk: frames of one or more chains.
    :returns: mask (F,).
    """
    return np.asarray(chunk.get_array("length") > 0)


def mean_probability(chunk: FramesData) -> float:
    """Return the mean acceptance probability over all cycles; a divergent proposal counts as zero.

    :param chunk: frames of one or more chains.
    """
    return float(chunk.get_array("probability")[proposals(chunk)].sum() / n_cycles(chunk))


@calcfunction
def adapt_length(proposal: orm.Dict, chunk: FramesData) -> orm.Dict:
    """Return the proposal settings of the next block.

    The mean acceptance probability belongs to the model that made the proposals; the next block's model is usually
    better, so that a length chosen on it errs on the short side.

    :param proposal: settings of this block: ``length``, ``adapt``, ``target_acceptance``, ``width``, ``minimum``,
        ``maximum`` (lengths in integration steps).
    :param chunk: the block's frames.
    """
    settings = proposal.get_dict()
    if not settings["adapt"]:
        return orm.Dict(settings)
    length = rule.adapt_length(
        settings["length"],
        mean_probability(chunk),
        target=settings["target_acceptance"],
        width=settings["width"],
        minimum=settings["minimum"],
        maximum=settings["maximum"],
    )
    return orm.Dict({**settings, "length": int(length)})
