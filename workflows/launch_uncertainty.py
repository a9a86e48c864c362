#!/usr/bin/env -S verdi run
"""Put estimates of uncertainty on trial: ``verdi run workflows/launch_uncertainty.py PK [-o FOLDER]``.

PK is a finished run. The same as ``aiida-slhmc uncertainty PK``.
"""

from __future__ import annotations

from pathlib import Path

import click

from aiida_slhmc.cli.uncertainty import try_uncertainties


@click.command()
@click.argument("pk")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("slhmc-uncertainty"), show_default=True)
@click.option("--protocol", default=None, help="Set of settings: fast, balanced, paper [default: balanced].")
def main(pk: str, output: Path, protocol: str | None) -> None:
    """Put estimates of uncertainty on trial with the labels of the finished run PK."""
    try_uncertainties(pk, output, protocol=protocol)


if __name__ == "__main__":
    main()
