"""``aiida-slhmc labels``: list, show, import and export the labels of a profile."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from .errors import InputError, RunError

#: Digits of a level's hash that are shown.
SHORT = 12
#: Difference in eV/atom beyond which an imported energy contradicts a label that is known: no converged engine differs
#: from itself by as much.
CONFLICT = 1e-3


def _load(context: click.Context) -> None:
    from .session import load

    load(context.obj["profile"], context.obj["path"])


@click.group()
def labels() -> None:
    """List, show, import and export the labels of a profile; runs reuse them (docs/how-to/labels.md)."""


@labels.command("list")
@click.option("--level", "chosen", help="Only this level of theory: the beginning of its hash, or an engine.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def list_labels(context: click.Context, chosen: str | None, as_json: bool) -> None:
    """List the labels by level of theory."""
    _load(context)
    rows = _levels(chosen)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo("There are no labels in this profile." if chosen is None else f"There are no labels of '{chosen}'.")
        return
    names = f"{'level':{SHORT}}  {'engine':10} {'functional':14} {'labels':>7} {'structures':>10} {'imported':>8}"
    click.echo(f"{names}  formulas")
    for row in rows:
        formulas = ", ".join(f"{name} {count}" for name, count in row["formulas"].items())
        click.echo(
            f"{row['level_hash'][:SHORT]}  {row['engine']:10} {row['functional']:14} {row['labels']:7d} "
            f"{row['structures']:10d} {row['imported']:8d}  {formulas}"
        )


@labels.command()
@click.argument("identifier")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def show(context: click.Context, identifier: str, as_json: bool) -> None:
    """Show the label with the PK or UUID IDENTIFIER: what it says, and where it comes from."""
    _load(context)
    row = _describe(_label(identifier))
    if as_json:
        click.echo(json.dumps(row, indent=2))
        return
    for name, value in row.items():
        click.echo(f"{name:14} {value}")


@labels.command()
@click.argument("chosen")
@click.pass_context
def level(context: click.Context, chosen: str) -> None:
    """Print a level of theory as YAML; CHOSEN is the beginning of its hash."""
    import yaml

    _load(context)
    click.echo(yaml.safe_dump(_theory(_one_level(chosen)), sort_keys=False).rstrip())


@labels.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--level", "level_file", required=True, type=click.Path(path_type=Path),
              help="YAML file of the level of theory: engine, functional, parameters.")  # fmt: skip
@click.option("--energy-key", help="Where extended XYZ keeps the energy [default: free_energy, else energy].")
@click.option("--forces-key", help="Where it keeps the forces [default: forces].")
@click.option("--stress-key", help="Where it keeps the stress, in eV/Å³ with ASE's sign [default: stress].")
@click.option("--dry-run", is_flag=True, help="Check everything, then stop before anything is stored.")
@click.pass_context
def import_files(
    context: click.Context, files: tuple[Path, ...], level_file: Path, energy_key: str | None, forces_key: str | None,
    stress_key: str | None, dry_run: bool,
) -> None:  # fmt: skip
    """Import labels from FILES: extended XYZ (eV, Å), vasprun.xml, OUTCAR, or folders of VASP's.

    What is imported is believed: that the numbers are those of the level of theory is yours to know. The energy must be
    the one that the forces are the gradient of: with smearing the free energy.
    """
    _load(context)
    theory = read_level(level_file)
    keys = {"energy": energy_key, "forces": forces_key, "stress": stress_key}
    plans = plan_import(files, theory, keys)
    new = sum(len(plan["frames"]) for plan in plans)
    known = sum(plan["known"] for plan in plans)
    if not dry_run:
        store_import(plans, theory, keys)
    done = "would be imported" if dry_run else "imported"
    click.echo(f"{new} labels {done}, {known} were known already; level of theory {plans[0]['digest'][:SHORT]}.")


@labels.command()
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--level", "chosen", help="Only this level of theory: the beginning of its hash, or an engine.")
@click.option("--force", is_flag=True, help="Write over files that exist.")
@click.pass_context
def export(context: click.Context, output: Path, chosen: str | None, force: bool) -> None:
    """Export labels to OUTPUT, extended XYZ at full precision, with their levels of theory as YAML beside it."""
    import yaml

    _load(context)
    rows = _levels(chosen)
    if not rows:
        raise InputError("there are no labels to export" + ("." if chosen is None else f" of '{chosen}'."))
    theories = {row["level_hash"]: output.with_suffix(f".{row['level_hash'][:SHORT]}.yaml") for row in rows}
    for path in (output, *theories.values()):
        if path.exists() and not force:
            raise InputError(f"'{path}' exists: choose another name, or --force.")
    try:
        count = _write(output, list(theories))
        for digest, path in theories.items():
            path.write_text(yaml.safe_dump(_theory(digest), sort_keys=False))
    except OSError as error:
        raise InputError(f"'{output}' cannot be written: {error.strerror}.") from error
    click.echo(f"{count} labels written to {output}")
    for path in theories.values():
        click.echo(f"level of theory: {path}")


# What the profile holds -----------------------------------------------------------------------------------------------


def _levels(chosen: str | None) -> list[dict[str, Any]]:
    """Return the levels of theory of the labels, with their counts.

    :param chosen: beginning of a hash, or an engine; None: all.
    """
    from aiida import orm

    from aiida_slhmc.data import FramesData
    from aiida_slhmc.data.labels import FORMULA, PREFIX, STRUCTURE

    query = orm.QueryBuilder()
    keys = ["attributes.level_hash", f"attributes.{STRUCTURE}", f"attributes.{FORMULA}"]
    query.append(FramesData, filters={"label": {"like": f"{PREFIX}%"}}, project=keys, tag="label")
    query.append(orm.ProcessNode, with_outgoing="label", edge_filters={"type": "create"}, project="process_type")
    groups: dict[str, dict[str, Any]] = {}
    for digest, structure, formula, maker in query.iterall():
        group = groups.setdefault(digest, {"labels": 0, "structures": set(), "imported": 0, "formulas": {}})
        group["labels"] += 1
        group["structures"].add(structure)
        group["imported"] += "import_labels" in (maker or "")
        group["formulas"][formula] = group["formulas"].get(formula, 0) + 1
    rows = []
    for digest, group in groups.items():
        theory = _theory(digest)
        if chosen is None or digest.startswith(chosen) or theory["engine"] == chosen:
            named = {"level_hash": digest, "engine": theory["engine"], "functional": theory["functional"]}
            rows.append({**named, **group, "structures": len(group["structures"])})
    return sorted(rows, key=lambda row: (row["engine"], row["functional"], row["level_hash"]))


def _one_level(chosen: str) -> str:
    rows = _levels(chosen)
    if len(rows) != 1:
        found = ", ".join(row["level_hash"][:SHORT] for row in rows) or "none"
        raise InputError(f"'{chosen}' must name one level of theory; it names: {found}.")
    return str(rows[0]["level_hash"])


def _theory(digest: str) -> dict[str, Any]:
    """Return a level of theory by its hash, from what a process that made a label of it was given."""
    from aiida import orm

    from aiida_slhmc.data import FramesData
    from aiida_slhmc.targets.level import level_hash

    query = orm.QueryBuilder()
    query.append(FramesData, filters={"attributes.level_hash": digest, "label": {"like": "slhmc-label:%"}}, tag="label")
    query.append(orm.ProcessNode, with_outgoing="label", edge_filters={"type": "create"}, tag="maker")
    query.append(orm.Dict, with_outgoing="maker", edge_filters={"label": "level"}, project="attributes")
    for (attributes,) in query.limit(20).all():
        if level_hash(attributes) == digest:
            return dict(attributes)
    return {"engine": "unknown", "functional": "unknown", "parameters": {}}


def _label(identifier: str) -> Any:
    from aiida import orm
    from aiida.common import MultipleObjectsError, NotExistent

    from aiida_slhmc.data import FramesData
    from aiida_slhmc.data.labels import PREFIX

    try:
        node = orm.load_node(int(identifier)) if identifier.isdigit() else orm.load_node(identifier)
    except (NotExistent, MultipleObjectsError, ValueError) as error:
        raise InputError(f"there is no label '{identifier}' in this profile: {error}") from error
    if not isinstance(node, FramesData) or not node.label.startswith(PREFIX):
        raise InputError(
            f"node {identifier} is a {type(node).__name__}, but no label; 'labels list' shows what there is."
        )
    return node


def _describe(label: Any) -> dict[str, Any]:
    """Return what a label says and where it comes from.

    :param label: its node.
    """
    import numpy as np
    from aiida.common.links import LinkType

    from aiida_slhmc.data.labels import fault_of

    creator = label.creator
    attributes = label.base.attributes.all
    theory = _theory(label.level_hash)
    forces, stress = label.get_array("forces")[0], label.get_array("stresses")[0]
    users = label.base.links.get_incoming(link_type=LinkType.RETURN).all()
    return {
        "pk": label.pk,
        "uuid": label.uuid,
        "formula": attributes["formula"],
        "energy": f"{label.energy!r} eV",
        "largest force": f"{float(np.abs(forces).max()):.6f} eV/Å",
        "stress": "yes" if np.isfinite(stress).all() else "none",
        "engine": theory["engine"],
        "functional": theory["functional"],
        "level_hash": label.level_hash,
        "structure": attributes["structure_sha256"],
        "made by": f"{creator.process_label} <{creator.pk}>" if creator is not None else "nothing",
        "made on": label.ctime.isoformat(timespec="seconds"),
        "asked for by": len([link for link in users if link.link_label == "label"]),
        "valid": fault_of(label, structure=attributes["structure_sha256"], level=label.level_hash) or "yes",
    }


# Import ---------------------------------------------------------------------------------------------------------------


def read_level(path: Path) -> dict[str, Any]:
    """Return the normalised level of theory of a YAML file.

    :param path: of the file.
    :raises InputError: if it is none.
    """
    import yaml

    from aiida_slhmc.targets.level import normalise, validate

    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InputError(f"--level: '{path}' cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"--level: '{path}' is no YAML: {' '.join(str(error).split())[:200]}.") from error
    try:
        validate(content)
        return normalise(content)
    except ValueError as error:
        raise InputError(f"--level: '{path}': {error}") from error


def plan_import(files: Iterable[Path], theory: dict[str, Any], keys: dict[str, str | None]) -> list[dict[str, Any]]:
    """Read all files, check all frames, and say which are news.

    :param files: files, or folders of VASP's.
    :param theory: normalised level of theory.
    :param keys: where extended XYZ keeps energy, forces, stress; None: the default.
    :returns: for each file ``path``, ``kind``, ``frames`` (numbers of those that are new), ``known`` and ``digest``.
    :raises InputError: for anything wrong with any of them: nothing is stored then.
    """
    from aiida_slhmc.data.label_files import locate, read_labels
    from aiida_slhmc.data.labels import GEOMETRY, lookup, structure_hash
    from aiida_slhmc.targets.level import level_hash

    digest = level_hash(theory)
    chosen = {what: key for what, key in keys.items() if key}
    seen: dict[str, float] = {}
    plans = []
    for given in files:
        try:
            path, kind = locate(given)
            labelled = read_labels(path, kind, chosen)
        except ValueError as error:
            raise InputError(str(error)) from error
        plan: dict[str, Any] = {"path": path, "kind": kind, "frames": [], "known": 0, "digest": digest}
        for number, item in enumerate(labelled):
            where = f"frame {number} of '{path}'"
            if item.level_hash is not None and item.level_hash != digest:
                raise InputError(
                    f"{where} says that it is of the level of theory {item.level_hash[:SHORT]}, but --level is "
                    f"{digest[:SHORT]}: import each level with its own file."
                )
            structure = structure_hash(*(item.frame[name][0] for name in GEOMETRY))
            if structure not in seen and (label := lookup(structure, digest)) is not None:
                seen[structure] = label.energy
            if structure not in seen:
                seen[structure] = item.energy
                plan["frames"].append(number)
                continue
            n_atoms = item.frame["numbers"].shape[1]
            if abs(seen[structure] - item.energy) > CONFLICT * n_atoms:
                raise InputError(
                    f"{where} has the energy {item.energy:.6f} eV, but a label of the same structure at the same level "
                    f"of theory has {seen[structure]:.6f} eV: is it the right level, and the free energy?"
                )
            plan["known"] += 1
        plans.append(plan)
    return plans


def store_import(plans: Iterable[dict[str, Any]], theory: dict[str, Any], keys: dict[str, str | None]) -> None:
    """Store the files and make their labels.

    :param plans: of :func:`plan_import`.
    :param theory: normalised level of theory.
    :param keys: where extended XYZ keeps energy, forces, stress; None: the default.
    :raises RunError: if a process failed.
    """
    from aiida import orm

    from aiida_slhmc.calculations.import_labels import BATCH, import_labels

    level_node = orm.Dict(theory)
    for plan in plans:
        frames = plan["frames"]
        if not frames:
            continue
        source = orm.SinglefileData(plan["path"].resolve(), filename=plan["path"].name)
        for begin in range(0, len(frames), BATCH):
            selection = orm.Dict({"kind": plan["kind"], "keys": keys, "frames": frames[begin : begin + BATCH]})
            _, node = import_labels.run_get_node(source=source, level=level_node, selection=selection)
            if not node.is_finished_ok:
                raise RunError(f"the import of '{plan['path']}' failed: {node.exit_message}")


# Export ---------------------------------------------------------------------------------------------------------------


def _write(output: Path, digests: list[str]) -> int:
    """Write labels one by one, each structure of a level once; the file has its name when it is complete."""
    from aiida_slhmc.data.label_files import format_frame
    from aiida_slhmc.data.labels import STRUCTURE, iterate_labels

    partial = output.with_name(output.name + ".part")
    count = 0
    with partial.open("w", encoding="utf-8") as stream:
        for digest in digests:
            theory = _theory(digest)
            done = set()
            for label in iterate_labels(digest):
                structure = label.base.attributes.get(STRUCTURE)
                if structure in done:
                    continue
                done.add(structure)
                creator = label.creator
                info = {
                    "level_hash": digest,
                    "engine": theory["engine"],
                    "functional": theory["functional"],
                    "label_uuid": label.uuid,
                    "origin": "unknown" if creator is None else creator.process_label,
                }
                stream.write(format_frame(label.arrays, info))
                count += 1
    os.replace(partial, output)
    return count
