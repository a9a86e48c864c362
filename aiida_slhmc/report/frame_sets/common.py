"""What the reports on sets of frames share: the sets, and the report itself."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiida_slhmc.analysis.files import FrameFile
from aiida_slhmc.report import style
from aiida_slhmc.report.comparison import number
from aiida_slhmc.report.tables import Row

__all__ = ["Report", "Sample", "file_name", "look", "naming", "number", "samples_of", "skipped_notes"]

#: Seed of the bootstraps where none is given.
SEED = 20


@dataclass(frozen=True)
class Sample:
    """Hold the files of one sample.

    :param name: short, of its own.
    :param files: its chains.
    """

    name: str
    files: Sequence[FrameFile]

    @property
    def paths(self) -> str:
        """Return the names of its files, for messages."""
        return ", ".join(f"'{file.path}'" for file in self.files)


def samples_of(
    paths: Sequence[Path], *, discard: int = 0, every: int = 1, together: bool = False, taken: Sequence[str] = ()
) -> list[Sample]:
    """Return the samples that files hold.

    :param paths: of the files.
    :param discard: frames left out at the beginning of each.
    :param every: of the others every how manieth is taken.
    :param together: the files are chains of one sample; else each is a sample.
    :param taken: names that other samples have.
    """
    files = [FrameFile(path, discard, every) for path in paths]
    names = [file.name for file in files]
    times = Counter([*names, *taken])
    # The folder tells files of one name apart, then their number.
    names = [
        f"{file.path.resolve().parent.name}/{name}" if times[name] > 1 else name
        for file, name in zip(files, names, strict=True)
    ]
    times = Counter([*names, *taken])
    names = [f"{name} {index + 1}" if times[name] > 1 else name for index, name in enumerate(names)]
    if together:
        return [Sample(names[0] if len(files) == 1 else f"{names[0]} + {len(files) - 1}", files)]
    return [Sample(name, [file]) for name, file in zip(names, files, strict=True)]


@dataclass(frozen=True)
class Report:
    """Hold what an analysis found.

    :param title: of the table.
    :param columns: of the table.
    :param lines: of the table, as text.
    :param summary: the same as numbers.
    :param name: of the files.
    :param tables: further rows, by the end of their file's name.
    :param notes: what a reader should know.
    :param draw: writes the figures into a folder.
    """

    title: str
    columns: Sequence[str]
    lines: Sequence[Sequence[str]]
    summary: Sequence[Row]
    name: str
    tables: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    draw: Callable[[Path], list[Path]] | None = None

    def write(self, folder: Path) -> list[Path]:
        """Write tables (CSV) and figures (PNG, PDF).

        :param folder: made if it is not there.
        :returns: the paths.
        """
        paths = [style.write_table(folder, self.name, self.summary)]
        for end, rows in self.tables.items():
            if rows:
                paths.append(style.write_table(folder, f"{self.name}-{file_name(end)}", rows))
        return paths + (self.draw(folder) if self.draw is not None else [])

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers of the table, for JSON."""
        rows = [{key: _plain(value) for key, value in row.items()} for row in self.summary]
        return {"analysis": self.name, "rows": rows, "notes": list(self.notes)}


def _plain(value: Any) -> Any:
    """Return a value as JSON has it, which knows no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def file_name(text: str) -> str:
    """Return a text as part of a file's name: letters, digits, dots and dashes.

    :param text: such as the name of a sample.
    """
    return re.sub(r"[^\w.+-]+", "-", text).strip("-")


def look(index: int) -> tuple[str, str, str]:
    """Return colour, marker and line style of a sample.

    :param index: its place among the samples.
    """
    return style.CHAINS[index % len(style.CHAINS)], "os^PXDvh"[index % 8], ("-", "--", "-.")[index % 3]


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Put the name of a file before messages that do not hold it.

    :param what: the file's path in quotation marks, or what it is part of.
    :raises ValueError: with the name.
    """
    try:
        yield
    except ValueError as error:
        text = str(error).rstrip(".")
        raise ValueError(f"{text}." if what in text else f"{what}: {text}.") from error


def skipped_notes(sample: Sample, skipped: Mapping[str, int]) -> list[str]:
    """Return in words what was left out of a sample, and what its files said.

    :param sample: the sample.
    :param skipped: number of frames by reason.
    """
    left = [
        f"{sample.paths}: {count} frame{'s' * (count > 1)} left out: {reason}"
        for reason, count in skipped.items()
        if count
    ]
    return left + [note for file in sample.files for note in file.notes]
