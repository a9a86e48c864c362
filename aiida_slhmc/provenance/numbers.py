"""The numbers of a report and the nodes that they come from: written with the report, checked by an audit.

A report carries a JSON object, as a file ``report.json`` or in its HTML page as ``<script type="application/json"
id="slhmc-numbers">``::

    {"format": "aiida-slhmc-numbers/1",
     "version": "0.1.0",
     "computed_with": {"seed": 0, "resamples": 100, ...},
     "runs": [uuid, ...],
     "numbers": [{"name": "force RMSE, block 2", "value": 41.3, "unit": "meV/Å", "node": uuid,
                  "at": "blocks.2.errors.force_rmse", "factor": 1000.0}, ...]}

``at`` says where in the node the number stands: keys and indices of its attributes, joined by dots, or
``array:<name>`` with indices, as in ``array:energies.3``; a number that is counted or averaged from an array says how:
``array:energies|mean``; one that a function of this package makes of the node, and of what is linked to it, names the
function: ``computed:sample.quantities.distance.value`` (:mod:`.computed`). ``value`` is ``factor`` (1 if it is left
out) times what stands there.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from aiida import orm
from aiida.common.exceptions import NotExistent

from aiida_slhmc import __version__

from .computed import COMPUTED, compute, settings
from .findings import Finding
from .graph import closure

#: Name and version of the format.
FORMAT = "aiida-slhmc-numbers/1"
#: Where an HTML page has it.
SCRIPT = re.compile(r'<script[^>]*\bid="slhmc-numbers"[^>]*>(.*?)</script>', re.DOTALL)
#: Endings of a page, and its name in the folder of a report.
HTML, PAGE = (".html", ".htm"), "report.html"
#: A number as a page writes it: with its error, or its interval.
WRITTEN = re.compile(r"(−?\d+(?:\.(\d+))?)(?:\(\d+\))?(?: \[[^]]*\])?")
#: A number may be rounded to so many digits, relative.
ROUNDED = 1e-9
#: What is computed again may differ by so much on another machine, relative.
COMPUTED_AGAIN = 1e-6
#: What may be made of an array.
OVER = {"mean": np.mean, "sum": np.sum, "min": np.min, "max": np.max, "len": len, "std": np.std}
#: Beginning of a place in an array, and in what a function makes of the node.
ARRAY, MADE = "array:", "computed:"


@dataclass(frozen=True)
class ReportNumber:
    """Hold a number of a report.

    :param name: what it is.
    :param value: as the report shows it, unrounded.
    :param unit: of the value.
    :param node: UUID of the node that it stands in.
    :param at: where in the node.
    :param factor: of the value over what stands there.
    """

    name: str
    value: float
    unit: str
    node: str
    at: str
    factor: float = 1.0


def numbers_json(runs: Iterable[orm.ProcessNode], numbers: Iterable[ReportNumber]) -> str:
    """Return the JSON that goes with a report; ``</`` is escaped, so that it can stand in a page.

    :param runs: the processes that the report is of.
    :param numbers: those that it shows.
    """
    content = {
        "format": FORMAT,
        "version": __version__,
        "computed_with": settings(),
        "runs": [run.uuid for run in runs],
        "numbers": [asdict(number) for number in numbers],
    }
    return json.dumps(content, indent=1).replace("</", "<\\/")


class Source:
    """Look up what stands in one node; what it takes to read it is read once.

    :param node: a data node, or of what is computed also a process.
    :param computed: what has been computed of it already, by the name of the function.
    """

    def __init__(self, node: orm.Node, computed: Mapping[str, Any] | None = None):
        self.node = node
        self._parts: dict[str, Any] = {MADE + name: value for name, value in (computed or {}).items()}

    def __call__(self, at: str) -> Any:
        """Return what stands at a place in the node.

        :param at: the place.
        :raises LookupError: if there is no such place.
        """
        place, _, made = at.partition("|")
        for prefix in (ARRAY, MADE):
            if place.startswith(prefix):
                name, *path = place.removeprefix(prefix).split(".")
                value = self._part(prefix, name)
                break
        else:
            path, value = place.split("."), self._part("", "")
        for key in path:
            try:
                value = value[key] if isinstance(value, Mapping) else value[int(key)]
            except (KeyError, IndexError, ValueError, TypeError) as error:
                raise LookupError(f"it has no '{place}'") from error
        if made:
            if made not in OVER:
                raise LookupError(f"there is no '{made}' of an array; there are {', '.join(OVER)}")
            value = OVER[made](np.asarray(value))  # type: ignore[operator]
        return value

    def _part(self, prefix: str, name: str) -> Any:
        key = prefix + name
        if key not in self._parts:
            self._parts[key] = self._read(prefix, name)
        return self._parts[key]

    def _read(self, prefix: str, name: str) -> Any:
        if prefix == ARRAY:
            if not isinstance(self.node, orm.ArrayData) or name not in self.node.get_arraynames():
                raise LookupError(f"it has no array '{name}'")
            return self.node.get_array(name)
        if prefix == MADE:
            if name not in COMPUTED:
                raise LookupError(f"nothing computes '{name}'; known are {', '.join(COMPUTED)}")
            return compute(self.node, name)
        return self.node.base.attributes.all


def value_at(node: orm.Node, at: str) -> Any:
    """Return what stands at a place in a node.

    :param node: a data node, or of what is computed also a process.
    :param at: the place.
    :raises LookupError: if there is no such place.
    """
    return Source(node)(at)


def read_numbers(path: Path) -> dict[str, Any]:
    """Return the JSON of a report.

    :param path: ``report.json``, or the HTML page.
    :raises ValueError: with one sentence.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the report '{path}' cannot be read: {error}.") from error
    if path.suffix.lower() in HTML:
        match = SCRIPT.search(text)
        if match is None:
            raise ValueError(f"the page '{path}' does not say which nodes its numbers come from.")
        text = match.group(1)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"'{path}' holds no JSON: {error}.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"'{path}' is not of the format '{FORMAT}'.")
    return content


def check_report(path: Path) -> list[Finding]:
    """Check that every number of a report is what a node of its runs says.

    :param path: ``numbers.json``, the HTML page, or the folder of both: then the page.
    :returns: the faults; none if all numbers are traced, and those that the page shows are among them.
    :raises ValueError: if it is no report.
    """
    if path.is_dir():
        path = path / PAGE
    content = read_numbers(path)
    found = _shown_faults(path, content) if path.suffix.lower() in HTML else []
    theirs = content.get("computed_with", settings())
    if theirs != settings():
        other = f"the report's numbers were computed with {theirs}, which {__version__} of aiida-slhmc does not do."
        found.append(Finding("report", 0, "", other))
    known: dict[str, orm.Node] = {}
    for uuid in content.get("runs", []):
        try:
            root = orm.load_node(uuid)
        except NotExistent:
            found.append(Finding("report", 0, uuid, f"the run {uuid} of the report is not in this profile."))
            continue
        known |= {node.uuid: node for node in closure(root).nodes.values()}
    sources: dict[str, Source] = {}
    for row in content.get("numbers", []):
        message = _fault(row, known, sources)
        if message is not None:
            pk = known[row["node"]].pk if row.get("node") in known else 0
            found.append(Finding("report", int(pk or 0), str(row.get("node")), f"'{row.get('name')}': {message}"))
    return found


class _Shown(HTMLParser):
    """Collect the numbers that a page shows: ``<data value="..." data-uuid="..." data-at="...">text</data>``."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[dict[str, str | None], str]] = []
        self._open: tuple[dict[str, str | None], list[str]] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a number."""
        if tag == "data":
            self._open = dict(attrs), []

    def handle_data(self, data: str) -> None:
        """Take up its text."""
        if self._open is not None:
            self._open[1].append(data)

    def handle_endtag(self, tag: str) -> None:
        """End it."""
        if tag == "data" and self._open is not None:
            self.found.append((self._open[0], "".join(self._open[1]).strip()))
            self._open = None


def _shown_faults(path: Path, content: Mapping[str, Any]) -> list[Finding]:
    """Return the numbers that a page shows otherwise than it traces them."""
    page = _Shown()
    page.feed(path.read_text(encoding="utf-8"))
    traced = {(row.get("node"), row.get("at"), repr(row.get("value"))) for row in content.get("numbers", [])
              if isinstance(row, Mapping)}  # fmt: skip
    found = []
    for attributes, text in page.found:
        uuid, at, value = (attributes.get(key) or "" for key in ("data-uuid", "data-at", "value"))
        if (uuid, at, value) not in traced:
            says = f"the page shows '{text}' ({value}), which is none of the numbers that it traces."
        elif not _rounds_to(text, float(value)):
            says = f"the page shows '{text}', but traces {value}."
        else:
            continue
        found.append(Finding("report", 0, uuid, says))
    return found


def _rounds_to(text: str, value: float) -> bool:
    """Return whether a text is a number, rounded; one that is written otherwise, such as a duration, may be."""
    match = WRITTEN.fullmatch(text)
    if match is None:
        return True
    # Half a unit of the last digit that is written, and a little for the binary point.
    half = 0.5000001 * 10.0 ** -len(match.group(2) or "")
    return abs(float(match.group(1).replace("−", "-")) - value) <= half


def _fault(row: Any, known: Mapping[str, orm.Node], sources: dict[str, Source]) -> str | None:
    """Return what is wrong with one number, None if it is what its node says."""
    try:
        number = ReportNumber(**row)
    except TypeError:
        return "it does not say what it is and where it comes from."
    node = known.get(number.node)
    if node is None:
        return f"the node {number.node} is no part of the graph of the report's runs."
    try:
        stored = sources.setdefault(number.node, Source(node))(number.at)
    except LookupError as error:
        return f"{type(node).__name__} <{node.pk}>: {error}."
    if not isinstance(stored, (int, float, np.number)) or isinstance(stored, bool):
        return f"at '{number.at}' <{node.pk}> holds no number."
    close = COMPUTED_AGAIN if number.at.startswith(MADE) else ROUNDED
    if not math.isclose(number.value, number.factor * float(stored), rel_tol=close, abs_tol=0.0):
        return f"the report says {number.value!r} {number.unit}, but <{node.pk}> {number.factor * float(stored)!r}."
    return None
