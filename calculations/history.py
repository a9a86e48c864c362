"""History: one row a block, what a user looks at first."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_slhmc.data import FramesData
from aiida_slhmc.data.frames import FAILURES, SPAN
from aiida_slhmc.numerics import diagnostics

from . import base
from .adapt import mean_probability, n_cycles, proposals


def summarise(chunk: FramesData, proposal: dict[str, Any], temperature: float) -> dict[str, Any]:
    """Return what a block's frames tell: cycles, labels, acceptance with its interval, Creutz identity, mean volume.

    :param chunk: frames of the block.
    :param proposal: settings of the proposals.
    :param temperature: in K.
    """
    mask = proposals(chunk)
    cycles = n_cycles(chunk)
    failures = len(chunk.get_array(FAILURES)) if FAILURES in chunk.get_arraynames() else 0
    accepted = int(chunk.get_array("accepted")[mask].sum())
    low, high = diagnostics.acceptance_interval(accepted, cycles)
    delta = np.full(cycles, np.inf)
    # Of replicas, each has its own temperature: in units of the run's.
    delta[: mask.sum()] = chunk.get_array("delta")[mask] * temperature / chunk.get_array("temperature")[mask]
    creutz, creutz_error, _ = diagnostics.creutz(delta, temperature) if cycles > 1 else (np.nan, np.nan, np.nan)
    acceptance = mean_probability(chunk)
    # A trajectory rejected unseen says nothing of the model's energies.
    seen = float(chunk.get_array("probability")[mask].mean()) if mask.any() else 0.0
    implied = diagnostics.implied_model_error(seen, temperature) if 0 < seen < 1 else np.nan
    return {
        "cycles": cycles,
        "labels": chunk.n_frames,
        "divergent": cycles - int(mask.sum()) - failures,
        "label_failed": failures,
        "accepted": accepted,
        "acceptance": accepted / cycles,
        "acceptance_interval": [float(low), float(high)],
        "mean_probability": acceptance,
        "creutz": float(creutz),
        "creutz_error": float(creutz_error),
        "implied_model_error": float(implied),
        "length": proposal["length"],
        "cell_mass": proposal["cell_mass"],
        "volume": float(np.linalg.det(chunk.get_array("cells")).mean()) if chunk.n_frames else np.nan,
        "production": bool(chunk.get_array(SPAN)[0, 3]),
    }


def append(
    row: dict[str, Any],
    previous: orm.Dict | None,
    errors: orm.Dict | None,
    foundation_errors: orm.Dict | None,
    training: orm.Dict | None,
) -> orm.Dict:
    """Return a history with one more row.

    :param row: what the frames tell.
    :param previous: the history so far.
    :param errors: prequential errors of the model that made the frames.
    :param foundation_errors: those of the foundation model on the same frames.
    :param training: what the fine-tuning after the block reported.
    """
    blocks = previous.get_dict()["blocks"] if previous is not None else []
    if errors is not None:
        row["errors"] = errors.get_dict()
    if foundation_errors is not None:
        row["foundation_errors"] = foundation_errors.get_dict()
    if training is not None:
        report = training.get_dict()
        keys = ("epochs", "best_epoch", "improved", "stopped_early", "wall_time", "warnings")
        row["training"] = {key: report.get(key) for key in keys}
    return orm.Dict({"blocks": [*blocks, base.storable(row)]})


@calcfunction
def record_block(
    chunk: FramesData,
    proposal: orm.Dict,
    ensemble: orm.Dict,
    previous: orm.Dict | None = None,
    errors: orm.Dict | None = None,
    foundation_errors: orm.Dict | None = None,
    training: orm.Dict | None = None,
) -> orm.Dict:
    """Append one block to the history.

    :param chunk: frames of the block.
    :param proposal: settings of its proposals.
    :param ensemble: temperature in K.
    :param previous: the history so far.
    :param errors: prequential errors of the model that proposed.
    :param foundation_errors: those of the foundation model on the same block.
    :param training: what the fine-tuning after the block reported.
    """
    row = summarise(chunk, proposal.get_dict(), ensemble.get_dict()["temperature"])
    return append(row, previous, errors, foundation_errors, training)
