"""Diagnostics of chains that are still running: from their decisions alone, without a structure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from aiida_slhmc.numerics import diagnostics

from .series import CONFIDENCE, implied_error, observable

Decision = Mapping[str, Any]


def state_energies(decisions: Sequence[Decision]) -> dict[int, list[float]]:
    """Return the target's energy (eV) of the state after every cycle, by chain.

    A cycle starts from the state after the one before: exchanges of states between chains are followed without being
    looked at.

    :param decisions: ``chain``, ``cycle``, ``accepted``, ``target_start``, ``target_end`` (eV), in any order.
    """
    ordered = sorted(decisions, key=lambda row: (row["chain"], row["cycle"]))
    found = {}
    for chain, group in groupby(ordered, key=lambda row: int(row["chain"])):
        rows = list(group)
        last = rows[-1]["target_end" if rows[-1]["accepted"] else "target_start"]
        found[chain] = [*(float(row["target_start"]) for row in rows[1:]), float(last)]
    return found


def model_error(decisions: Sequence[Decision]) -> tuple[float, float]:
    """Return the model's energy error that the acceptance implies, and its standard error, in eV for the whole cell.

    :param decisions: of one block; ``chain``, ``cycle``, ``probability``, ``temperature`` (K), ``labelled``.
    :returns: NaN without a labelled proposal, or where all are certain.
    """
    by_temperature: dict[float, dict[int, list[float]]] = {}
    for row in sorted(decisions, key=lambda row: row["cycle"]):
        if row["labelled"]:
            by_temperature.setdefault(row["temperature"], {}).setdefault(row["chain"], []).append(row["probability"])
    return implied_error({temperature: list(chains.values()) for temperature, chains in by_temperature.items()})


def judge(decisions: Sequence[Decision], *, production: bool, temperature: float) -> dict[str, Any]:
    """Return what the decisions of a phase say, in the shape of :func:`aiida_slhmc.analysis.chains.diagnose`.

    :param decisions: of one phase, at least one: ``chain``, ``cycle``, ``accepted``, ``probability``, ``delta`` (eV;
        None: rejected unseen), ``target_start``, ``target_end`` (eV), ``temperature`` (K), ``labelled``.
    :param production: whether the kernel was frozen.
    :param temperature: of the ensemble in K: the energies are those of the chains at it, or else at the lowest.
    """
    cycles, labels = len(decisions), sum(bool(row["labelled"]) for row in decisions)
    accepted = sum(bool(row["accepted"]) for row in decisions)
    deltas = [
        math.inf if row["delta"] is None else row["delta"] * temperature / row["temperature"]
        for row in sorted(decisions, key=lambda row: (row["chain"], row["cycle"]))
    ]
    rungs = {int(row["chain"]): float(row["temperature"]) for row in decisions}
    shown = min(rungs.values(), key=lambda rung: (not math.isclose(rung, temperature), rung))
    chains = [series for index, series in state_energies(decisions).items() if rungs[index] == shown]
    own_labels = sum(bool(row["labelled"]) for row in decisions if rungs[int(row["chain"])] == shown)
    mean, error, z = diagnostics.creutz(deltas, temperature)
    return {
        "kind": "production" if production else "adaptive",
        "chains": len(rungs),
        "cycles": cycles,
        "labels": labels,
        "divergent": {
            "count": cycles - labels,
            "fraction": (cycles - labels) / cycles,
            "interval": list(diagnostics.acceptance_interval(cycles - labels, cycles, CONFIDENCE)),
        },
        "label_failed": {"count": sum(bool(row.get("label_failed")) for row in decisions)},
        "acceptance": {
            "accepted": accepted,
            "value": accepted / cycles,
            "interval": list(diagnostics.acceptance_interval(accepted, cycles, CONFIDENCE)),
            "mean_probability": math.fsum(row["probability"] for row in decisions) / cycles,
        },
        "creutz": {"mean": mean, "error": error, "z": z},
        "observables": {"energy": observable(chains, own_labels)},
    }
