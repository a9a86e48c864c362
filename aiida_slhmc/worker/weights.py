"""Files of weights by their SHA-256: a level of theory names the hash, wherever a machine keeps the file."""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path

from aiida_slhmc import models as shipped

from .errors import TaskError
from .foundations import file_sha256

#: Ending of the files.
ENDING = ".model"


def folder() -> Path:
    """Return the folder where this machine keeps weights: ``$SLHMC_WEIGHTS``, or one in the user's data."""
    own = os.environ.get("SLHMC_WEIGHTS")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "aiida-slhmc" / "weights"


@cache
def shipped_hashes() -> dict[str, str]:
    """Return the names of the models that come with the package by SHA-256."""
    return {file_sha256(shipped.path(name)): name for name in shipped.names()}


def keep(path: str | Path) -> str:
    """Keep a copy of a file of weights under its hash, unless it comes with the package.

    :param path: of the file.
    :returns: its SHA-256.
    """
    digest = file_sha256(path)
    target = folder() / f"{digest}{ENDING}"
    if digest not in shipped_hashes() and not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_suffix(f".{os.getpid()}.part")
        shutil.copyfile(path, draft)
        # In one step: another process must not find half a file.
        os.replace(draft, target)
    return digest


def find(digest: str) -> Path:
    """Return a file of weights: in the job's folder, with the package, or in the folder of this machine.

    Whoever reads it has to compare the hash: a file may have been changed since.

    :param digest: its SHA-256.
    :returns: an existing file.
    :raises TaskError: ``bad_input`` if this machine has none.
    """
    name = f"{digest}{ENDING}"
    if digest in shipped_hashes():
        return shipped.path(shipped_hashes()[digest])
    for place in (Path(), folder()):
        if (place / name).is_file():
            return place / name
    raise TaskError(
        "bad_input",
        f"the weights {digest[:12]}... that the level of theory names are not on this machine: copy their file to "
        f"{folder() / name}.",
    )
