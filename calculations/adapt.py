"""Adapt: the proposal length, and with it the cell's mass, of the next block from the acceptance of this one."""

from __future__ import annotations

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_slhmc.data import FramesData
from aiida_slhmc.data.frames import SPAN
from aiida_slhmc.numerics import cells
from aiida_slhmc.numerics import length as rule

from .base import structure_payload

#: Period of the volume in units of the time of one trajectory, where none is given: the cell's momentum is drawn anew
#: for every trajectory, so that a slower cell would hardly move within one.
PERIOD = 2.0


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

    A cell's mass whose period follows the trajectory's time follows it to the new length.

    :param proposal: settings of this block: ``length``, ``adapt``, ``target_acceptance``, ``width``, ``minimum``,
        ``maximum`` (lengths in integration steps); ``cell_mass``, ``cell_period``.
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
    mass = settings["cell_mass"]
    if mass is not None and settings["cell_period"] is None:
        mass *= (length / settings["length"]) ** 2
    return orm.Dict({**settings, "length": int(length), "cell_mass": mass})


@calcfunction
def weigh_cell(proposal: orm.Dict, structure: orm.StructureData, ensemble: orm.Dict) -> orm.Dict:
    """Return the proposal settings with the mass of the cell, W = B V (period/2 pi)².

    :param proposal: ``bulk_modulus`` (GPa), ``cell_period`` (fs; None: twice the time of one trajectory),
        ``length`` (steps), ``timestep`` (fs), ``cell_mass`` (None: to be found; otherwise kept).
    :param structure: whose volume is V.
    :param ensemble: kind of cell.
    """
    settings = proposal.get_dict()
    if settings["cell_mass"] is not None:
        return orm.Dict(settings)
    period = settings["cell_period"] or PERIOD * settings["length"] * settings["timestep"]
    volume = abs(float(np.linalg.det(structure_payload(structure)["cell"])))
    mass = cells.cell_mass(settings["bulk_modulus"], volume, period, ensemble.get_dict()["cell"])
    return orm.Dict({**settings, "cell_mass": mass})
