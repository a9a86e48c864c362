"""What a reader looks at first: numbers at the head of a run's part, and those that set several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .parts import Cell, NodeSource, Part, Table, duration
from .runs import COMPARE, Run
from .tables import MILLI


def highlights(run: Run) -> dict[str, Cell]:
    """Return the numbers of a run that runs are compared by; empty cells where there is none.

    :param run: the run.
    """
    own = NodeSource(run.node, run.name)
    found = {
        "labels computed": own.count("labels computed", "computed:labels.computed"),
        "DFT calls": own.count("DFT calls", "computed:labels.calls"),
        "compute time": own.cell("compute time", "computed:time.seconds", "s", show=duration),
    }
    judged = next((index for index in reversed(range(len(run.blocks))) if run.blocks[index].get("errors")), None)
    if run.history is not None and judged is not None:
        source = NodeSource(run.history, run.name)
        for title, group, key, unit in (
            ("force RMSE (meV/Å)", "errors", "force_rmse", "meV/Å"),
            ("foundation model's force RMSE (meV/Å)", "foundation_errors", "force_rmse", "meV/Å"),
            ("energy RMSE (meV/atom)", "errors", "energy_rmse_offset_removed", "meV/atom"),
            ("foundation model's energy RMSE (meV/atom)", "foundation_errors", "energy_rmse_offset_removed",
             "meV/atom"),
        ):  # fmt: skip
            at = f"blocks.{judged}.{group}.{key}"
            found[title] = source.cell(f"last {title}", at, unit, factor=MILLI, digits=1, error=f"{at}_error")
    if run.diagnostics is not None:
        source = NodeSource(run.diagnostics, run.name)
        found["acceptance"] = source.cell("acceptance", "acceptance.value", digits=2, interval="acceptance.interval")
        found["independent samples (energy)"] = source.cell("independent samples", "observables.energy.ess", digits=0)
        found["R-hat (energy)"] = source.cell("R-hat", "observables.energy.rhat", digits=2)
    if run.kind != COMPARE and run.sample is not None:
        node, what = run.sample
        source = NodeSource(node, run.name)
        told = source.values("computed:sample")
        for name, unit in (("distance", "Å"), ("pressure", "GPa"), ("volume", "Å³")):
            if name in told.get("quantities", {}):
                bond = "–".join(told["pair"])
                titles = {"distance": f"mean nearest {bond} distance", "volume": f"volume per {told['formula_unit']}"}
                title = titles.get(name, name)
                at = f"computed:sample.quantities.{name}"
                found[f"{title} ({unit})"] = source.cell(
                    f"{title}, {what.partition(':')[0].partition(',')[0]}", f"{at}.value", unit,
                    error=f"{at}.error",
                )  # fmt: skip
    return found


def cards(run: Run) -> list[tuple[str, Cell, str]]:
    """Return the numbers at the head of a run's part: title, cell, and what stands below it.

    :param run: the run.
    """
    known = highlights(run)
    phase = ""
    if run.diagnostics is not None:
        phase = "production phase" if run.diagnostics["kind"] == "production" else "last adaptive block"
    base = known.get("foundation model's force RMSE (meV/Å)", Cell())
    energy = known.get("foundation model's energy RMSE (meV/atom)", Cell())
    below = {
        "acceptance": phase,
        "force RMSE (meV/Å)": f"foundation model: {base.text}" if base.numbers else "last block, not yet learned from",
        "energy RMSE (meV/atom)": f"foundation model: {energy.text}" if energy.numbers else "mean offset removed",
        "independent samples (energy)": phase,
        "DFT calls": "",
        "compute time": "all steps",
    }
    found = [(title, known[title], text) for title, text in below.items() if title in known and known[title].numbers]
    # On a card there is no room for an interval.
    return [(title, replace(cell, text=cell.text.partition(" [")[0]), text) for title, cell, text in found]


def side_by_side(runs: Sequence[Run], parts: Sequence[Part]) -> Table:
    """Return a table with a column a run.

    :param runs: the runs.
    :param parts: of the page, in the same order.
    """
    columns = [highlights(run) for run in runs]
    titles = dict.fromkeys(title for column in columns for title in column)
    head = ["", *(f"{part.title} <{part.node.pk}>" for part in parts)]
    states = [Cell("going on" if part.going else "failed" if part.bad else "finished", uuid=part.node.uuid)
              for part in parts]  # fmt: skip
    rows = [[Cell("state"), *states]]
    rows += [[Cell(title), *(column.get(title, Cell()) for column in columns)] for title in titles]
    rows = [row for row in rows if row[0].text == "state" or any(cell.numbers for cell in row[1:])]
    note = "Errors of the model: of its last judged block, on labels that it had not seen; energies with their mean "
    return Table("side-by-side", "The runs", head, rows, f"{note}offset removed.")
