"""A MACE model: as a proposal surface, by its file; as a teacher, by its hash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from aiida_slhmc.numerics.potential import Potential
from aiida_slhmc.worker.calculators import needs, quiet
from aiida_slhmc.worker.errors import need
from aiida_slhmc.worker.weights import find


def build(spec: Mapping[str, Any], numbers: ArrayLike, pbc: ArrayLike, log: str | None = None) -> Potential:
    """Return the potential of a MACE model.

    :param spec: ``{"engine": "mace", "file": path}``, in the precision that it was saved in; or a level of theory with
        ``parameters``: model (SHA-256 of its file), head (empty: 'Default', or the only one), precision.
    :param numbers: atomic numbers (N,).
    :param pbc: (3,).
    :param log: not used.
    :raises TaskError: ``bad_input`` if there is no such model, or it does not know an element; ``missing_dependency``.
    """
    parameters = spec.get("parameters")
    digest = None if parameters is None else need(parameters, "model", "the level of theory for MACE")
    file = need(spec, "file", "the potential") if digest is None else find(digest)
    with needs("mace"), quiet():
        # Its modules need torch.
        from aiida_slhmc.worker.models import MacePotential

    numbers, pbc = np.asarray(numbers, dtype=np.int64), [bool(periodic) for periodic in np.asarray(pbc)]
    if parameters is None:
        return MacePotential(file, numbers, pbc)
    # Weights trained in float32 are the same function in float64, evaluated without its rounding noise.
    return MacePotential(
        file, numbers, pbc, head=parameters.get("head") or None, sha256=digest,
        precision=parameters.get("precision", "float64"),
    )  # fmt: skip
