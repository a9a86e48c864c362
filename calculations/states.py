"""States: the chain itself, one state a cycle, repeats included."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_slhmc.analysis.states import StateIndices, state_indices
from aiida_slhmc.data import FramesData, MaceModelData
from aiida_slhmc.data.content import json_hash
from aiida_slhmc.data.frames import SPAN, SWAPS

#: Arrays of a state that later analyses use.
ARRAYS = ("positions", "cells", "energies", "stresses")
#: The two kinds of states. Those of adaptive blocks come from kernels that changed with the chain's own past: data near
#: the target's ensemble, but no sample of it. Those of a frozen kernel are one.
GUIDED, PRODUCTION = "target-guided", "production"
#: What a kernel is made of and production freezes.
FROZEN = (
    "timestep",
    "length",
    "length_law",
    "centre_of_mass",
    "cell_mass",
    "min_distance",
    "max_energy_change",
    "max_volume_change",
)


def kind_of(chunk: FramesData) -> str:
    """Return the kind of a chunk's states.

    :param chunk: frames of chains.
    :raises ValueError: if some chains are frozen and others are not.
    """
    flags = set(chunk.get_array(SPAN)[:, 3].tolist())
    if len(flags) != 1:
        raise ValueError("the frames are of adaptive and of production blocks: their states are of two kinds")
    return PRODUCTION if flags.pop() else GUIDED


def state_rows(chunk: FramesData) -> StateIndices:
    """Return, for every cycle of every chain, the row of the state after it.

    :param chunk: frames that hold each chain's starting state.
    :raises ValueError: if a chain's starting state is missing.
    """
    chain, cycle, accepted = (chunk.get_array(name) for name in ("chain", "cycle", "accepted"))
    return state_indices(chain, cycle, accepted, spans=chunk.get_array(SPAN), swaps=chunk.get_array(SWAPS))


def _temperatures(chunk: FramesData, states: StateIndices, base: float) -> np.ndarray:
    """Return the temperature (S,) in K of the chain of every state: of replicas, each has its own."""
    proposed = chunk.get_array("length") > 0
    known = dict(zip(chunk.get_array("chain")[proposed], chunk.get_array("temperature")[proposed], strict=True))
    return np.array([known.get(index, base) for index in states.chain], dtype=float)


@calcfunction
def chain_states(chunk: FramesData, ensemble: orm.Dict, proposal: orm.Dict, model: orm.Data) -> Any:
    """Return the states of the chains of a block, with what its kernel was.

    :param chunk: frames of a block, each chain's starting state included.
    :param ensemble: temperature in K, and for NPT the pressure in GPa.
    :param proposal: settings of the proposals.
    :param model: that proposed.
    :returns: positions (S, N, 3) and cells (S, 3, 3) in Å, energies (S,) in eV, stresses (S, 3, 3) in eV/Å³, chain and
        cycle (S,), temperature (S,) in K; as attributes ``kind`` (``production``, or ``target-guided``, which is no
        sample of the ensemble) and ``kernel``.
    """
    states = state_rows(chunk)
    settings, law = proposal.get_dict(), ensemble.get_dict()
    arrays = {name: chunk.get_array(name)[states.row] for name in ARRAYS}
    arrays |= {"chain": states.chain, "cycle": states.cycle, "numbers": chunk.get_array("numbers")[0]}
    arrays["temperature"] = _temperatures(chunk, states, law["temperature"])
    node = orm.ArrayData(arrays)
    surface = model.state_sha256 if isinstance(model, MaceModelData) else json_hash(model.get_dict())
    kernel = {name: settings.get(name) for name in FROZEN}
    node.base.attributes.set("kind", kind_of(chunk))
    node.base.attributes.set("kernel", {**kernel, **law, "model_sha256": surface, "level_hash": chunk.level_hash})
    return node
