"""Prefetching: proposals and labels of later cycles are made before the earlier ones are decided.

The target's labels are the cost, and several can be had at once. Within a window of cycles a proposal is made for each
outcome of the cycles before it; all are labelled together; then the decisions are replayed in order. Random numbers
belong to chain and cycle, so that the chain is the one of the serial run, to the bit (Brockwell, J. Comput. Graph.
Stat. 15, 246, 2006).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from . import hmc
from .cycles import Recorder, State, decide
from .driving import Point
from .potential import Array, Evaluation, Potential

Shape = Literal["tree", "accept"]
#: Outcomes of the cycles of a window, in order: whether each was accepted.
Path = tuple[bool, ...]


@dataclass(frozen=True)
class Branch:
    """Name a proposal of a window by the outcomes that lead to it.

    :param path: outcomes of the cycles of the window before this one; empty for its first cycle.
    """

    path: Path

    @property
    def level(self) -> int:
        """Return the number of the cycle within the window, from 0."""
        return len(self.path)

    @property
    def origin(self) -> Path | None:
        """Return the path of the proposal whose endpoint this one starts from; None: the window's start.

        The state after the path's outcomes is the endpoint of the last cycle that was accepted.
        """
        accepted = [level for level, outcome in enumerate(self.path) if outcome]
        return self.path[: accepted[-1]] if accepted else None


def plan(depth: int, shape: Shape) -> list[Branch]:
    """Return the proposals of a window, each after the one that it starts from.

    :param depth: cycles of the window, at least 1.
    :param shape: ``tree``: for all outcomes, 2^depth - 1 proposals; ``accept``: for acceptances alone, depth proposals.
    :raises ValueError: for another shape, or a depth below 1.
    """
    if depth < 1:
        raise ValueError(f"a window has at least 1 cycle, not {depth}")
    if shape not in ("tree", "accept"):
        raise ValueError(f"there is no shape '{shape}' of a window: tree, accept")
    outcomes = (True,) if shape == "accept" else (True, False)
    paths: list[Path] = [()]
    branches = [Branch(())]
    for _ in range(depth - 1):
        paths = [(*path, outcome) for path in paths for outcome in outcomes]
        branches += [Branch(path) for path in paths]
    return branches


def follow(branches: Collection[Branch], outcomes: Sequence[bool]) -> Branch | None:
    """Return the proposal to be decided next; None if the window has none for these outcomes.

    :param branches: of the window.
    :param outcomes: decisions of the window so far, in order: whether each was accepted.
    """
    branch = Branch(tuple(bool(outcome) for outcome in outcomes))
    return branch if branch in branches else None


def cycles_per_round(acceptance: float, depth: int, shape: Shape) -> float:
    """Return the mean number of cycles that a window of labels decides, at a constant acceptance.

    ``accept``: 1 + a + ... + a^(depth - 1), since a window ends with its first rejection; ``tree``: depth.

    :param acceptance: probability of acceptance.
    :param depth: cycles of the window, at least 1.
    :param shape: of the window.
    """
    return float(depth) if shape == "tree" else sum(acceptance**level for level in range(depth))


@dataclass(frozen=True)
class Aside:
    """Hold a labelled endpoint that the chain did not come to: training data, but no sample and no cycle of the chain.

    :param positions: (N, 3) in Å.
    :param cell: (3, 3) in Å.
    :param evaluation: the target there (eV, eV/Å, eV/Å³).
    :param cycle: that it was made for.
    :param path: outcomes since the first cycle of the window that would have led to it.
    """

    positions: Array
    cell: Array
    evaluation: Evaluation
    cycle: int
    path: Path


@dataclass(frozen=True)
class Speculation:
    """Hold a chain that was run ahead of its decisions.

    :param chain: as of the serial run.
    :param aside: what was labelled and not needed.
    :param windows: (first cycle, cycles decided, labels) of each window: one round of labels each.
    """

    chain: hmc.ChainRecord
    aside: tuple[Aside, ...]
    windows: tuple[tuple[int, int, int], ...]


def run_speculative(
    positions: Array,
    cell: Array,
    masses: Array,
    label: Callable[[Sequence[Point]], Sequence[Evaluation]],
    proposal_potential: Potential,
    settings: hmc.Settings,
    *,
    depth: int,
    shape: Shape = "tree",
    n_cycles: int,
    seed: int,
    chain: int = 0,
    first_cycle: int = 0,
) -> Speculation:
    """Run the chain of :func:`aiida_slhmc.numerics.hmc.run_chain`, with labels made ahead.

    :param positions: (N, 3) in Å, start.
    :param cell: (3, 3) in Å.
    :param masses: (N,) in amu.
    :param label: evaluates structures by the target, all of a window at once.
    :param proposal_potential: surface that the trajectories run on; frozen over the run.
    :param settings: of the kernel.
    :param depth: cycles of a window.
    :param shape: outcomes that are prepared for.
    :param n_cycles: number of cycles.
    :param seed: root seed.
    :param chain: number of the chain.
    :param first_cycle: number of the first cycle.
    :raises ValueError: if the start has no finite target energy; for a depth below 1 or another shape.
    """
    plan(depth, shape)
    point = hmc.place(positions, cell, settings)
    state = State(*point, label([point])[0])
    recorder = Recorder()
    aside: list[Aside] = []
    windows: list[tuple[int, int, int]] = []
    cycle, last = first_cycle, first_cycle + n_cycles
    while cycle < last:
        first = cycle
        moves: dict[Path, hmc.Proposal] = {}
        branches = plan(min(depth, last - first), shape)
        for branch in branches:
            start = _start(branch, state, moves)
            if start is not None:
                moves[branch.path] = hmc.propose(
                    *start, masses, proposal_potential, settings, seed=seed, chain=chain, cycle=first + branch.level
                )
        wanted = [path for path, move in moves.items() if not move.divergent]
        answers = label([(moves[path].positions, moves[path].cell) for path in wanted]) if wanted else []
        ends = dict(zip(wanted, answers, strict=True))
        outcomes: list[bool] = []
        while (reached := follow(branches, outcomes)) is not None:
            # What comes to be decided was made: only outcomes that cannot come have no proposal.
            move, end = moves.pop(reached.path), ends.get(reached.path)
            state, decision = decide(state, move, end, settings, seed=seed, chain=chain, cycle=cycle)
            recorder.add(state, move, end, decision)
            outcomes.append(decision.accepted)
            cycle += 1
        aside += [
            Aside(move.positions, move.cell, ends[key], first + len(key), key)
            for key, move in moves.items()
            if key in ends
        ]
        windows.append((first, cycle - first, len(wanted)))
    return Speculation(recorder.record(), tuple(aside), tuple(windows))


def _start(branch: Branch, state: State, moves: dict[Path, hmc.Proposal]) -> Point | None:
    """Return the structure that a branch starts from; None if its outcomes cannot come.

    :param branch: of the window.
    :param state: at the start of the window.
    :param moves: proposals of the window so far.
    """
    for level, accepted in enumerate(branch.path):
        move = moves.get(branch.path[:level])
        # A divergent trajectory is never accepted.
        if move is None or (accepted and move.divergent):
            return None
    if branch.origin is None:
        return state.positions, state.cell
    move = moves[branch.origin]
    return move.positions, move.cell
