"""Where the figures and tables of a page are made: one call draws a figure, writes its files, and links them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aiida import orm

from . import style
from .parts import Picture, Table

FIGURES, TABLES = "figures", "tables"


class Studio:
    """Draw and write below the folder of a page.

    :param folder: of the page.
    :param part: set below the folders of figures and tables, of several runs; empty: there is one.
    :param files: whether figures are written as PNG and PDF too: a page that is written every few seconds waits with
        these until the run has ended.
    """

    def __init__(self, folder: Path, part: str = "", files: bool = True):
        self.folder, self.part, self.files = folder, part, files

    def place(self, kind: str) -> tuple[Path, str]:
        """Return the folder of figures or tables, and how the page links to it.

        :param kind: :data:`FIGURES` or :data:`TABLES`.
        """
        link = f"{kind}/{self.part}" if self.part else kind
        return self.folder / link, link

    def draw(
        self, function: Callable[..., Any], *args: Any, captions: dict[str, str] | str, nodes: Sequence[orm.Node],
        wide: bool = False, **options: Any,
    ) -> list[Picture]:  # fmt: skip
        """Draw figures.

        :param function: draws and saves them into a ``folder``, and returns the paths of their files.
        :param args: of the function.
        :param captions: below the figure, or by name of several; those without one are left out of the page.
        :param nodes: that it is drawn from.
        :param wide: whether it takes the whole width of the page.
        :param options: of the function.
        """
        folder, link = self.place(FIGURES)
        with style.drawing(self.files, self.part) as drawings:
            paths = function(*args, folder=folder, **options)
        found = []
        for drawing in drawings:
            caption = captions if isinstance(captions, str) else captions.get(drawing.name)
            if caption is None:
                continue
            own = [path for path in paths if path.stem == drawing.name or path.stem.startswith(f"{drawing.name}-")]
            files = [(_kind(path, drawing.name), f"{link}/{path.name}") for path in own]
            found.append(Picture(drawing, caption, nodes, files, wide))
        return found

    def table(self, table: Table) -> Table:
        """Write a table beside the page.

        :param table: the table.
        """
        folder, link = self.place(TABLES)
        table.write(folder, link)
        return table


def _kind(path: Path, name: str) -> str:
    """Return what a link to a file says."""
    more = path.stem.removeprefix(name).strip("-")
    kind = path.suffix.removeprefix(".").upper()
    return f"{kind} ({more})" if more else kind
