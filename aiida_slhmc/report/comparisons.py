"""The sections of a page about a comparison of protocols, and about a trial of uncertainty estimates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiida import orm

from . import comparison as tables
from .comparison_figures import titled, write_figures
from .comparison_nodes import arrays_of, with_reasons
from .parts import Cell, NodeSource, Section, Table
from .runs import Run
from .studio import Studio

CAPTIONS = {
    "learning-curves": "Errors of the models against the labels that they had been given.",
    "distance-distributions": "Distribution of the nearest-neighbour distance under every model, and its cumulative "
    "difference from the target's: the area under it is the Wasserstein distance.",
    "radial-distributions": "Radial distribution functions of all pairs beside the target's, and their first peaks.",
    "distances-to-reference": "Distances of the distributions to the target's. Grey: the noise floor, what two samples "
    "of the target itself would show (95 %; dotted: its mean).",
    "quantities": "Means over the ensembles, beside the target's (band: two standard errors). Open: within the noise.",
    "test-errors": "Errors of the models on test sets that none of them was trained on.",
    "acceptance": "Acceptance and proposal length of the runs that have chains.",
}
#: Figures that take the whole width.
WIDE = ("distance-distributions", "radial-distributions", "distances-to-reference", "quantities", "test-errors",
        "learning-curves")  # fmt: skip


def compared(run: Run, studio: Studio) -> Section | None:
    """Return table and figures of a comparison of protocols; None if it has not finished.

    :param run: the comparison.
    :param studio: draws and writes.
    """
    if run.output("comparison") is None:
        return None
    node = run.node
    values = with_reasons(node)
    section = Section("comparison", "Every protocol for its labels", warnings=tables.warnings(values))
    section.tables.append(studio.table(comparison_table(run, values)))
    analyses = {name: arrays_of(node.outputs.analyses[name]) for name in node.outputs.analyses}
    sources = [node.outputs.comparison, node.outputs.reference, *node.outputs.analyses.values()]
    section.pictures += studio.draw(
        write_figures, values, analyses, arrays_of(node.outputs.reference), captions=CAPTIONS, nodes=sources
    )
    for picture in section.pictures:
        picture.wide = picture.drawing.name in WIDE
    return section


def comparison_table(run: Run, values: dict[str, Any]) -> Table:
    """Return the table of a comparison, each cell with its place in the node.

    :param run: the comparison.
    :param values: what its node holds.
    """
    source = NodeSource(run.node.outputs.comparison, run.name)
    names = tables.ordered(values["protocols"])
    head, body = tables.table(values)
    rows = []
    for line, texts in zip(tables.lines(values), body, strict=True):
        row = [Cell(texts[0])]
        for name, text in zip(names, texts[1:], strict=False):
            place = f"protocols.{name}.{'.'.join(line.key)}"
            cell = source.cell(f"{name}: {line.title}", f"{place}.value", line.unit, factor=line.scale,
                               error=f"{place}.error")  # fmt: skip
            rounded = text.removesuffix(f" {tables.WITHIN}")
            row.append(Cell(rounded, cell.numbers, mark=tables.WITHIN if text != rounded else ""))
        rows.append([*row, _reference(source, line, names, texts[-1])])
    note = " ".join(tables.notes(values))
    return Table("comparison", "What every protocol gives for its labels", ["quantity", *head[1:]], rows, note)


def _reference(source: NodeSource, line: tables.Line, names: list[str], text: str) -> Cell:
    """Return what the reference has in a line: its own value, or the largest noise floor."""
    floors = []
    for name in names:
        place = f"protocols.{name}.{'.'.join(line.key)}"
        own = source.cell(f"reference: {line.title}", f"{place}.reference", line.unit, factor=line.scale,
                          error=f"{place}.reference_error")  # fmt: skip
        if own.numbers:
            return Cell(text, own.numbers)
        floor = source.number(f"noise floor: {line.title}", f"{place}.floor_95", line.unit, line.scale)
        floors += [floor] if floor is not None else []
    if not floors:
        return Cell(text or "–")
    return Cell(text, (max(floors, key=lambda one: one.value),))


def members(run: Run, studio: Studio) -> Section:
    """Return which runs a comparison compares.

    :param run: the comparison.
    :param studio: writes the table.
    """
    rows = []
    candidates = run.node.inputs.candidates if "candidates" in run.node.inputs else {}
    for name in candidates:
        details = candidates[name].get("details") if isinstance(candidates[name], dict) else None
        told = details.get_dict() if isinstance(details, orm.Dict) else {}
        source = NodeSource(details) if isinstance(details, orm.Dict) else None
        words = ", ".join(f"{key} {told[key]}" for key in ("workflow", "seed", "run") if told.get(key) is not None)
        rows.append([Cell(titled(name.replace("_seed_", ", seed "))), source.text(words) if source else Cell(words)])
    table = studio.table(Table("candidates", "Models that are compared", ["candidate", "made by"], rows))
    return Section("candidates", "Candidates", tables=[table])


def trial(run: Run, studio: Studio) -> Section | None:
    """Return figure and table of a trial of uncertainty estimates; None if it has not finished.

    :param run: the trial.
    :param studio: draws and writes.
    """
    if run.output("scores") is None:
        return None
    from .uncertainty import NAMES, QUANTITIES, uncertainty_report

    def draw(folder: Path) -> list[Path]:
        uncertainty_report(run.node, folder)
        return sorted(folder.glob("uncertainty.*"))

    section = Section("uncertainty", "What the estimates of uncertainty are worth")
    section.pictures += studio.draw(
        draw, nodes=[run.node.outputs.scores, run.node.outputs.frames], wide=True,
        captions="Errors that were announced against those that were made, calibration, detection of large errors.",
    )  # fmt: skip
    source = NodeSource(run.node.outputs.scores, run.name)
    rows = []
    for name, title in NAMES.items():
        for quantity, (plural, unit, factor) in QUANTITIES.items():
            place = f"scores.{name}.{quantity}"
            rows.append([
                Cell(title), Cell(plural),
                source.cell(f"{title}, {plural}: RMSE", f"{place}.calibrated.rmse", unit, factor=factor, digits=2),
                Cell(unit),
                *(source.cell(f"{title}, {plural}: {what}", f"{place}.{at}", digits=2)
                  for what, at in (("miscalibration area", "calibrated.miscalibration_area"),
                                   ("AUROC", "detection.auroc"), ("Spearman", "detection.spearman"))),
            ])  # fmt: skip
    head = ["estimator", "of", "RMSE", "unit", "miscalibration area", "AUROC", "Spearman"]
    section.tables.append(studio.table(Table("uncertainty", "Scores", head, rows, lead=2)))
    return section
