"""``aiida-slhmc export``: runs as a folder that can be published and checked."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from .errors import InputError


@click.command()
@click.argument("pks", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder to write; new or empty.")
@click.option("--metadata", "about_file", type=click.Path(path_type=Path),
              help="YAML file of title, description, authors, licence, ... (docs/how-to/publish.md).")  # fmt: skip
@click.option("--report", type=click.Path(path_type=Path),
              help="Folder with a report of the runs, to be copied [default: it is written].")  # fmt: skip
@click.option("--no-report", is_flag=True, help="Write no report.")
@click.option("--no-callers", is_flag=True,
              help="Of other runs whose labels are reused take only the steps that made these.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would be exported and how large it is, then stop.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def export(
    context: click.Context, pks: tuple[str, ...], output: Path | None, about_file: Path | None, report: Path | None,
    no_report: bool, no_callers: bool, dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Export the runs PKS (or UUIDs) to a folder: archive, data sets, models, checks, report, README, metadata.

    POTCARs are never in it, nor is what lies on the computers that ran the jobs.
    """
    from .session import load, load_process

    if output is None and not dry_run:
        raise InputError("-o FOLDER is missing; with --dry-run nothing is written.")
    load(context.obj["profile"], context.obj["path"])
    from aiida_slhmc.provenance.export import NotExportable, plan_export
    from aiida_slhmc.provenance.publish import publish, read_about

    runs = [load_process(pk) for pk in pks]
    try:
        about = read_about(about_file)
    except ValueError as error:
        raise InputError(f"--metadata: {error}") from error
    try:
        if dry_run:
            plan = plan_export(runs, not no_callers)
            click.echo(json.dumps(plan.as_dict(), indent=2) if as_json else "\n".join(lines(plan)))
            return
        with written(runs, report, no_report) as folder:
            done = publish(runs, Path(output or ""), about, report=folder, callers=not no_callers)
    except NotExportable as error:
        raise InputError(str(error)) from error
    except OSError as error:
        raise InputError(f"'{output}' cannot be written: {error.strerror}.") from error
    if as_json:
        told = {"folder": str(done.folder), "files": done.files, "frames": done.frames, "audits": done.audits}
        click.echo(json.dumps({**told, "plan": done.plan.as_dict()}, indent=2))
        return
    click.echo("\n".join(lines(done.plan)))
    for name, count in done.frames.items():
        click.echo(f"frames      {count} in dataset/{name}")
    for uuid, passed in done.audits.items():
        click.echo(f"audit       {uuid}: {'passed' if passed else 'FAILED, see checks/'}")
    click.echo(f"written     {len(done.files)} files, {size(_bytes(done.folder))}, in {done.folder}")
    if about.blank:
        click.echo(f"to fill in  {', '.join(about.blank)}: give --metadata FILE, or edit README.md, .zenodo.json, "
                   "materialscloud.yaml and CITATION.cff (and then SHA256SUMS)")  # fmt: skip


@contextmanager
def written(runs: list[Any], report: Path | None, no_report: bool) -> Iterator[Path | None]:
    """Yield the folder of the report that goes with runs; None if there is none.

    :param runs: what is exported.
    :param report: folder of a report that is there already.
    :param no_report: that none is wanted.
    :raises InputError: for both of them.
    """
    if report is not None and no_report:
        raise InputError("--report and --no-report exclude each other.")
    if report is not None or no_report:
        yield report
        return
    try:
        from aiida_slhmc.provenance.export import ARCHIVE
        from aiida_slhmc.provenance.publish import TRACED
        from aiida_slhmc.report.page import write_report
        from aiida_slhmc.report.runs import kind_of
    except ImportError as error:
        click.echo(f"no report  it needs '{error.name}': pip install 'aiida-slhmc[worker]'", err=True)
        yield None
        return
    shown = [run for run in runs if kind_of(run) is not None and run.is_sealed]
    with tempfile.TemporaryDirectory(prefix="slhmc-report-") as name:
        if shown:
            write_report(shown, Path(name), prefix=f"aiida-slhmc --path {ARCHIVE}", alone=True, shown=TRACED)
        yield Path(name) if shown else None


def lines(plan: Any) -> list[str]:
    """Return a plan in lines of text.

    :param plan: of an export.
    """
    count = sum(plan.nodes.values())
    processes = sum(number for kind, number in plan.nodes.items() if kind.startswith("process."))
    found = [
        f"nodes       {count}, {processes} of them processes",
        f"files       {plan.files}; with the database at most {size(plan.bytes)} before compression",
    ]
    found += [f"  {size(row['bytes']):>9}  {row['path']} of <{row['pk']}>" for row in plan.largest[:3]]
    if plan.others:
        found.append(f"comes along {', '.join(plan.others)} (their labels are reused; --no-callers leaves them out)")
    if plan.remote:
        found.append(f"left out    what lies in {plan.remote} folders on {', '.join(plan.computers)}")
    found.append(f"names       {', '.join([*plan.users, *plan.computers])}")
    return found


def size(count: float) -> str:
    """Return a number of bytes as people read it.

    :param count: bytes.
    """
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
