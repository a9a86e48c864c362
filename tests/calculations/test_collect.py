import numpy as np
from aiida import orm

from aiida_slhmc.calculations.adapt import adapt_length, mean_probability, n_cycles
from aiida_slhmc.calculations.collect import collect, merge
from aiida_slhmc.calculations.dataset import extend
from aiida_slhmc.calculations.states import chain_states

from .test_metropolis import label


def piece(first, outcomes, chain=0, start=True, phase="adaptive"):
    """Collect a block; an outcome is True, False, or None for a divergent trajectory."""
    nodes = {}
    if start:
        nodes["start"] = label(-100.0).store()
    for cycle, outcome in enumerate(outcomes, start=first):
        record = {"chain": chain, "cycle": cycle, "accepted": bool(outcome), "length": 5}
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


def test_states_repeat_after_a_rejection(aiida_profile):
    states = chain_states(piece(0, [False, True, None, False, True], phase="production"))
    assert states.get_array("energies").tolist() == [-100.0, 1.0, 1.0, 1.0, 4.0]


def test_states_of_two_chains_do_not_mix(aiida_profile):
    whole = merge(a=piece(0, [True, False]), b=piece(0, [False, True], chain=1))
    states = chain_states(whole)
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
    chunk = piece(0, [True] * 4)  # mean probability 0.5
    assert adapt_length(orm.Dict(proposal), chunk).get_dict()["length"] == round(10 * 2 ** ((0.5 - 0.65) / 0.25))
    frozen = adapt_length(orm.Dict(proposal | {"adapt": False}), chunk)
    assert frozen.get_dict()["length"] == 10
