"""Radial distribution functions of frames that come one at a time: equal to those of arrays, in bounded memory."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from ase import Atoms

from aiida_slhmc.analysis import pair_totals, rdf
from aiida_slhmc.analysis.pair_totals import PairTotals


def gas(seed: int, carbons: int = 20, oxygens: int = 30, box: float = 9.0) -> Atoms:
    rng = np.random.default_rng(seed)
    positions = rng.uniform(0.0, box, (carbons + oxygens, 3))
    return Atoms("C" * carbons + "O" * oxygens, positions, cell=np.eye(3) * box, pbc=True)


def test_equal_frames_give_what_arrays_give():
    frames = [gas(seed, box=9.0 + 0.05 * seed) for seed in range(23)]
    totals = PairTotals(5.0, 0.1)
    totals.add_chain(iter(frames))
    histograms = rdf.pair_histograms(
        [atoms.positions for atoms in frames], [atoms.cell[:] for atoms in frames], frames[0].numbers,
        cutoff=5.0, bin_width=0.1,
    )  # fmt: skip
    assert list(totals.pairs) == list(histograms.pairs)
    assert totals.frames == 23
    np.testing.assert_array_equal(totals.edges, histograms.edges)
    for name in histograms.pairs:
        np.testing.assert_allclose(totals.g(name), rdf.distribution_function(histograms, name), rtol=1e-12)
        np.testing.assert_allclose(totals.running(name)[0], rdf.running_coordination(histograms, name), rtol=1e-12)
        np.testing.assert_array_equal(totals.pairs[name].counts, histograms.counts[name])
    # Around the other element: as many pairs, by its own number of atoms.
    forward, backward = totals.running("C-O")
    np.testing.assert_allclose(20 * forward, 30 * backward, rtol=1e-12)


def test_an_ideal_gas_of_many_compositions_and_boxes_is_flat():
    totals = PairTotals(6.0, 1.0)
    totals.add_chain(gas(seed, 10 + seed % 7, 25 + seed % 5, 8.0 + seed % 3) for seed in range(150))
    for name, pair in totals.pairs.items():
        counted = np.sum(pair.counts, axis=0)
        np.testing.assert_allclose(totals.g(name)[1:], 1.0, atol=5.0 / np.sqrt(counted[1:].min()))


def test_a_mixed_set_is_the_mean_over_the_frames_that_have_the_pair():
    one, other, lone = gas(1), gas(2, 5, 40), gas(3, 1, 40)
    whole = PairTotals(5.0, 0.2)
    whole.add_chain([one, other, Atoms("C"), lone])
    assert (whole.frames, whole.skipped) == (3, 1)
    parts = []
    for atoms in (one, other, lone):
        part = PairTotals(5.0, 0.2)
        part.add_chain([atoms])
        parts.append(part)
    np.testing.assert_allclose(whole.g("C-O"), np.mean([part.g("C-O") for part in parts], axis=0), rtol=1e-12)
    # A single carbon has no other: its frame says nothing of that pair.
    np.testing.assert_allclose(whole.g("C-C"), np.mean([part.g("C-C") for part in parts[:2]], axis=0), rtol=1e-12)
    counts = sum(part.pairs["C-O"].counts[0] for part in parts)
    np.testing.assert_allclose(whole.running("C-O")[0], counts.cumsum() / (20 + 5 + 1))


def test_frames_are_dropped_and_blocks_stay_few(monkeypatch):
    """The frames alive at once are those of a block, and the blocks are bounded, however long the file is."""
    monkeypatch.setattr(pair_totals, "MAX_BLOCKS", 16)
    alive: list[weakref.ref[Atoms]] = []
    most = 0

    def frames(count: int) -> Iterator[Atoms]:
        nonlocal most
        for seed in range(count):
            atoms = gas(seed, 4, 6)
            alive.append(weakref.ref(atoms))
            most = max(most, sum(reference() is not None for reference in alive))
            yield atoms
            del atoms

    gc.disable()
    try:
        totals = PairTotals(3.0, 0.5, block=4)
        totals.add_chain(frames(200))
    finally:
        gc.enable()
    assert most <= 6
    pair = totals.pairs["C-O"]
    assert 8 <= len(pair.counts) <= 16
    assert sum(pair.frames) == 200
    # Merged blocks are equally long, but for the last.
    assert len(set(pair.frames[:-1])) == 1
    plain = PairTotals(3.0, 0.5, block=200)
    plain.add_chain(gas(seed, 4, 6) for seed in range(200))
    np.testing.assert_allclose(totals.g("C-O"), plain.g("C-O"), rtol=1e-12)
    np.testing.assert_array_equal(np.sum(pair.counts, axis=0), np.sum(plain.pairs["C-O"].counts, axis=0))


def test_blocks_do_not_reach_over_chains():
    totals = PairTotals(3.0, 0.5, block=10)
    totals.add_chain(gas(seed) for seed in range(14))
    totals.add_chain(gas(seed) for seed in range(3))
    assert totals.pairs["C-O"].frames == [10, 4, 3]


def dumbbells(length: float) -> Atoms:
    return Atoms("CO", [[0, 0, 0], [length, 0, 0]], cell=np.eye(3) * 12.0, pbc=True)


def test_the_error_of_a_peak_knows_the_correlation():
    """Bonds that stay long or short for many blocks leave the peak less known than blocks by themselves would say."""
    rng = np.random.default_rng(1)
    noise = rng.normal(0.0, 0.02, 1200)
    slow = np.repeat(rng.normal(0.0, 0.05, 12), 100)
    errors = {}
    for name, drift in (("fast", 0.0), ("slow", 1.0)):
        totals = PairTotals(3.0, 0.005)
        totals.add_chain(dumbbells(1.2 + shake + drift * shift) for shake, shift in zip(noise, slow, strict=True))
        errors[name] = totals.peak("C-O", (0.8, 1.6), bins=6, rng=np.random.default_rng(0))
    fast = errors["fast"]
    assert fast.position == pytest.approx(1.2, abs=0.01)
    assert not fast.at_edge
    assert fast.blocks == 120
    assert fast.error < 0.006
    assert errors["slow"].error > 1.5 * errors["slow"].error_blocks


def test_what_memory_cannot_hold_is_refused():
    totals = PairTotals(80.0, 0.5)
    with pytest.raises(ValueError, match=r"a cut-off of 80 Å takes in about .* choose one below [0-9.]+ Å"):
        totals.add_chain([gas(0, 400, 400)])
