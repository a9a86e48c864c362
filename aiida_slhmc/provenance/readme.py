"""The README of a published folder: what a reviewer needs to check everything, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING

from aiida import orm

from aiida_slhmc.data import MaceModelData

from .export import ARCHIVE, ExportPlan

if TYPE_CHECKING:
    from .publish import About

TEXT = """# {title}

{description}

Licence of the data: {licence} ({terms}). How to cite: `CITATION.cff`.

Made with aiida-slhmc {version}: self-learning hybrid Monte Carlo for machine-learned potentials, with the provenance of
every number. This folder holds all that is needed to trace and to recompute them.

| path | holds |
|---|---|
| `{archive}` | the AiiDA archive: every run with all that it was made of |
{files}| `checks/` | what the audit and the recomputed decisions said when the archive was written |
| `environment/` | versions of everything that was installed then |
| `SHA256SUMS` | checksums of all files |

## Runs

| run | UUID | started |
|---|---|---|
{runs}
{others}
## Check it

Nothing is imported, and no service is needed: the archive is opened in place, read only. Python 3.10 or later:

```
sha256sum --check SHA256SUMS
python3 -m venv venv && . venv/bin/activate
pip install "aiida-slhmc[worker]=={version}"      # or from its repository; exact versions: environment/requirements.txt
{commands}```

- `audit` proves that the graph is whole: nothing without a maker, every random number from a declared seed, every frame
  of the data sets identical with its label, every file with the hash that it was stored under. With `--report` it also
  checks every number of the report against the node that it comes from.
- `replay` recomputes every accept and reject from stored numbers, in seconds. `--sample 3` runs three steps of each
  kind again (proposals, labels, trainings, ...) and compares; `--all` all of them.
- `pedigree` tells where the model comes from: parents, levels of theory, labels, seeds, versions, cost.

Models are pickles: loading one runs what its file says, so that none is loaded before you say that you trust it.
`audit`, `pedigree` and `replay` without `--sample` load none. For the rest compare the hashes below with those of the
publication, then say `aiida-slhmc trust SHA256`.

{models}
To look around with AiiDA's own tools, make a read-only profile of the archive:

```
verdi profile setup core.sqlite_zip --non-interactive --no-set-as-default --broker none --profile-name review \\
    --filepath "$PWD/{archive}"
verdi --profile review process list --all
aiida-slhmc --profile review audit {first}
```

## What is not in it

What lies on the computers that ran the jobs stayed there ({remote} folders are named). {vasp}Names of computers and
e-mail addresses of users are part of an AiiDA archive.
"""


def readme(
    runs: Sequence[orm.ProcessNode],
    plan: ExportPlan,
    about: About,
    terms: str,
    frames: Mapping[str, int],
    models: Mapping[str, MaceModelData],
    report: str,
) -> str:
    """Return the README.

    :param runs: what was exported.
    :param plan: of the archive.
    :param about: title, description, licence.
    :param terms: address of the licence.
    :param frames: number of frames by file.
    :param models: by file.
    :param report: path of the report's page, or of its folder if it is another's; empty: there is none.
    """
    files = [
        f"| `dataset/{name}` | {count} labelled frames, extended XYZ at full precision (eV, Å, eV/Å, eV/Å³) |\n"
        for name, count in frames.items()
    ]
    if frames:
        files.append("| `dataset/level-*.yaml` | the levels of theory, by the hash that each frame names |\n")
    files += [f"| `models/{name}` | the model, with its card (`.md`), pedigree (`.json`) and lineage (`.svg`) |\n"
              for name in models]  # fmt: skip
    if report:
        files.append("| `report/` | the report: open its page in a browser |\n")
    commands = []
    traced = f" --report {report}" if report.endswith(".html") else ""
    for run in runs:
        commands.append(f"aiida-slhmc --path {ARCHIVE} audit {run.uuid}{traced if run == runs[0] else ''}\n")
        commands.append(f"aiida-slhmc --path {ARCHIVE} replay {run.uuid}\n")
        if isinstance(run.outputs.model if "model" in run.outputs else None, MaceModelData):
            commands.append(f"aiida-slhmc --path {ARCHIVE} pedigree {run.uuid}\n")
    hashes = [f"| `models/{name}` | `{model.file_sha256}` |" for name, model in models.items()]
    others = "".join(f"- {name}\n" for name in plan.others)
    return TEXT.format(
        title=about.title,
        description=about.description,
        licence=about.licence,
        terms=terms,
        version=metadata.version("aiida-slhmc"),
        archive=ARCHIVE,
        files="".join(files),
        runs="\n".join(
            f"| {run.process_label} | `{run.uuid}` | {run.ctime.isoformat(timespec='seconds')} |" for run in runs
        ),
        others=f"\nLabels of these runs were reused, so that they are in the archive, too:\n\n{others}"
        if others
        else "",
        commands="".join(commands),
        models="\n".join(["| model | SHA-256 of its file |", "|---|---|", *hashes, ""]) if hashes else "",
        first=runs[0].uuid,
        remote=plan.remote,
        vasp="POTCARs are not in it: the levels of theory name them by their SHA-512. "
        if any("vasp" in kind for kind in plan.nodes)
        else "",
    )
