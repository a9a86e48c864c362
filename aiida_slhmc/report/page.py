"""The page: one self-contained HTML file of one or several runs; figures, tables and numbers as files beside it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from aiida import orm
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from aiida_slhmc.provenance.numbers import numbers_json

from .comparisons import compared, members, trial
from .highlights import cards, side_by_side
from .origins import origins
from .parts import Part, Section, Table
from .runs import COMPARE, UNCERTAINTY, Run
from .sections import cost, progress, trust, what_was_run
from .structures import coverage, structure
from .studio import Studio

#: Files of a report, besides the folders of figures and tables.
PAGE, NUMBERS = "report.html", "numbers.json"
#: Seconds between two versions of the page of a run that goes on.
EVERY = 10.0


@dataclass(frozen=True)
class Report:
    """Say what was written.

    :param page: path of the page.
    :param numbers: how many numbers it traces to a node.
    :param going: whether a run goes on.
    :param bad: runs that ended otherwise than well.
    """

    page: Path
    numbers: int
    going: bool
    bad: list[str]


def write_report(
    nodes: Sequence[orm.WorkChainNode], folder: Path, *, prefix: str = "aiida-slhmc", files: bool = True,
    refresh: float | None = None, alone: bool = False, shown: str = PAGE,
) -> Report:  # fmt: skip
    """Write the page of some runs, and what stands beside it.

    :param nodes: of the runs: at least one, of the kinds that :func:`.runs.kind_of` knows.
    :param folder: made if it is not there.
    :param prefix: the command, with the options that name the profile or archive.
    :param files: whether figures are written as PNG and PDF too.
    :param refresh: seconds after which a browser reads the page again while a run goes on; None: never.
    :param alone: leave out what was made of the runs later, such as the comparison of their ensembles, unless it is
        one of ``nodes``: an archive of the runs does not hold it.
    :param shown: path of the page in the commands that it names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    several = len(nodes) > 1
    known = {node.uuid for node in nodes} if alone else None
    runs = [Run(node, f"<{node.pk}>" if several else "", known) for node in nodes]
    parts = [_part(run, folder, prefix, shown, several=several, files=files) for run in runs]
    beside = side_by_side(runs, parts) if several else None
    if beside is not None:
        Studio(folder).table(beside)
    numbers = [one for part in parts for one in part.numbers()]
    if beside is not None:
        numbers += [one for row in beside.rows for cell in row for one in cell.numbers]
    roots = {node.uuid: node for part in parts for node in (part.node, *part.others)}
    text = numbers_json(roots.values(), dict.fromkeys(numbers))
    going = any(part.going for part in parts)
    html = render(parts, beside, text, refresh if going else None)
    _replace(folder / NUMBERS, text)
    _replace(folder / PAGE, html)
    return Report(folder / PAGE, len(numbers), going, [part.title for part in parts if part.bad])


def _part(run: Run, folder: Path, prefix: str, shown: str, *, several: bool, files: bool) -> Part:
    """Return the part of the page that is about one run."""
    studio = Studio(folder, run.node.uuid[:8] if several else "", files)
    part = Part(run.node, run.title, run.state(), bad=run.bad, going=run.going)
    if run.ensembles is not None:
        part.others.append(run.ensembles)
    made: list[Section | None] = [what_was_run(run, studio)]
    if run.kind == COMPARE:
        made += [compared(run, studio), members(run, studio)]
    elif run.kind == UNCERTAINTY:
        made.append(trial(run, studio))
    else:
        made += [progress(run, studio), structure(run, studio), trust(run, studio), coverage(run, studio)]
    made += [cost(run, studio), origins(run, studio, prefix, shown)]
    part.sections = [section for section in made if section is not None]
    part.cards = cards(run)
    return part


def render(parts: Sequence[Part], beside: Table | None, numbers: str, refresh: float | None) -> str:
    """Return the page.

    :param parts: of the runs.
    :param beside: table that sets them side by side.
    :param numbers: what :func:`aiida_slhmc.provenance.numbers.numbers_json` returns.
    :param refresh: seconds after which a browser reads the page again; None: never.
    """
    environment = Environment(
        loader=PackageLoader("aiida_slhmc.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["inert"] = inert
    script = _resource("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    title = parts[0].title if len(parts) == 1 else f"{len(parts)} runs"
    return environment.get_template("page.html").render(
        parts=parts,
        beside=beside,
        numbers=Markup(numbers.replace("<!--", "<\\u0021--")),
        title=title,
        style=Markup(_resource("page.css")),
        script=Markup(script),
        digest=digest,
        refresh=refresh,
        written=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S UTC}",
        version=metadata.version("aiida-slhmc"),
        numbers_file=NUMBERS,
    )


def inert(value: Any) -> Markup:
    """Return JSON that can stand in a script element: nothing in it ends the element, or begins another.

    :param value: what is written.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(re.sub("[<>&\u2028\u2029]", lambda match: f"\\u{ord(match.group()):04x}", text))


def _resource(name: str) -> str:
    return (resources.files("aiida_slhmc.report") / "templates" / name).read_text(encoding="utf-8")


def _replace(path: Path, text: str) -> None:
    """Write a file at once: a browser never reads half of it."""
    draft = path.with_name(f".{path.name}.part")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)


def watch(
    nodes: Sequence[orm.WorkChainNode], folder: Path, *, prefix: str, shown: str = PAGE, every: float = EVERY,
    told: Callable[[Report], None] = lambda report: None,
) -> Report:  # fmt: skip
    """Write the page of some runs again and again until all of them have ended.

    :param nodes: of the runs.
    :param folder: of the page.
    :param prefix: the command, with the options that name the profile or archive.
    :param shown: path of the page in the commands that it names.
    :param every: seconds between two versions.
    :param told: is given what was written, each time.
    """
    uuids = [node.uuid for node in nodes]
    while True:
        # Read anew: what a run has made since is not in the nodes of before.
        current = [orm.load_node(uuid) for uuid in uuids]
        if all(node.is_terminated for node in current):
            break
        told(write_report(current, folder, prefix=prefix, files=False, refresh=every, shown=shown))
        time.sleep(every)
    report = write_report(current, folder, prefix=prefix, shown=shown)
    told(report)
    return report
