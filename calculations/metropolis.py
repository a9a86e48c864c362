"""Metropolis: the target functional accepts or rejects the endpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.engine import calcfunction

from aiida_slhmc.data import FramesData
from aiida_slhmc.numerics.metropolis import decide
from aiida_slhmc.numerics.randomness import Purpose, generator

from . import base

#: What a moving cell adds to the Hamiltonian: its kinetic energy, P V, -c kT ln V (eV); zeros where it is fixed.
CELL_TERMS = ("cell_kinetic", "pressure_volume", "log_volume")


def decision_record(
    position: Mapping[str, Any],
    info: Mapping[str, Any],
    *,
    temperature: float,
    target_start: float,
    target_end: float | None,
    level_hash: str | None,
) -> dict[str, Any]:
    """Return a decision with all that it followed from: what :func:`metropolis` stores, and a replay recomputes.

    :param position: seed, chain, cycle, phase.
    :param info: of the proposal: kinetic energies and the cell's terms (eV), divergence flag.
    :param temperature: in K.
    :param target_start: the target's energy of the current state in eV.
    :param target_end: that of the endpoint; None if it has no label.
    :param level_hash: of the labels.
    """
    divergent = bool(info["divergent"])
    rng = generator(position["seed"], position["chain"], position["cycle"], Purpose.ACCEPTANCE)
    log_uniform = math.log1p(-rng.random())
    energy_end = math.inf if target_end is None or divergent else target_end
    decision = decide(
        potential_start=target_start,
        potential_end=energy_end,
        kinetic_start=info["kinetic_start"],
        kinetic_end=info["kinetic_end"] if info["kinetic_end"] is not None else math.inf,
        temperature=temperature,
        log_uniform=log_uniform,
        cell_start=sum(info[f"{term}_start"] for term in CELL_TERMS),
        cell_end=math.inf if divergent else sum(info[f"{term}_end"] for term in CELL_TERMS),
    )
    return {
        **position,
        "accepted": bool(decision.accepted),
        "delta": decision.delta,
        "probability": decision.probability,
        "log_uniform": log_uniform,
        "temperature": temperature,
        "target_start": target_start,
        "target_end": energy_end,
        "kinetic_start": info["kinetic_start"],
        "kinetic_end": info["kinetic_end"],
        **{f"{term}_{end}": info[f"{term}_{end}"] for term in CELL_TERMS for end in ("start", "end")},
        "model_start": info["potential_start"],
        "model_end": info["potential_end"],
        "length": info["n_steps"],
        "divergent": divergent,
        "label_failed": target_end is None and not divergent,
        "reason": info.get("reason", ""),
        "level_hash": level_hash,
    }


@calcfunction
def metropolis(
    state: orm.StructureData,
    label: FramesData,
    endpoint: orm.StructureData,
    proposal_info: orm.Dict,
    stream: orm.Dict,
    ensemble: orm.Dict,
    failure: orm.Dict,
    endpoint_label: FramesData | None = None,
) -> Any:
    """Decide on an endpoint with the target's energies.

    The state is ``exp(-E_target/kT)`` distributed whatever the proposal model, since only the difference of the
    target's total energy, of the kinetic energy and of the cell's terms enters: Duane et al., Phys. Lett. B 195, 216
    (1987). At constant pressure the states are ``V^N exp(-(E_target + P V)/kT)`` distributed.

    :param state: current state (Å).
    :param label: its label (eV).
    :param endpoint: end of the trajectory (Å).
    :param proposal_info: ``kinetic_start`` and ``kinetic_end``, the cell's terms (eV), divergence flag.
    :param stream: seed, chain, cycle.
    :param ensemble: temperature in K.
    :param failure: the policy: ``reject`` counts an endpoint whose label failed as rejected, which leaves such states
        out of the ensemble.
    :param endpoint_label: label of the endpoint; absent for a divergent trajectory, which is rejected.
    """
    info, position = proposal_info.get_dict(), stream.get_dict()
    if endpoint_label is None and not info["divergent"] and failure.get_dict()["policy"] != "reject":
        return base.exit_code("bad_input", "the endpoint of a trajectory that did not diverge has no label")
    if endpoint_label is not None and endpoint_label.level_hash != label.level_hash:
        return base.exit_code("bad_input", "the labels of state and endpoint are of different levels of theory")
    record = decision_record(
        position,
        info,
        temperature=ensemble.get_dict()["temperature"],
        target_start=label.energy,
        target_end=None if endpoint_label is None else endpoint_label.energy,
        level_hash=label.level_hash,
    )
    return {
        "decision": orm.Dict(base.storable(record)),
        "state": (endpoint if record["accepted"] else state).clone(),
        "stream": orm.Dict({**position, "cycle": position["cycle"] + 1}),
    }
