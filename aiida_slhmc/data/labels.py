"""The labels that a profile holds: found by the content of the structure and of the level of theory.

A label carries the SHA-256 of its structure as an attribute, and a key made of that hash and of the level's as its node
label, a column that the database keeps an index of. The key finds, the content decides: what is found by its key is
handed on only if its arrays are those of the structure that was asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from aiida import orm
from aiida.common.links import LinkType
from ase.symbols import Symbols
from numpy.typing import ArrayLike, NDArray

from aiida_slhmc.targets.level import DIGITS, level_hash

from .content import arrays_hash
from .frames import FramesData

#: Prefix of the node label of a label.
PREFIX = "slhmc-label:"
#: Hexadecimal digits of the key behind it.
KEY_DIGITS = 40
#: Attribute of a label: the hash of its structure.
STRUCTURE = "structure_sha256"
#: Arrays of a frame that make its structure.
GEOMETRY = ("numbers", "positions", "cells", "pbc")
#: Attribute of a label: chemical formula of its structure.
FORMULA = "formula"


def as_stored(values: ArrayLike) -> NDArray[np.float64]:
    """Return floats as AiiDA stores them in attributes: with 14 significant digits.

    :param values: any shape.
    """
    array = np.asarray(values, dtype=np.float64)
    rounded = np.array([float(f"{value:.{DIGITS}g}") for value in array.ravel()], dtype=np.float64)
    # JSON in PostgreSQL knows no negative zero.
    return rounded.reshape(array.shape) + 0.0


def structure_hash(numbers: ArrayLike, positions: ArrayLike, cell: ArrayLike, pbc: ArrayLike) -> str:
    """Return the SHA-256 of a structure: the same before and after it went through a database.

    Equal means equal to the 14 digits that AiiDA stores, in the same order of atoms: a permuted, translated or wrapped
    structure is another one. What is not hashed (names of kinds, masses) changes no energy.

    :param numbers: atomic numbers (N,).
    :param positions: (N, 3) in Å.
    :param cell: (3, 3) in Å, rows are lattice vectors.
    :param pbc: (3,).
    """
    return arrays_hash(
        {
            "numbers": np.asarray(numbers, dtype=np.int64),
            "positions": as_stored(positions),
            "cell": as_stored(cell),
            "pbc": np.asarray(pbc, dtype=bool),
        }
    )


def hash_of(structure: orm.StructureData) -> str:
    """Return the content hash of a structure node, stored or not.

    :param structure: positions and cell in Å.
    """
    atoms = structure.get_ase()
    return structure_hash(atoms.numbers, atoms.get_positions(), atoms.cell[:], atoms.pbc)


def frame_hash(frames: FramesData, row: int = 0) -> str:
    """Return the content hash of the structure of a frame, from its arrays.

    :param frames: labelled frames.
    :param row: which.
    """
    return structure_hash(*(frames.get_array(name)[row] for name in GEOMETRY))


def label_key(structure: str, level: str) -> str:
    """Return the node label of the label of a structure at a level of theory.

    :param structure: content hash of the structure.
    :param level: content hash of the level of theory.
    """
    return PREFIX + hashlib.sha256((structure + level).encode()).hexdigest()[:KEY_DIGITS]


def make_label(frame: Mapping[str, NDArray[Any]], level: Mapping[str, Any]) -> FramesData:
    """Return the unstored node of a label that can be found again.

    :param frame: arrays of one frame, as :class:`FramesData` describes them.
    :param level: normalised level of theory.
    """
    digest = level_hash(level)
    label = FramesData(frame, level_hash=digest)
    numbers = np.asarray(frame["numbers"])[0]
    structure = structure_hash(numbers, frame["positions"][0], frame["cells"][0], frame["pbc"][0])
    label.base.attributes.set_many({STRUCTURE: structure, FORMULA: str(Symbols(numbers).formula.convert("hill"))})
    label.label = label_key(structure, digest)
    return label


def find_label(structure: orm.StructureData, level: Mapping[str, Any]) -> FramesData | None:
    """Return the oldest label of an equal structure at the same level of theory, or None.

    :param structure: positions and cell in Å.
    :param level: normalised level of theory.
    """
    return lookup(hash_of(structure), level_hash(level))


def lookup(structure: str, level: str) -> FramesData | None:
    """Return the oldest valid label by content hashes, or None.

    :param structure: content hash of the structure.
    :param level: content hash of the level of theory.
    """
    query = orm.QueryBuilder()
    # An equality alone uses the index of the column; all else is checked on the few that it leaves.
    query.append(orm.Node, filters={"label": label_key(structure, level)}, project="*", tag="label")
    query.order_by({"label": [{"ctime": "asc"}, {"id": "asc"}]})
    for node in query.all(flat=True):
        if isinstance(node, FramesData) and fault_of(node, structure=structure, level=level) is None:
            return node
    return None


def fault_of(label: FramesData, *, structure: str, level: str) -> str | None:
    """Return what is wrong with a label, None if it is what its key says.

    :param label: a stored node.
    :param structure: content hash that its structure must have.
    :param level: content hash that its level of theory must have.
    """
    attributes = label.base.attributes.all
    if attributes.get("n_frames") != 1:
        return "it is not one frame"
    if attributes.get("level_hash") != level:
        return "it is of another level of theory"
    if attributes.get(STRUCTURE) != structure:
        return "it is of another structure"
    making = orm.QueryBuilder()
    making.append(FramesData, filters={"id": label.pk}, tag="label")
    created = {"type": LinkType.CREATE.value}
    making.append(
        orm.ProcessNode, with_outgoing="label", edge_filters=created, filters={"attributes.exit_status": 0}, tag="maker"
    )
    if not making.count():
        return "no process that finished well made it"
    making.append(orm.Dict, with_incoming="maker", edge_filters={**created, "label": "label_info"})
    if not making.count():
        return "nothing is recorded of how it was made"
    making.append(orm.Dict, with_outgoing="maker", edge_filters={"label": "level"}, project="attributes")
    if [level_hash(given) for (given,) in making.all()] != [level]:
        return "the process that made it was given another level of theory"
    arrays = label.arrays
    if arrays_hash(arrays) != attributes.get("content_sha256"):
        return "its arrays are not those that it was stored with"
    if structure_hash(*(arrays[name][0] for name in GEOMETRY)) != structure:
        return "its arrays are those of another structure"
    return None


def iterate_labels(level: str | None = None) -> Iterator[FramesData]:
    """Yield the labels of a profile one by one, the oldest first.

    :param level: content hash of a level of theory; None: of all levels.
    """
    query = orm.QueryBuilder()
    filters: dict[str, Any] = {"label": {"like": f"{PREFIX}%"}}
    if level is not None:
        filters["attributes.level_hash"] = level
    query.append(FramesData, filters=filters, project="*", tag="label")
    query.order_by({"label": [{"ctime": "asc"}, {"id": "asc"}]})
    yield from (node for (node,) in query.iterall(batch_size=200))
