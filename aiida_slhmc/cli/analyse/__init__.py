"""``aiida-slhmc analyse``: the analyses alone, on anybody's files; no AiiDA profile."""

from __future__ import annotations

import click

from .chain import chain
from .labels import coverage, errors
from .structure import cell, distances, rdf


@click.group()
def analyse() -> None:
    """Analyse files of frames: extended XYZ, VASP's output, trajectories, whatever ASE reads.

    Lengths are in Å, energies in eV, temperatures in K. No AiiDA profile is needed (docs/how-to/analyse-files.md).
    """


for command in (rdf, distances, cell, errors, coverage, chain):
    analyse.add_command(command)
