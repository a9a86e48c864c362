"""Which files may be loaded: a model is a pickle, which does what it says, and an archive is somebody else's data.

What this configuration of AiiDA made or was given by its user is entered in a list of hashes beside AiiDA's own
configuration, when it is stored; an import never passes there. So nothing needs to be known of how a node came into a
profile: content that is not on the list, and does not come with the package, is not loaded before its user says so.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

#: Name of the list.
FILE = "slhmc-trusted.json"
#: Kinds of content: a model by the SHA-256 of its file, a level of theory that names code by its content hash.
MODEL, LEVEL = "model", "level"
#: Why something is trusted.
MADE, SAID = "made here", "trusted by the user"


class Untrusted(ValueError):
    """What was to be loaded is not known to be harmless."""


def path() -> Path:
    """Return where the list of this configuration lies."""
    from aiida.manage.configuration.settings import AiiDAConfigDir

    return Path(AiiDAConfigDir.get()) / FILE


def entries() -> dict[str, dict[str, Any]]:
    """Return the list: ``what``, ``why`` and ``since``, by hash.

    :raises ValueError: if the file is broken.
    """
    try:
        content = json.loads(path().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"the list of trusted models '{path()}' cannot be read: {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"the list of trusted models '{path()}' holds a {type(content).__name__}, not a mapping.")
    return content


def trust(digests: Iterable[str], what: str = MODEL, why: str = SAID) -> None:
    """Enter hashes in the list; those that are there keep their entry.

    :param digests: SHA-256.
    :param what: of what kind they are.
    :param why: why they are trusted.
    """
    since = datetime.now(timezone.utc).isoformat(timespec="seconds")
    row = {"what": what, "why": why, "since": since}
    _change(lambda content: {**dict.fromkeys(digests, row), **content})


def distrust(digest: str) -> bool:
    """Strike a hash from the list.

    :param digest: SHA-256.
    :returns: whether it was there.
    """
    known = digest in entries()
    _change(lambda content: {key: row for key, row in content.items() if key != digest})
    return known


def _change(change: Any) -> None:
    """Change the list, one process at a time; a reader finds the old one or the new one."""
    target = path()
    with target.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = entries()
        after = change(before)
        if after != before or not target.exists():
            draft = target.with_suffix(f".{os.getpid()}.part")
            draft.write_text(json.dumps(after, indent=1, sort_keys=True), encoding="utf-8")
            os.replace(draft, target)


def begin() -> None:
    """Begin the list of a new configuration, which holds nothing yet."""
    _change(lambda content: content)


def adopt() -> list[str]:
    """Enter the models of a profile from before the list, but for those that an archive is known to have brought.

    :returns: their hashes.
    """
    from aiida import orm

    from .model import FILENAME, MaceModelData

    query = orm.QueryBuilder().append(orm.ImportGroup, tag="imports")
    brought = set(query.append(MaceModelData, with_group="imports", project="id").all(flat=True))
    models = orm.QueryBuilder().append(MaceModelData, project="*").all(flat=True)
    own = [model for model in models if model.pk not in brought]
    digests = sorted({model.file_sha256 for model in own if FILENAME in model.base.repository.list_object_names()})
    trust(digests, why=SAID)
    return digests


def is_trusted(digest: str) -> bool:
    """Return whether content may be loaded: it comes with the package, was made here, or the user said so.

    :param digest: SHA-256.
    """
    from aiida_slhmc.worker.weights import shipped_hashes

    return digest in shipped_hashes() or digest in entries()


def require(digest: str, name: str) -> None:
    """Refuse content that is not trusted.

    :param digest: SHA-256 of its bytes.
    :param name: of what holds it, for the message.
    :raises Untrusted: with what to do.
    """
    if not is_trusted(digest):
        raise Untrusted(
            f"{name} was not made here, and loading a model runs what its file says: if you trust who sent it, say "
            f"'aiida-slhmc trust {digest}'."
        )


def trust_level(level: Mapping[str, Any]) -> None:
    """Enter a level of theory that the user wrote, if it is of the kind that has to be trusted.

    :param level: normalised level of theory.
    """
    from aiida_slhmc.targets.level import level_hash
    from aiida_slhmc.targets.registry import get_target

    if get_target(level["engine"]).names_code(level):
        trust([level_hash(level)], LEVEL, MADE)


def require_level(level: Mapping[str, Any]) -> None:
    """Refuse a level of theory of unknown origin whose parameters name code or commands.

    :param level: normalised level of theory.
    :raises Untrusted: with what to do.
    :raises ValueError: if its engine is not installed, or it is no level of theory of it.
    """
    from aiida_slhmc.targets.level import level_hash
    from aiida_slhmc.targets.registry import get_target

    target = get_target(level["engine"])
    target.check(level)
    digest = level_hash(level)
    if target.names_code(level) and digest not in entries():
        raise Untrusted(
            f"the level of theory {digest[:12]} (engine '{level['engine']}') names code that computing with it would "
            f"run: look at it, and if you trust it, say 'aiida-slhmc trust {digest}'."
        )
