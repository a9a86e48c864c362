"""Draw the provenance graph of one SLHMC cycle: ``python scripts/draw_one_cycle.py [FOLDER]``.

The picture is made by hand from the inputs and outputs that the processes declare; ``tests/report/test_one_cycle.py``
compares the two, so that a new link cannot be forgotten here.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, FancyBboxPatch

from aiida_slhmc.report.style import BLUE, GREY, VERMILLION

Point = tuple[float, float]

DATA_FILL, PROCESS_FILL = "#DDEBF6", "#FBE3D3"
WIDTH, HEIGHT = 12.6, 4.85
INK = "#222222"

#: Data nodes: name, class, centre.
DATA: dict[str, tuple[str, str, Point]] = {
    "model": ("model", "MaceModelData", (0.95, 4.15)),
    "state": ("state $t$", "StructureData", (0.95, 3.25)),
    "stream": ("stream $t$", "seed, chain, cycle", (0.95, 2.35)),
    "label": ("label of state $t$", "already paid for", (0.95, 0.65)),
    "level": ("level of theory", "engine, functional", (4.55, 4.35)),
    "endpoint": ("endpoint", "StructureData", (4.55, 3.25)),
    "proposal_info": ("proposal info", "kinetic energies", (4.55, 2.0)),
    "endpoint_label": ("label", "FramesData", (8.1, 3.25)),
    "label_info": ("label info", "convergence, time", (8.1, 4.35)),
    "decision": ("decision", "all terms, $u$", (11.65, 3.25)),
    "next_state": ("state $t+1$", "StructureData", (11.65, 2.0)),
    "next_stream": ("stream $t+1$", "cycle + 1", (11.65, 0.9)),
}
#: Processes: name, kind, lower left corner, width, height.
PROCESSES: dict[str, tuple[str, str, Point, float, float]] = {
    "propose": ("propose", "dynamics on\nthe model", (2.3, 1.7), 1.1, 2.8),
    "label_step": ("label", "target\nfunctional", (5.75, 2.85), 1.1, 0.8),
    "metropolis": ("metropolis", "accept\nor reject", (9.35, 0.3), 1.2, 3.35),
}
#: Links as drawn, (from, to): the same names as the ports of the processes.
LINKS: tuple[tuple[str, str], ...] = (
    ("model", "propose"),
    ("state", "propose"),
    ("stream", "propose"),
    ("propose", "endpoint"),
    ("propose", "proposal_info"),
    ("endpoint", "label_step"),
    ("level", "label_step"),
    ("label_step", "endpoint_label"),
    ("label_step", "label_info"),
    ("state", "metropolis"),
    ("label", "metropolis"),
    ("endpoint", "metropolis"),
    ("endpoint_label", "metropolis"),
    ("proposal_info", "metropolis"),
    ("stream", "metropolis"),
    ("metropolis", "decision"),
    ("metropolis", "next_state"),
    ("metropolis", "next_stream"),
)
#: Inputs that are the same in every cycle of a block; the picture leaves them out and says so.
CONSTANT = ("ensemble", "proposal", "failure")
#: Corner points of the links that do not go straight.
ROUTES: dict[tuple[str, str], tuple[Point, ...]] = {
    ("model", "propose"): ((1.8, 4.15), (2.3, 4.15)),
    ("state", "propose"): ((1.8, 3.25), (2.3, 3.25)),
    ("stream", "propose"): ((1.8, 2.35), (2.3, 2.35)),
    ("propose", "endpoint"): ((3.4, 3.25), (3.7, 3.25)),
    ("propose", "proposal_info"): ((3.4, 2.0), (3.7, 2.0)),
    ("endpoint", "label_step"): ((5.4, 3.25), (5.75, 3.25)),
    ("level", "label_step"): ((5.4, 4.35), (6.3, 4.35), (6.3, 3.65)),
    ("label_step", "endpoint_label"): ((6.85, 3.25), (7.25, 3.25)),
    ("label_step", "label_info"): ((6.85, 3.45), (7.05, 3.45), (7.05, 4.35), (7.25, 4.35)),
    ("state", "metropolis"): ((2.1, 3.25), (2.1, 1.45), (9.35, 1.45)),
    ("stream", "metropolis"): ((1.95, 2.35), (1.95, 1.05), (9.35, 1.05)),
    ("label", "metropolis"): ((1.8, 0.65), (9.35, 0.65)),
    ("endpoint", "metropolis"): ((5.56, 3.25), (5.56, 2.5), (9.35, 2.5)),
    ("endpoint_label", "metropolis"): ((8.95, 3.25), (9.35, 3.25)),
    ("proposal_info", "metropolis"): ((5.4, 2.0), (9.35, 2.0)),
    ("metropolis", "decision"): ((10.55, 3.25), (10.8, 3.25)),
    ("metropolis", "next_state"): ((10.55, 2.0), (10.8, 2.0)),
    ("metropolis", "next_stream"): ((10.55, 0.9), (10.8, 0.9)),
}


def arrow(axes: Axes, points: Sequence[Point]) -> None:
    """Draw a link along corner points, passing over what it crosses.

    :param axes: where.
    :param points: corners, the arrow head at the last.
    """
    x, y = zip(*points, strict=True)
    if len(points) > 2:
        axes.plot(x, y, color="white", linewidth=4.0, solid_capstyle="butt", zorder=1)
    axes.plot(x, y, color=INK, linewidth=0.9, solid_joinstyle="round", zorder=1.1)
    head = {"arrowstyle": "-|>", "color": INK, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8}
    axes.annotate("", points[-1], points[-2], zorder=1.2, arrowprops=head)


def node(axes: Axes, name: str, kind: str, centre: Point) -> None:
    """Draw a data node.

    :param axes: where.
    :param name: what it is.
    :param kind: its class, or what it holds.
    :param centre: of the ellipse.
    """
    axes.add_patch(Ellipse(centre, 1.7, 0.62, facecolor=DATA_FILL, edgecolor=BLUE, linewidth=1.0, zorder=2))
    axes.text(centre[0], centre[1] + 0.085, name, ha="center", va="center", fontsize=8, color=INK, zorder=3)
    axes.text(centre[0], centre[1] - 0.125, kind, ha="center", va="center", fontsize=6.2, color=GREY, zorder=3)


def process(axes: Axes, name: str, kind: str, corner: Point, width: float, height: float) -> None:
    """Draw a process.

    :param axes: where.
    :param name: of the step.
    :param kind: what it does.
    :param corner: lower left.
    :param width: of the box.
    :param height: of the box.
    """
    axes.add_patch(
        FancyBboxPatch(
            corner, width, height, boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=PROCESS_FILL, edgecolor=VERMILLION, linewidth=1.2, zorder=2,
        )
    )  # fmt: skip
    x, y = corner[0] + width / 2, corner[1] + height / 2
    axes.text(x, y + 0.15, name, ha="center", va="center", fontsize=8.5, fontweight="bold", color=INK, zorder=3)
    axes.text(x, y - 0.15, kind, ha="center", va="center", fontsize=6.4, color=GREY, zorder=3, linespacing=1.1)


def draw() -> Figure:
    """Return the picture."""
    figure = Figure(figsize=(0.72 * WIDTH, 0.72 * HEIGHT))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(0, HEIGHT)
    axes.set_aspect("equal")
    axes.axis("off")
    # The straight links first: the bent ones pass over them.
    for link in sorted(LINKS, key=lambda link: len(ROUTES[link]) > 2):
        arrow(axes, ROUTES[link])
    for junction in ((2.1, 3.25), (1.95, 2.35), (5.56, 3.25)):
        axes.plot(*junction, "o", color=INK, markersize=2.8, zorder=1.3)
    for name, kind, centre in DATA.values():
        node(axes, name, kind, centre)
    for name, kind, corner, width, height in PROCESSES.values():
        process(axes, name, kind, corner, width, height)
    note = (
        "Ellipses: data. Boxes: processes. Settings that stay the same in a block (ensemble, time step, length, "
        "failure policy) are inputs too and are not drawn."
    )
    axes.text(0.1, 0.1, note, fontsize=6.4, color=GREY, va="center")
    return figure


def main() -> None:
    """Write ``one-cycle.svg`` and ``one-cycle.png``."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(__file__).resolve().parent.parent / "docs" / "images"
    parser.add_argument("folder", type=Path, nargs="?", default=default)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    # Glyphs as paths: the picture looks the same wherever it is shown; the salt makes equal pictures equal files.
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "one-cycle", "font.sans-serif": ["DejaVu Sans"]}):
        figure = draw()
        figure.savefig(folder / "one-cycle.svg", metadata={"Date": None, "Creator": None})
        figure.savefig(folder / "one-cycle.png", dpi=200, metadata={"Software": None})
    print(folder / "one-cycle.svg")


if __name__ == "__main__":
    main()
