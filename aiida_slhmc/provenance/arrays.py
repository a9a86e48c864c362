"""Arrays of many nodes at once: opening the repository for each of them costs more than all the rest."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from aiida import orm
from aiida.manage import get_manager
from aiida.repository import Repository
from numpy.typing import NDArray

from .links import batches

#: Ending of the files of arrays in a node.
ENDING = ".npy"


def read_arrays(pks: Iterable[int], names: Iterable[str]) -> dict[int, dict[str, NDArray[Any]]]:
    """Return arrays of nodes by primary key and name; a name that a node lacks is left out.

    :param pks: primary keys of nodes that hold arrays.
    :param names: of the arrays.
    :raises ValueError: for a file that is no plain array: one that holds objects is never unpickled.
    """
    wanted = {f"{name}{ENDING}": name for name in names}
    keys: dict[int, dict[str, str]] = {}
    for batch in batches(pks):
        query = orm.QueryBuilder()
        query.append(orm.Data, filters={"id": {"in": batch}}, project=["id", "repository_metadata"])
        for pk, metadata in query.all():
            files = Repository.flatten(metadata)
            keys[pk] = {wanted[path]: key for path, key in files.items() if path in wanted and key is not None}
    arrays = _load({key for files in keys.values() for key in files.values()})
    return {pk: {name: arrays[key] for name, key in files.items()} for pk, files in keys.items()}


def _load(keys: set[str]) -> Mapping[str, NDArray[Any]]:
    """Return arrays by their keys in the repository, whatever number of nodes holds them."""
    repository = get_manager().get_profile_storage().get_repository()
    return {
        key: np.load(io.BytesIO(stream.read()), allow_pickle=False)
        for batch in batches(sorted(keys))
        for key, stream in repository.iter_object_streams(batch)
    }
