"""The pedigree of a model for people: a summary, and a model card in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from .pedigree import Generation, Pedigree

#: Digits of a hash that are shown where the whole one stands elsewhere.
SHORT = 12
#: What is said of the kinds of frames.
KINDS = {
    "start": "starting states",
    "accepted": "accepted endpoints",
    "rejected": "rejected endpoints",
    "dynamics": "frames of molecular dynamics",
    "aside": "labels made ahead and not needed by the chain",
}
#: Errors of a fine-tuning that a card shows, with their units.
ERRORS = (
    ("energy_mev_per_atom", "meV/atom"),
    ("forces_mev_per_angstrom", "meV/Å"),
    ("stress_mev_per_cubic_angstrom", "meV/Å³"),
)


def summary(pedigree: Pedigree) -> list[str]:
    """Return the pedigree in lines of text.

    :param pedigree: of a model.
    """
    model, labels = pedigree.model, pedigree.labels
    lines = [
        f"model      <{model['pk']}> {model['state_sha256'][:SHORT]}  {'-'.join(model['symbols'])}  {model['class']}, "
        f"cut-off {model['r_max']:g} Å, {model['dtype']}, {model['parameters']} parameters"
    ]
    lines += [f"  {number:<9}{_line(one)}" for number, one in enumerate(pedigree.generations)]
    lines += [f"run        <{run['pk']}> {run['workflow']}, started {run['started'][:19]}" for run in pedigree.runs]
    lines += [
        f"level      {level['level_hash'][:SHORT]}  {level['engine']} {level['functional']}: {level['labels']} labels"
        for level in pedigree.levels
    ]
    if len(pedigree.generations) > 1:
        lines.append(f"labels     {labels_text(labels)}")
    lines += [f"seed       {row['seed']} ({row['of']})" for row in pedigree.seeds]
    lines.append(f"versions   {versions_text(pedigree.versions)}")
    times = [f"{step} {row['seconds']:.1f} s ({row['steps']:.0f})" for step, row in pedigree.time.items()]
    if times:
        lines.append(f"time       {', '.join(times)}")
    return lines + [f"warning    {text}" for text in pedigree.warnings]


def _line(one: Generation) -> str:
    text = f"<{one.pk}> {one.state_sha256[:SHORT]}"
    if one.step is None:
        return f"{text}  foundation{_named(one)}"
    report = one.training
    frames = report.get("frames")
    count = sum(frames.values()) if isinstance(frames, Mapping) else frames
    text += f"  {one.step} on {count} frames, seed {report.get('seed')}"
    if "epochs" in report:
        text += f", best of epochs 0 to {report['epochs']}: {report['best_epoch']}"
    return text


def _named(one: Generation) -> str:
    return "" if one.name is None else f": {one.name}, which comes with aiida-slhmc"


def labels_text(labels: Mapping[str, Any]) -> str:
    """Return the labels of a pedigree in one line.

    :param labels: ``Pedigree.labels``.
    """
    kinds = ", ".join(f"{count} {KINDS[kind]}" for kind, count in labels["frames_by_kind"].items() if count)
    text = f"{labels['frames']} frames ({kinds or 'none'})"
    if labels["isolated_atoms"]:
        text += f" and {labels['isolated_atoms']} isolated atoms"
    text += f"; {labels['distinct']} distinct labels: {labels['computed']} computed by these runs"
    text += f", {labels['reused']} reused from others, {labels['imported']} imported; {labels['calls']} calls"
    return text + (f"; {labels['missing']} NOT IN THIS PROFILE" if labels["missing"] else "")


def versions_text(versions: Mapping[str, Any]) -> str:
    """Return versions in one line.

    :param versions: ``Pedigree.versions``.
    """
    parts = {"aiida-slhmc": versions["plugin"], "aiida-core": versions["aiida"], **versions["packages"]}
    parts |= {f"engine {name}": found for name, found in versions["engines"].items()}
    return ", ".join(f"{name} {' and '.join(found)}" for name, found in parts.items() if found)


def model_card(pedigree: Pedigree, licence: str | None = None, citation: str | None = None) -> str:
    """Return the model card in Markdown.

    :param pedigree: of the model.
    :param licence: of the weights; None: not stated.
    :param citation: how to cite; None: not stated.
    """
    model = pedigree.model
    parts = [f"# Model card: {'-'.join(model['symbols'])}, {model['state_sha256'][:SHORT]}", ""]
    parts += _table(
        ("", ""),
        [
            ("class", model["class"]),
            ("elements", ", ".join(model["symbols"])),
            ("cut-off radius", f"{model['r_max']:g} Å"),
            ("interactions", model["interactions"]),
            ("parameters", model["parameters"]),
            ("precision", model["dtype"]),
            ("heads", ", ".join(map(str, model["heads"]))),
            ("SHA-256 of the weights (sorted state dict)", f"`{model['state_sha256']}`"),
            ("SHA-256 of the file", f"`{model['file_sha256']}`"),
            ("AiiDA node", f"`{model['uuid']}`, {model['created'][:19]}"),
            ("licence", licence or "not stated"),
            ("citation", citation or "not stated"),
        ],
    )
    parts += ["", "The file is a pickle: loading it runs what it says. Compare its SHA-256 before you load it.", ""]
    parts += ["## Lineage", "", *_lineage(pedigree)]
    parts += ["", "## Labels", "", f"{labels_text(pedigree.labels)}.", ""]
    for level in pedigree.levels:
        theory = {key: level[key] for key in ("engine", "functional", "parameters")}
        parts += [f"### Level of theory `{level['level_hash']}`: {level['labels']} labels", "", "```yaml"]
        parts += [yaml.safe_dump(theory, sort_keys=False, allow_unicode=True).rstrip(), "```", ""]
    parts += ["## Trainings", "", *_trainings(pedigree), "", "## Runs, seeds, versions", ""]
    parts += [f"- {run['workflow']} `{run['uuid']}`, started {run['started'][:19]}" for run in pedigree.runs]
    parts += [f"- seed {row['seed']}: {row['of']}" for row in pedigree.seeds]
    parts += [f"- {versions_text(pedigree.versions)}"]
    parts += [f"- code {code['label']} `{code['uuid']}`" for code in pedigree.codes]
    parts += ["", "## Cost", ""]
    parts += _table(
        ("step", "number", "compute time (s)"),
        [(step, f"{row['steps']:.0f}", f"{row['seconds']:.1f}") for step, row in pedigree.time.items()],
    )
    parts += ["", f"Calls of the target's engine: {pedigree.labels['calls']}.", ""]
    if pedigree.warnings:
        parts += ["## Warnings", "", *(f"- {text}" for text in pedigree.warnings), ""]
    return "\n".join(parts)


def _lineage(pedigree: Pedigree) -> list[str]:
    rows = []
    for number, one in enumerate(pedigree.generations):
        made = f"foundation{_named(one)}" if one.step is None else f"{one.step} `{one.process}`"
        rows.append((number, f"`{one.uuid}`", f"`{one.state_sha256}`", f"`{one.file_sha256}`", made))
    return _table(("generation", "node", "weights", "file", "made by"), rows)


def _trainings(pedigree: Pedigree) -> list[str]:
    rows, settings = [], []
    for number, one in enumerate(pedigree.generations):
        report = one.training
        if not report:
            continue
        best = (report.get("errors") or {}).get("best", {})
        errors = "; ".join(f"{best[key]:.4g} {unit}" for key, unit in ERRORS if best.get(key) is not None)
        frames = report.get("frames")
        shown = " + ".join(str(count) for count in frames.values()) if isinstance(frames, Mapping) else frames
        rows.append(
            (number, one.step, report.get("seed"), shown, report.get("epochs"), report.get("best_epoch"), errors)
        )
        settings.append((number, one.hyperparameters))
    names = (
        "generation",
        "step",
        "seed",
        "frames (train + valid + test)",
        "epochs",
        "best epoch",
        "errors on validation",
    )
    lines = _table(names, rows)
    previous = None
    for number, values in settings:
        if values != previous:
            lines += ["", f"Hyperparameters from generation {number} on:", "", "```yaml"]
            lines += [yaml.safe_dump(values, sort_keys=True, allow_unicode=True).rstrip(), "```"]
        previous = values
    return lines


def _table(names: Iterable[str], rows: Iterable[Iterable[Any]]) -> list[str]:
    head = list(names)
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join("" if cell is None else str(cell) for cell in row) + " |" for row in rows]
