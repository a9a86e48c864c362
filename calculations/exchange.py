"""Exchange: neighbouring temperatures swap their states by energies that are already known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction
from ase import units

from aiida_slhmc.data import FramesData
from aiida_slhmc.numerics.exchange import decide_swap, draw_log_uniform

from . import base


def swap_record(
    positions: Sequence[Mapping[str, Any]],
    laws: Sequence[Mapping[str, Any]],
    energies: Sequence[float],
    volumes: Sequence[float],
) -> dict[str, Any]:
    """Return the decision on a swap with all that it followed from: what :func:`exchange` stores, a replay recomputes.

    :param positions: seed, chain and next cycle of the two chains.
    :param laws: their ensembles: temperature in K, pressure in GPa.
    :param energies: of their states in eV.
    :param volumes: of their cells in Å³.
    """
    first, second = positions
    cycle = first["cycle"] - 1
    log_uniform = draw_log_uniform(first["seed"], first["chain"], cycle)
    beta_a, beta_b = (1.0 / (units.kB * law["temperature"]) for law in laws)
    pressure_a, pressure_b = ((law["pressure"] or 0.0) * units.GPa for law in laws)
    decision = decide_swap(
        beta_a, beta_b, energies[0], energies[1], pressure_a, pressure_b, volumes[0], volumes[1], log_uniform
    )
    return {
        "seed": first["seed"],
        "cycle": cycle,
        "chains": [first["chain"], second["chain"]],
        "temperatures": [law["temperature"] for law in laws],
        "energies": list(energies),
        "volumes": list(volumes),
        "accepted": decision.accepted,
        "log_probability": decision.log_probability,
        "log_uniform": decision.log_uniform,
    }


@calcfunction
def exchange(
    state_a: orm.StructureData,
    state_b: orm.StructureData,
    label_a: FramesData,
    label_b: FramesData,
    ensemble_a: orm.Dict,
    ensemble_b: orm.Dict,
    stream_a: orm.Dict,
    stream_b: orm.Dict,
) -> Any:
    """Let two chains swap their states, with the probability that leaves both ensembles as they are.

    Swendsen and Wang, Phys. Rev. Lett. 57, 2607 (1986): min{1, exp[(b_a - b_b)(U_a - U_b) + (b_a P_a - b_b P_b)(V_a -
    V_b)]}, b = 1/kT. The energies are the labels of the states: no new one is needed.

    :param state_a: state of the colder chain (Å).
    :param state_b: state of the warmer chain (Å).
    :param label_a: its label (eV).
    :param label_b: likewise.
    :param ensemble_a: temperature in K; pressure in GPa.
    :param ensemble_b: likewise.
    :param stream_a: seed, chain, and the cycle after the one that the swap follows.
    :param stream_b: likewise.
    """
    position, other = stream_a.get_dict(), stream_b.get_dict()
    if label_a.level_hash != label_b.level_hash:
        return base.exit_code("bad_input", "the labels of the two states are of different levels of theory")
    if position["cycle"] != other["cycle"]:
        return base.exit_code("bad_input", "the two chains stand at different cycles")
    laws = [ensemble.get_dict() for ensemble in (ensemble_a, ensemble_b)]
    volumes = [abs(float(np.linalg.det(state.cell))) for state in (state_a, state_b)]
    record = swap_record([position, other], laws, [label_a.energy, label_b.energy], volumes)
    first, second = (state_b, state_a) if record["accepted"] else (state_a, state_b)
    return {"swap": orm.Dict(base.storable(record)), "state_a": first.clone(), "state_b": second.clone()}
