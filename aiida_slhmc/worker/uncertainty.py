"""Adapters of the port :class:`~aiida_slhmc.analysis.assessments.Estimator`: an ensemble of models, or a distance.

A committee and a sampled posterior are ensembles, the one without heads, the other with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from aiida_slhmc.analysis.assessments import Assessment, of_distance, of_members
from aiida_slhmc.analysis.coverage import Frames, Settings

from .coverage import coverage
from .errors import TaskError
from .predict import predict
from .predict_ensemble import predict_ensemble

#: What a distance from the training set may be measured by.
MEASURES = ("q", "t2")


class EnsembleEstimator:
    """Take the spread of a committee's members; or that of a sampled posterior's, with what its heads add.

    :param models: paths of the members.
    :param heads: file of the posterior's heads; None: a committee.
    """

    def __init__(self, models: Sequence[str | Path], heads: str | Path | None = None):
        self._payload = {"models": [str(path) for path in models], "heads": heads}

    def assess(self, frames: Mapping[str, NDArray[Any]]) -> Assessment:
        """Return the mean of the members with their standard deviations.

        :param frames: numbers (F, N), positions (F, N, 3) and cells (F, 3, 3) in Å, pbc (F, 3).
        """
        return of_members(predict_ensemble({**self._payload, "frames": frames}))


class CoverageEstimator:
    """Take the distance of atoms from those that a single model was trained on.

    :param model: path of the model.
    :param reference: chunks of frames that it was trained on.
    :param measure: ``q`` (outside the subspace of the reference) or ``t2`` (within it).
    :param settings: of descriptors and subspaces; None: the published ones.
    :raises TaskError: ``bad_input`` for another measure.
    """

    def __init__(
        self, model: str | Path, reference: Sequence[Frames], measure: str = "q", settings: Settings | None = None
    ):
        if measure not in MEASURES:
            raise TaskError("bad_input", f"a distance is measured by {' or '.join(MEASURES)}, not {measure!r}.")
        self._model, self._measure = str(model), measure
        self._payload = {"reference": list(reference), "settings": (settings or Settings()).to_dict()}

    def assess(self, frames: Mapping[str, NDArray[Any]]) -> Assessment:
        """Return what the model says, with the distances.

        :param frames: numbers (F, N), positions (F, N, 3) and cells (F, 3, 3) in Å, pbc (F, 3).
        """
        predictions = predict({"potential": {"engine": "mace", "file": self._model}, "frames": frames})
        return of_distance(predictions, coverage({**self._payload, "frames": frames})[self._measure])
