"""Load a profile and find processes, with errors that a user understands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .errors import InputError

#: How the loaded profile was named on the command line.
_CHOICE: dict[str, str] = {}


def load(profile: str | None, path: Path | None) -> Any:
    """Load a profile.

    :param profile: name of one of the user's profiles; None takes the default.
    :param path: folder of an isolated profile, in place of the user's.
    :raises InputError: if there is none.
    """
    from aiida_slhmc.engine import profile as profiles

    remember(profile, path)
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


def load_process(identifier: str) -> Any:
    """Return a process node by PK or UUID.

    :param identifier: PK or UUID.
    :raises InputError: if there is none, or it is not a process.
    """
    from aiida import orm
    from aiida.common import MultipleObjectsError, NotExistent

    try:
        node = orm.load_node(int(identifier)) if identifier.isdigit() else orm.load_node(identifier)
    except (NotExistent, MultipleObjectsError, ValueError) as error:
        raise InputError(f"there is no process '{identifier}' in this profile: {error}") from error
    if not isinstance(node, orm.ProcessNode):
        raise InputError(f"node {identifier} is a {type(node).__name__}, not a process.")
    return node


def load_run(identifier: str) -> Any:
    """Return the node of a run of one of the protocols, or of production, by PK or UUID.

    :param identifier: PK or UUID.
    :raises InputError: if it is not one.
    """
    from aiida_slhmc.workflows.runfile import WORKFLOWS

    node = load_process(identifier)
    if node.process_type not in [f"aiida.workflows:slhmc.{name}" for name in (*WORKFLOWS, "production")]:
        raise InputError(f"process {identifier} is a {node.process_label}, no run of {', '.join(WORKFLOWS)}.")
    return node
