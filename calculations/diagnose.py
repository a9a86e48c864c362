"""Diagnose: how far the chains of a block can be trusted."""

from __future__ import annotations

from aiida import orm
from aiida.engine import calcfunction

from aiida_slhmc.analysis import chains
from aiida_slhmc.data import FramesData
from aiida_slhmc.data.frames import FAILURES, SPAN, SWAPS

from . import base

ARRAYS = ("chain", "cycle", "accepted", "probability", "delta", "length", "energies", "positions", "cells")


@calcfunction
def diagnose(chunk: FramesData, ensemble: orm.Dict, errors: orm.Dict | None = None) -> orm.Dict:
    """Return the diagnostics of the chains of a block.

    :param chunk: frames of the block, of adaptive or of production cycles.
    :param ensemble: temperature in K.
    :param errors: prequential errors of the model that proposed (eV/atom, eV/Å).
    """
    numbers = chunk.get_array("numbers")
    names = set(chunk.get_arraynames())
    measured = errors.get_dict() if errors is not None else {}
    energy = measured.get("energy_rmse_offset_removed")
    report = chains.diagnose(
        **{name: chunk.get_array(name) for name in ARRAYS},
        numbers=numbers[0] if len(numbers) else numbers.reshape(-1),
        spans=chunk.get_array(SPAN),
        swaps=chunk.get_array(SWAPS) if SWAPS in names else None,
        label_failures=len(chunk.get_array(FAILURES)) if FAILURES in names else 0,
        temperature=ensemble.get_dict()["temperature"],
        temperatures=chunk.get_array("temperature") if "temperature" in names else None,
        energy_rmse=None if energy is None else energy * chunk.n_atoms,
        force_rmse=measured.get("force_rmse"),
    )
    return orm.Dict(base.storable(report))
