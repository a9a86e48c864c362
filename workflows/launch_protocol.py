#!/usr/bin/env -S verdi run
"""Launch another protocol than SLHMC: ``verdi run workflows/launch_protocol.py NAME [RUN.yaml] [--dry-run]``.

NAME is naive, periodic, relabel or on-the-fly; without a run file it runs ``examples/NAME-r2scan.yaml``. The same as
``aiida-slhmc launch RUN.yaml`` with ``workflow: NAME`` in it.
"""

from __future__ import annotations

from pathlib import Path

import click

import aiida_slhmc
from aiida_slhmc.cli.errors import InputError
from aiida_slhmc.cli.launch import launch_file
from aiida_slhmc.workflows.runfile import WORKFLOWS, RunFileError, read

# Not from __file__: verdi run sets it to the bare name of the script.
EXAMPLES = Path(aiida_slhmc.__file__).resolve().parents[1] / "examples"


@click.command()
@click.argument("name", type=click.Choice([name for name in WORKFLOWS if name != "slhmc"]))
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--dry-run", is_flag=True, help="Check everything, then stop before anything is computed.")
@click.option("--submit", "to_daemon", is_flag=True, help="Hand the run to the daemon and return.")
@click.option("--plain", is_flag=True, help="Plain lines instead of the live display.")
def main(name: str, file: Path | None, dry_run: bool, to_daemon: bool, plain: bool) -> None:
    """Launch the protocol NAME as a YAML FILE describes."""
    chosen = file or EXAMPLES / f"{name}-r2scan.yaml"
    try:
        given = read(chosen).get("workflow")
    except RunFileError as error:
        raise InputError(str(error)) from error
    if given != name:
        raise InputError(f"'{chosen}' has workflow: {given}, not {name}.")
    launch_file(chosen, dry_run=dry_run, to_daemon=to_daemon, plain=plain)


if __name__ == "__main__":
    main()
