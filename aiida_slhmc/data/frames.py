"""Labelled frames: one immutable block of structures with target energies, forces and stresses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from aiida import orm
from aiida.common import ValidationError
from numpy.typing import NDArray

from .content import arrays_hash

#: Per-frame arrays that every block has, with their shape behind the frame axis (N: number of atoms).
REQUIRED = {
    "numbers": ("N",),
    "positions": ("N", 3),
    "cells": (3, 3),
    "pbc": (3,),
    "energies": (),
    "forces": ("N", 3),
    "stresses": (3, 3),
}
#: What a block from a chain adds: where the frame came from and what the Metropolis test said of it.
BOOKKEEPING = ("chain", "cycle", "accepted", "probability", "delta", "length", "temperature")
#: One row a chain: chain, first and last cycle that the block covers, whether it is a production block.
SPAN = "span"
#: One row a swap that replica exchange tried: cycle after which, one chain, the other, whether it was accepted.
SWAPS = "swaps"
#: One row a cycle that was rejected because its label failed: chain, cycle. Only where there are such.
FAILURES = "label_failures"


class FramesData(orm.ArrayData):
    """Hold labelled frames of one composition.

    Arrays (F frames of N atoms): ``numbers`` (F, N); ``positions`` (F, N, 3) in Å; ``cells`` (F, 3, 3) in Å, rows are
    lattice vectors; ``pbc`` (F, 3); ``energies`` (F,) total energies in eV; ``forces`` (F, N, 3) in eV/Å; ``stresses``
    (F, 3, 3) in eV/Å³ with ASE's sign, NaN where the engine gives none. A block collected from chains also has
    ``chain``, ``cycle`` (-1: the starting state), ``accepted``, ``probability``, ``delta`` (eV), ``length`` (steps),
    ``temperature`` (K), each (F,), ``span`` (chains, 4): chain, first cycle, last cycle, production flag, and ``swaps``
    (swaps, 4) of replica exchange: cycle, one chain, the other, accepted; and ``label_failures`` (failures, 2), chain
    and cycle, where the failure policy rejected endpoints whose label failed.

    :param frames: the arrays by name.
    :param level_hash: content hash of the level of theory of all labels.
    :param label_uuids: UUID of the label node of each frame; not part of the hash, since equal content is equal data.
    """

    # A label's UUID names the node that carried it, not what it says.
    _hash_ignored_attributes = ("label_uuids",)

    def __init__(
        self,
        frames: Mapping[str, NDArray[Any]] | None = None,
        *,
        level_hash: str | None = None,
        label_uuids: Sequence[str] = (),
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if frames is None:
            return
        arrays = {name: np.asarray(array) for name, array in frames.items()}
        for name in sorted(arrays):
            self.set_array(name, arrays[name])
        self.base.attributes.set_many(
            {
                "n_frames": int(arrays["energies"].shape[0]),
                "n_atoms": int(arrays["numbers"].shape[1]),
                "level_hash": level_hash,
                "content_sha256": arrays_hash(arrays),
                "label_uuids": list(label_uuids),
            }
        )

    def _validate(self) -> bool:
        super()._validate()
        names = set(self.get_arraynames())
        missing = set(REQUIRED) - names
        if missing:
            raise ValidationError(f"FramesData lacks the arrays {sorted(missing)}")
        n_frames, n_atoms = self.n_frames, self.n_atoms
        for name, shape in REQUIRED.items():
            expected = (n_frames, *(n_atoms if axis == "N" else axis for axis in shape))
            if self.get_array(name).shape != expected:
                raise ValidationError(f"array '{name}' has shape {self.get_array(name).shape}, expected {expected}")
        for name in ("positions", "cells", "energies", "forces"):
            if not np.isfinite(self.get_array(name)).all():
                raise ValidationError(f"array '{name}' holds a value that is not finite")
        return True

    @property
    def n_frames(self) -> int:
        """Return the number of frames."""
        return int(self.base.attributes.get("n_frames"))

    @property
    def n_atoms(self) -> int:
        """Return the number of atoms of each frame."""
        return int(self.base.attributes.get("n_atoms"))

    @property
    def level_hash(self) -> str | None:
        """Return the content hash of the level of theory of the labels."""
        value = self.base.attributes.get("level_hash")
        return None if value is None else str(value)

    @property
    def content_sha256(self) -> str:
        """Return the hash of all arrays: equal content, equal hash."""
        return str(self.base.attributes.get("content_sha256"))

    @property
    def label_uuids(self) -> list[str]:
        """Return the UUID of the label node of each frame."""
        return list(self.base.attributes.get("label_uuids"))

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by name."""
        return {name: self.get_array(name) for name in sorted(self.get_arraynames())}

    @property
    def energy(self) -> float:
        """Return the energy (eV) of the only frame.

        :raises ValueError: if there is not exactly one frame.
        """
        if self.n_frames != 1:
            raise ValueError(f"a block of {self.n_frames} frames has no single energy")
        return float(self.get_array("energies")[0])
