"""A chain that runs ahead of its decisions is the chain that does not."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from ase import units

from aiida_slhmc.numerics import hmc, prefetch
from aiida_slhmc.numerics.analytic import BreathingCrystal, EinsteinCrystal
from aiida_slhmc.numerics.cells import Barostat
from aiida_slhmc.numerics.driving import Point
from aiida_slhmc.numerics.limits import Limits
from aiida_slhmc.numerics.potential import Array, Evaluation, Potential
from aiida_slhmc.numerics.prefetch import Branch, cycles_per_round, follow, plan, run_speculative
from tests.statistics_plugin import ZScores

from .surfaces import CELL, UNIT_TEMPERATURE, UNIT_TIME, Cliff

RNG = np.random.default_rng(0)
SITES = RNG.random((4, 3))
MASSES = np.array([1.0, 2.0, 3.0, 4.0])


@dataclasses.dataclass(frozen=True)
class Case:
    """A chain: how it starts, its surfaces, its kernel."""

    positions: Array
    cell: Array
    target: Potential
    model: Potential
    settings: hmc.Settings

    def serial(self, n_cycles: int, **where: int) -> hmc.ChainRecord:
        masses = MASSES[: len(self.positions)]
        return hmc.run_chain(
            self.positions, self.cell, masses, self.target, self.model, self.settings, n_cycles=n_cycles, **where
        )

    def ahead(self, n_cycles: int, **window: object) -> prefetch.Speculation:
        masses = MASSES[: len(self.positions)]
        return run_speculative(
            self.positions, self.cell, masses, self.label, self.model, self.settings, n_cycles=n_cycles, **window
        )

    def label(self, points: Sequence[Point]) -> list[Evaluation]:
        return [self.target.evaluate(*point) for point in points]


#: About half of the proposals are rejected, some of them because they diverge.
CASES = {
    "NVT": Case(
        np.array([[0.5, 0.0, 0.0]]),
        CELL,
        EinsteinCrystal(np.zeros((1, 3)), 2.0),
        Cliff(1.9),
        hmc.Settings(UNIT_TEMPERATURE, 0.4 * UNIT_TIME, 3),
    ),
    "NPT": Case(
        SITES @ (2.4 * np.eye(3)),
        2.4 * np.eye(3),
        BreathingCrystal(SITES, 50.0, 3.0, 16.0),
        BreathingCrystal(SITES + 0.005, 40.0, 2.5, 15.5),
        hmc.Settings(
            UNIT_TEMPERATURE, 0.1 * UNIT_TIME, 3, limits=Limits(max_volume_change=1.2),
            barostat=Barostat(0.5 / units.GPa, "isotropic", 3.0 / units.fs**2),
        ),
    ),
}  # fmt: skip


def assert_equal(first: hmc.ChainRecord, second: hmc.ChainRecord) -> None:
    """Assert that two chains agree to the bit, in all they hold."""
    for name in hmc.ChainRecord.__dataclass_fields__:
        if name != "evaluations":
            one, other = getattr(first, name), getattr(second, name)
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other, err_msg=name)
    for one, other in zip(first.evaluations, second.evaluations, strict=True):
        assert one.energy == other.energy
        np.testing.assert_array_equal(one.forces, other.forces)
        np.testing.assert_array_equal(one.stress, other.stress)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_tree_of_proposals_gives_the_serial_chain(name: str, depth: int) -> None:
    case, n_cycles = CASES[name], depth * {1: 40, 2: 60, 4: 150}[depth]
    serial = case.serial(n_cycles, seed=5, chain=2, first_cycle=3)
    run = case.ahead(n_cycles, depth=depth, seed=5, chain=2, first_cycle=3)
    assert_equal(run.chain, serial)
    windows = serial.accepted.reshape(-1, depth)
    assert {tuple(window) for window in windows.tolist()} == set(itertools.product((False, True), repeat=depth))
    # Among those on the chain's way, some were rejected unseen: at every place of a window.
    divergent = serial.divergent.reshape(-1, depth)
    assert divergent.any(axis=0).all()
    assert not divergent.all(axis=0).any()
    assert [(first, decided) for first, decided, _ in run.windows] == [
        (3 + first, depth) for first in range(0, n_cycles, depth)
    ]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("depth", [1, 3, 4])
def test_a_branch_of_acceptances_gives_the_serial_chain(name: str, depth: int) -> None:
    case, n_cycles = CASES[name], 300
    serial = case.serial(n_cycles, seed=6)
    run = case.ahead(n_cycles, depth=depth, shape="accept", seed=6)
    assert_equal(run.chain, serial)
    # A window ends with its first rejection, or its last cycle.
    expected, cycle = [], 0
    while cycle < n_cycles:
        decided = min(depth, n_cycles - cycle)
        rejected = np.flatnonzero(~serial.accepted[cycle : cycle + decided])
        decided = int(rejected[0]) + 1 if len(rejected) else decided
        expected.append((cycle, decided))
        cycle += decided
    assert [(first, decided) for first, decided, _ in run.windows] == expected
    whole = [(first, decided) for first, decided in expected if first + depth <= n_cycles]
    ends = {(decided, bool(serial.accepted[first + decided - 1])) for first, decided in whole}
    assert ends == {(length, False) for length in range(1, depth + 1)} | {(depth, True)}


@pytest.mark.parametrize("shape", ["tree", "accept"])
@pytest.mark.parametrize("name", CASES)
def test_labels_beside_the_way_are_kept(name: str, shape: prefetch.Shape) -> None:
    case = CASES[name]
    calls: list[int] = []

    def label(points: Sequence[Point]) -> list[Evaluation]:
        calls.append(len(points))
        return case.label(points)

    run = run_speculative(
        case.positions, case.cell, MASSES[: len(case.positions)], label, case.model, case.settings,
        depth=3, shape=shape, n_cycles=100, seed=7,
    )  # fmt: skip
    needed = int(np.isfinite(run.chain.endpoint_energies).sum())
    assert sum(calls) == 1 + needed + len(run.aside)
    # One round a window, after that of the start; none where all proposals diverged.
    assert calls[1:] == [labels for _, _, labels in run.windows if labels]
    assert max(calls) == (7 if shape == "tree" else 3)
    assert len(run.aside) > 5
    starts = {first: decided for first, decided, _ in run.windows}
    for item in run.aside:
        assert item.evaluation.energy == case.target.evaluate(item.positions, item.cell).energy
        first = item.cycle - len(item.path)
        taken = tuple(run.chain.accepted[first : first + starts[first]].tolist())
        assert item.path != taken[: len(item.path)] or len(item.path) >= starts[first]
        # Nothing was labelled for the acceptance of a trajectory that cannot be accepted.
        for level, outcome in enumerate(item.path[: len(taken)]):
            if item.path[:level] == taken[:level] and run.chain.divergent[first + level]:
                assert not outcome
    # What it says led there does: the proposal made again from the endpoint of the last acceptance.
    item = next(item for item in run.aside if item.path == (True,))
    first = item.cycle - 1
    positions, cell = run.chain.endpoints[first], run.chain.endpoint_cells[first]
    again = hmc.propose(
        positions, cell, MASSES[: len(positions)], case.model, case.settings, seed=7, chain=0, cycle=item.cycle
    )
    np.testing.assert_array_equal(again.positions, item.positions)
    np.testing.assert_array_equal(again.cell, item.cell)
    assert not run.chain.accepted[first]


def test_a_run_in_two_parts_is_the_run_in_one_whatever_the_windows() -> None:
    case = CASES["NPT"]
    whole = case.ahead(17, depth=3, seed=8).chain
    first = case.ahead(8, depth=4, seed=8).chain
    moved = dataclasses.replace(case, positions=first.positions[-1], cell=first.cells[-1])
    second = moved.ahead(9, depth=2, shape="accept", seed=8, first_cycle=8).chain
    np.testing.assert_array_equal(whole.positions, np.concatenate([first.positions, second.positions]))
    np.testing.assert_array_equal(whole.deltas, np.concatenate([first.deltas, second.deltas]))


def test_the_plan_of_a_window() -> None:
    for depth in range(1, 7):
        tree, line = plan(depth, "tree"), plan(depth, "accept")
        assert len(set(tree)) == len(tree) == 2**depth - 1
        assert [branch.path for branch in line] == [(True,) * level for level in range(depth)]
        assert set(line) <= set(tree)
        for branches in (tree, line):
            for index, branch in enumerate(branches):
                # What a proposal starts from is planned before it.
                assert branch.origin is None or Branch(branch.origin) in branches[:index]
    origins = {branch.path: branch.origin for branch in plan(4, "tree")}
    assert origins[()] is origins[(False,)] is origins[(False, False)] is None
    assert origins[(True,)] == origins[(True, False)] == origins[(True, False, False)] == ()
    assert origins[(False, True)] == origins[(False, True, False)] == (False,)
    assert origins[(True, False, True)] == (True, False)
    with pytest.raises(ValueError, match="at least 1 cycle, not 0"):
        plan(0, "tree")
    with pytest.raises(ValueError, match="no shape 'bush'"):
        plan(2, "bush")


def test_decisions_are_followed_as_far_as_the_window_goes() -> None:
    tree, line = plan(3, "tree"), plan(3, "accept")
    for branches in (tree, line):
        assert follow(branches, []) == Branch(())
        assert follow(branches, [True, True]) == Branch((True, True))
        assert follow(branches, [True, True, True]) is None
    assert follow(tree, [np.False_, np.True_]) == Branch((False, True))
    assert follow(line, [False]) is None
    assert follow(line, [True, False]) is None


@dataclasses.dataclass(frozen=True)
class Grating:
    """Have no energy in slits, and none that is finite between them: accepted is what lands in a slit."""

    open: float

    def evaluate(self, positions: Array, cell: Array) -> Evaluation:
        place = positions[0, 0] / 1e-3 % 1.0
        return Evaluation(0.0 if place < self.open else np.inf, np.zeros_like(positions))


@pytest.mark.statistics
@pytest.mark.parametrize(
    ("acceptance", "depth", "gain"),
    [(0.72, 2, 1.72), (0.72, 4, 2.61), (0.72, 8, 3.31), (0.26, 2, 1.26), (0.26, 4, 1.345)],
)
def test_cycles_per_round_of_labels(acceptance: float, depth: int, gain: float, zscore: ZScores, seed: int) -> None:
    exact = (1 - acceptance**depth) / (1 - acceptance)
    assert exact == pytest.approx(gain, abs=6e-3)
    assert cycles_per_round(acceptance, depth, "accept") == pytest.approx(exact)
    assert cycles_per_round(acceptance, depth, "tree") == depth
    # Free flight over many slits: whether the endpoint lies in one is a coin of its own in every cycle.
    target, free = Grating(acceptance), Grating(1.0)
    settings = hmc.Settings(UNIT_TEMPERATURE, UNIT_TIME, 1, "fixed")
    decided = []
    for chain in range(20):
        run = run_speculative(
            np.zeros((1, 3)), CELL, np.ones(1), lambda points: [target.evaluate(*point) for point in points], free,
            settings, depth=depth, shape="accept", n_cycles=200, seed=seed, chain=chain,
        )  # fmt: skip
        # The last window may be cut off by the end.
        decided.append(np.mean([cycles for _, cycles, _ in run.windows[:-1]]))
    zscore.chains(f"cycles a round, acceptance {acceptance:g}, {depth} labels at once", np.array(decided), exact)
