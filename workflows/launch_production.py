#!/usr/bin/env -S verdi run
"""Go on from a finished run: ``verdi run workflows/launch_production.py PK --cycles 100 [--submit] [--plain]``.

The same as ``aiida-slhmc produce PK --cycles 100``.
"""

from __future__ import annotations

import click

from aiida_slhmc.cli.launch import produce


@click.command()
@click.argument("pk")
@click.option("--cycles", type=click.IntRange(min=1), required=True, help="Cycles of each chain.")
@click.option("--submit", "to_daemon", is_flag=True, help="Hand the run to the daemon and return.")
@click.option("--plain", is_flag=True, help="Plain lines instead of the live display.")
def main(pk: str, cycles: int, to_daemon: bool, plain: bool) -> None:
    """Go on from the finished run PK with everything frozen."""
    produce(pk, cycles, to_daemon=to_daemon, plain=plain)


if __name__ == "__main__":
    main()
