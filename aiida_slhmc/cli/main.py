"""The command group and its commands; what they need is imported when they run, so that ``--help`` is quick."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import click

from .analyse import analyse
from .compare import compare, reference
from .errors import InputError
from .export import export
from .labels import labels
from .provenance import pedigree, trust
from .replay import replay
from .replay_set import replay_set
from .report import report
from .uncertainty import uncertainty

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="aiida-slhmc")
@click.option("-p", "--profile", default=None, help="AiiDA profile to use [default: the default profile].")
@click.option(
    "--path",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder of an isolated profile, such as 'quickstart --keep' leaves behind; or an archive, to read in place.",
)
@click.pass_context
def main(context: click.Context, profile: str | None, path: Path | None) -> None:
    """Fine-tune MACE toward the functional you trust, on that functional's own distribution."""
    # Third-party deprecations are not the user's to mend, and would tear the progress display.
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=UserWarning)
    context.obj = {"profile": profile, "path": path}


def _load(context: click.Context) -> None:
    """Load the profile that the options name."""
    from .session import load

    load(context.obj["profile"], context.obj["path"])


@main.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("slhmc-quickstart"), show_default=True,
              help="Folder for figures and tables (and the profile, with --keep).")  # fmt: skip
@click.option("--keep/--no-keep", default=False, help="Keep the profile, to query, resume and export the run.")
@click.option("--seed", type=int, default=1, show_default=True, help="Root seed.")
@click.option("--plain", is_flag=True, help="Plain lines instead of the live display.")
@click.pass_context
def quickstart(context: click.Context, output: Path, keep: bool, seed: int, plain: bool) -> None:
    """Run SLHMC on rutile TiO2 in a few minutes: nothing to set up, nothing to ask for.

    A small MACE model fitted to CHGNet's PBE surface proposes; CHGNet's r2SCAN surface, played as a teacher, accepts or
    rejects. Runs in a profile of its own; with the group's option --profile it runs in one of yours.
    """
    from .quickstart import run_quickstart

    run_quickstart(output, keep=keep, seed=seed, plain=plain, profile=context.obj["profile"])


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Check everything, then stop before anything is computed.")
@click.option("--submit", "to_daemon", is_flag=True, help="Hand the run to the daemon and return.")
@click.option("--plain", is_flag=True, help="Plain lines instead of the live display.")
@click.pass_context
def launch(context: click.Context, file: Path, dry_run: bool, to_daemon: bool, plain: bool) -> None:
    """Launch the run that a YAML FILE describes (docs/reference/run-file.md)."""
    _load(context)
    from .launch import launch_file

    launch_file(file, dry_run=dry_run, to_daemon=to_daemon, plain=plain)


@main.command()
@click.argument("pk")
@click.option("--plain", is_flag=True, help="Plain lines instead of the live display.")
@click.pass_context
def resume(context: click.Context, pk: str, plain: bool) -> None:
    """Resume the run PK (or UUID) where it stood: after Ctrl-C, a crash, or a failed label."""
    _load(context)
    from .launch import resume_run

    resume_run(pk, plain=plain)


@main.command()
@click.argument("pk")
@click.option("--cycles", type=click.IntRange(min=1), required=True, help="Cycles of each chain.")
@click.option("--submit", "to_daemon", is_flag=True, help="Hand the run to the daemon and return.")
@click.option("--plain", is_flag=True, help="Plain lines instead of the live display.")
@click.pass_context
def produce(context: click.Context, pk: str, cycles: int, to_daemon: bool, plain: bool) -> None:
    """Go on from the finished run PK (or UUID) with everything frozen: an exact sample of the target's ensemble."""
    _load(context)
    from .launch import produce as produce_run

    produce_run(pk, cycles, to_daemon=to_daemon, plain=plain)


@main.command()
@click.argument("pk")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def status(context: click.Context, pk: str, as_json: bool) -> None:
    """Show where the run PK (or UUID) stands."""
    _load(context)
    from aiida_slhmc.provenance.progress import run_status

    from .progress import plain_line
    from .session import load_run

    state = run_status(load_run(pk))
    click.echo(json.dumps(state.as_dict(), indent=2) if as_json else plain_line(state))
    if not as_json:
        for kind, messages in (("warning", state.warnings), ("paused", state.paused)):
            for message in messages:
                click.echo(f"{kind}: {message}")


@main.command()
@click.argument("pk")
@click.option("--report", type=click.Path(path_type=Path),
              help="Check the numbers of this report too: its folder, its page, or numbers.json.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def audit(context: click.Context, pk: str, report: Path | None, as_json: bool) -> None:
    """Prove that the graph behind the process PK (or UUID) is whole; exit code 1 if it is not."""
    _load(context)
    from aiida_slhmc.provenance.audit import audit as run_audit
    from aiida_slhmc.provenance.numbers import check_report

    from .session import load_process

    found = run_audit(load_process(pk))
    if report is not None:
        try:
            found.findings += check_report(report)
        except ValueError as error:
            raise InputError(f"--report: {error}") from error
    if as_json:
        click.echo(json.dumps(found.as_dict(), indent=2))
    else:
        click.echo(
            f"{found.processes} processes, {found.data} data nodes, {found.frames} frames traced to their label."
        )
        for finding in found.findings:
            click.echo(f"{finding.kind}: {finding.message}")
        click.echo("audit passed" if found.passed else f"audit FAILED: {len(found.findings)} findings")
    if not found.passed:
        raise click.exceptions.Exit(1)


@main.command()
@click.argument("workflow", required=False)
def protocols(workflow: str | None) -> None:
    """List the protocols of a WORKFLOW (slhmc, naive, periodic, relabel, on-the-fly), or of all."""
    from aiida_slhmc.workflows.protocol import protocols as described
    from aiida_slhmc.workflows.runfile import WORKFLOWS

    if workflow is not None and workflow not in WORKFLOWS:
        raise InputError(f"there is no workflow '{workflow}'; known are: {', '.join(WORKFLOWS)}.")
    for table in WORKFLOWS if workflow is None else (workflow,):
        for name, description in described(table).items():
            click.echo(f"{table:10} {name:10} {' '.join(description.split())}")


COMMANDS = (
    analyse, labels, replay_set, reference, compare, pedigree, trust, replay, export, report, uncertainty,
)  # fmt: skip
for command in COMMANDS:
    main.add_command(command)


def input_error(error: Any) -> InputError:
    """Return a click error from an exception's message.

    :param error: an exception.
    """
    return InputError(str(error))
