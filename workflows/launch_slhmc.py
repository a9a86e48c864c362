#!/usr/bin/env -S verdi run
"""Launch a SLHMC run: ``verdi run workflows/launch_slhmc.py RUN.yaml [--dry-run] [--submit] [--plain]``.

Without an argument it runs true DFT on the 6-atom cell of rutile TiO2 (``examples/gpaw-pbe.yaml``). The same as
``aiida-slhmc launch RUN.yaml``.
"""

from __future__ import annotations

from pathlib import Path

import click

import aiida_slhmc
from aiida_slhmc.cli.launch import launch_file

# Not from __file__: verdi run sets it to the bare name of the script.
EXAMPLE = Path(aiida_slhmc.__file__).resolve().parents[1] / "examples" / "gpaw-pbe.yaml"


@click.command()
@click.argument("file", type=click.Path(path_type=Path), default=EXAMPLE)
@click.option("--dry-run", is_flag=True, help="Check everything, then stop before anything is computed.")
@click.option("--submit", "to_daemon", is_flag=True, help="Hand the run to the daemon and return.")
@click.option("--plain", is_flag=True, help="Plain lines instead of the live display.")
def main(file: Path, dry_run: bool, to_daemon: bool, plain: bool) -> None:
    """Launch the run that a YAML FILE describes."""
    launch_file(file, dry_run=dry_run, to_daemon=to_daemon, plain=plain)


if __name__ == "__main__":
    main()
