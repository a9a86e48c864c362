"""Hybrid Monte Carlo: the bare loop that the engine must agree with."""

from __future__ import annotations

from .cycles import ChainRecord, Recorder, State, decide, draw_log_uniform
from .potential import Array, Potential
from .proposal import CellTerms, Proposal, Settings, place, propose, proposing

__all__ = [
    "CellTerms",
    "ChainRecord",
    "Proposal",
    "Settings",
    "draw_log_uniform",
    "place",
    "propose",
    "proposing",
    "run_chain",
]


def run_chain(
    positions: Array,
    cell: Array,
    masses: Array,
    target: Potential,
    proposal_potential: Potential,
    settings: Settings,
    *,
    n_cycles: int,
    seed: int,
    chain: int = 0,
    first_cycle: int = 0,
) -> ChainRecord:
    """Run the bare loop: propose on one surface, decide on another.

    Each cycle leaves exp(-U_target/kT) unchanged (at constant pressure V^N exp(-(U_target + P V)/kT)), whatever the
    proposal surface: Duane et al., Phys. Lett. B 195, 216 (1987). A run in two parts, the second from the last state of
    the first with ``first_cycle`` set, is the run in one.

    :param positions: (N, 3) in Å, start.
    :param cell: (3, 3) in Å.
    :param masses: (N,) in amu.
    :param target: surface whose ensemble is sampled.
    :param proposal_potential: surface that the trajectories run on.
    :param settings: of the kernel.
    :param n_cycles: number of cycles.
    :param seed: root seed.
    :param chain: number of the chain.
    :param first_cycle: number of the first cycle.
    :raises ValueError: if the start has no finite target energy.
    """
    # The label has to belong to the very point that the trajectories start from.
    point = place(positions, cell, settings)
    state = State(*point, target.evaluate(*point))
    recorder = Recorder()
    for cycle in range(first_cycle, first_cycle + n_cycles):
        move = propose(
            state.positions, state.cell, masses, proposal_potential, settings, seed=seed, chain=chain, cycle=cycle
        )
        end = None if move.divergent else target.evaluate(move.positions, move.cell)
        state, decision = decide(state, move, end, settings, seed=seed, chain=chain, cycle=cycle)
        recorder.add(state, move, end, decision)
    return recorder.record()
