"""Load a profile and find processes, with errors that a user understands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .errors import InputError

#: Workflows that can be followed and resumed like the protocols.
OTHERS = ("production", "reference", "compare", "uncertainty")
#: How the loaded profile was named on the command line.
_CHOICE: dict[str, str] = {}


def load(profile: str | None, path: Path | None) -> Any:
    """Load a profile.

    :param profile: name of one of the user's profiles; None takes the default.
    :param path: folder of an isolated profile, in place of the user's; or an archive, which is opened in place.
    :raises InputError: if there is none.
    """
    from aiida_slhmc.engine import profile as profiles

    remember(profile, path)
    if path is not None and path.is_file():
        try:
            return profiles.open_archive(path)
        except profiles.NoProfile as error:
            raise InputError(f"--path: {error}") from error
    if path is not None and not (path / ".aiida" / "config.json").exists():
        raise InputError(f"--path: there is no isolated profile in '{path}'; 'quickstart --keep' makes one.")
    try:
        return profiles.isolated_profile(path) if path is not None else profiles.load_existing(profile)
    except profiles.NoProfile as error:
        raise InputError(str(error)) from error


def remember(profile: str | None, path: Path | None) -> None:
    """Remember how the profile was named, for the commands that are suggested to the user.

    :param profile: name of the profile.
    :param path: folder of an isolated profile.
    """
    _CHOICE.clear()
    if path is not None:
        _CHOICE["--path"] = str(path)
    elif profile is not None:
        _CHOICE["--profile"] = profile


def prefix() -> str:
    """Return the command, with the options that name the loaded profile."""
    return " ".join(["aiida-slhmc", *(f"{option} {value}" for option, value in _CHOICE.items())])


def _load_node(identifier: str, what: str) -> Any:
    from aiida import orm
    from aiida.common import MultipleObjectsError, NotExistent

    try:
        return orm.load_node(int(identifier)) if identifier.isdigit() else orm.load_node(identifier)
    except (NotExistent, MultipleObjectsError, ValueError) as error:
        raise InputError(f"there is no {what} '{identifier}' in this profile: {error}") from error


def load_process(identifier: str) -> Any:
    """Return a process node by PK or UUID.

    :param identifier: PK or UUID.
    :raises InputError: if there is none, or it is not a process.
    """
    from aiida import orm

    node = _load_node(identifier, "process")
    if not isinstance(node, orm.ProcessNode):
        raise InputError(f"node {identifier} is a {type(node).__name__}, not a process.")
    return node


def load_model(identifier: str) -> Any:
    """Return a model by PK or UUID, or the one that a run ended with.

    :param identifier: PK or UUID of a model or of a process with the output ``model``.
    :raises InputError: if there is none.
    """
    from aiida import orm

    from aiida_slhmc.data import MaceModelData

    node = found = _load_node(identifier, "model or run")
    if isinstance(node, orm.ProcessNode):
        if "model" not in node.outputs:
            raise InputError(f"process {identifier} ({node.process_label}) has no output 'model' (yet).")
        found = node.outputs.model
    if isinstance(found, MaceModelData):
        return found
    if isinstance(node, orm.ProcessNode):
        raise InputError(f"run {identifier} proposed with a level of theory: it made no model.")
    raise InputError(f"node {identifier} is a {type(node).__name__}, neither a model nor a run that made one.")


def load_models(identifier: str) -> list[Any]:
    """Return a model by PK or UUID, or all that a run was given and returned.

    :param identifier: PK or UUID.
    :raises InputError: if there is none.
    """
    from aiida import orm

    from aiida_slhmc.data import MaceModelData

    node = _load_node(identifier, "model or run")
    found = [node]
    if isinstance(node, orm.ProcessNode):
        found = [*node.base.links.get_incoming().all_nodes(), *node.base.links.get_outgoing().all_nodes()]
    models = {one.uuid: one for one in found if isinstance(one, MaceModelData)}
    if not models:
        raise InputError(f"node {identifier} is a {type(node).__name__}, neither a model nor a run with one.")
    return list(models.values())


def with_level(digest: str) -> dict[str, Any] | None:
    """Return the level of theory of a hash, if a run of this profile was given it as its target.

    :param digest: content hash.
    """
    from aiida import orm

    from aiida_slhmc.targets.level import level_hash

    query = orm.QueryBuilder().append(orm.Dict, tag="level", project="id")
    query.append(orm.ProcessNode, with_incoming="level", edge_filters={"label": {"in": ["level", "target__level"]}})
    for pk in query.distinct().all(flat=True):
        level = orm.load_node(pk).get_dict()
        if level_hash(level) == digest:
            return dict(level)
    return None


def load_run(identifier: str) -> Any:
    """Return the node of a run of a protocol, of production, a reference, a comparison or a trial, by PK or UUID.

    :param identifier: PK or UUID.
    :raises InputError: if it is not one.
    """
    from aiida_slhmc.workflows.runfile import WORKFLOWS, entry_point

    node = load_process(identifier)
    if node.process_type not in [f"aiida.workflows:{entry_point(name)}" for name in (*WORKFLOWS, *OTHERS)]:
        raise InputError(f"process {identifier} is a {node.process_label}, no run of {', '.join(WORKFLOWS)}.")
    return node
