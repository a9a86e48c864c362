"""``analyse chain``: what series in files say of the chains they come from."""

from __future__ import annotations

from pathlib import Path

import click

from .shared import block_option, frame_options, input_errors, show


@click.command()
@frame_options(together=False)
@click.option(
    "--quantity",
    "--column",
    "quantities",
    multiple=True,
    metavar="NAME",
    help="Energy, volume, or any key of the frames that holds a number; of CSV a column; may be repeated"
    " [default: energy and volume, or all columns].",
)
@block_option
def chain(
    files: tuple[Path, ...], discard: int, every: int, output: Path | None, as_json: bool,
    quantities: tuple[str, ...], block_length: int,
) -> None:  # fmt: skip
    """Autocorrelation time, effective samples, split R-hat and errors of series in FILES, one chain a file.

    FILES hold frames, or columns under a header (.csv, .dat, .txt, .tsv). R-hat and the joint numbers are those of all
    files together, which must sample one law.
    """
    with input_errors():
        from aiida_slhmc.analysis.files import FrameFile
        from aiida_slhmc.report.frame_sets.chain import chain_report, read_series

        series = read_series([FrameFile(path, discard, every) for path in files], quantities)
        show(chain_report(series, block=block_length), output, as_json)
