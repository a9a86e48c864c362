"""``analyse rdf``, ``analyse distances`` and ``analyse cell``: the structure of sets of frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aiida_slhmc.cli.errors import InputError

from .shared import (
    POSITIVE,
    Numbers,
    Pair,
    Window,
    block_option,
    frame_options,
    input_errors,
    pair_help,
    seed_option,
    show,
)  # fmt: skip

#: Bin of the distribution of distances in Å, as in arXiv 2605.25032.
DISTANCE_BIN = 0.005


@click.command()
@frame_options()
@click.option(
    "--cutoff",
    type=POSITIVE,
    default=6.0,
    show_default=True,
    help="Largest distance in Å; it may be longer than half the cell: images count.",
)
@click.option("--bin-width", type=POSITIVE, default=None, show_default="0.01 bohr", help="Of g(r) in Å.")
@click.option(
    "--peak-bin",
    type=POSITIVE,
    default=None,
    show_default="four of g(r)",
    help="Bin of the histogram of distances whose first peak is looked for, in Å.",
)
@click.option("--pair", "pairs", type=Pair(), multiple=True, help=f"{pair_help}; may be repeated [default: all].")
@click.option(
    "--window",
    "windows",
    type=Window(),
    multiple=True,
    help="Where the first peak of a pair lies, in Å, such as Ti-O=1.6:2.2 [default: the first shell].",
)
@block_option
@seed_option
def rdf(
    files: tuple[Path, ...], together: bool, discard: int, every: int, output: Path | None, as_json: bool,
    cutoff: float, bin_width: float | None, peak_bin: float | None, pairs: tuple[tuple[str, str], ...],
    windows: tuple[Any, ...], block_length: int, seed: int,
) -> None:  # fmt: skip
    """Radial distribution functions of all pairs of elements in FILES, coordination numbers, first peaks.

    Each frame counts with its own volume and composition; periodic images count, so that the cut-off may be longer than
    half the cell. The peak is that of the raw histogram of distances, by a parabola through three bins; its error is
    the larger of two bootstraps, over blocks and over runs of blocks that outlast their correlation.
    """
    with input_errors():
        from aiida_slhmc.analysis.rdf import BIN_WIDTH, pair_name
        from aiida_slhmc.report.frame_sets.common import samples_of
        from aiida_slhmc.report.frame_sets.rdf import rdf_report

        width = BIN_WIDTH if bin_width is None else bin_width
        if cutoff < 2 * width:
            raise InputError(f"--cutoff: {cutoff:g} Å are less than two bins of {width:g} Å.")
        report = rdf_report(
            samples_of(files, discard=discard, every=every, together=together),
            cutoff=cutoff,
            bin_width=width,
            peak_bin=peak_bin,
            block=block_length,
            pairs=pairs,
            windows={pair_name(*pair): window for pair, window in windows},
            seed=seed,
        )
        show(report, output, as_json)


@click.command()
@frame_options()
@click.option(
    "--reference",
    "references",
    type=click.Path(path_type=Path),
    multiple=True,
    help="File to compare with; several are chains of one sample.",
)
@click.option(
    "--pair",
    type=Pair(),
    default=None,
    help=f"{pair_help}: from each Ti to the nearest O [default: the rarest element and what is nearest].",
)
@click.option(
    "--cutoff",
    type=POSITIVE,
    default=None,
    help="Of the coordination number in Å [default: where the first shell ends].",
)
@click.option(
    "--shell",
    type=Numbers(int),
    default=None,
    help="Split the first shell: numbers of neighbours, nearest first; rutile's short and long bonds: 4,2.",
)
@click.option("--bin-width", type=POSITIVE, default=DISTANCE_BIN, show_default=True, help="Of the distribution in Å.")
@block_option
@seed_option
def distances(
    files: tuple[Path, ...], together: bool, discard: int, every: int, output: Path | None, as_json: bool,
    references: tuple[Path, ...], pair: tuple[str, str] | None, cutoff: float | None, shell: tuple[int, ...] | None,
    bin_width: float, block_length: int, seed: int,
) -> None:  # fmt: skip
    """Nearest-neighbour distances in FILES: mean with errors, coordination, W1 to a reference with its noise floor.

    The error beside the mean knows the autocorrelation time τ; the bootstrap over blocks of a fixed length is given
    too. W1 is the exact Wasserstein distance of the distributions; what two samples of the reference's law would show
    is its noise floor: a W1 below the floor's 95th percentile is no evidence of a difference.
    """
    with input_errors():
        from aiida_slhmc.report.frame_sets.common import samples_of
        from aiida_slhmc.report.frame_sets.distances import distances_report

        samples = samples_of(files, discard=discard, every=every, together=together)
        reference = None
        if references:
            names = [sample.name for sample in samples]
            reference = samples_of(references, discard=discard, every=every, together=True, taken=names)[0]
        report = distances_report(
            samples, reference, pair=pair, cutoff=cutoff, shell=shell or (), bin_width=bin_width, block=block_length,
            seed=seed,
        )  # fmt: skip
        show(report, output, as_json)


@click.command()
@frame_options()
@click.option(
    "--multiples",
    type=Numbers(float, 3),
    default=(1.0, 1.0, 1.0),
    help="What the lengths are divided by; a 2x2x2 supercell: 2,2,2.",
)
@click.option(
    "--temperature",
    type=POSITIVE,
    default=None,
    help="Of the ensemble in K: the volume's fluctuations then give the bulk modulus.",
)
@block_option
def cell(
    files: tuple[Path, ...], together: bool, discard: int, every: int, output: Path | None, as_json: bool,
    multiples: tuple[float, float, float], temperature: float | None, block_length: int,
) -> None:  # fmt: skip
    """Cells in FILES: lengths, angles, volume per formula unit, with errors, fluctuations and covariances.

    A file of several formulas has a line for each. The errors know the autocorrelation time τ.
    """
    with input_errors():
        from aiida_slhmc.report.frame_sets.cell import cell_report
        from aiida_slhmc.report.frame_sets.common import samples_of

        samples = samples_of(files, discard=discard, every=every, together=together)
        report = cell_report(samples, multiples=multiples, block=block_length, temperature=temperature)
        show(report, output, as_json)
