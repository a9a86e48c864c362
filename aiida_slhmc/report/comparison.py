"""The table of a comparison: what every protocol gives for its labels, and what of it stands out of the noise."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import units

#: Name of the foundation model and of the reference among the protocols.
FOUNDATION, REFERENCE = "foundation", "reference"
#: Labels spent that differ by more than this fraction are no equal budget.
BUDGET = 0.05
#: Stands behind a number that is within the noise of the reference's.
WITHIN = "≈"
#: Errors below this fraction of a number are those of its rounding.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Line:
    """Describe one line of the table.

    :param key: where the entry stands in a protocol: ``labels.spent``, ``errors.random.force_rmse``, ...
    :param title: what it is.
    :param unit: as it is shown.
    :param scale: from the stored unit to the shown one.
    :param digits: after the point where the error is not known.
    """

    key: tuple[str, ...]
    title: str
    unit: str
    scale: float = 1.0
    digits: int = 3

    def entry(self, protocol: Mapping[str, Any]) -> dict[str, Any]:
        """Return the entry of a protocol, in the shown unit; empty if there is none.

        :param protocol: one of ``protocols`` of a comparison.
        """
        found: Any = protocol
        for name in self.key:
            found = (found or {}).get(name)
        if not found or found.get("value") is None:
            return {}
        return {name: _scaled(value, self.scale) for name, value in found.items()}


def _scaled(value: Any, scale: float) -> Any:
    return value * scale if isinstance(value, float) else value


#: Errors on a test set.
ON_TESTS = (
    ("energy_rmse", "energy RMSE", "meV/atom", 1000.0),
    ("energy_rmse_offset_removed", "energy RMSE, offset removed", "meV/atom", 1000.0),
    ("force_rmse", "force RMSE", "meV/Å", 1000.0),
    ("stress_rmse", "stress RMSE", "GPa", 1.0 / units.GPa),
)


def lines(comparison: Mapping[str, Any]) -> list[Line]:
    """Return the lines that a comparison has numbers for.

    :param comparison: what the node holds.
    """
    plan, protocols = comparison["plan"], comparison["protocols"].values()
    bond = "–".join(plan["pair"])
    unit = plan.get("formula_unit", "formula unit")
    found = [
        Line(("labels", "spent"), "labels spent", "", digits=0),
        Line(("labels", "trained_on"), "labels trained on", "", digits=0),
        Line(("labels", "calls"), "DFT calls", "", digits=0),
        Line(("training", "wall_time"), "training time", "s", digits=0),
    ]
    for test in dict.fromkeys(test for protocol in protocols for test in protocol["errors"]):
        found += [Line(("errors", test, key), f"{title} ({test})", u, scale, 1) for key, title, u, scale in ON_TESTS]
    found += [
        Line(("quantities", "distance"), f"mean nearest {bond} distance", "Å", digits=4),
        Line(("distances", "w1"), f"W1 of nearest {bond} distances", "mÅ", 1000.0, 1),
        Line(("quantities", "coordination"), f"{bond} coordination within {plan['cutoff']:.2f} Å", ""),
    ]
    sizes = plan["shell"]
    for index, size in enumerate(sizes):
        found.append(
            Line(("quantities", f"shell {index + 1}"), f"{bond}, {size} of {sum(sizes)} nearest", "Å", digits=4)
        )
    if sizes:
        found.append(Line(("quantities", "shell"), f"{bond}, all {sum(sizes)}", "Å", digits=4))
    for pair in plan["windows"]:
        found.append(Line(("quantities", f"peak {pair}"), f"first peak {_pair(pair)}", "Å"))
    for pair in plan["windows"]:
        found.append(Line(("distances", f"rdf {pair}"), f"RDF distance {_pair(pair)}", "Å"))
    found += [Line(("quantities", name), f"cell length {name}", "Å", digits=4) for name in "abc"]
    found += [
        Line(("quantities", "volume"), f"volume per {unit}", "Å³"),
        Line(("distances", "w1 volume"), "W1 of the volume", "Å³"),
        Line(("quantities", "pressure"), "pressure", "GPa", digits=2),
    ]
    return [line for line in found if any(line.entry(protocol) for protocol in protocols)]


def _pair(name: str) -> str:
    return name.replace("-", "–")


def ordered(names: Iterable[str]) -> list[str]:
    """Return names of protocols in the order of the story: the foundation model first.

    :param names: of protocols.
    """
    return sorted(names, key=lambda name: (name != FOUNDATION, name))


def number(value: float | None, error: float | None, digits: int = 3) -> str:
    """Return a number with its error in the last digits, such as ``1.8386(12)``.

    :param value: the number.
    :param error: its standard error; None, NaN or 0: not shown.
    :param digits: after the point, where there is no error.
    """
    if value is None or not math.isfinite(value):
        return "–"
    # A number that never changes has an error of rounding alone.
    if error is None or not math.isfinite(error) or error <= ROUNDING * abs(value):
        return f"{value:.{digits}f}".replace("-", "−")
    # Two digits of the error, also where it is rounded up to three.
    places = max(0, 1 - math.floor(math.log10(error * (1 + 5e-3))))
    shown = round(error * 10**places)
    return (f"{value:.{places}f}({shown})" if places else f"{value:.0f}({error:.0f})").replace("-", "−")


def cell(line: Line, entry: Mapping[str, Any]) -> str:
    """Return an entry as text, marked where it is within the noise.

    :param line: of the table.
    :param entry: ``value``, ``error``, ``resolved``.
    """
    if not entry:
        return "–"
    counted = line.key[0] == "labels"
    digits = line.digits if not counted or entry["value"] == round(entry["value"]) else 1
    text = number(entry["value"], None if counted else entry.get("error"), digits)
    return f"{text} {WITHIN}" if entry.get("resolved") is False else text


def reference_cell(line: Line, entries: Sequence[Mapping[str, Any]]) -> str:
    """Return what the reference has in a line: its own value, or the floor of a distance.

    :param line: of the table.
    :param entries: of all protocols.
    """
    known = [entry for entry in entries if entry]
    if known and known[0].get("reference") is not None:
        return number(known[0]["reference"], known[0].get("reference_error"), line.digits)
    floors = [entry["floor_95"] for entry in known if entry.get("floor_95") is not None]
    return f"< {max(floors):.{max(1, line.digits)}f}" if floors else ""


def table(comparison: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return head and body of the table as text: a column a protocol, the reference last.

    :param comparison: what the node holds.
    """
    protocols = comparison["protocols"]
    names = ordered(protocols)
    head = ["", *(_titled(name, protocols[name]) for name in names), "reference"]
    body = []
    for line in lines(comparison):
        entries = [line.entry(protocols[name]) for name in names]
        title = f"{line.title} ({line.unit})" if line.unit else line.title
        body.append([title, *(cell(line, entry) for entry in entries), reference_cell(line, entries)])
    return head, body


def _titled(name: str, protocol: Mapping[str, Any]) -> str:
    n = len(protocol["members"])
    title = name.replace("on_the_fly", "on-the-fly").replace("_", " ")
    return f"{title} ({n} seeds)" if n > 1 else title


def notes(comparison: Mapping[str, Any]) -> list[str]:
    """Return what a reader of the table must know.

    :param comparison: what the node holds.
    """
    reference = comparison["reference"]
    found = [
        f"{WITHIN}: within the noise. A quantity deviates from the reference by less than two standard errors of both;"
        " a distance lies below the 95th percentile of what two samples of the reference itself would show, of these"
        " sizes and this correlation, which the last column gives.",
        "W1: Wasserstein distance to the reference's distribution. RDF distance: integral of the modulus of g(r) minus"
        " that of the reference.",
        "In parentheses: standard error in the last digits; of several seeds that of their mean.",
        "Of twenty numbers of the same law one stands out of the noise by chance.",
        f"Reference: {reference['frames']} frames of {reference['chains']} independent chains.",
    ]
    problems = [
        f"{name}: {problem}"
        for protocol in comparison["protocols"].values()
        for name, problem in protocol["problems"].items()
    ]
    return found + [f"Missing: {problem}." for problem in problems]


def warnings(comparison: Mapping[str, Any]) -> list[str]:
    """Return what makes the comparison unfair or its errors doubtful.

    :param comparison: what the node holds.
    """
    spent = {
        name: protocol["labels"]["spent"]["value"]
        for name, protocol in comparison["protocols"].items()
        if name != FOUNDATION and protocol["labels"]["spent"]["value"]
    }
    found = []
    if spent and max(spent.values()) > (1.0 + BUDGET) * min(spent.values()):
        budgets = ", ".join(f"{name} {value:.0f}" for name, value in sorted(spent.items()))
        found.append(
            f"the protocols spent different numbers of labels ({budgets}): they are not compared at one budget."
        )
    for name, row in comparison["rows"].items():
        found += [f"{name}: {message}" for message in row.get("warnings") or []]
    return found


def markdown(comparison: Mapping[str, Any]) -> str:
    """Return the table in Markdown, with its notes.

    :param comparison: what the node holds.
    """
    head, body = table(comparison)
    rows = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    text = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return (
        text + "\n\n" + "\n\n".join([*notes(comparison), *(f"Warning: {line}" for line in warnings(comparison))]) + "\n"
    )


#: What LaTeX writes otherwise.
LATEX = str.maketrans({
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "_": r"\_",
    "#": r"\#",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "≈": r"$\approx$",
    "±": r"$\pm$",
    "–": "--",
    "−": "$-$",
    "Å": r"\AA{}",
    "²": "$^2$",
    "³": "$^3$",
    "<": "$<$",
    ">": "$>$",
    "\n": " ",
})  # fmt: skip


def latex(comparison: Mapping[str, Any]) -> str:
    """Return the table as a LaTeX ``tabular`` (booktabs), with its notes as comments.

    :param comparison: what the node holds.
    """
    head, body = table(comparison)
    return latex_table(head, body, [*notes(comparison), *warnings(comparison)])


def latex_table(head: Sequence[str], body: Sequence[Sequence[str]], comments: Sequence[str] = ()) -> str:
    """Return a table as a LaTeX ``tabular`` (booktabs): the first column to the left, the others to the right.

    :param head: of the columns.
    :param body: rows of texts.
    :param comments: set before it.
    """
    lines_ = [" & ".join(text.translate(LATEX) for text in row) + r" \\" for row in [head, *body]]
    return "\n".join(
        [
            *(f"% {' '.join(line.split())}" for line in comments if line),
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            lines_[0],
            r"\midrule",
            *lines_[1:],
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def long_rows(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every number of the table, one a row, at full precision.

    :param comparison: what the node holds.
    :returns: ``quantity``, ``unit``, ``protocol``, ``replicas``, ``value``, ``error``, ``reference``,
        ``reference_error``, ``deviation``, ``deviation_error``, ``floor``, ``floor_95``, ``within_noise``.
    """
    keys = ("value", "error", "reference", "reference_error", "deviation", "deviation_error", "floor", "floor_95")
    found = []
    for line in lines(comparison):
        for name in ordered(comparison["protocols"]):
            entry = line.entry(comparison["protocols"][name])
            if not entry:
                continue
            resolved = entry.get("resolved")
            found.append(
                {
                    "quantity": line.title,
                    "unit": line.unit,
                    "protocol": name,
                    "replicas": entry.get("n"),
                    **{key: entry.get(key) for key in keys},
                    "within_noise": None if resolved is None else not resolved,
                }
            )
    return found


def write_tables(comparison: Mapping[str, Any], folder: Path, name: str = "comparison") -> list[Path]:
    """Write the table as Markdown, LaTeX and CSV.

    :param comparison: what the node holds.
    :param folder: made if it is not there.
    :param name: of the files.
    :returns: the paths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {".md": markdown(comparison), ".tex": latex(comparison)}
    paths = []
    for ending, text in texts.items():
        paths.append(folder / f"{name}{ending}")
        paths[-1].write_text(text, encoding="utf-8")
    rows = long_rows(comparison)
    paths.append(folder / f"{name}.csv")
    with paths[-1].open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return paths
