"""The sections of one run's part of a page: what was run, how the chains and the model did, what it cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from aiida import orm
from ase import units

from aiida_slhmc.data import MaceModelData
from aiida_slhmc.targets.level import level_hash

from . import figures, run_figures, tables
from .parts import Cell, NodeSource, Section, Table, duration
from .runs import Run
from .studio import Studio

#: Digits of a hash that are shown.
SHORT = 12
GPA = 1.0 / units.GPa
SPAN = "The error bar of a block's acceptance is its 68 % interval (Wilson); grey: everything frozen."
#: Groups of settings in the order of interest.
GROUPS = ("budget", "rounds", "on_the_fly", "gate", "ensemble", "proposal", "dynamics", "driver", "finetune",
          "posterior", "comparison", "reference", "uncertainty", "failure", "labelling", "executor")  # fmt: skip


def what_was_run(run: Run, studio: Studio) -> Section:
    """Return what a run was given: structure, ensemble, model, target, seed, budget, settings.

    :param run: the run.
    :param studio: writes the tables.
    """
    node = run.node
    own = NodeSource(node, run.name)
    rows = [
        [Cell("workflow"), own.text(node.process_label or "")],
        [Cell("UUID, PK"), own.text(f"{node.uuid}, {node.pk}")],
        [Cell("started"), own.text(f"{node.ctime:%Y-%m-%d %H:%M:%S %Z}")],
        [Cell("state"), own.text(run.state() if run.bad or run.going else "finished")],
    ]
    if node.label:
        rows.append([Cell("label"), own.text(node.label)])
    if node.description:
        rows.append([Cell("description"), own.text(node.description)])
    rows += [*_structure(run), *_ensemble(run)]
    for name, title in (
        ("model", "model at the start"),
        ("foundation", "foundation model"),
        ("adapted", "adapted model"),
    ):
        if run.input(name) is not None:
            rows.append([Cell(title), _surface(run, run.input(name))])
    if "target" in node.inputs:
        rows.append([Cell("target"), _surface(run, node.inputs.target.level)])
    if run.input("seed") is not None:
        rows.append([Cell("seed"), NodeSource(run.input("seed"), run.name).count("seed", "value")])
    made = run.model if "model" in node.outputs else None
    if made is not None and made != run.input("model"):
        rows.append([Cell("model at the end"), _surface(run, made)])
    facts = Table("what-was-run", "The run", ["", ""], rows)
    found = [studio.table(facts)]
    settings = list(_settings(run))
    if settings:
        found.append(studio.table(Table("settings", "All settings", ["setting", "value"], settings, folded=True)))
    return Section("what", "What was run", tables=found)


def _structure(run: Run) -> list[list[Cell]]:
    structure = run.structure
    if structure is None:
        return []
    source = NodeSource(structure, run.name)
    atoms = source.number("atoms", "sites|len")
    text = structure.get_formula(mode="hill_compact")
    if atoms is not None:
        return [[Cell("structure"), Cell(f"{text}, {atoms.value:.0f} atoms", (atoms,))]]
    return [[Cell("structure"), source.text(text)]]


def _ensemble(run: Run) -> list[list[Cell]]:
    node = run.input("ensemble")
    if not isinstance(node, orm.Dict):
        return []
    source, law = NodeSource(node, run.name), node.get_dict()
    rows = [[Cell("ensemble"), source.text(" ".join(str(law[key]) for key in ("ensemble", "cell") if law.get(key)))]]
    rows.append([Cell("temperature (K)"), source.cell("temperature", "temperature", "K", digits=0)])
    if law.get("pressure") is not None:
        rows.append([Cell("pressure (GPa)"), source.cell("pressure", "pressure", "GPa", digits=2)])
    return rows


def _surface(run: Run, node: orm.Data) -> Cell:
    """Return a model or a level of theory in words."""
    source = NodeSource(node, run.name)
    if isinstance(node, MaceModelData):
        told = node.description
        name = "-".join(told.get("symbols") or []) or "MACE"
        return source.text(f"MACE {name}, weights {node.state_sha256[:SHORT]}")
    level = node.get_dict() if isinstance(node, orm.Dict) else {}
    if "engine" not in level:
        return source.text(type(node).__name__)
    return source.text(f"{level['engine']} {level.get('functional', '')}, level {level_hash(level)[:SHORT]}")


def _settings(run: Run) -> Iterable[list[Cell]]:
    for group in GROUPS:
        node = run.input(group)
        if isinstance(node, orm.Dict):
            source = NodeSource(node, run.name)
            for at, value in _flat(node.get_dict()):
                name = f"{group}.{at}"
                number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
                cell = (
                    source.cell(name, at, show=lambda found: f"{found:.10g}") if number else source.text(_plain(value))
                )
                yield [Cell(name), cell]


def _flat(values: dict[str, Any], above: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        # A key with a dot could not be found again.
        if isinstance(value, dict) and value and "." not in key:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    return text if len(text) <= 160 else f"{text[:157]}..."


# Chains and errors ----------------------------------------------------------------------------------------------------


def progress(run: Run, studio: Studio) -> Section | None:
    """Return acceptance, proposal length and errors block by block; None before the first block has ended.

    :param run: the run.
    :param studio: draws and writes.
    """
    if run.history is None or not run.blocks:
        return None
    section = Section("progress", "Acceptance, proposal length, errors on unseen labels")
    history = [run.history]
    if run.chains:
        section.pictures += studio.draw(
            figures.acceptance_history, run.blocks, chains=run.chains, endpoints=run.endpoints, nodes=history,
            captions=f"Acceptance and length of the proposals over the cycles. {SPAN}",
        )  # fmt: skip
    if run.judged:
        section.pictures += studio.draw(
            figures.prequential_errors, run.blocks, chains=run.chains, nodes=history,
            captions="Prequential errors: every model judged on the labels of a block before it learned from them, "
            "beside the foundation model on the same labels. Energies with their mean offset removed.",
        )  # fmt: skip
    section.tables.append(studio.table(blocks_table(run)))
    return section


def blocks_table(run: Run) -> Table:
    """Return the history of a run as a table, with those columns that it has numbers for.

    :param run: the run, with a history.
    """
    assert run.history is not None
    source = NodeSource(run.history, run.name)
    unit = "block" if run.chains else "round"
    milli: dict[str, Any] = {"factor": tables.MILLI, "digits": 1}
    columns: list[tuple[str, Callable[[str, str], Cell]]] = [
        ("cycles", lambda name, at: source.count(f"{name}: cycles", f"{at}.cycles")),
        ("labels", lambda name, at: source.count(f"{name}: labels", f"{at}.labels")),
        ("labels failed", lambda name, at: source.count(f"{name}: labels failed", f"{at}.labels_failed")),
        ("step", lambda name, at: source.count(f"{name}: step", f"{at}.step")),
        ("interventions", lambda name, at: source.count(f"{name}: interventions", f"{at}.interventions")),
        ("outside", lambda name, at: source.count(f"{name}: outside", f"{at}.outside")),
        ("acceptance", lambda name, at: source.cell(f"{name}: acceptance", f"{at}.acceptance", digits=2,
                                                    interval=f"{at}.acceptance_interval")),
        ("length (steps)", lambda name, at: source.count(f"{name}: proposal length", f"{at}.length", "steps")),
        ("⟨exp(−Δ/kT)⟩", lambda name, at: source.cell(f"{name}: Creutz identity", f"{at}.creutz",
                                                     error=f"{at}.creutz_error")),
        ("force RMSE (meV/Å)", lambda name, at: source.cell(
            f"{name}: force RMSE", f"{at}.errors.force_rmse", "meV/Å", error=f"{at}.errors.force_rmse_error", **milli)),
        ("foundation (meV/Å)", lambda name, at: source.cell(
            f"{name}: force RMSE of the foundation model", f"{at}.foundation_errors.force_rmse", "meV/Å",
            error=f"{at}.foundation_errors.force_rmse_error", **milli)),
        ("energy RMSE (meV/atom)", lambda name, at: source.cell(
            f"{name}: energy RMSE, offset removed", f"{at}.errors.energy_rmse_offset_removed", "meV/atom",
            error=f"{at}.errors.energy_rmse_offset_removed_error", **milli)),
        ("foundation (meV/atom)", lambda name, at: source.cell(
            f"{name}: energy RMSE of the foundation model, offset removed",
            f"{at}.foundation_errors.energy_rmse_offset_removed", "meV/atom",
            error=f"{at}.foundation_errors.energy_rmse_offset_removed_error", **milli)),
        ("stress RMSE (GPa)", lambda name, at: source.cell(
            f"{name}: stress RMSE", f"{at}.errors.stress_rmse", "GPa", factor=GPA,
            error=f"{at}.errors.stress_rmse_error", digits=2)),
        ("mean volume (Å³)", lambda name, at: source.cell(f"{name}: mean volume of the cell", f"{at}.volume", "Å³")
         if _moves(run) else Cell()),
        ("training (s)", lambda name, at: source.cell(f"{name}: training time", f"{at}.training.wall_time", "s",
                                                      digits=1)),
    ]  # fmt: skip
    rows = []
    for index, block in enumerate(run.blocks):
        phase = source.text("production" if block.get("production") else "adaptive")
        made = [make(f"{unit} {index + 1}", f"blocks.{index}") for _, make in columns]
        rows.append([Cell(str(index + 1), uuid=run.history.uuid), *([phase] if run.chains else []), *made])
    lead = 2 if run.chains else 1
    known = [place for place in range(len(columns)) if any(row[lead + place].numbers for row in rows)]
    head = [unit, *(["phase"] if run.chains else []), *(columns[place][0] for place in known)]
    body = [[*row[:lead], *(row[lead + place] for place in known)] for row in rows]
    note = "Errors in parentheses: standard error in the last digits; in brackets: 68 % interval. " if known else ""
    return Table(f"{unit}s", f"{unit.capitalize()} by {unit}", head, body,
                 note + "Errors of a model are those on labels that it had not seen.", lead=lead)  # fmt: skip


def _moves(run: Run) -> bool:
    return run.settings("ensemble").get("ensemble") == "NPT"


def trust(run: Run, studio: Studio) -> Section | None:
    """Return how far the chains can be trusted; None if there are no diagnostics (yet).

    :param run: the run.
    :param studio: draws and writes.
    """
    node = run.diagnostics
    if node is None:
        return None
    report = node.get_dict()
    section = Section("chains", "Chain diagnostics", warnings=list(report.get("warnings") or []))
    source = NodeSource(node, run.name)
    rows = [[Cell(what), source.count(what, what), Cell("")] for what in ("chains", "cycles", "labels")]
    for one in tables.diagnostics(report):
        wide = one.error.endswith("interval")
        cell = source.cell(
            one.quantity, one.at, one.unit, factor=one.factor, error_factor=one.error_factor, digits=one.digits,
            interval=one.error if wide else None, error=None if wide else one.error or None,
        )  # fmt: skip
        if cell.numbers:
            rows.append([Cell(one.quantity.replace("<exp(-delta/kT)>", "⟨exp(−Δ/kT)⟩")), cell, Cell(one.unit)])
    kind = "frozen production phase" if report["kind"] == "production" else "last adaptive block"
    table = Table(
        "chain-diagnostics", f"Of the {kind}", ["quantity", "value", "unit"], rows,
        "R-hat: rank-normalised split R-hat, over chains and their halves. Effective samples: over all chains.",
    )  # fmt: skip
    states = run.output("states")
    if states is not None and run.blocks:
        names = set(states.get_arraynames())
        arrays = {name: states.get_array(name) for name in ("chain", "cycle", "energies", "temperature")
                  if name in names}  # fmt: skip
        section.pictures += studio.draw(
            figures.chain_diagnostics, report, arrays, run.blocks, chains=run.chains, nodes=[states, node], wide=True,
            captions="Energies of the states of every chain, repeats included; their autocorrelation; acceptance "
            "block by block.",
        )  # fmt: skip
    section.tables.append(studio.table(table))
    return section


def cost(run: Run, studio: Studio) -> Section:
    """Return labels, DFT calls and compute time by step.

    :param run: the run.
    :param studio: draws and writes.
    """
    section = Section("cost", "DFT calls and compute time")
    source = NodeSource(run.node, run.name)
    rows = [
        [Cell(title), source.count(title, f"computed:labels.{key}")]
        for key, title in (("calls", "DFT calls (attempts of the engine)"), ("computed", "labels computed"),
                           ("reused", "labels reused"), ("failed", "labels failed"))
    ]  # fmt: skip
    elapsed = source.cell("time from the start to the last step", "computed:time.elapsed", "s", show=duration)
    rows.append([Cell("from the start to the last step"), elapsed])
    section.tables.append(studio.table(Table("labels", "Labels and time", ["", "number"], rows)))
    times = source.values("computed:time.steps")
    rows = [
        [Cell(step), source.count(f"steps '{step}'", f"computed:time.steps.{step}.count"),
         source.cell(f"compute time of '{step}'", f"computed:time.steps.{step}.seconds", "s", digits=1)
         if row["seconds"] else Cell(),
         source.cell(f"compute time of one '{step}'", f"computed:time.steps.{step}.seconds", "s",
                     factor=1.0 / row["count"], digits=2) if row["seconds"] else Cell()]
        for step, row in sorted(times.items(), key=lambda pair: (-pair[1]["seconds"], pair[0]))
    ]  # fmt: skip
    if rows:
        section.tables.append(studio.table(Table(
            "compute-time", "Steps", ["step", "number", "compute time (s)", "each (s)"], rows,
            "Compute time is what the steps themselves report: without waiting, and without what AiiDA does around "
            "them.", folded=len(rows) > 12,
        )))  # fmt: skip
    if any(row["seconds"] for row in times.values()):
        section.pictures += studio.draw(
            run_figures.compute_time, times, nodes=[run.node], captions="Compute time of all steps of a kind."
        )
    return section
