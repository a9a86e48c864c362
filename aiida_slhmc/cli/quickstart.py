"""The quickstart: a real SLHMC run, its ensembles, a table, figures, and what to try next."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from .errors import InputError, RunError

#: The run: rutile TiO2 at 300 K, a model of CHGNet's PBE surface proposes, CHGNet's r2SCAN surface decides.
RUN: dict[str, Any] = {
    "structure": "rutile-TiO2",
    "model": "tio2-pbe-small",
    "target": {"engine": "chgnet", "functional": "r2SCAN"},
    "protocol": "fast",
}
#: Exact sampling of each surface on itself, to compare the ensembles.
DYNAMICS = {"samples": 70, "discard": 8}
COMPARISON = {"pair": ["Ti", "O"], "seed": 0, "resamples": 200}
#: Folder of the isolated profile within the output folder.
PROFILE_FOLDER = "aiida"


def run_quickstart(output: Path, *, keep: bool, seed: int, plain: bool, profile: str | None) -> None:
    """Run the quickstart.

    :param output: folder for figures and tables.
    :param keep: keep the isolated profile in ``output/aiida``.
    :param seed: root seed.
    :param plain: plain lines instead of the live display.
    :param profile: run in this profile of the user's, instead of an isolated one.
    :raises InputError: if the output folder cannot be used.
    :raises RunError: if the run fails, or the adapted model does not win.
    """
    if seed < 0:
        raise InputError(f"--seed must be at least 0, not {seed}.")
    if output.exists() and not output.is_dir():
        raise InputError(f"--output: '{output}' is a file, not a folder.")
    output.mkdir(parents=True, exist_ok=True)
    # Two threads gain a fifth with a model this small, and lose a factor when the machine has something else to do.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    scratch = None if keep or profile else Path(tempfile.mkdtemp(prefix="slhmc-quickstart-"))
    try:
        _prepare(output, scratch, profile)
        _run(output, seed=seed, plain=plain, kept=scratch is None)
    finally:
        if scratch is not None:
            _discard(scratch)


def _prepare(output: Path, scratch: Path | None, profile: str | None) -> None:
    """Load the profile to run in.

    :param output: folder of the quickstart.
    :param scratch: folder of a profile to throw away; None keeps it.
    :param profile: name of a profile of the user's.
    """
    # AiiDA is imported only once the profile's folder is known: its first import makes ~/.aiida.
    from aiida_slhmc.engine import profile as profiles

    from .session import remember

    try:
        if profile is not None:
            remember(profile, None)
            profiles.prepare_localhost(profiles.load_existing(profile))
            return
        folder = scratch or output / PROFILE_FOLDER
        if (folder / ".aiida" / "config.json").exists():
            click.echo(f"The profile in '{folder}' exists; the run is added to it.")
        remember(None, folder)
        profiles.isolated_profile(folder)
    except profiles.NoProfile as error:
        raise InputError(str(error)) from error


def _discard(folder: Path) -> None:
    """Remove a profile that was made to be thrown away.

    :param folder: of the profile.
    """
    from aiida.manage import get_manager

    get_manager().reset_profile()
    shutil.rmtree(folder, ignore_errors=True)


def _run(output: Path, *, seed: int, plain: bool, kept: bool) -> None:
    from aiida_slhmc.engine.runner import run_foreground
    from aiida_slhmc.provenance.audit import audit
    from aiida_slhmc.report.page import write_report as write_page
    from aiida_slhmc.report.quickstart import won, write_report
    from aiida_slhmc.workflows.runfile import builder_from_run

    from .launch import follow
    from .session import prefix

    started = time.monotonic()
    click.echo(
        "SLHMC on rutile TiO2 at 300 K: a small MACE model of the PBE surface proposes, r2SCAN (CHGNet) decides."
    )
    builder = builder_from_run({**RUN, "seed": seed}, Path.cwd())
    run = follow(lambda tick: run_foreground(builder, on_tick=tick), plain)
    click.echo("Sampling the ensembles of foundation model, adapted model and target ...")
    comparison = run_foreground(ensemble_builder(run))
    if not comparison.is_finished_ok:
        raise RunError(f"the comparison of the ensembles failed: {comparison.exit_message}")
    text = write_report(run, comparison, output)
    click.echo(text)
    for node in (run, comparison):
        report = audit(node)
        verdict = "passed" if report.passed else "FAILED: " + "; ".join(finding.message for finding in report.findings)
        click.echo(f"audit of <{node.pk}>: {verdict} ({report.processes} processes, {report.frames} frames traced)")
    folder = output / "report"
    page = write_page([run], folder, prefix=prefix() if kept else "aiida-slhmc", shown=str(folder / "report.html")).page
    click.echo(f"figures and tables: {output.resolve()}   ({time.monotonic() - started:.0f} s)")
    click.echo(f"report: {page.resolve()}   (open it in a browser)")
    click.echo("\nNext:")
    if kept:
        click.echo(f"  {prefix()} status {run.pk}")
        click.echo(f"  {prefix()} audit {run.pk} --report {page}")
        click.echo(f"  AIIDA_PATH={_aiida_path()} verdi process status {run.pk}")
    else:
        click.echo("  aiida-slhmc quickstart --keep          keep the profile: status, audit, resume, verdi")
    command = prefix() if kept else "aiida-slhmc"
    click.echo(f"  {command} launch examples/gpaw-pbe.yaml    the same on true DFT (docs/how-to/true-dft.md)")
    if not won(comparison, run):
        raise RunError(
            "the adapted model did not beat the foundation model beyond the error bars; see the table above."
        )


def _aiida_path() -> str:
    from aiida.manage.configuration.settings import AiiDAConfigDir

    return str(AiiDAConfigDir.get().parent)


def ensemble_builder(run: Any) -> Any:
    """Return the builder that compares the ensembles of a finished run.

    :param run: node of a SLHMC run.
    """
    from aiida import orm

    from aiida_slhmc.workflows.ensemble import EnsembleWorkChain
    from aiida_slhmc.workflows.protocol import dynamics_settings

    builder = EnsembleWorkChain.get_builder()
    builder.structure = run.inputs.structure
    builder.foundation = run.inputs.model
    builder.adapted = run.outputs.model
    builder.target.level = run.inputs.target.level
    builder.ensemble = run.inputs.ensemble
    builder.executor = run.inputs.executor
    builder.seed = run.inputs.seed
    builder.dynamics = orm.Dict(dynamics_settings("exact", **DYNAMICS))
    builder.comparison = orm.Dict(COMPARISON)
    if "states" in run.outputs:
        builder.states = run.outputs.states
    return builder
