"""``aiida-slhmc report``: runs as one page that opens anywhere, with figures, tables and numbers as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .errors import InputError, RunError


@click.command()
@click.argument("pks", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("slhmc-report"), show_default=True,
              help="Folder to write: report.html, numbers.json, figures, tables.")  # fmt: skip
@click.option("--watch", "watching", is_flag=True, help="Write the page again and again until the runs have ended.")
@click.option("--every", type=click.FloatRange(min=1.0), default=10.0, show_default=True,
              help="Seconds between two versions, with --watch.")  # fmt: skip
@click.pass_context
def report(context: click.Context, pks: tuple[str, ...], output: Path, watching: bool, every: float) -> None:
    """Write the runs PKS (or UUIDs) as one self-contained HTML page, figures (PNG, PDF), tables (CSV, LaTeX).

    For runs of every protocol, production runs, comparisons, references and trials of uncertainty, also while they go
    on or when they failed. Several runs are set side by side. Each number carries the UUID of the node that it comes
    from; 'aiida-slhmc audit PK --report OUTPUT/report.html' checks them.
    """
    from .session import load

    load(context.obj["profile"], context.obj["path"])
    nodes = [reported(pk) for pk in dict.fromkeys(pks)]
    done = write(nodes, output, every=every if watching else None)
    click.echo(f"{done.numbers} numbers traced to their nodes")
    for title in done.bad:
        click.echo(f"did not end well: {title}")
    click.echo(f"report: {done.page.resolve()}")


def reported(identifier: str) -> Any:
    """Return the node of a run that a report can be written of.

    :param identifier: PK or UUID.
    :raises InputError: for another process, or where figures cannot be drawn.
    """
    from .session import load_process

    node = load_process(identifier)
    try:
        from aiida_slhmc.report.runs import TITLES, kind_of
    except ImportError as error:
        raise _missing(error) from error
    if kind_of(node) is None:
        kinds = ", ".join(sorted(name.removeprefix("slhmc.").replace("_", "-") for name in TITLES))
        raise InputError(f"process {identifier} is a {node.process_label}: a report is written of {kinds}.")
    return node


def write(nodes: list[Any], output: Path, every: float | None = None) -> Any:
    """Write the report of some runs.

    :param nodes: of the runs.
    :param output: folder.
    :param every: seconds between two versions until the runs have ended; None: write once.
    :raises InputError: if the folder cannot be written, or figures cannot be drawn.
    :raises RunError: if it is interrupted while it watches.
    """
    from .session import prefix

    if output.exists() and not output.is_dir():
        raise InputError(f"--output: '{output}' is a file, not a folder.")
    try:
        from aiida_slhmc.report.page import PAGE, watch, write_report

        if every is None:
            return write_report(nodes, output, prefix=prefix(), shown=str(output / PAGE))
        return watch(nodes, output, prefix=prefix(), shown=str(output / PAGE), every=every, told=_tell)
    except ImportError as error:
        raise _missing(error) from error
    except OSError as error:
        raise InputError(f"--output: '{output}' cannot be written: {error.strerror}.") from error
    except KeyboardInterrupt as error:
        raise RunError(f"stopped watching; the page as it was last: {output / 'report.html'}") from error


def _tell(report: Any) -> None:
    if report.going:
        click.echo(f"written: {report.page}")


def _missing(error: ImportError) -> InputError:
    return InputError(f"a report needs '{error.name}': pip install 'aiida-slhmc[worker]'.")
