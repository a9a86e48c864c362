"""Run the ladder experiment in pieces: ``python benchmarks/ladder/ladder.py --folder FOLDER run [NAME ...]``.

What has ended is left alone, what was interrupted is resumed, what has not begun is launched; two at a time, one thread
each.
``list`` says how each stands; ``compare`` sets the finished runs of every suite against the target's own ensemble.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import yaml

HERE = Path(__file__).resolve().parent
EXPERIMENT = HERE / "ladder.yaml"
REFERENCE = "reference"
#: Names of what ``compare`` makes, after that of the suite.
TESTS, COMPARISON = "tests", "comparison"


def experiment() -> dict[str, Any]:
    """Return the description of the experiment."""
    return dict(yaml.safe_load(EXPERIMENT.read_text()))


def names() -> Iterator[str]:
    """Give the names of all pieces, seed by seed, so that an early end leaves whole comparisons."""
    table = experiment()
    reference = table[REFERENCE]
    first, *others = reference["chains"]
    yield from (f"{suite}/{REFERENCE}/{first}" for suite in reference["suites"])
    for seed in table["seeds"]:
        for protocol, entry in table["protocols"].items():
            yield from (f"{suite}/{protocol}/{seed}" for suite in entry["suites"])
    yield from (f"{suite}/{REFERENCE}/{chain}" for chain in others for suite in reference["suites"])


def run_file(name: str) -> dict[str, Any]:
    """Return the run file of a piece.

    :param name: SUITE/PROTOCOL/SEED.
    """
    table = experiment()
    suite, protocol, seed = name.split("/")
    overrides = {**table["protocols"][protocol]["overrides"], "ensemble": table["suites"][suite]}
    return {
        **table["run"],
        "workflow": protocol,
        "seed": int(seed),
        "label": name,
        "overrides": {**overrides, "finetune": table["finetune"]},
    }


def find(name: str) -> Any:
    """Return the process of a piece; None if it was never launched.

    :param name: SUITE/PROTOCOL/SEED.
    """
    from aiida import orm

    query = orm.QueryBuilder().append(orm.ProcessNode, filters={"label": name})
    return query.order_by({orm.ProcessNode: {"id": "desc"}}).first(flat=True)


def sample_target(name: str) -> Any:
    """Sample the target's own ensemble, and return the process.

    :param name: SUITE/reference/SEED.
    """
    from aiida import orm

    from aiida_slhmc.calculations.dynamics import dynamics_local
    from aiida_slhmc.targets.level import normalise
    from aiida_slhmc.workflows.protocol import dynamics_settings
    from aiida_slhmc.workflows.runfile import load_structure

    table = experiment()
    suite, _, seed = name.split("/")
    settings = dict(table[REFERENCE]["dynamics"])
    ensemble = {"pressure": None, "cell": None, **table["suites"][suite]}
    _, node = dynamics_local.run_get_node(
        model=orm.Dict(normalise(table["run"]["target"])),
        structure=load_structure(table["run"]["structure"], HERE),
        ensemble=orm.Dict(ensemble),
        settings=orm.Dict(dynamics_settings(settings.pop("like"), **settings)),
        seed=orm.Int(int(seed)),
        metadata={"label": name},
    )
    return node


def do(name: str) -> Any:
    """Bring one piece to its end.

    :param name: SUITE/PROTOCOL/SEED.
    """
    from aiida_slhmc.workflows.runfile import builder_from_run

    if f"/{REFERENCE}/" in name:
        node = find(name)
        return node if node is not None and node.is_finished_ok else sample_target(name)
    return finish(name, lambda: builder_from_run(run_file(name), HERE))


def finish(name: str, build: Callable[[], Any]) -> Any:
    """Bring a WorkChain to its end: what has ended is returned, what was interrupted is resumed.

    :param name: its label.
    :param build: returns its builder, if it has to be launched.
    """
    from aiida_slhmc.engine.resume import resume
    from aiida_slhmc.engine.runner import run_foreground

    node = find(name)
    if node is not None and node.is_finished_ok:
        return node
    if node is not None and not node.is_terminated:
        return resume(node.pk)
    builder = build()
    builder.metadata.label = name
    return run_foreground(builder)


def set_against_target(suite: str) -> Any:
    """Compare the finished runs of a suite with the target's own ensemble, and return the comparison.

    :param suite: its name.
    :raises click.ClickException: if the reference, or no run, has finished; or if the test sets cannot be made.
    """
    from aiida_slhmc.workflows.from_runs import compare_builder, reference_builder

    table = experiment()
    nodes = {name: find(name) for name in names() if name.startswith(f"{suite}/")}
    done = {name: node for name, node in nodes.items() if node is not None and node.is_finished_ok}
    samples = [node for name, node in done.items() if f"/{REFERENCE}/" in name]
    runs = [node for name, node in done.items() if f"/{REFERENCE}/" not in name]
    if not runs or not samples:
        raise click.ClickException(f"{suite}: neither the reference nor the runs have finished; see 'list'.")
    tests = finish(
        f"{suite}/{TESTS}",
        lambda: reference_builder(
            runs[0].inputs, samples, seed=table[TESTS]["seed"], overrides=table[TESTS]["overrides"]
        ),
    )
    if not tests.is_finished_ok:
        raise click.ClickException(f"{suite}: the test sets could not be made: {tests.exit_message}")
    return finish(
        f"{suite}/{COMPARISON}",
        lambda: compare_builder(
            runs, [tests], seed=table[COMPARISON]["seed"], overrides=table[COMPARISON]["overrides"], curves=True
        ),
    )


@click.group()
@click.option("--folder", type=click.Path(path_type=Path), required=True, help="Of the isolated profile.")
@click.pass_context
def main(context: click.Context, folder: Path) -> None:
    """Run the ladder experiment."""
    context.obj = folder.resolve()


@main.command("one")
@click.argument("name")
@click.pass_obj
def one(folder: Path, name: str) -> None:
    """Bring the piece NAME to its end, in this process."""
    from aiida_slhmc.engine.profile import isolated_profile

    isolated_profile(folder)
    node = do(name)
    click.echo(f"{name}: <{node.pk}> {node.process_state.value} [{node.exit_status}] {node.exit_message or ''}")
    sys.exit(0 if node.is_finished_ok else 1)


@main.command("list")
@click.pass_obj
def show(folder: Path) -> None:
    """Say how each piece stands."""
    from aiida_slhmc.engine.profile import isolated_profile

    isolated_profile(folder)
    for name in names():
        node = find(name)
        state = "not begun" if node is None else f"<{node.pk}> {node.process_state.value} [{node.exit_status}]"
        click.echo(f"{name:22} {state}")


@main.command("compare")
@click.argument("suites", nargs=-1)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder: one below it a suite.")
@click.pass_obj
def compare(folder: Path, suites: tuple[str, ...], output: Path) -> None:
    """Compare the finished runs of SUITES (all) with the target's own ensemble; write tables and figures."""
    from aiida_slhmc.cli.compare import show
    from aiida_slhmc.engine.profile import isolated_profile

    isolated_profile(folder)
    for suite in suites or experiment()["suites"]:
        show(set_against_target(suite), output / suite, as_json=False)


@main.command("run")
@click.argument("chosen", nargs=-1)
@click.option("-j", "--jobs", default=2, show_default=True, help="Pieces at a time.")
@click.pass_obj
def run(folder: Path, chosen: tuple[str, ...], jobs: int) -> None:
    """Bring the pieces whose names begin with one of CHOSEN (all) to their end, each in a process of its own."""
    from aiida_slhmc.engine.profile import isolated_profile

    folder.mkdir(parents=True, exist_ok=True)
    isolated_profile(folder)
    pieces = [name for name in names() if not chosen or any(name.startswith(part) for part in chosen)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def piece(name: str) -> int:
        log = folder / "logs" / f"{name.replace('/', '-')}.log"
        log.parent.mkdir(exist_ok=True)
        command = [sys.executable, str(Path(__file__).resolve()), "--folder", str(folder), "one", name]
        with log.open("a") as stream:
            code = subprocess.run(command, stdout=stream, stderr=stream, env=environment, check=False).returncode
        click.echo(f"{name}: {'done' if code == 0 else f'failed, see {log}'}")
        return code

    with ThreadPoolExecutor(jobs) as pool:
        sys.exit(max(pool.map(piece, pieces), default=0))


if __name__ == "__main__":
    main()
