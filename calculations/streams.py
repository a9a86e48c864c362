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


@calcfunction
def advance(stream: orm.Dict) -> orm.Dict:
    """Return the stream of the next cycle, before the decision of this one: for proposals that are made ahead.

    :param stream: of a cycle.
    """
    position = stream.get_dict()
    return orm.Dict({**position, "cycle": position["cycle"] + 1})


@calcfunction
def rungs(ensemble: orm.Dict, driver: orm.Dict) -> dict[str, orm.Data]:
    """Return the ensemble of each chain where each has a temperature of its own.

    :param ensemble: of the run.
    :param driver: ``temperatures``: one a chain, in K.
    """
    return {
        chain_name(index): orm.Dict({**ensemble.get_dict(), "temperature": temperature})
        for index, temperature in enumerate(driver.get_dict()["temperatures"])
    }
