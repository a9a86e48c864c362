"""A MACE model: as a proposal surface, by its file; as a teacher, by its hash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from aiida_slhmc.numerics.potential import Potential
from aiida_slhmc.worker.errors import need


def build(spec: Mapping[str, Any], numbers: ArrayLike, pbc: ArrayLike, log: str | None = None) -> Potential:
    """Return the potential of a MACE model.

    :param spec: ``{"engine": "mace", "file": path}``.
    :param numbers: atomic numbers (N,).
    :param pbc: (3,).
    :param log: not used.
    :raises TaskError: ``bad_input`` if there is no such model, or it does not know an element.
    """
    file = need(spec, "file", "the potential")
    # Its modules need torch.
    from aiida_slhmc.worker.models import MacePotential

    numbers, pbc = np.asarray(numbers, dtype=np.int64), [bool(periodic) for periodic in np.asarray(pbc)]
    return MacePotential(file, numbers, pbc)
