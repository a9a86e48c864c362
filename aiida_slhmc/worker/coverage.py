"""Task ``coverage``: how far the atoms of frames are from those of a reference set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aiida_slhmc.analysis.coverage import Reference, Settings

from .errors import TaskError, need


def coverage(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return Q-residuals and Hotelling's T² of the atoms of frames.

    :param payload: ``reference`` (chunks of frames: numbers (F, N), positions (F, N, 3) and cells (F, 3, 3) in Å, pbc
        (F, 3)), ``frames`` (one chunk of the same kind) and ``settings`` (see
        :class:`~aiida_slhmc.analysis.coverage.Settings`; those left out take the published values).
    :returns: ``q`` (F, N), ``t2`` (F, N) and ``outlier`` (F, N); ``atoms`` and ``components``, by atomic number, of the
        reference set; ``settings``, complete.
    :raises TaskError: ``bad_input`` for settings that do not exist or frames that cannot be described;
        ``missing_dependency`` without dscribe.
    """
    try:
        settings = Settings(**(payload.get("settings") or {}))
    except TypeError as error:
        known = ", ".join(Settings().to_dict())
        raise TaskError("bad_input", f"the settings of the coverage are {known}; {error}.") from error
    chunks = need(payload, "reference", "the payload")
    try:
        reference = Reference.fit(chunks, settings)
        found = reference.residuals(need(payload, "frames", "the payload"))
    except ValueError as error:
        raise TaskError("bad_input", f"the coverage cannot be had: {error}.") from error
    except ImportError as error:
        raise TaskError("missing_dependency", f"the coverage needs dscribe and scikit-learn: {error}.") from error
    numbers = np.concatenate([np.ravel(chunk["numbers"]) for chunk in chunks])
    return {
        "q": found.q,
        "t2": found.t2,
        "outlier": found.outlier,
        "atoms": {str(number): int((numbers == number).sum()) for number in reference.subspaces},
        "components": {str(number): len(space.axes) for number, space in reference.subspaces.items()},
        "settings": settings.to_dict(),
    }
