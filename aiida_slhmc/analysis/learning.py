"""What a protocol gains by every label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Errors of a block that a learning curve shows, each with its standard error.
NAMES = ("force_rmse", "energy_rmse", "energy_rmse_offset_removed", "stress_rmse")


def learning_curve(blocks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the errors of a model on the labels of every block, before it learned from them.

    :param blocks: rows of a history: ``labels``, ``production``, and where the model was judged ``errors``.
    :returns: for every judged block ``labels``: how many were spent before it, and so what the model could have learned
        from; ``production``; ``force_rmse`` (eV/Å), ``energy_rmse`` and ``energy_rmse_offset_removed`` (eV/atom),
        ``stress_rmse`` (eV/Å³), each with ``..._error``.

    Source: prequential errors, arXiv 2605.25032, figure 2.
    """
    curve, spent = [], 0
    for block in blocks:
        errors = block.get("errors")
        if errors:
            values = {key: errors.get(key) for name in NAMES for key in (name, f"{name}_error")}
            curve.append({"labels": spent, "production": bool(block.get("production", False)), **values})
        spent += int(block.get("labels") or 0)
    return curve


def curve_on_tests(
    blocks: Sequence[Mapping[str, Any]], scores: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the errors of the models of several blocks on one test set, by the labels that each was trained on.

    :param blocks: rows of a history: ``labels``.
    :param scores: ``block_<number>``: errors of the model that was trained after that block.
    :returns: ``labels``: how many were spent up to then; the errors of :func:`learning_curve`.
    """
    curve = []
    for name in sorted(scores):
        number = int(name.rpartition("_")[2])
        spent = sum(int(block.get("labels") or 0) for block in blocks[: number + 1])
        values = {key: scores[name].get(key) for error in NAMES for key in (error, f"{error}_error")}
        curve.append({"labels": spent, **values})
    return curve
