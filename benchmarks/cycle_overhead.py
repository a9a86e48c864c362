"""Measure what a cycle costs through AiiDA against the bare loop, in one run, step by step.

Both sides do the identical proposals, labels and decisions: same model, target and seeds, in one process, one chain.
``python benchmarks/cycle_overhead.py [--cycles 10] [--target chgnet|einstein]`` prints a table; the decisions of both
sides are compared, and the script fails if they differ.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import click

from aiida_slhmc.engine.profile import isolated_profile

STEPS = ("propose", "label", "metropolis", "collect", "finetune")


def bare(
    payload: dict[str, Any], level: dict[str, Any], model: Path, cycles: int, finetune: dict[str, Any]
) -> dict[str, Any]:
    """Run the bare loop and return the seconds of each step and the decisions.

    :param payload: structure, seed and settings of the proposals.
    :param level: level of theory of the target.
    :param model: weights file.
    :param cycles: number of cycles.
    :param finetune: hyperparameters.
    """
    import numpy as np

    from aiida_slhmc.numerics.hmc import draw_log_uniform
    from aiida_slhmc.numerics.metropolis import decide
    from aiida_slhmc.worker.finetune import finetune as train
    from aiida_slhmc.worker.label import label
    from aiida_slhmc.worker.propose import propose

    seconds = dict.fromkeys(STEPS, 0.0)
    state = dict(payload)
    current = label({**state, "level": level})
    accepted, endpoints, labels = [], [state["positions"]], [current]
    for cycle in range(cycles):
        started = time.perf_counter()
        move = propose({**state, "potential": {"engine": "mace", "file": str(model)}, "chain": 0, "cycle": cycle})
        seconds["propose"] += time.perf_counter() - started
        started = time.perf_counter()
        end = label({**state, "positions": move["positions"], "level": level})
        seconds["label"] += time.perf_counter() - started
        started = time.perf_counter()
        decision = decide(
            potential_start=current["energy"], potential_end=end["energy"],
            kinetic_start=move["kinetic_start"], kinetic_end=move["kinetic_end"],
            temperature=payload["temperature"], log_uniform=draw_log_uniform(payload["seed"], 0, cycle),
        )  # fmt: skip
        seconds["metropolis"] += time.perf_counter() - started
        accepted.append(decision.accepted)
        endpoints.append(move["positions"])
        labels.append(end)
        if decision.accepted:
            state, current = {**state, "positions": move["positions"]}, end
    started = time.perf_counter()
    n = len(labels)
    frames = {
        "numbers": np.repeat(payload["numbers"][None], n, axis=0),
        "positions": np.array(endpoints),
        "cells": np.repeat(payload["cell"][None], n, axis=0),
        "pbc": np.repeat(payload["pbc"][None], n, axis=0),
        "energies": np.array([one["energy"] for one in labels]),
        "forces": np.array([one["forces"] for one in labels]),
        "stresses": np.array([one.get("stress", np.full((3, 3), np.nan)) for one in labels]),
    }
    seconds["collect"] = time.perf_counter() - started
    split = np.zeros(n, dtype=int)
    split[::10] = 1
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        train({"model": str(model), "frames": [frames], "split": [split], "hyperparameters": finetune, "seed": 1,
               "out": str(Path(folder) / "new.model")})  # fmt: skip
    seconds["finetune"] = time.perf_counter() - started
    return {"seconds": seconds, "accepted": accepted}


def through_aiida(builder: Any) -> dict[str, Any]:
    """Run the same through AiiDA and return the seconds of each step and the decisions.

    :param builder: of the run.
    """
    from aiida_slhmc.engine.runner import run_foreground
    from aiida_slhmc.provenance.audit import step_name

    started = time.perf_counter()
    run = run_foreground(builder)
    total = time.perf_counter() - started
    if not run.is_finished_ok:
        raise click.ClickException(str(run.exit_message))
    seconds = dict.fromkeys(STEPS, 0.0)
    decisions = []
    for node in run.called_descendants:
        name = step_name(node)
        if name in seconds:
            seconds[name] += (node.mtime - node.ctime).total_seconds()
        if name == "metropolis":
            decisions.append((node.outputs.decision["cycle"], node.outputs.decision["accepted"]))
    return {"seconds": seconds, "total": total, "accepted": [accepted for _, accepted in sorted(decisions)]}


@click.command()
@click.option("--cycles", default=10, show_default=True, help="Cycles of one chain.")
@click.option("--target", default="chgnet", type=click.Choice(["chgnet", "einstein"]), show_default=True)
def main(cycles: int, target: str) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        isolated_profile(Path(folder))
        from aiida import orm

        from aiida_slhmc import models
        from aiida_slhmc.calculations.base import structure_payload
        from aiida_slhmc.calculations.propose import SETTINGS
        from aiida_slhmc.data import MaceModelData
        from aiida_slhmc.targets.level import normalise
        from aiida_slhmc.workflows.protocol import protocol_inputs
        from aiida_slhmc.workflows.runfile import rutile
        from aiida_slhmc.workflows.slhmc import SlhmcWorkChain

        springs = {"sites": rutile().positions.tolist(), "spring_constant": 5.0}
        level = normalise({"engine": "chgnet"} if target == "chgnet" else {"engine": "einstein", "parameters": springs})
        overrides = {"budget": {"chains": 1, "blocks": 1, "cycles": cycles, "production_cycles": 0}}
        settings = protocol_inputs("fast", overrides)
        structure = orm.StructureData(ase=rutile())
        builder = SlhmcWorkChain.get_builder_from_protocol(
            structure=structure, model=MaceModelData(models.path("tio2-pbe-small")), level=level, seed=1,
            protocol="fast", overrides=overrides,
        )  # fmt: skip
        payload = {
            **structure_payload(structure),
            "seed": 1,
            "temperature": settings["ensemble"]["temperature"],
            **{key: settings["proposal"][key] for key in SETTINGS},
        }
        model = models.path("tio2-pbe-small")
        # Once for the imports, the model and the first slow calls of torch.
        bare(payload, level, model, 2, {**settings["finetune"], "max_epochs": 1})
        loop = bare(payload, level, model, cycles, settings["finetune"])
        graph = through_aiida(builder)
        if loop["accepted"] != graph["accepted"]:
            raise click.ClickException("the decisions differ: the two sides did not do the same work")
        report(loop["seconds"], graph["seconds"], graph["total"], cycles)


def report(loop: dict[str, float], graph: dict[str, float], total: float, cycles: int) -> None:
    """Print the table.

    :param loop: seconds of each step of the bare loop.
    :param graph: seconds of each step through AiiDA.
    :param total: seconds of the whole run through AiiDA.
    :param cycles: number of cycles.
    """
    click.echo(f"{cycles} cycles, one chain, identical decisions on both sides; seconds")
    click.echo(f"{'step':12} {'bare loop':>10} {'AiiDA':>10} {'AiiDA - bare, a cycle':>24}")
    for step in STEPS:
        extra = (graph[step] - loop[step]) / cycles
        click.echo(f"{step:12} {loop[step]:10.3f} {graph[step]:10.3f} {extra:24.3f}")
    bare_total = sum(loop.values())
    rest = total - sum(graph.values())
    click.echo(f"{'WorkChains':12} {0:10.3f} {rest:10.3f} {rest / cycles:24.3f}")
    click.echo(f"{'all':12} {bare_total:10.3f} {total:10.3f} {(total - bare_total) / cycles:24.3f}")


if __name__ == "__main__":
    main()
