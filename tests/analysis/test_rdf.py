"""Radial distribution functions: the ideal gas, direct counts beyond half the box, and peaks in closed form."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from ase import Atoms, units

from aiida_slhmc.analysis import rdf
from aiida_slhmc.workflows.runfile import rutile


def gas(frames: int, atoms: int, box: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, box, size=(frames, atoms, 3))


def brute_force(atoms: Atoms, first: str, second: str, cutoff: float, reach: int) -> np.ndarray:
    """Return all distances from every atom of one element to those of another, images counted one by one."""
    shifts = np.array(list(product(range(-reach, reach + 1), repeat=3))) @ atoms.cell[:]
    symbols = np.array(atoms.get_chemical_symbols())
    found = []
    for i in np.flatnonzero(symbols == first):
        for j in np.flatnonzero(symbols == second):
            distances = np.linalg.norm(atoms.positions[j] - atoms.positions[i] + shifts, axis=1)
            found.append(distances[distances > 1e-9])
    distances = np.concatenate(found)
    return np.sort(distances[distances < cutoff])


def test_the_bin_is_a_hundredth_of_a_bohr() -> None:
    assert pytest.approx(0.00529177, abs=1e-8) == rdf.BIN_WIDTH
    histograms = rdf.pair_histograms(gas(2, 5, 6.0, 0), np.eye(3) * 6.0, [8] * 5, cutoff=3.0)
    assert len(histograms.edges) == 1 + int(3.0 / (0.01 * units.Bohr))


def test_an_ideal_gas_is_flat_up_to_and_beyond_half_the_box() -> None:
    # 60 atoms and own images: beyond half the box every other atom still counts, its images included.
    positions = gas(400, 60, 8.0, 1)
    histograms = rdf.pair_histograms(positions, np.eye(3) * 8.0, [22] * 20 + [8] * 40, cutoff=6.0, bin_width=0.25)
    for pair in ("O-O", "O-Ti", "Ti-Ti"):
        g = rdf.distribution_function(histograms, pair)
        counts = histograms.counts[pair].sum(axis=0)
        # Pairs of like atoms are counted twice: their noise is that of half as many.
        noise = np.sqrt((1 + (pair != "O-Ti")) / counts[4:])
        assert np.abs((g[4:] - 1.0) / noise).max() < 4.0
        assert abs(g[16:].mean() - 1.0) < 0.01


def test_coordination_is_the_direct_count() -> None:
    atoms = rutile()
    rng = np.random.default_rng(2)
    positions = atoms.positions + 0.05 * rng.normal(size=(3, 6, 3))
    cutoff = 7.0
    histograms = rdf.pair_histograms(positions, atoms.cell[:], atoms.numbers, cutoff=cutoff)
    for pair, (first, second) in (("O-Ti", ("O", "Ti")), ("O-O", "OO"), ("Ti-Ti", ("Ti", "Ti"))):
        frames = [Atoms(atoms.numbers, positions=frame, cell=atoms.cell, pbc=True) for frame in positions]
        direct = np.concatenate([brute_force(frame, first, second, cutoff, 4) for frame in frames])
        running = rdf.running_coordination(histograms, pair)
        size = histograms.sizes[first]
        for place in (300, 560, 1100, len(running) - 1):
            expected = np.count_nonzero(direct < histograms.edges[place + 1]) / (3 * size)
            assert running[place] == pytest.approx(expected, abs=1e-12)
        # At fixed volume it is the integral of 4 pi r^2 g(r) over the density, whatever the normalisation says.
        g = rdf.distribution_function(histograms, pair)
        shells = 4.0 / 3.0 * np.pi * np.diff(histograms.edges**3)
        partners = histograms.sizes[second] - (first == second)
        integral = np.cumsum(g * shells) * partners / atoms.get_volume()
        np.testing.assert_allclose(integral, running, atol=1e-12 * running[-1])


def test_every_frame_is_weighted_with_its_own_volume() -> None:
    rng = np.random.default_rng(3)
    scales = rng.uniform(0.9, 1.1, size=40)
    fractions = rng.random((40, 30, 3))
    cells = 8.0 * scales[:, None, None] * np.eye(3)
    together = rdf.pair_histograms(fractions @ cells, cells, [8] * 30, cutoff=5.0, bin_width=0.5)
    single = [
        rdf.distribution_function(
            rdf.pair_histograms(fractions[row] @ cells[row], cells[row], [8] * 30, cutoff=5.0, bin_width=0.5), "O-O"
        )
        for row in range(40)
    ]
    np.testing.assert_allclose(rdf.distribution_function(together, "O-O"), np.mean(single, axis=0), rtol=1e-12)


def test_blocks_do_not_reach_over_chains_and_may_be_drawn_again() -> None:
    positions = gas(27, 6, 6.0, 4)
    chain = np.array([0] * 12 + [1] * 15)
    histograms = rdf.pair_histograms(positions, np.eye(3) * 6.0, [8] * 6, cutoff=5.0, bin_width=0.5, chain=chain)
    assert histograms.frames.tolist() == [10, 2, 10, 5]
    assert histograms.chain.tolist() == [0, 0, 1, 1]
    second = rdf.pair_histograms(positions[12:], np.eye(3) * 6.0, [8] * 6, cutoff=5.0, bin_width=0.5)
    drawn = rdf.distribution_function(histograms, "O-O", np.array([[2, 3], [0, 1]]))
    np.testing.assert_allclose(drawn[0], rdf.distribution_function(second, "O-O"))
    coarse = histograms.coarsened(2)
    assert coarse.width == 1.0
    assert (coarse.counts["O-O"] == histograms.counts["O-O"].reshape(4, 5, 2).sum(axis=2)).all()


def test_a_parabola_through_three_bins() -> None:
    edges = np.array([0.0, 1.0, 2.0, 3.0])
    peak = rdf.first_peak([1, 3, 2], edges, (0.0, 3.0))
    assert peak.position == pytest.approx(1.5 + 1 / 6)
    assert not peak.at_edge


def test_ties_and_edges_of_a_window() -> None:
    edges = np.arange(7) / 2
    # Of the equal bins 2 and 3 the first counts.
    assert rdf.first_peak([0, 1, 5, 5, 1, 0], edges, (0.0, 3.0)).position == pytest.approx(1.25 + 0.5 * 0.5)
    cut = rdf.first_peak([0, 1, 5, 9, 1, 0], edges, (0.0, 1.4))
    assert cut.at_edge
    assert cut.position == pytest.approx(1.25)
    with pytest.raises(ValueError, match="no bin lies"):
        rdf.first_peak([0, 1, 5], edges[:4], (8.0, 9.0))


def test_the_peak_of_distances_lies_above_that_of_g() -> None:
    # A shell of distances N(r0, s^2): g is the histogram over r^2, whose peak is lower by about 2 s^2 / r0.
    r0, s, width = 1.95, 0.08, 0.002
    edges = np.arange(1.5, 2.4, width)
    centres = 0.5 * (edges[1:] + edges[:-1])
    counts = np.exp(-0.5 * ((centres - r0) / s) ** 2)
    raw = rdf.first_peak(counts, edges, (1.6, 2.3)).position
    weighted = rdf.first_peak(counts / centres**2, edges, (1.6, 2.3)).position
    assert raw == pytest.approx(r0, abs=1e-4)
    assert raw - weighted == pytest.approx(2 * s**2 / r0, rel=0.02)


def test_the_first_shells_of_rutile() -> None:
    atoms = rutile().repeat((2, 2, 2))
    rng = np.random.default_rng(5)
    positions = atoms.positions + 0.07 * rng.normal(size=(40, 48, 3))
    histograms = rdf.pair_histograms(positions, atoms.cell[:], atoms.numbers, cutoff=6.0)
    shells = {
        pair: rdf.first_shell(rdf.distribution_function(histograms, pair), histograms.edges)
        for pair in histograms.pairs
    }
    # Bonds end at 1.98, the next Ti-O distance is 3.49; columns of Ti at 2.96, other Ti at 3.57.
    assert 2.2 < shells["O-Ti"][1] < 3.2
    assert 3.1 < shells["Ti-Ti"][1] < 3.4
    for pair, (low, high) in shells.items():
        position = rdf.first_peak(histograms.counts[pair].sum(axis=0), histograms.edges, (low, high)).position
        assert low < position < high


def test_distances_between_functions() -> None:
    assert rdf.rdf_distance([1.0, 2.0, 1.0], [1.0, 1.0, 1.5], 0.1) == pytest.approx(0.15)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="give no histogram"):
        rdf.pair_histograms(np.zeros((0, 2, 3)), np.eye(3), [8, 8], cutoff=3.0)
    with pytest.raises(ValueError, match="no two atoms"):
        rdf.first_shell(np.zeros(100), np.arange(101) * 0.05)
    with pytest.raises(ValueError, match="no volume"):
        rdf.pair_histograms(np.zeros((1, 2, 3)), np.ones((3, 3)), [8, 8], cutoff=3.0)
