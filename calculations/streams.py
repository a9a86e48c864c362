"""Streams: where in the random numbers each chain stands."""

from __future__ import annotations

from aiida import orm
from aiida.engine import calcfunction

#: Phases of a chain: the model and the length change between blocks, or everything is frozen.
ADAPTIVE, PRODUCTION = "adaptive", "production"


def chain_name(index: int) -> str:
    """Return the name of a chain in link labels.

    :param index: of the chain, from 0.
    """
    return f"chain_{index:03d}"


@calcfunction
def open_streams(seed: orm.Int, budget: orm.Dict) -> dict[str, orm.Data]:
    """Open one random stream a chain.

    Every random number of a run comes from ``SeedSequence(seed, spawn_key=(chain, cycle, purpose))``; the stream node
    carries the first three, so that a cycle replays from its inputs alone.

    :param seed: root seed of the run.
    :param budget: ``chains``: how many.
    """
    chains = budget.get_dict()["chains"]
    return {
        chain_name(index): orm.Dict({"seed": seed.value, "chain": index, "cycle": 0, "phase": ADAPTIVE})
        for index in range(chains)
    }


@calcfunction
def begin_production(stream: orm.Dict) -> orm.Dict:
    """Mark that from here on model, proposal length and time step are frozen.

    :param stream: the chain's stream at the end of its adaptive phase.
    """
    return orm.Dict({**stream.get_dict(), "phase": PRODUCTION})
