"""Pictures of a lineage: models from the foundation down, and what each was trained on; as DOT and as SVG."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from .card import KINDS, SHORT
from .pedigree import Generation, Pedigree

#: Colours of models, labels and levels of theory, told apart by the colour-blind; and of text and lines.
MODEL, LABELS, LEVEL = "#DDEBF6", "#FBE3D3", "#E2F0D9"
INK, LINE = "#222222", "#555555"
#: Sizes of the SVG in its units (pixels).
WIDTH, ROW, GAP, PAD, COLUMN = 330, 17, 34, 10, 70
FONT = "font-family='Helvetica, Arial, sans-serif' font-size='12'"


def _model_text(number: int, one: Generation) -> list[str]:
    title = "foundation" if one.step is None else f"generation {number}"
    return [f"{title}  <{one.pk}>", f"weights {one.state_sha256[:SHORT]}"]


def _training_text(one: Generation) -> list[str]:
    report = one.training
    frames = report.get("frames")
    if isinstance(frames, Mapping):
        parts = ", ".join(f"{count} {role}" for role, count in frames.items() if count)
    else:
        parts = f"{frames}"
    lines = [f"{one.step}, seed {report.get('seed')}", f"frames: {parts}"]
    if "epochs" in report:
        lines.append(f"best of epochs 0 to {report['epochs']}: {report['best_epoch']}")
    return lines


def _labels_text(pedigree: Pedigree) -> list[str]:
    labels = pedigree.labels
    lines = [f"{labels['frames']} labelled frames"]
    lines += [f"{count} {KINDS[kind]}" for kind, count in labels["frames_by_kind"].items() if count]
    lines += [f"{labels[name]} {name}" for name in ("computed", "reused", "imported") if labels[name]]
    return [*lines, f"{labels['calls']} calls of the engine"]


def _level_texts(pedigree: Pedigree) -> list[list[str]]:
    return [
        [
            f"{level['engine']} {level['functional']}",
            f"level {level['level_hash'][:SHORT]}",
            f"{level['labels']} labels",
        ]
        for level in pedigree.levels
    ]


def dot(pedigree: Pedigree) -> str:
    """Return the lineage in the language of Graphviz.

    :param pedigree: of a model.
    """
    lines = ["digraph pedigree {", '  rankdir="TB";', '  node [shape=box, style=filled, fontname="Helvetica"];']

    def box(name: str, text: list[str], colour: str) -> None:
        label = "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in text)
        lines.append(f'  {name} [label="{label}", fillcolor="{colour}"];')

    for number, one in enumerate(pedigree.generations):
        box(f"model_{number}", _model_text(number, one), MODEL)
        if number:
            training = "\\n".join(line.replace('"', '\\"') for line in _training_text(one))
            lines.append(f'  model_{number - 1} -> model_{number} [label="{training}"];')
    if len(pedigree.generations) > 1:
        box("labels", _labels_text(pedigree), LABELS)
        lines.append(f"  labels -> model_{len(pedigree.generations) - 1};")
        for number, text in enumerate(_level_texts(pedigree)):
            box(f"level_{number}", text, LEVEL)
            lines.append(f"  level_{number} -> labels;")
    return "\n".join([*lines, "}", ""])


def svg(pedigree: Pedigree) -> str:
    """Return the lineage as an SVG that needs nothing else.

    Models stand on the left, from the foundation down; labels and their levels of theory on the right.

    :param pedigree: of a model.
    """
    shapes: list[str] = []
    y: float = PAD
    for number, one in enumerate(pedigree.generations):
        if number:
            text = _training_text(one)
            top = y
            y += ROW * len(text) + GAP
            shapes.append(_arrow(PAD + 40, top, PAD + 40, y))
            shapes += _text(PAD + 56, top + GAP / 2, text)
        y = _box(shapes, PAD, y, _model_text(number, one), MODEL)
    if len(pedigree.generations) > 1:
        right = PAD + WIDTH + COLUMN
        place: float = PAD
        for text in _level_texts(pedigree):
            place = _box(shapes, right, place, text, LEVEL) + PAD
        shapes.append(_arrow(right + WIDTH / 2, place - PAD, right + WIDTH / 2, place - PAD + GAP))
        place += GAP - PAD
        end = _box(shapes, right, place, _labels_text(pedigree), LABELS)
        shapes.append(_arrow(right, (place + end) / 2, PAD + WIDTH, y - ROW - PAD))
        y = max(y, end)
    width, height = 2 * PAD + 2 * WIDTH + COLUMN, y + PAD
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height:g}' viewBox='0 0 {width} {height:g}'>"
        f"<title>Pedigree of the model {pedigree.model['uuid']}</title><defs><marker id='tip' markerWidth='9' "
        f"markerHeight='9' refX='8' refY='4' orient='auto'><path d='M0,0 L9,4 L0,8 z' fill='{LINE}'/></marker></defs>"
        f"<rect width='100%' height='100%' fill='white'/>"
    )
    return "\n".join([head, *shapes, "</svg>", ""])


def _box(shapes: list[str], x: float, y: float, text: list[str], colour: str) -> float:
    """Add a box with text, and return where it ends."""
    height = ROW * len(text) + PAD
    shapes.append(
        f"<rect x='{x:g}' y='{y:g}' width='{WIDTH}' height='{height:g}' rx='4' fill='{colour}' stroke='{LINE}'/>"
    )
    shapes += _text(x + PAD, y, text)
    return y + height


def _text(x: float, y: float, text: list[str]) -> list[str]:
    return [
        f"<text x='{x:g}' y='{y + ROW * (row + 1):g}' fill='{INK}' {FONT}>{escape(line)}</text>"
        for row, line in enumerate(text)
    ]


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    ends = f"x1='{x1:g}' y1='{y1:g}' x2='{x2:g}' y2='{y2:g}'"
    return f"<line {ends} stroke='{LINE}' stroke-width='1.4' marker-end='url(#tip)'/>"
