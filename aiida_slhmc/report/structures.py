"""The sections of a page that are about structures: distances, distributions, cell, pressure, coverage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from aiida import orm

from aiida_slhmc.provenance.computed import NotComputable, Sample, analysed, coverage_numbers, covered

from . import figures, panels, run_figures, style
from .parts import Cell, NodeSource, Section, Table
from .runs import Run
from .studio import Studio

REFERENCE = "reference"
#: Names of the samples that a comparison of ensembles makes itself, in their order.
SAMPLES = ("foundation", "adapted", REFERENCE)
#: Set beside a peak that is no shell of neighbours; and how near (Å) to a length of the cell such a peak is.
IMAGE, WIDTH = "own image", 0.02


def structure(run: Run, studio: Studio) -> Section | None:
    """Return what the structures of a run look like, beside the ensembles of models and target where they are known.

    :param run: the run.
    :param studio: draws and writes.
    """
    found = _samples(run)
    if not found:
        return None
    nodes, comparison, what = found
    section = Section("structure", "Structure: distances, radial distributions, pressure or cell")
    samples: dict[str, Sample] = {}
    for name, node in nodes.items():
        try:
            samples[name] = analysed(node)
        except NotComputable as error:
            section.text.append(f"{style.label(name)}: {error}.")
    if not samples:
        return section if section.text else None
    main = REFERENCE if REFERENCE in samples else next(iter(samples))
    section.text.append(what)
    _draw(section, run, studio, samples, nodes, comparison, main)
    section.tables.append(studio.table(_table(run, samples, nodes, comparison, main)))
    if comparison is None and run.comparisons:
        names = ", ".join(str(node.pk) for node in run.comparisons)
        section.text.append(f"Distances to the target's own ensemble are in the report of its comparison <{names}>.")
    elif comparison is None:
        section.text.append(
            "Wasserstein distances need a reference: 'aiida-slhmc reference' samples the target's own ensemble, and "
            "'aiida-slhmc compare' sets the models of runs against it."
        )
    return section


def _samples(run: Run) -> tuple[dict[str, orm.ArrayData], orm.Dict | None, str] | None:
    """Return the samples of structures to show, the node of their comparison, and what they are."""
    ensembles = run.node if run.kind == "slhmc.ensemble" else run.ensembles
    if ensembles is not None and "comparison" in ensembles.outputs:
        nodes = {name: ensembles.outputs.samples[name] for name in SAMPLES}
        if "states" in ensembles.inputs:
            nodes = {**nodes, "slhmc": ensembles.inputs.states}
        return nodes, ensembles.outputs.comparison, (
            "Each surface sampled by itself, beside the target's own ensemble (comparison of ensembles "
            f"<{ensembles.pk}>). W1: Wasserstein distance to the reference's distribution of nearest-neighbour "
            "distances; noise floor: what two samples of the reference itself would show, its 95th percentile."
        )  # fmt: skip
    if run.sample is None:
        return None
    node, what = run.sample
    name = {"slhmc.reference": REFERENCE}.get(run.kind, "slhmc" if run.output("states") is not None else "labels")
    return {name: node}, None, f"Shown are {what}."


def _draw(
    section: Section, run: Run, studio: Studio, samples: Mapping[str, Sample], nodes: Mapping[str, orm.ArrayData],
    comparison: orm.Dict | None, main: str,
) -> None:  # fmt: skip
    sources = [*(nodes[name] for name in samples), *([comparison] if comparison is not None else [])]
    values: dict[str, Any] = comparison.get_dict()["samples"] if comparison is not None else {n: {} for n in samples}
    plan = samples[main].plan
    pair = plan.pair
    section.pictures += studio.draw(
        figures.distance_distribution, {name: one.analysis["distances"] for name, one in samples.items()}, values,
        pair=pair, nodes=sources,
        captions=f"Distribution of the distance from every {pair[0]} to its nearest {pair[1]}.",
    )  # fmt: skip
    if any(row.get("pressure") is not None for row in values.values()):
        section.pictures += studio.draw(
            figures.pressure_comparison, values, nodes=sources,
            captions="Mean pressure of every ensemble at the same cell; the band is the reference's standard error.",
        )  # fmt: skip
    elif plan.moves:
        unit = NodeSource(nodes[main]).values("computed:sample").get("formula_unit", "formula unit")
        section.pictures += studio.draw(
            run_figures.cell_history, samples[main].analysis, unit=unit, nodes=[nodes[main]],
            captions="Lengths and volume of the cell, state by state.",
        )  # fmt: skip
    atoms = run.structure
    if atoms is None or all(atoms.pbc):
        section.pictures += studio.draw(
            run_figures.radial_distributions, {name: one.analysis for name, one in samples.items()}, plan,
            reference=main, nodes=sources, wide=True,
            captions=f"Radial distribution functions of all pairs; dotted: running number of neighbours "
            f"({style.label(main)}).",
        )  # fmt: skip


def _table(
    run: Run, samples: Mapping[str, Sample], nodes: Mapping[str, orm.ArrayData], comparison: orm.Dict | None, main: str
) -> Table:  # fmt: skip
    """Return the numbers of every sample, a column each."""
    names = panels.ordered(samples, REFERENCE)
    sources = {name: NodeSource(nodes[name], _about(run, name)) for name in names}
    plan = samples[main].plan
    bond = "–".join(plan.pair)
    quantities = sources[main].values("computed:sample.quantities")
    unit = sources[main].values("computed:sample").get("formula_unit", "formula unit")
    lines = [(f"mean nearest {bond} distance", "distance", "Å"),
             (f"{bond} coordination", "coordination", "")]  # fmt: skip
    lines += [(f"first peak {pair.replace('-', '–')}", f"peak {pair}", "Å") for pair in plan.windows]
    lines += [(f"cell length {name}", name, "Å") for name in "abc"] + [(f"volume per {unit}", "volume", "Å³")]
    rows = [[Cell("structures"), *(sources[name].count("structures", "computed:sample.frames") for name in names)]]
    for title, key, of in lines:
        if key in quantities:
            place = f"computed:sample.quantities.{key}"
            rows.append([
                Cell(f"{title} ({of})" if of else title),
                *(sources[name].cell(title, f"{place}.value", of, error=f"{place}.error",
                                     mark=_image(samples[name], key, sources[name].get(f"{place}.value")))
                  for name in names),
            ])  # fmt: skip
        if key == "coordination":
            what, place = "cut-off of the coordination", "computed:sample.cutoff"
            rows.append([Cell(f"{what} (Å)"), *(sources[name].cell(what, place, "Å", digits=2) for name in names)])
    if comparison is not None:
        rows += _compared(run, comparison, names)
    elif "pressure" in quantities:
        place = "computed:sample.quantities.pressure"
        rows.append([
            Cell("pressure (GPa)"),
            *(sources[name].cell("pressure", f"{place}.value", "GPa", error=f"{place}.error") for name in names),
        ])  # fmt: skip
    note = "In parentheses: standard error in the last digits, autocorrelation included. Every sample's peaks are "
    note += (
        f"looked for in the first shell of its own distribution; {IMAGE}: in a cell that stands still an atom's own "
    )
    note += "periodic images are all at one distance."
    return Table("structure", "Structure", ["", *(style.label(name) for name in names)], rows, note)


def _image(sample: Sample, key: str, place: float | None) -> str:
    """Return a mark if the peak of a pair is where the periodic images of an atom itself stand."""
    pair = key.removeprefix("peak ").split("-")
    if not key.startswith("peak ") or pair[0] != pair[-1] or place is None or sample.plan.moves:
        return ""
    lengths = np.linalg.norm(sample.arrays["cells"][0], axis=1)
    return IMAGE if np.abs(lengths - place).min() < WIDTH else ""


def _compared(run: Run, comparison: orm.Dict, names: list[str]) -> list[list[Cell]]:
    """Return the lines that only the comparison of ensembles knows."""
    rows = []
    for title, key, unit, factor, error in (
        ("W1 to the reference", "w1", "mÅ", 1000.0, True),
        ("noise floor of W1, 95 %", "floor_95", "mÅ", 1000.0, False),
        ("pressure", "pressure", "GPa", 1.0, True),
        ("pressure off the reference", "pressure_deviation", "GPa", 1.0, True),
    ):
        cells = [
            NodeSource(comparison, _about(run, name)).cell(
                title, f"samples.{name}.{key}", unit, factor=factor, digits=1,
                error=f"samples.{name}.{key}_error" if error else None,
            )
            for name in names
        ]  # fmt: skip
        if any(cell.numbers for cell in cells):
            rows.append([Cell(f"{title} ({unit})"), *cells])
    return rows


def _about(run: Run, name: str) -> str:
    return f"{run.name}: {style.label(name)}" if run.name else style.label(name)


def coverage(run: Run, studio: Studio) -> Section | None:
    """Return how far later labels are from those that were trained on; None for a run that trains on none.

    :param run: the run.
    :param studio: draws and writes.
    """
    if run.kind in ("slhmc.compare", "slhmc.ensemble", "slhmc.uncertainty", "slhmc.reference", "slhmc.production"):
        return None
    section = Section("coverage", "Coverage of the training set")
    if run.going:
        section.text.append("The map of the training set is drawn when the run has ended.")
        return section
    try:
        found = covered(run.node)
    except NotComputable as error:
        section.text.append(f"There is no map of the training set: {error}.")
        return section
    numbers = coverage_numbers(found)
    source = NodeSource(run.node, run.name, {"coverage": numbers})
    later = "production phase" if found.production else "last block"
    section.pictures += studio.draw(
        run_figures.coverage_map, found, nodes=[run.node], wide=True,
        captions=f"SOAP descriptors of the atoms of the {later} over those that the model was trained on, along the "
        "first two principal components of each element; right: the Q-residual, what of a descriptor lies outside the "
        "subspace. An outlier's Q lies more than two standard deviations above the mean of the training set.",
    )  # fmt: skip
    rows = [
        [
            Cell(element),
            source.count(f"{element}: structures of the {later}", "computed:coverage.frames"),
            source.count(f"{element}: structures trained on", "computed:coverage.trained"),
            source.cell(f"{element}: outliers", f"computed:coverage.elements.{element}.outliers", "%", factor=100.0,
                        digits=1),
            source.cell(f"{element}: mean Q", f"computed:coverage.elements.{element}.q", show=lambda q: f"{q:.3g}"),
            source.cell(f"{element}: limit of Q", f"computed:coverage.elements.{element}.limit",
                        show=lambda q: f"{q:.3g}"),
        ]
        for element in numbers["elements"]
    ]  # fmt: skip
    head = ["element", later, "trained on", "outliers by Q (%)", "mean Q (SOAP²)", "limit of Q (SOAP²)"]
    note = "Of long runs every k-th structure is looked at."
    section.tables.append(studio.table(Table("coverage", "Coverage by element", head, rows, note)))
    return section
