"""How figures look, and how they are written."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.figure import Figure

from .svg import points_of, svg_of

#: Palette of Okabe and Ito (2008): told apart with every common form of colour blindness.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
GREY, LIGHT = "#6E6E6E", "#E9E9E9"

#: Colours of chains.
CHAINS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, BLACK, GREY)

#: Width of a journal column and of a page in inches.
COLUMN, PAGE = 3.4, 7.0

#: Colour, marker and line style of the samples and models that have a fixed place in the story. Marker and line style
#: differ too, so that a figure printed in grey still reads.
ROLES: dict[str, tuple[str, str, str]] = {
    "foundation": (VERMILLION, "s", "--"),
    "adapted": (BLUE, "o", "-"),
    "reference": (BLACK, "D", "-"),
    "slhmc": (GREEN, "^", "-."),
}
#: Likewise of the protocols of fine-tuning; a protocol with several settings takes them in turn.
PROTOCOLS: dict[str, tuple[str, str, str]] = {
    "foundation": (VERMILLION, "s", "--"),
    "slhmc": (BLUE, "o", "-"),
    "relabel": (ORANGE, "v", ":"),
    "naive": (PURPLE, "P", "-."),
    "periodic": (SKY, "X", (0, (4, 1.2))),  # type: ignore[dict-item]
    "on_the_fly": (GREEN, "^", "-"),
    "reference": (BLACK, "D", "-"),
}
SPARE = ((PURPLE, "v", ":"), (ORANGE, "P", "-."), (SKY, "X", "--"))

LABELS = {
    "foundation": "foundation model",
    "adapted": "adapted model",
    "reference": "target (reference)",
    "slhmc": "SLHMC chain",
}

SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.direction": "out",
    "ytick.direction": "out",
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.8,
    "savefig.dpi": 200,
    "figure.facecolor": "white",
    # Text stays text in the PDF.
    "pdf.fonttype": 42,
}


#: Where figures are collected for a page, and whether files are written too.
_PAGE: ContextVar[tuple[list[Drawing], bool, str] | None] = ContextVar("page", default=None)


def role(name: str, index: int = 0) -> tuple[str, str, str]:
    """Return colour, marker and line style of a sample or model.

    :param name: ``foundation``, ``adapted``, ``reference``, ``slhmc``, or another.
    :param index: tells further names apart.
    """
    return ROLES.get(name, SPARE[index % len(SPARE)])


def protocol(name: str, index: int = 0) -> tuple[str, str, Any]:
    """Return colour, marker and line style of a protocol.

    :param name: ``foundation``, ``slhmc``, ..., where there are several settings of one with a number behind.
    :param index: tells names apart that have no place of their own.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    return (CHAINS[index % len(CHAINS)], "osv^PXDh"[index % 8], ("-", "--", "-.", ":")[index % 4])


def label(name: str) -> str:
    """Return the name of a sample or model as a reader sees it.

    :param name: short name.
    """
    return LABELS.get(name, name)


@contextmanager
def styled() -> Iterator[None]:
    """Draw and save inside: the settings of the figures, without touching those of the caller."""
    with mpl.rc_context(SETTINGS):
        yield


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Return an empty figure that needs no display.

    :param width: in inches.
    :param height: in inches.
    :param layout: None: the margins are set by hand.
    """
    return Figure(figsize=(width, height), layout=layout)


@dataclass(frozen=True)
class Drawing:
    """Hold a figure for a page.

    :param name: of its files.
    :param svg: an element that can stand in a page.
    :param points: of :func:`.svg.points_of`.
    """

    name: str
    svg: str
    points: list[list[Any]]


@contextmanager
def drawing(files: bool = True, part: str = "") -> Iterator[list[Drawing]]:
    """Collect the figures that are saved inside.

    :param files: whether they are written as PNG and PDF too.
    :param part: of the page that they are for: tells figures of one name apart.
    """
    found: list[Drawing] = []
    token = _PAGE.set((found, files, part))
    try:
        yield found
    finally:
        _PAGE.reset(token)


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG (200 dpi) and PDF; equal figures give equal files.

    :param figure: what to write.
    :param folder: made if it is not there.
    :param name: of the files, without an ending.
    :returns: the paths; none where only a page wants the figure.
    """
    page = _PAGE.get()
    if page is not None:
        found, files, part = page
        found.append(Drawing(name, svg_of(figure, f"{part}{name}"), points_of(figure)))
        if not files:
            return []
    folder.mkdir(parents=True, exist_ok=True)
    png, pdf = folder / f"{name}.png", folder / f"{name}.pdf"
    figure.savefig(png, metadata={"Software": None})
    figure.savefig(pdf, metadata={"CreationDate": None, "Producer": None, "Creator": None})
    return [png, pdf]


def write_table(folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write the plotted numbers as CSV, at full precision; what is missing is left empty.

    :param folder: made if it is not there.
    :param name: of the file, without an ending.
    :param rows: at least one; all with the keys of the first.
    :returns: the path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path
