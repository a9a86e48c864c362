"""What a report is made of: cells that know the node that they come from, tables, figures, sections."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aiida import orm
from markupsafe import Markup

from aiida_slhmc.provenance.numbers import ReportNumber, Source

from .comparison import latex_table, number
from .style import Drawing

#: Shown where there is nothing.
NOTHING = "–"


@dataclass(frozen=True)
class Cell:
    """Hold what stands in one cell of a table.

    :param text: as it is shown.
    :param numbers: behind it: the value, and where they are known ``error``, or ``low`` and ``high``.
    :param uuid: of the node that a text comes from.
    :param mark: set beside the text.
    """

    text: str = NOTHING
    numbers: tuple[ReportNumber, ...] = ()
    uuid: str | None = None
    mark: str = ""

    @property
    def node(self) -> str | None:
        """Return the UUID of the node that it comes from."""
        return self.numbers[0].node if self.numbers else self.uuid

    @property
    def at(self) -> str:
        """Return where in the node the value stands."""
        return self.numbers[0].at if self.numbers else ""

    @property
    def sort(self) -> str:
        """Return what rows are sorted by."""
        return repr(self.numbers[0].value) if self.numbers else self.text

    @property
    def exact(self) -> str:
        """Return the value with all digits and its unit."""
        first = self.numbers[0] if self.numbers else None
        return f"{first.value!r} {first.unit}".strip() if first else ""


class NodeSource:
    """Make cells of what stands in one node.

    :param node: a data node, or of what is computed also a process.
    :param about: set before the names of the numbers.
    :param computed: what has been computed of it already, by the name of the function.
    """

    def __init__(self, node: orm.Node, about: str = "", computed: Mapping[str, Any] | None = None):
        self.node, self.about = node, about
        self._source = Source(node, computed)

    def get(self, at: str) -> float | None:
        """Return a number; None where there is none.

        :param at: its place, as :mod:`aiida_slhmc.provenance.numbers` describes.
        """
        try:
            value = self._source(at)
        except LookupError:
            return None
        # Whole numbers of any kind are numbers; yes and no are not.
        known = hasattr(value, "dtype") or (isinstance(value, (int, float)) and not isinstance(value, bool))
        return float(value) if known and math.isfinite(float(value)) else None

    def values(self, at: str) -> dict[str, Any]:
        """Return a group of values; none where there is none.

        :param at: its place.
        """
        try:
            found = self._source(at)
        except LookupError:
            return {}
        return dict(found) if isinstance(found, Mapping) else {}

    def number(self, name: str, at: str, unit: str = "", factor: float = 1.0) -> ReportNumber | None:
        """Return a number with its place; None where there is none.

        :param name: what it is.
        :param at: its place.
        :param unit: of the value that is shown.
        :param factor: of that over what stands there.
        """
        value = self.get(at)
        if value is None:
            return None
        about = f"{self.about}: {name}" if self.about else name
        return ReportNumber(about, factor * value, unit, self.node.uuid, at, factor)

    def cell(
        self, name: str, at: str, unit: str = "", *, factor: float = 1.0, digits: int = 3, error: str | None = None,
        error_factor: float | None = None, interval: str | None = None, show: Callable[[float], str] | None = None,
        mark: str = "",
    ) -> Cell:  # fmt: skip
        """Return a number as a cell; an empty one where there is none.

        :param name: what it is.
        :param at: its place.
        :param unit: of the value that is shown.
        :param factor: of that over what stands there.
        :param digits: after the point, where there is no error.
        :param error: place of its error.
        :param error_factor: of the error that is shown over the stored one; None: as of the number.
        :param interval: place of its interval, two numbers.
        :param show: writes it otherwise.
        :param mark: set beside it.
        """
        first = self.number(name, at, unit, factor)
        if first is None:
            return Cell()
        found = [first]
        for what, place in (("error", error), ("low", f"{interval}.0"), ("high", f"{interval}.1")):
            if place is None or (interval is None and what != "error"):
                continue
            scale = factor if error_factor is None or what != "error" else error_factor
            more = self.number(f"{name} ({what})", place, unit, scale)
            found += [more] if more is not None else []
        text = show(first.value) if show else number(first.value, found[1].value if error and len(found) > 1 else None,
                                                     digits)  # fmt: skip
        if interval and len(found) == 3:
            text += f" [{found[1].value:.{digits}f}, {found[2].value:.{digits}f}]"
        return Cell(text, tuple(found), mark=mark)

    def count(self, name: str, at: str, unit: str = "") -> Cell:
        """Return a whole number as a cell.

        :param name: what it is.
        :param at: its place.
        :param unit: of what.
        """
        return self.cell(name, at, unit, show=lambda value: f"{value:.0f}")

    def text(self, text: Any) -> Cell:
        """Return a text that comes from the node.

        :param text: as it is shown.
        """
        return Cell(str(text), uuid=self.node.uuid)


def duration(seconds: float) -> str:
    """Return a duration as people read it.

    :param seconds: in s.
    """
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 100:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


@dataclass
class Table:
    """Hold a table.

    :param name: of its files.
    :param title: over it.
    :param head: of the columns, with their units.
    :param rows: of cells.
    :param note: below it.
    :param folded: whether the page shows it only when asked.
    :param lead: columns from the left that are text.
    """

    name: str
    title: str
    head: Sequence[str]
    rows: list[list[Cell]]
    note: str = ""
    folded: bool = False
    lead: int = 1
    files: list[tuple[str, str]] = field(default_factory=list)

    def write(self, folder: Path, prefix: str) -> None:
        """Write the table as CSV, all digits, and as LaTeX.

        :param folder: made if it is not there.
        :param prefix: of the links to the files.
        """
        folder.mkdir(parents=True, exist_ok=True)
        extra = [self._parts(column) for column in range(len(self.head))]
        heads = [title or "quantity" for title in self.head]
        titles = [
            name
            for title, parts in zip(heads, extra, strict=True)
            for name in (title, *(f"{title} ({p})" for p in parts))
        ]
        with (folder / f"{self.name}.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow([*titles, "nodes"])
            for row in self.rows:
                values: list[Any] = []
                for column, cell in enumerate(row):
                    parts = {_part(one): one.value for one in cell.numbers}
                    values.append(parts.get("", "" if cell.text == NOTHING else cell.text))
                    values += [parts.get(part, "") for part in extra[column]]
                writer.writerow([*values, " ".join(dict.fromkeys(cell.node for cell in row if cell.node))])
        text = latex_table(self.head, [[cell.text for cell in row] for row in self.rows], [self.title, self.note])
        (folder / f"{self.name}.tex").write_text(text, encoding="utf-8")
        self.files = [(kind, f"{prefix}/{self.name}.{kind.lower()}") for kind in ("CSV",)]
        self.files.append(("LaTeX", f"{prefix}/{self.name}.tex"))

    def _parts(self, column: int) -> list[str]:
        found = dict.fromkeys(_part(one) for row in self.rows for one in row[column].numbers)
        return [part for part in found if part]


def _part(one: ReportNumber) -> str:
    """Return which part of a cell a number is: ``error``, ``low``, ``high``, or the value itself."""
    match = re.search(r" \((error|low|high)\)$", one.name)
    return match.group(1) if match else ""


@dataclass
class Picture:
    """Hold a figure of a page.

    :param drawing: the figure.
    :param caption: below it; says what is shown.
    :param nodes: that it is drawn from.
    :param files: name and link of each.
    :param wide: whether it takes the whole width.
    """

    drawing: Drawing
    caption: str
    nodes: Sequence[orm.Node]
    files: list[tuple[str, str]] = field(default_factory=list)
    wide: bool = False

    @property
    def svg(self) -> Markup:
        """Return the figure as it stands in the page."""
        return Markup(self.drawing.svg)

    @property
    def uuids(self) -> str:
        """Return the UUIDs of the nodes."""
        return " ".join(dict.fromkeys(node.uuid for node in self.nodes))


@dataclass
class Section:
    """Hold one section of a run's part of the page.

    :param ident: of the section.
    :param title: over it.
    :param text: paragraphs.
    :param pictures: figures.
    :param tables: tables.
    :param warnings: what not to trust.
    :param commands: for a terminal, and what each is for.
    :param pre: lines of text in columns.
    :param drawing: an SVG besides the figures, and what it shows.
    """

    ident: str
    title: str
    text: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    commands: list[tuple[str, str]] = field(default_factory=list)
    pre: list[str] = field(default_factory=list)
    drawing: tuple[Markup, str] | None = None


@dataclass
class Part:
    """Hold the part of the page that is about one run.

    :param node: of the run.
    :param title: over it.
    :param state: what became of the run, in words.
    :param bad: whether that is a failure.
    :param going: whether the run goes on.
    :param cards: what a reader looks at first: name, cell, and what it is compared with.
    :param sections: in their order.
    :param others: further processes that numbers come from.
    """

    node: orm.ProcessNode
    title: str
    state: str = ""
    bad: bool = False
    going: bool = False
    cards: list[tuple[str, Cell, str]] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    others: list[orm.ProcessNode] = field(default_factory=list)

    @property
    def ident(self) -> str:
        """Return the anchor of the part."""
        return f"run-{self.node.uuid[:8]}"

    def numbers(self) -> list[ReportNumber]:
        """Return all numbers of the part."""
        cells = [cell for _, cell, _ in self.cards]
        cells += [cell for section in self.sections for table in section.tables for row in table.rows for cell in row]
        return [one for cell in cells for one in cell.numbers]


def renamed(cell: Cell, about: str) -> Cell:
    """Return a cell whose numbers say which run they are of.

    :param cell: the cell.
    :param about: the run.
    """
    return replace(cell, numbers=tuple(replace(one, name=f"{about}: {one.name}") for one in cell.numbers))
