"""The last section of a run's part of a page: where its numbers come from, and how to check and to make them again."""

from __future__ import annotations

import re
import shlex

from aiida import orm
from markupsafe import Markup

from aiida_slhmc.provenance import drawing
from aiida_slhmc.provenance.card import summary
from aiida_slhmc.provenance.pedigree import pedigree

from .parts import Cell, NodeSource, Section, Table
from .runs import Run
from .studio import Studio


def origins(run: Run, studio: Studio, prefix: str, page: str) -> Section:
    """Return pedigree, UUIDs and commands.

    :param run: the run.
    :param studio: writes the tables.
    :param prefix: the command, with the options that name the profile or archive.
    :param page: path of the page.
    """
    section = Section("provenance", "Provenance, and how to reproduce it")
    section.text.append(
        "Every number of this page carries the UUID of the node that it comes from: point at it, or look into "
        "numbers.json. 'audit --report' checks each of them against its node."
    )
    if run.model is not None and not run.going:
        found = pedigree(run.model)
        section.text += found.warnings
        section.pre = summary(found)
        tip = f"tip-{run.node.uuid[:8]}"
        picture = re.sub(r"\sxmlns='[^']*'", "", drawing.svg(found))
        picture = picture.replace("id='tip'", f"id='{tip}'").replace("url(#tip)", f"url(#{tip})")
        section.drawing = (Markup(picture), "Lineage of the model")
    called = NodeSource(run.node, run.name).count("processes", "computed:graph.processes")
    rows = [[Cell("processes that the run called"), called]]
    for link in run.node.base.links.get_outgoing(node_class=orm.Data).all():
        if not link.link_label.startswith(("models__", "ends__", "analyses__", "members__")):
            node = link.node
            rows.append([Cell(link.link_label.replace("__", ".")), NodeSource(node).text(
                f"{type(node).__name__} {node.uuid}")])  # fmt: skip
    section.tables.append(studio.table(Table("nodes", "Nodes", ["", ""], rows, folded=True)))
    section.commands = commands(run, prefix, page)
    return section


def commands(run: Run, prefix: str, page: str) -> list[tuple[str, str]]:
    """Return what to type to check and to reproduce a run.

    :param run: the run.
    :param prefix: the command, with the options that name the profile or archive.
    :param page: path of the page.
    """
    uuid, page = run.node.uuid, shlex.quote(page)
    found = [
        ("prove that the graph is whole, and check every number of this page", f"audit {uuid} --report {page}"),
        ("recompute every accept and reject; run three steps of each kind again", f"replay {uuid} --sample 3"),
        ("this page again", f"report {uuid} -o report"),
    ]
    if run.model is not None:
        found.append(("where the model comes from", f"pedigree {uuid}"))
    if not run.going:
        found.append(("archive, data sets, models, checks in one folder, to publish", f"export {uuid} -o published"))
    if run.going or run.bad:
        found.insert(0, ("where it stands", f"status {uuid}"))
    if run.bad:
        found.insert(1, ("what its processes said", f"verdi process report {run.node.pk}"))
    return [(why, text if text.startswith("verdi") else f"{prefix} {text}") for why, text in found]
