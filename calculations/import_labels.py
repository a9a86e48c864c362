"""Import labels: frames of a file, at a level of theory that the user states, become labels that can be found."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import calcfunction

from aiida_slhmc.data.label_files import Labelled, read_labels
from aiida_slhmc.data.labels import make_label
from aiida_slhmc.targets.level import level_hash

from . import base

#: Labels that one process makes: few links a process (docs/decisions).
BATCH = 16
#: Prefix of the outputs.
LABEL = "label_"


@lru_cache(maxsize=1)
def _frames(uuid: str, kind: str, keys: tuple[tuple[str, str], ...]) -> list[Labelled]:
    """Return all frames of a stored file: read once, however many batches they make."""
    source = orm.load_node(uuid)
    with tempfile.TemporaryDirectory() as folder:
        # Never under a name that the node says: it may come from an archive.
        file = Path(folder) / "labels"
        file.write_bytes(source.get_content(mode="rb"))
        return read_labels(file, kind, dict(keys), source.filename)


@calcfunction
def import_labels(source: orm.SinglefileData, level: orm.Dict, selection: orm.Dict) -> Any:
    """Make labels of frames of a file.

    :param source: the file.
    :param level: level of theory of all its labels, as the user states it.
    :param selection: ``kind`` (format), ``keys`` (where energy, forces and stress are kept), ``frames`` (numbers).
    :returns: ``label_<frame>``, and ``label_info`` for all of them.
    """
    chosen = selection.get_dict()
    keys = tuple(sorted((key, value) for key, value in chosen["keys"].items() if value))
    try:
        labelled = _frames(source.uuid, chosen["kind"], keys)
    except ValueError as error:
        return base.exit_code("bad_input", str(error))
    theory = level.get_dict()
    digest = level_hash(theory)
    labels: dict[str, orm.Data] = {}
    for number in chosen["frames"]:
        if not 0 <= number < len(labelled):
            return base.exit_code("bad_input", f"'{source.filename}' has {len(labelled)} frames, no frame {number}.")
        stated = labelled[number].level_hash
        if stated is not None and stated != digest:
            return base.exit_code(
                "bad_input", f"frame {number} of '{source.filename}' is of the level of theory {stated[:12]}."
            )
        labels[f"{LABEL}{number:06d}"] = make_label(labelled[number].frame, theory)
    info = {
        "converged": True, "scf_steps": None, "engine": theory["engine"], "version": None, "wall_time": None,
        "imported": True, "file": source.filename, "level_hash": digest,
    }  # fmt: skip
    return {**labels, "label_info": orm.Dict(info)}
