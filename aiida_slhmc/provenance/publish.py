"""A folder that can be published: the archive, data sets, models with their cards, checks, metadata, checksums."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import yaml
from aiida import orm

from aiida_slhmc.data import MaceModelData

from . import drawing, frames_out
from .audit import audit
from .card import model_card
from .decisions import recompute
from .export import ARCHIVE, ExportPlan, NotExportable, plan_export, write_archive
from .pedigree import pedigree
from .readme import readme

#: What has to be filled in by hand.
BLANK = "FILL IN"
#: Licences of data by the names that repositories take.
LICENCES = {
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/legalcode",
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/legalcode",
    "CC-BY-SA-4.0": "https://creativecommons.org/licenses/by-sa/4.0/legalcode",
    "MIT": "https://opensource.org/license/mit",
}
SUMS = "SHA256SUMS"
#: The page of a report of ours, whose numbers an audit can check.
TRACED = "report/report.html"


@dataclass(frozen=True)
class About:
    """Say what a repository wants to know.

    :param title: of the record.
    :param description: in a few sentences.
    :param authors: ``family``, ``given``, and if known ``affiliation``, ``orcid``.
    :param licence: one of :data:`LICENCES`.
    :param keywords: of the record.
    :param related: DOIs of what it belongs to.
    """

    title: str = BLANK
    description: str = BLANK
    authors: tuple[Mapping[str, str], ...] = ()
    licence: str = "CC-BY-4.0"
    keywords: tuple[str, ...] = ("AiiDA", "MACE", "hybrid Monte Carlo", "machine-learned potentials", "provenance")
    related: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.licence not in LICENCES:
            raise ValueError(f"licence '{self.licence}' is not known; known are {', '.join(LICENCES)}.")
        for author in self.authors:
            if not isinstance(author, Mapping) or not author.get("family"):
                raise ValueError(f"an author needs 'family' (and 'given', 'affiliation', 'orcid'), not {author!r}.")

    @property
    def blank(self) -> list[str]:
        """Return what has to be filled in."""
        found = [name for name in ("title", "description") if getattr(self, name) == BLANK]
        return found if self.authors else [*found, "authors"]


def read_about(path: Path | None) -> About:
    """Read what a repository wants to know from a YAML file.

    :param path: of the file; None: everything is left blank.
    :raises ValueError: with one sentence.
    """
    if path is None:
        return About()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"'{path}' cannot be read as YAML: {' '.join(str(error).split())[:200]}.") from error
    names = About.__dataclass_fields__
    unknown = sorted(set(content) - set(names)) if isinstance(content, dict) else ["a list"]
    if unknown:
        raise ValueError(f"'{path}' has '{unknown[0]}'; known are {', '.join(names)}.")
    lists = {name: tuple(content[name]) for name in ("authors", "keywords", "related") if name in content}
    return About(**{**content, **lists})


@dataclass
class Published:
    """Say what was written.

    :param folder: where.
    :param plan: of the archive.
    :param files: paths in the folder.
    :param frames: number of frames by file.
    :param audits: by run, whether its audit passed.
    """

    folder: Path
    plan: ExportPlan
    files: list[str] = field(default_factory=list)
    frames: dict[str, int] = field(default_factory=dict)
    audits: dict[str, bool] = field(default_factory=dict)


def publish(
    runs: Sequence[orm.ProcessNode], folder: Path, about: About, *, report: Path | None = None, callers: bool = True
) -> Published:
    """Write a folder that a reviewer can check and a repository can take.

    :param runs: processes that have ended.
    :param folder: a new or empty folder.
    :param about: what a repository wants to know.
    :param report: a folder with the report of the runs, to be copied.
    :param callers: as for :func:`aiida_slhmc.provenance.export.plan_export`.
    :raises NotExportable: for what cannot or may not be exported; nothing is written then.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise NotExportable(f"'{folder}' exists and is not an empty folder: choose another name.")
    if report is not None and not report.is_dir():
        raise NotExportable(f"there is no folder '{report}' with a report.")
    done = Published(folder, plan_export(runs, callers))
    # In a folder beside it, so that none is left half written.
    draft = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        write_archive(runs, draft / ARCHIVE, callers)
        _write_frames(runs, draft / "dataset", done)
        models = _write_models(runs, draft / "models", about)
        _write_checks(runs, draft / "checks", done)
        _write_environment(draft / "environment")
        if report is not None:
            # What a link points to lies outside the report.
            shutil.copytree(report, draft / "report", ignore=_links)
        shown = "" if report is None else "report"
        if (draft / TRACED).is_file():
            shown = TRACED
        text = readme(runs, done.plan, about, LICENCES[about.licence], done.frames, models, shown)
        (draft / "README.md").write_text(text, encoding="utf-8")
        _write_metadata(draft, about)
        done.files = _write_sums(draft)
        if folder.exists():
            folder.rmdir()
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return done


def _links(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if (Path(folder) / name).is_symlink()]


def _write_frames(runs: Sequence[orm.ProcessNode], folder: Path, done: Published) -> None:
    folder.mkdir()
    seen: dict[tuple[str, ...], str] = {}
    for run in runs:
        for name, chunks in frames_out.frame_sets(run):
            # Runs on one dataset return the same node.
            key = tuple(chunk.uuid for chunk, _ in chunks)
            if key in seen:
                continue
            seen[key] = file = f"{name}-{run.uuid[:8]}.extxyz"
            done.frames[file] = frames_out.write_frames(chunks, folder / file)
            frames_out.write_levels([chunk for chunk, _ in chunks], folder)


def _write_models(runs: Sequence[orm.ProcessNode], folder: Path, about: About) -> dict[str, MaceModelData]:
    """Write the models that runs ended with, each with its card, its pedigree and a picture of its lineage."""
    folder.mkdir()
    written: dict[str, MaceModelData] = {}
    for run in runs:
        for name, model in _final_models(run).items():
            stem = f"{re.sub('[^A-Za-z0-9_]', '_', name)}-{model.uuid[:8]}"
            if f"{stem}.model" in written:
                continue
            found = pedigree(model)
            (folder / f"{stem}.model").write_bytes(model.get_content(mode="rb"))
            (folder / f"{stem}.md").write_text(model_card(found, about.licence, about.title), encoding="utf-8")
            (folder / f"{stem}.svg").write_text(drawing.svg(found), encoding="utf-8")
            (folder / f"{stem}.json").write_text(json.dumps(found.as_dict(), indent=1), encoding="utf-8")
            written[f"{stem}.model"] = model
    return written


def _final_models(run: orm.ProcessNode) -> dict[str, MaceModelData]:
    """Return the models that a run ended with; those after each block are in the archive."""
    links = run.base.links.get_outgoing(node_class=MaceModelData).all()
    return {link.link_label: link.node for link in links if not link.link_label.startswith("models__")}


def _write_checks(runs: Sequence[orm.ProcessNode], folder: Path, done: Published) -> None:
    """Write what the audit and the recomputed decisions said here, for a reviewer to compare with."""
    folder.mkdir()
    for run in runs:
        found = audit(run)
        done.audits[run.uuid] = found.passed
        (folder / f"audit-{run.uuid[:8]}.json").write_text(json.dumps(found.as_dict(), indent=1), encoding="utf-8")
        chains = recompute(run).as_dict()
        (folder / f"decisions-{run.uuid[:8]}.json").write_text(json.dumps(chains, indent=1), encoding="utf-8")


def _write_environment(folder: Path) -> None:
    """Write the versions of everything that is installed here."""
    folder.mkdir()
    found = sorted({f"{dist.name}=={dist.version}" for dist in metadata.distributions() if dist.name})
    (folder / "requirements.txt").write_text("\n".join(found) + "\n", encoding="utf-8")
    machine = {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine()}
    (folder / "platform.json").write_text(json.dumps(machine, indent=1), encoding="utf-8")


def _write_metadata(folder: Path, about: About) -> None:
    """Write the metadata that repositories read: Zenodo's own file, one for Materials Cloud, and a citation."""
    names = [", ".join(part for part in (a["family"], a.get("given", "")) if part) for a in about.authors]
    creators = [
        {"name": name, **{key: author[key] for key in ("affiliation", "orcid") if author.get(key)}}
        for name, author in zip(names, about.authors, strict=True)
    ]
    zenodo = {
        "title": about.title,
        "upload_type": "dataset",
        "description": about.description,
        "creators": creators or [{"name": BLANK}],
        "license": about.licence.lower(),
        "keywords": list(about.keywords),
        "related_identifiers": [{"identifier": doi, "relation": "isSupplementTo"} for doi in about.related],
    }
    (folder / ".zenodo.json").write_text(json.dumps(zenodo, indent=1, ensure_ascii=False), encoding="utf-8")
    cloud = {
        "title": about.title,
        "description": about.description,
        "authors": [dict(author) for author in about.authors],
        "license": about.licence,
        "keywords": list(about.keywords),
        "references": [{"type": "journal reference", "doi": doi} for doi in about.related],
        "files": [{"name": ARCHIVE, "description": "AiiDA archive with the whole provenance; open it with 'Explore'."}],
    }
    text = yaml.safe_dump(cloud, sort_keys=False, allow_unicode=True)
    (folder / "materialscloud.yaml").write_text(text, encoding="utf-8")
    citation = {
        "cff-version": "1.2.0",
        "message": "If you use these data, please cite them and the program that made them.",
        "type": "dataset",
        "title": about.title,
        "authors": [
            {"family-names": a["family"], **({"given-names": a["given"]} if a.get("given") else {})}
            for a in about.authors
        ] or [{"name": BLANK}],
        "license": about.licence,
    }  # fmt: skip
    text = yaml.safe_dump(citation, sort_keys=False, allow_unicode=True)
    (folder / "CITATION.cff").write_text(text, encoding="utf-8")
    (folder / "LICENSE.txt").write_text(f"{about.licence}\n{LICENCES[about.licence]}\n", encoding="utf-8")


def _write_sums(folder: Path) -> list[str]:
    """Write the SHA-256 of all files, as ``sha256sum --check`` reads them.

    :returns: the paths, relative to the folder.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    lines, names = [], []
    for path in paths:
        name = path.relative_to(folder).as_posix()
        names.append(name)
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while piece := stream.read(1 << 20):
                digest.update(piece)
        lines.append(f"{digest.hexdigest()}  {name}")
    (folder / SUMS).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [*names, SUMS]
