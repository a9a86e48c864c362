"""The commands ``reference`` and ``compare``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import yaml

from .errors import InputError, RunError
from .session import load

RUN_FILE = (".yaml", ".yml")


def shared_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that both commands have.

    :param function: the command.
    """
    options = [
        click.option("--protocol", default=None, help="Named settings: 'aiida-slhmc protocols' lists them."),
        click.option("--settings", type=click.Path(path_type=Path), default=None,
                     help="YAML file of settings that differ, nested by group: comparison, reference, dynamics, ..."),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Root seed."),
        click.option("--submit", "to_daemon", is_flag=True, help="Hand it to the daemon and return."),
        click.option("--plain", is_flag=True, help="Plain lines instead of the live display."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


@click.command("reference")
@click.argument("run")
@click.option(
    "--from",
    "samples",
    multiple=True,
    metavar="PK",
    help="Samples of the target's ensemble that are known: dynamics on it, or a run with a production phase.",
)
@shared_options
@click.pass_context
def reference(context: click.Context, run: str, samples: tuple[str, ...], protocol: str | None, settings: Path | None,
              seed: int, to_daemon: bool, plain: bool) -> None:  # fmt: skip
    """Make the reference of a comparison for a RUN (PK, UUID or run file).

    Samples the target's own ensemble by dynamics on the target itself, in several independent trajectories, and labels
    two test sets: frames of the end of these trajectories, and rattled and strained structures. Structure, target and
    ensemble are those of the run. Where the target is too dear for dynamics, --from names samples that are known.
    """
    load(context.obj["profile"], context.obj["path"])
    from aiida_slhmc.workflows.from_runs import reference_builder

    builder = _checked(
        lambda: reference_builder(
            _inputs_of(run), [_node(pk) for pk in samples], seed=seed, protocol=protocol, overrides=_overrides(settings)
        )
    )
    node = _launch(builder, to_daemon, plain)
    if node is not None:
        click.echo(f"reference <{node.pk}>: give it to 'aiida-slhmc compare PK ... --reference {node.pk}'.")


@click.command("compare")
@click.argument("runs", nargs=-1, required=True)
@click.option(
    "--reference",
    "references",
    multiple=True,
    metavar="PK",
    help="The target's own ensemble: a process of 'aiida-slhmc reference', dynamics on the target, or a run"
    " with a production phase. Several are independent samples of it.",
)
@click.option("--tests", multiple=True, metavar="PK", help="Labelled test set beside those of the references.")
@click.option("--curves", is_flag=True, help="Judge the models of earlier blocks on the test sets too.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=None, help="Folder for table and figures.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
@shared_options
@click.pass_context
def compare(context: click.Context, runs: tuple[str, ...], references: tuple[str, ...], tests: tuple[str, ...],
            curves: bool, output: Path | None, as_json: bool, protocol: str | None, settings: Path | None, seed: int,
            to_daemon: bool, plain: bool) -> None:  # fmt: skip
    """Compare the models of finished RUNS (PKs or UUIDs), or show the finished comparison of this PK.

    Every model gets the same production dynamics, the same analyses and the same test sets, which must hold nothing
    that any of them was trained on. Runs that differ in their seed alone are replicas: their mean is reported, with its
    standard error.
    """
    load(context.obj["profile"], context.obj["path"])
    from aiida_slhmc.workflows.from_runs import compare_builder

    from .session import load_process, load_run

    first = load_process(runs[0])
    if len(runs) == 1 and first.process_type == "aiida.workflows:slhmc.compare":
        node = first
    else:
        if not references:
            raise InputError("--reference is missing: make one with 'aiida-slhmc reference RUN', or name a sample.")
        builder = _checked(
            lambda: compare_builder(
                [load_run(pk) for pk in runs],
                [_node(pk) for pk in references],
                [_node(pk) for pk in tests],
                seed=seed,
                protocol=protocol,
                overrides=_overrides(settings),
                curves=curves,
            )
        )
        node = _launch(builder, to_daemon, plain or as_json, quiet=as_json)
    if node is not None:
        show(node, output, as_json)


def show(node: Any, output: Path | None, as_json: bool) -> None:
    """Print the table of a finished comparison, and write table and figures.

    :param node: of the comparison.
    :param output: folder; None: nothing is written.
    :param as_json: print JSON.
    :raises RunError: if it has not finished.
    """
    from aiida_slhmc.report import comparison as tables
    from aiida_slhmc.report.comparison_nodes import arrays_of, with_reasons

    if "comparison" not in node.outputs:
        raise RunError(f"comparison <{node.pk}> has not finished; look with: verdi process report {node.pk}")
    values = with_reasons(node)
    if output is not None:
        from aiida_slhmc.report.comparison_figures import write_figures

        tables.write_tables(values, output)
        analyses = {name: arrays_of(node.outputs.analyses[name]) for name in node.outputs.analyses}
        write_figures(values, analyses, arrays_of(node.outputs.reference), output)
    if as_json:
        click.echo(json.dumps(values, indent=2))
        return
    click.echo(tables.markdown(values))
    if output is not None:
        click.echo(f"comparison <{node.pk}>: table and figures in {output.resolve()}")


def _checked(build: Callable[[], Any]) -> Any:
    """Return a builder that AiiDA will accept.

    :param build: makes it.
    :raises InputError: with the reason why it cannot be.
    """
    from aiida_slhmc.workflows.runfile import RunFileError, check

    try:
        builder = build()
        check(builder)
    except (ValueError, RunFileError) as error:
        raise InputError(str(error)) from error
    return builder


def _launch(builder: Any, to_daemon: bool, plain: bool, quiet: bool = False) -> Any:
    """Run a builder to its end; None if the daemon has it now."""
    from aiida_slhmc.engine.runner import run_foreground

    from .launch import follow, submit

    if to_daemon:
        submit(builder)
        return None
    if quiet:
        return run_foreground(builder)
    return follow(lambda tick: run_foreground(builder, on_tick=tick), plain)


def _node(identifier: str) -> Any:
    from aiida import orm
    from aiida.common import MultipleObjectsError, NotExistent

    try:
        return orm.load_node(int(identifier)) if identifier.isdigit() else orm.load_node(identifier)
    except (NotExistent, MultipleObjectsError, ValueError) as error:
        raise InputError(f"there is no node '{identifier}' in this profile: {error}") from error


def _inputs_of(run: str) -> Any:
    """Return the inputs of a run, launched or described by a file."""
    path = Path(run)
    if path.suffix not in RUN_FILE:
        from .session import load_run

        return load_run(run).inputs
    from aiida_slhmc.workflows.runfile import builder_from_run, read

    return builder_from_run(read(path), path.resolve().parent)._inputs(prune=True)


def _overrides(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    if not path.is_file():
        raise InputError(f"--settings: there is no file '{path}'.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"--settings: '{path}' is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"--settings: '{path}' must be a mapping of groups to their settings.")
    return content
