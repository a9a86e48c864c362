"""What a committee, a sampled posterior and a distance from the training set say alike: how uncertain a frame is.

The port is :class:`Estimator`; what it gives, an :class:`Assessment`, is scored here on labels, whoever gave it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aiida_slhmc.numerics.calibration import Calibration

from . import uncertainty

Array = NDArray[np.float64]

#: A prior of the calibration that says nothing: the labels alone set the scale.
NO_PRIOR = Calibration(a=1e-9, b=1e-9)
#: The least uncertainty relative to the mean one: with none at all, any error would be infinitely surprising.
LEAST = 1e-9


@dataclass(frozen=True)
class Assessment:
    """Hold predictions with their uncertainty.

    :param energies: (F,) in eV.
    :param forces: (F, N, 3) in eV/Å.
    :param frame: (F,) uncertainty of the energy of each frame.
    :param atom: (F, N) uncertainty of a force component of each atom.
    :param absolute: whether the uncertainties are standard deviations in eV and eV/Å; if not they only grow with them.
    """

    energies: Array
    forces: Array
    frame: Array
    atom: Array
    absolute: bool = True

    def __getitem__(self, rows: Any) -> Assessment:
        """Return the assessment of some frames.

        :param rows: index of the frames.
        """
        arrays = {name: getattr(self, name)[rows] for name in ("energies", "forces", "frame", "atom")}
        return dataclasses.replace(self, **arrays)


class Estimator(Protocol):
    """Say how uncertain frames and their atoms are.

    Adapters: ``EnsembleEstimator`` (committee or posterior) and ``CoverageEstimator`` of ``worker.uncertainty``.
    """

    def assess(self, frames: Mapping[str, NDArray[Any]]) -> Assessment:
        """Return predictions with their uncertainty.

        :param frames: numbers (F, N), positions (F, N, 3) and cells (F, 3, 3) in Å, pbc (F, 3).
        """


def of_members(predictions: Mapping[str, ArrayLike]) -> Assessment:
    """Return what the members of an ensemble say.

    :param predictions: ``energies``, ``forces``, ``energy_sds``, ``force_sds`` as of the task ``predict_ensemble``.
    """
    energies, forces, frame, components = (
        np.asarray(predictions[name], dtype=np.float64) for name in ("energies", "forces", "energy_sds", "force_sds")
    )
    return Assessment(energies, forces, frame, np.sqrt(np.mean(components**2, axis=-1)))


def of_distance(predictions: Mapping[str, ArrayLike], squares: ArrayLike) -> Assessment:
    """Return what the distance from the training set says of a single model.

    :param predictions: ``energies``, ``forces`` of the model.
    :param squares: (F, N) squared distance of each atom (Q or T²). An energy is a sum over atoms, whose squared
        distances add.
    """
    square = np.asarray(squares, dtype=np.float64)
    energies, forces = (np.asarray(predictions[name], dtype=np.float64) for name in ("energies", "forces"))
    return Assessment(energies, forces, np.sqrt(square.sum(axis=1)), np.sqrt(square), absolute=False)


def errors(assessment: Assessment, energies: ArrayLike, forces: ArrayLike) -> tuple[Array, Array]:
    """Return the errors of the predictions.

    :param assessment: of F frames.
    :param energies: (F,) labels in eV.
    :param forces: (F, N, 3) labels in eV/Å.
    :returns: of energies (F,) in eV, of forces (F, N, 3) in eV/Å.
    :raises ValueError: if shapes differ.
    """
    pairs = ((assessment.energies, energies), (assessment.forces, forces))
    if any(predicted.shape != np.shape(label) for predicted, label in pairs):
        raise ValueError(
            f"predictions of {assessment.forces.shape} forces do not fit labels of {np.shape(forces)} forces"
        )
    return (
        assessment.energies - np.asarray(energies, dtype=np.float64),
        assessment.forces - np.asarray(forces, dtype=np.float64),
    )


def calibrate(assessment: Assessment, energies: ArrayLike, forces: ArrayLike) -> dict[str, Calibration]:
    """Return the scales that labels give to uncertainties: one for energies, one for forces.

    The force components of one frame are not independent; together they count as one error.

    :param assessment: of F frames.
    :param energies: (F,) labels in eV.
    :param forces: (F, N, 3) labels in eV/Å.
    """
    energy, force = errors(assessment, energies, forces)
    components = np.broadcast_to(assessment.atom[..., None], force.shape)
    return {
        "energy": NO_PRIOR.update(energy, _positive(assessment.frame)),
        "force": NO_PRIOR.update(force, _positive(components), weight=1.0 / force[0].size),
    }


def _positive(values: Array) -> Array:
    return np.maximum(values, LEAST * max(float(np.mean(values)), np.finfo(float).tiny))


def score(
    assessment: Assessment,
    energies: ArrayLike,
    forces: ArrayLike,
    scales: Mapping[str, Calibration],
    thresholds: Mapping[str, float],
) -> dict[str, dict[str, Any]]:
    """Return the scores of an estimator on labels that neither its models nor its scales have seen.

    :param assessment: of F frames.
    :param energies: (F,) labels in eV.
    :param forces: (F, N, 3) labels in eV/Å.
    :param scales: as of :func:`calibrate`, on other frames.
    :param thresholds: of ``energy`` (eV a frame) and ``force`` (eV/Å, length of an atom's error), for the AUROC.
    :returns: ``energy`` and ``force``, each with ``calibrated``, and ``raw`` where the estimator knows its own scale,
        as of :func:`aiida_slhmc.analysis.uncertainty.score`; ``factor``, by which the calibration multiplies; and
        ``detection`` (``auroc``, ``threshold``, ``above``, ``spearman``, ``pearson``, ``n``), which no factor changes:
        for forces, of the length of each atom's error.
    """
    energy, force = errors(assessment, energies, forces)
    lengths = np.linalg.norm(force, axis=-1)
    components = np.broadcast_to(assessment.atom[..., None], force.shape)
    cases = {
        "energy": (energy, assessment.frame, energy, assessment.frame),
        "force": (force, components, lengths, assessment.atom),
    }
    result: dict[str, dict[str, Any]] = {}
    for name, (error, doubt, size, detector) in cases.items():
        scale, threshold = scales[name], thresholds[name]
        factor, doubt = math.sqrt(scale.beta / scale.alpha), _positive(doubt)
        rows = {
            "factor": factor,
            "calibrated": uncertainty.score(error, factor * doubt, threshold, degrees=2.0 * scale.alpha),
            "detection": {
                "n": size.size,
                "threshold": threshold,
                "above": int(np.count_nonzero(np.abs(size) > threshold)),
                "auroc": uncertainty.auroc(size, detector, threshold),
                **uncertainty.correlations(size, detector),
            },
        }
        result[name] = rows | ({"raw": uncertainty.score(error, doubt, threshold)} if assessment.absolute else {})
    return result
