"""Every accept and reject of a run, recomputed from what is stored, and the chain that they make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from aiida import orm
from aiida.orm.implementation.utils import clean_value
from ase.data import atomic_numbers

from aiida_slhmc.calculations.base import storable
from aiida_slhmc.calculations.exchange import swap_record
from aiida_slhmc.calculations.metropolis import decision_record
from aiida_slhmc.data.labels import STRUCTURE, structure_hash
from aiida_slhmc.numerics.length import draw_length
from aiida_slhmc.numerics.randomness import Purpose, generator

from .arrays import read_arrays
from .comparing import STRUCTURE as GEOMETRY
from .links import CALL, CREATE, INPUT, called, neighbours
from .steps import PREFIX, step_of

#: Steps of a chain that are recomputed here.
DECISION, EXCHANGE = "metropolis", "exchange"


@dataclass(frozen=True)
class Fault:
    """Name one thing that is not what it should be: the process, the cycle and chain, and what in one sentence."""

    pk: int
    uuid: str
    chain: int
    cycle: int
    message: str


@dataclass
class ChainReport:
    """Say what was recomputed and what was found.

    :param decisions: number of decisions that were recomputed.
    :param exchanges: number of swaps between chains.
    :param chains: number of chains.
    :param accepted: number of decisions that accepted.
    :param faults: in the order of the cycles.
    """

    decisions: int = 0
    exchanges: int = 0
    chains: int = 0
    accepted: int = 0
    faults: list[Fault] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Linked:
    """Hold a node at the end of a link: primary key, UUID, attributes."""

    pk: int
    uuid: str
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Move:
    """Hold a decision or a swap with all that it took and made."""

    pk: int
    uuid: str
    inputs: dict[str, Linked]
    outputs: dict[str, Linked]


def recompute(root: orm.ProcessNode) -> ChainReport:
    """Recompute all decisions below a process, without loading a model or running an engine.

    Checked to the 14 digits that AiiDA stores, which is to say bitwise: the random number from seed, chain and cycle;
    every term of the Hamiltonians; the decision; the next state and stream; that the labels are those of the states;
    that the endpoint was proposed from this state with this stream; that each cycle begins where the last one, or a
    swap after it, ended.

    :param root: a run, or a part of one.
    """
    wanted = {"process_type": {"or": [{"==": f"{PREFIX}{step}"} for step in (DECISION, EXCHANGE)]}}
    rows = called(int(root.pk or 0), ["id", "uuid", "process_type", "attributes.exit_status"], wanted)
    kinds = {pk: (uuid, step_of(kind)) for pk, uuid, kind, status, _ in rows if status == 0}
    inputs, outputs = _linked(kinds, forward=False), _linked(kinds, forward=True)
    moves = {pk: Move(pk, uuid, inputs[pk], outputs[pk]) for pk, (uuid, _) in kinds.items()}
    decisions = [moves[pk] for pk, (_, step) in kinds.items() if step == DECISION]
    swaps = [moves[pk] for pk, (_, step) in kinds.items() if step == EXCHANGE]
    energies = _energies(moves.values())
    report = ChainReport(decisions=len(decisions), exchanges=len(swaps))
    for move in decisions:
        report.accepted += bool(move.outputs["decision"].attributes["accepted"])
        report.faults += [_fault(move, text) for text in _decision(move, energies)]
    for move in swaps:
        report.faults += [_fault(move, text) for text in _swap(move, energies)]
    report.faults += _proposals(decisions)
    above = _runs(moves)
    chains: dict[tuple[int, int], list[Move]] = {}
    for move in decisions:
        chains.setdefault((above[move.pk], int(move.inputs["stream"].attributes["chain"])), []).append(move)
    report.chains = len(chains)
    starts = _linked({int(root.pk or 0), *above.values()}, forward=False)
    given = {node.pk for nodes in starts.values() for node in nodes.values()}
    for (run, chain), own in chains.items():
        report.faults += _continuity(chain, own, [swap for swap in swaps if above[swap.pk] == run], given)
    report.faults.sort(key=lambda fault: (fault.cycle, fault.chain, fault.pk))
    return report


def _linked(pks: Iterable[int], *, forward: bool) -> dict[int, dict[str, Linked]]:
    """Return what processes took or made, by process and by name."""
    found: dict[int, dict[str, Linked]] = {pk: {} for pk in pks}
    kinds = CREATE if forward else INPUT
    rows = neighbours(found, kinds, ["id", "uuid", "attributes"], forward=forward, cls=orm.Data)
    for pk, other, uuid, attributes, _, label in rows:
        found[pk][label] = Linked(other, uuid, attributes)
    return found


def _runs(pks: Iterable[int]) -> dict[int, int]:
    """Return the runs that moves are part of: what called the WorkChains of their blocks."""
    blocks = {pk: caller for pk, caller, *_ in neighbours(pks, CALL, ["id"], forward=False)}
    runs = {pk: caller for pk, caller, *_ in neighbours(set(blocks.values()), CALL, ["id"], forward=False)}
    return {pk: runs.get(block, block) for pk, block in blocks.items()}


def _energies(moves: Iterable[Move]) -> dict[int, float]:
    """Return the energies (eV) of all labels that decisions and swaps used."""
    pks = {node.pk for move in moves for name, node in move.inputs.items() if "label" in name}
    return {pk: float(arrays["energies"][0]) for pk, arrays in read_arrays(pks, ("energies",)).items()}


def _fault(move: Move, message: str) -> Fault:
    stream = move.inputs.get("stream") or move.inputs["stream_a"]
    offset = 0 if "stream" in move.inputs else -1
    return Fault(move.pk, move.uuid, stream.attributes["chain"], stream.attributes["cycle"] + offset, message)


# One move -------------------------------------------------------------------------------------------------------------


def _decision(move: Move, energies: Mapping[int, float]) -> list[str]:
    """Return what is wrong with one decision."""
    inputs, outputs = move.inputs, move.outputs
    position, label = inputs["stream"].attributes, inputs["label"]
    end = inputs.get("endpoint_label")
    again = decision_record(
        position,
        inputs["proposal_info"].attributes,
        temperature=inputs["ensemble"].attributes["temperature"],
        target_start=energies[label.pk],
        target_end=None if end is None else energies[end.pk],
        level_hash=label.attributes["level_hash"],
    )
    found = _record(again, outputs["decision"].attributes)
    if end is not None and end.attributes["level_hash"] != label.attributes["level_hash"]:
        found.append("its two labels are of different levels of theory.")
    for name, structure, known in (("state", inputs["state"], label), ("endpoint", inputs["endpoint"], end)):
        if known is not None and known.attributes.get(STRUCTURE) != _hash(structure):
            found.append(f"the label of its {name} is of another structure.")
    following = "endpoint" if again["accepted"] else "state"
    if _geometry(outputs["state"]) != _geometry(inputs[following]):
        found.append(f"the next state is not the {following}, which the decision makes it.")
    if outputs["stream"].attributes != {**position, "cycle": position["cycle"] + 1}:
        found.append("the next stream is not the one of the next cycle.")
    return found


def _record(again: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """Return in what a recomputed record differs from the stored one."""
    now = clean_value(storable(again))
    return [
        f"{name} is stored as {stored.get(name)!r}, but is {now.get(name)!r}."
        for name in {**now, **stored}
        if stored.get(name) != now.get(name)
    ]


def _swap(move: Move, energies: Mapping[int, float]) -> list[str]:
    """Return what is wrong with one swap of two chains."""
    inputs, outputs = move.inputs, move.outputs
    ends = ("a", "b")
    again = swap_record(
        [inputs[f"stream_{end}"].attributes for end in ends],
        [inputs[f"ensemble_{end}"].attributes for end in ends],
        [energies[inputs[f"label_{end}"].pk] for end in ends],
        [abs(float(np.linalg.det(inputs[f"state_{end}"].attributes["cell"]))) for end in ends],
    )
    found = _record(again, outputs["swap"].attributes)
    for end in ends:
        other = ends[1 - ends.index(end)] if again["accepted"] else end
        if _geometry(outputs[f"state_{end}"]) != _geometry(inputs[f"state_{other}"]):
            found.append(f"state {end} after the swap is not state {other} before it.")
        if inputs[f"label_{end}"].attributes.get(STRUCTURE) != _hash(inputs[f"state_{end}"]):
            found.append(f"the label of state {end} is of another structure.")
    return found


def _geometry(structure: Linked) -> list[Any]:
    return [structure.attributes.get(key) for key in GEOMETRY]


def _hash(structure: Linked) -> str:
    """Return the content hash of a structure, from its attributes."""
    values = structure.attributes
    symbols = {kind["name"]: kind["symbols"] for kind in values["kinds"]}
    numbers = [atomic_numbers[symbols[site["kind_name"]][0]] for site in values["sites"]]
    positions = [site["position"] for site in values["sites"]]
    return structure_hash(numbers, positions, values["cell"], [values[f"pbc{axis}"] for axis in (1, 2, 3)])


# What connects moves --------------------------------------------------------------------------------------------------


def _proposals(decisions: list[Move]) -> list[Fault]:
    """Check that each endpoint was proposed from the state, and with the stream, that it is decided with."""
    makers: dict[int, tuple[int, str]] = {}
    endpoints = {move.inputs["endpoint"].pk for move in decisions}
    for pk, maker, _, label in neighbours(endpoints, CREATE, ["id"], forward=False):
        makers[pk] = (maker, label)
    proposals = _linked({maker for maker, _ in makers.values()}, forward=False)
    infos = _linked({maker for maker, _ in makers.values()}, forward=True)
    found = []
    for move in decisions:
        maker, label = makers.get(move.inputs["endpoint"].pk, (None, ""))
        if maker is None:
            found.append(_fault(move, "no process made its endpoint."))
            continue
        suffix = label.removeprefix("endpoint")
        took = proposals[maker]
        if _geometry(took[f"state{suffix}"]) != _geometry(move.inputs["state"]):
            found.append(_fault(move, "its endpoint was proposed from another state."))
        keys = ("seed", "chain", "cycle")
        streams = (took[f"stream{suffix}"].attributes, move.inputs["stream"].attributes)
        if [streams[0][key] for key in keys] != [streams[1][key] for key in keys]:
            found.append(_fault(move, "its endpoint was proposed with the random numbers of another cycle."))
        if not _length_drawn(took["proposal"].attributes, move):
            found.append(_fault(move, "its length is not the one that its random number and the settings give."))
        if infos[maker].get(f"proposal_info{suffix}", move.inputs["endpoint"]).pk != move.inputs["proposal_info"].pk:
            found.append(_fault(move, "the energies of its proposal are those of another one."))
    return found


def _length_drawn(settings: Mapping[str, Any], move: Move) -> bool:
    """Return whether a trajectory has the length that was drawn for it; one that diverged may have ended before."""
    position, info = move.inputs["stream"].attributes, move.inputs["proposal_info"].attributes
    rng = generator(position["seed"], position["chain"], position["cycle"], Purpose.LENGTH)
    drawn = draw_length(settings["length"], settings["length_law"], rng)
    return bool(info["n_steps"] == drawn or (info["divergent"] and info["n_steps"] <= drawn))


def _continuity(chain: int, own: list[Move], swaps: list[Move], given: set[int]) -> list[Fault]:
    """Check that each cycle of a chain begins where the last one, or a swap after it, ended."""
    found: list[Fault] = []
    after = {(move.outputs["swap"].attributes["cycle"], chain): move for move in swaps
             if chain in move.outputs["swap"].attributes["chains"]}  # fmt: skip
    ordered = sorted(own, key=lambda move: int(move.inputs["stream"].attributes["cycle"]))
    state = label = None
    previous: int | None = None
    for move in ordered:
        stream = move.inputs["stream"].attributes
        if previous is not None and stream["cycle"] != previous + 1:
            found.append(_fault(move, f"the cycle before it in its chain is {previous}."))
        if state is None:
            if move.inputs["state"].pk not in given:
                found.append(_fault(move, "the chain begins with a state that the run was not given."))
        elif move.inputs["state"].pk != state:
            found.append(_fault(move, "it does not begin where the cycle before it ended."))
        if label is not None and move.inputs["label"].pk != label:
            found.append(_fault(move, "the label of its state is not the one that came with the state."))
        accepted = move.outputs["decision"].attributes["accepted"]
        kept = move.inputs.get("endpoint_label") if accepted else move.inputs["label"]
        state, label = move.outputs["state"].pk, None if kept is None else kept.pk
        swap = after.get((stream["cycle"], chain))
        if swap is not None:
            end = "ab"[swap.outputs["swap"].attributes["chains"].index(chain)]
            if swap.inputs[f"state_{end}"].pk != state or swap.inputs[f"label_{end}"].pk != label:
                found.append(_fault(swap, f"the swap took another state of chain {chain} than the one it had."))
            state = swap.outputs[f"state_{end}"].pk
            other = "ab"[1 - "ab".index(end)] if swap.outputs["swap"].attributes["accepted"] else end
            label = swap.inputs[f"label_{other}"].pk
        previous = stream["cycle"]
    return found
