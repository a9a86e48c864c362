import numpy as np
import pytest
from aiida import orm

from aiida_slhmc.calculations.adapt import adapt_length, mean_probability, n_cycles
from aiida_slhmc.calculations.collect import collect, collect_aside, collect_swaps, merge
from aiida_slhmc.calculations.dataset import extend
from aiida_slhmc.calculations.states import chain_states
from aiida_slhmc.workflows.protocol import protocol_inputs
from tests.fixtures import RIGHT, einstein

from .test_metropolis import label


def piece(first, outcomes, chain=0, start=True, phase="adaptive"):
    """Collect a block; an outcome is True, False, or None for a divergent trajectory."""
    nodes = {}
    if start:
        nodes["start"] = label(-100.0).store()
    for cycle, outcome in enumerate(outcomes, start=first):
        record = {"chain": chain, "cycle": cycle, "accepted": bool(outcome), "length": 5, "temperature": 300.0}
        record |= {"probability": 0.0 if outcome is None else 0.5, "delta": None if outcome is None else 0.01}
        nodes[f"decision_{cycle:05d}"] = orm.Dict(record).store()
        if outcome is not None:
            nodes[f"label_{cycle:05d}"] = label(float(cycle)).store()
    stream = orm.Dict({"seed": 1, "chain": chain, "cycle": first, "phase": phase})
    return collect(first=stream, **nodes)


def test_accepted_and_rejected_endpoints_become_frames_and_divergent_ones_do_not(aiida_profile):
    chunk = piece(0, [True, False, None, True])
    assert chunk.get_array("cycle").tolist() == [-1, 0, 1, 3]
    assert chunk.get_array("accepted").tolist() == [True, True, False, True]
    assert chunk.get_array("span").tolist() == [[0, 0, 3, 0]]
    assert n_cycles(chunk) == 4
    # A divergent proposal counts as one of probability zero, the starting state as none at all.
    assert mean_probability(chunk) == 3 * 0.5 / 4
    assert len(chunk.label_uuids) == chunk.n_frames


def test_a_block_of_divergent_trajectories_has_no_frames(aiida_profile):
    chunk = piece(4, [None, None], start=False)
    assert chunk.n_frames == 0
    assert mean_probability(chunk) == 0.0
    whole = merge(a=piece(0, [True] * 4), b=chunk)
    assert whole.n_frames == 5
    assert n_cycles(whole) == 6


def states_of(chunk):
    settings = protocol_inputs("fast")
    groups = {name: orm.Dict(settings[name]) for name in ("ensemble", "proposal")}
    return chain_states(chunk=chunk, model=orm.Dict(einstein(RIGHT)), **groups)


def test_states_repeat_after_a_rejection(aiida_profile):
    states = states_of(piece(0, [False, True, None, False, True], phase="production"))
    assert states.get_array("energies").tolist() == [-100.0, 1.0, 1.0, 1.0, 4.0]
    assert states.get_array("cycle").tolist() == [0, 1, 2, 3, 4]
    assert states.base.attributes.get("kind") == "production"


def test_states_of_both_kinds_are_not_mixed(aiida_profile):
    chunk = merge(a=piece(0, [True]), b=piece(1, [True], start=False, phase="production"))
    with pytest.raises(ValueError, match="of two kinds"):
        states_of(chunk)


def test_states_follow_swaps(aiida_profile):
    swaps = [
        orm.Dict({"cycle": 0, "chains": [0, 1], "accepted": True}),
        orm.Dict({"cycle": 1, "chains": [0, 1], "accepted": False}),
    ]
    # Chain 0 accepts in cycle 0 (energy 0), chain 1 in cycle 1 (energy 1).
    whole = merge(
        a=piece(0, [True, False]), b=piece(0, [False, True], chain=1),
        c=collect_swaps(swap_00000=swaps[0], swap_00001=swaps[1]),
    )  # fmt: skip
    assert whole.get_array("swaps").tolist() == [[0, 0, 1, 1], [1, 0, 1, 0]]
    assert states_of(whole).get_array("energies").tolist() == [-100.0, -100.0, 0.0, 1.0]


def test_labels_made_ahead_are_frames_without_a_cycle(aiida_profile):
    stream = orm.Dict({"seed": 1, "chain": 2, "cycle": 4, "phase": "adaptive"})
    aside = collect_aside(stream=stream, aside_00000=label(3.0).store(), aside_00001=label(5.0).store())
    assert aside.get_array("energies").tolist() == [3.0, 5.0]
    assert aside.get_array("span").shape == (0, 4)
    assert n_cycles(aside) == 0


def test_states_of_two_chains_do_not_mix(aiida_profile):
    whole = merge(a=piece(0, [True, False]), b=piece(0, [False, True], chain=1))
    states = states_of(whole)
    assert states.get_array("chain").tolist() == [0, 0, 1, 1]
    assert states.get_array("energies").tolist() == [0.0, 0.0, -100.0, 1.0]


def test_the_role_of_a_frame_never_changes(aiida_profile):
    seed, split = orm.Int(3).store(), orm.Dict({"valid_fraction": 0.2}).store()
    first = extend(piece(0, [True] * 9), seed, split)
    second = extend(piece(9, [True] * 10, start=False), seed, split, previous=first)
    assert second.splits[0].tolist() == first.splits[0].tolist()
    assert [int((roles == 1).sum()) for roles in second.splits] == [2, 2]
    assert second.n_frames == 20
    assert [node.uuid for node in second.frames()] == second.chunk_uuids


def test_another_seed_gives_another_split(aiida_profile):
    split = orm.Dict({"valid_fraction": 0.5}).store()
    chunk = piece(0, [True] * 20)
    splits = {tuple(extend(chunk, orm.Int(seed), split).splits[0].tolist()) for seed in range(4)}
    assert len(splits) > 1
    assert np.array_equal(extend(chunk, orm.Int(1), split).splits[0], extend(chunk, orm.Int(1), split).splits[0])


def test_length_follows_the_acceptance(aiida_profile):
    proposal = {"length": 10, "adapt": True, "target_acceptance": 0.65, "width": 0.25, "minimum": 1, "maximum": 1000}
    proposal |= {"cell_mass": 2000.0, "cell_period": None}
    chunk = piece(0, [True] * 4)  # mean probability 0.5
    assert adapt_length(orm.Dict(proposal), chunk).get_dict()["length"] == round(10 * 2 ** ((0.5 - 0.65) / 0.25))
    # The mass of the cell follows the time of a trajectory, unless its period is given.
    adapted = adapt_length(orm.Dict(proposal), chunk).get_dict()
    assert adapted["cell_mass"] == pytest.approx(2000.0 * (adapted["length"] / 10) ** 2)
    assert adapt_length(orm.Dict(proposal | {"cell_period": 50.0}), chunk).get_dict()["cell_mass"] == 2000.0
    frozen = adapt_length(orm.Dict(proposal | {"adapt": False}), chunk)
    assert frozen.get_dict()["length"] == 10
