"""Options that the analyses share, and how their reports are shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_slhmc.cli.errors import InputError

if TYPE_CHECKING:
    from aiida_slhmc.report.frame_sets.common import Report

PATH = click.Path(path_type=Path)
POSITIVE = click.FloatRange(min=0.0, min_open=True)


class Pair(click.ParamType):
    """Take a pair of elements such as ``Ti-O``."""

    name = "A-B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return both symbols.

        :param value: what was typed.
        :param param: the option.
        :param ctx: of the command.
        """
        from ase.data import atomic_numbers

        if isinstance(value, tuple):
            return value
        parts = tuple(str(value).split("-"))
        if len(parts) != 2 or not all(part in atomic_numbers and part != "X" for part in parts):
            self.fail(f"'{value}' is no pair of elements such as Ti-O", param, ctx)
        return parts[0], parts[1]


class Window(click.ParamType):
    """Take where the first peak of a pair is looked for, such as ``Ti-O=1.6:2.2``."""

    name = "A-B=BEGIN:END"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[tuple[str, str], tuple[float, float]]:
        """Return the pair, and beginning and end in Å.

        :param value: what was typed.
        :param param: the option.
        :param ctx: of the command.
        """
        if isinstance(value, tuple):
            return value
        pair, _, ends = str(value).partition("=")
        try:
            low, high = (float(part) for part in ends.split(":"))
        except ValueError:
            self.fail(f"'{value}' is no window such as Ti-O=1.6:2.2", param, ctx)
        if not 0.0 <= low < high:
            self.fail(f"'{value}': the window begins behind its end", param, ctx)
        return Pair().convert(pair, param, ctx), (low, high)


class Numbers(click.ParamType):
    """Take numbers separated by commas, such as ``4,2``.

    :param kind: int or float.
    :param count: how many; None: any number of them.
    """

    def __init__(self, kind: type, count: int | None = None):
        self.kind, self.count = kind, count
        self.name = "N,N,..." if count is None else ",".join("N" * count)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """Return the numbers.

        :param value: what was typed.
        :param param: the option.
        :param ctx: of the command.
        """
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(self.kind(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"'{value}' is no list of numbers such as 4,2", param, ctx)
        if any(not number > 0 for number in found) or len(found) != (self.count or len(found)):
            self.fail(f"'{value}': {self.count or 'the'} numbers above zero are wanted", param, ctx)
        return found


def frame_options(together: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds FILES and the options of all analyses.

    :param together: whether files may be chains of one sample.
    """
    options = [
        click.argument("files", nargs=-1, required=True, type=PATH),
        click.option("--discard", type=click.IntRange(min=0), default=0, show_default=True,
                     help="Frames left out at the beginning of each file."),
        click.option("--every", type=click.IntRange(min=1), default=1, show_default=True,
                     help="Of the others take every how manieth."),
        click.option("-o", "--output", type=PATH, default=None,
                     help="Folder for tables (CSV) and figures (PNG, PDF)."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table."),
    ]  # fmt: skip
    if together:
        flag = click.option("--together", is_flag=True, help="FILES are chains of one sample, not a sample each.")
        options.insert(1, flag)

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


seed_option = click.option(
    "--seed", type=click.IntRange(min=0), default=20, show_default=True, help="Of the bootstraps."
)
block_option = click.option(
    "--block-length", type=click.IntRange(min=1), default=10, show_default=True,
    help="Frames a block of the bootstrap that knows no correlation.",
)  # fmt: skip
pair_help = "Pair of elements, such as Ti-O"


@contextmanager
def input_errors() -> Iterator[None]:
    """Turn what is wrong with a file into one sentence and exit code 2."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(
            f"the Python package '{error.name}' is not installed: pip install 'aiida-slhmc[worker]'."
        ) from error
    except ValueError as error:
        text = str(error).rstrip(".")
        raise InputError(f"{text}.") from error


def show(report: Report, output: Path | None, as_json: bool) -> None:
    """Print a report, and write its tables and figures.

    :param report: what was found.
    :param output: folder; None: nothing is written.
    :param as_json: print JSON.
    :raises InputError: if the folder cannot be written.
    """
    written: Sequence[Path] = ()
    if output is not None:
        try:
            written = report.write(output)
        except OSError as error:
            raise InputError(f"'{output}' cannot be written: {error.strerror}.") from error
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=report.title)
    for index, column in enumerate(report.columns):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for line in report.lines:
        table.add_row(*line)
    # Names of files may hold brackets, which are no markup.
    console = Console(markup=False, highlight=False)
    # What is piped into a file is not folded at the width of a terminal that is not there.
    console = console if console.is_terminal else Console(width=160, markup=False, highlight=False)
    console.print(table)
    for note in report.notes:
        console.print(f"Note: {note}.")
    if output is not None:
        console.print(f"{len(written)} files in {output.resolve()}", soft_wrap=True)
