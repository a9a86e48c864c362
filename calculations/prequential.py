"""Prequential errors: a model judged on the labels that came after its training."""

from __future__ import annotations

from aiida import orm
from aiida.engine import calcfunction

from aiida_slhmc.analysis.errors import model_errors
from aiida_slhmc.data import FramesData

from . import base
from .adapt import proposals


@calcfunction
def prequential(frames: FramesData, predictions: orm.ArrayData) -> orm.Dict:
    """Return the errors of predictions on a block that the model was not trained on.

    :param frames: the block, with the target's labels.
    :param predictions: the model's energies (eV), forces (eV/Å) and stresses (eV/Å³) on it.
    """
    # The starting state is a relaxed or hand-made structure, no draw from the proposal stream.
    mask = proposals(frames)
    return orm.Dict(
        base.storable(
            model_errors(
                numbers=frames.get_array("numbers")[mask],
                energies=frames.get_array("energies")[mask],
                forces=frames.get_array("forces")[mask],
                stresses=frames.get_array("stresses")[mask],
                predicted_energies=predictions.get_array("energies")[mask],
                predicted_forces=predictions.get_array("forces")[mask],
                predicted_stresses=predictions.get_array("stresses")[mask],
            )
        )
    )
