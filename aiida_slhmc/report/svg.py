"""Figures inside a page: the SVG as an element, and where its points stand, for what the pointer shows."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from matplotlib.ticker import FixedFormatter

#: Points of one line that a page tells, at most: of more every k-th.
POINTS = 700
#: Outside the page's own namespace: nothing is loaded from these addresses, but they need not be there.
FOREIGN = (
    re.compile(r"<\?xml.*?\?>\s*", re.DOTALL),
    re.compile(r"<!DOCTYPE.*?>\s*", re.DOTALL),
    re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL),
    re.compile(r'\sxmlns(:\w+)?="[^"]*"'),
)


def svg_of(figure: Figure, name: str) -> str:
    """Return a figure as an SVG element that can stand in a page beside others; equal figures give equal text.

    :param figure: the figure.
    :param name: tells its identifiers from those of other figures.
    """
    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    for pattern in FOREIGN:
        text = pattern.sub("", text)
    prefix = re.sub(r"[^A-Za-z0-9]", "-", name)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(?:xlink:)?href="#', f'href="#{prefix}-', text)
    text = text.replace("url(#", f"url(#{prefix}-")
    # The page decides on the size.
    for size in ("width", "height"):
        text = re.sub(rf'(<svg[^>]*?)\s{size}="[^"]*"', r"\1", text, count=1)
    return text


def points_of(figure: Figure) -> list[list[Any]]:
    """Return what stands where in a figure that has been drawn.

    :param figure: the figure.
    :returns: for every point its place from left and from top in fractions of the figure, and what it says.
    """
    found: list[list[Any]] = []
    width, height = figure.bbox.width, figure.bbox.height
    for axes in figure.axes:
        if not axes.get_visible():
            continue
        names = _axis_names(axes)
        inside = axes.get_window_extent()
        for label, x, y in _series(axes):
            x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
            step = max(1, -(-len(x) // POINTS))
            for left, up in zip(x[::step], y[::step], strict=True):
                if not (np.isfinite(left) and np.isfinite(up)):
                    continue
                place = axes.transData.transform((left, up))
                if not inside.contains(*place):
                    continue
                text = _text(label, names, (float(left), float(up)), axes)
                found.append([round(place[0] / width, 4), round(1.0 - place[1] / height, 4), text])
    return found


def _series(axes: Axes) -> Iterator[tuple[str, Any, Any]]:
    """Yield label, x and y of what is drawn of data, without caps of error bars and lines across."""
    labels: dict[int, str] = {}
    caps: set[int] = set()
    for container in axes.containers:
        if isinstance(container, ErrorbarContainer):
            line, ends, _ = container.lines
            caps |= {id(end) for end in ends}
            if line is not None:
                labels[id(line)] = str(container.get_label())
        elif isinstance(container, BarContainer):
            widths = container.orientation == "horizontal"
            for bar in container.patches:
                middle = (bar.get_x() + bar.get_width() / 2, bar.get_y() + bar.get_height() / 2)
                yield (
                    str(container.get_label()),
                    [bar.get_x() + bar.get_width() if widths else middle[0]],
                    [middle[1] if widths else bar.get_y() + bar.get_height()],
                )
    for line in axes.get_lines():
        # Lines across the panel are no data: one of their coordinates is a fraction of it.
        if id(line) not in caps and line.get_transform() == axes.transData:
            yield labels.get(id(line), str(line.get_label())), line.get_xdata(), line.get_ydata()
    for patch in axes.patches:
        if isinstance(patch, StepPatch):
            values, edges, _ = patch.get_data()
            yield str(patch.get_label()), 0.5 * (edges[1:] + edges[:-1]), values
    for collection in axes.collections:
        offsets = np.asarray(collection.get_offsets())
        if collection.get_offset_transform() == axes.transData and len(offsets) > 1:
            yield str(collection.get_label()), offsets[:, 0], offsets[:, 1]


def _axis_names(axes: Axes) -> tuple[str, str]:
    """Return what the axes are called; of panels that share an axis one has the name."""
    names = []
    for own, shared, read in (
        (axes.get_xlabel(), axes.get_shared_x_axes(), Axes.get_xlabel),
        (axes.get_ylabel(), axes.get_shared_y_axes(), Axes.get_ylabel),
    ):
        siblings = [read(other) for other in shared.get_siblings(axes)]
        names.append(_plain(own or next((name for name in siblings if name), "")))
    return names[0], names[1]


def _plain(text: str) -> str:
    """Return a label without the marks of mathematics."""
    return re.sub(r"\\(mathrm|hat|langle|rangle)\b", "", " ".join(text.split())).translate(
        str.maketrans("", "", "$\\{}")
    )


def _text(label: str, names: tuple[str, str], values: tuple[float, float], axes: Axes) -> str:
    parts = [] if label.startswith("_") else [_plain(label).split(": ")[0]]
    for name, value, axis in zip(names, values, (axes.xaxis, axes.yaxis), strict=True):
        if isinstance(axis.get_major_formatter(), FixedFormatter):
            ticks = dict(zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=False))
            if value in ticks:
                parts.append(_plain(ticks[value].get_text()))
            continue
        if name:
            parts.append(_quantity(name, value))
    return "\n".join(parts)


def _quantity(name: str, value: float) -> str:
    """Return a value with the name and the unit that stand on its axis."""
    match = re.fullmatch(r"(.*?)\s*\(([^()]*)\)", name)
    return f"{match.group(1)}: {value:.5g} {match.group(2)}" if match else f"{name}: {value:.5g}"
