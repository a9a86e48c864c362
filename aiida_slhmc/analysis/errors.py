"""Errors of a model against labels: energies, force components, stress components, each with its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .statistics import autocorrelation_time, block_indices, block_length_for

#: Row and column of the six independent components of a symmetric tensor.
VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))
#: Seed of the resampling; it moves the error bars in their third digit and nothing else.
BOOTSTRAP_SEED = 20
RESAMPLES = 400


@dataclass(frozen=True)
class Residuals:
    """What is left of every frame: enough for all errors and their bootstrap, whatever the number of atoms.

    :param energy: (F,) predicted minus labelled energy in eV/atom.
    :param force_squares: (F,) sum of the squared force component errors in (eV/Å)².
    :param force_counts: (F,) number of force components, 3N.
    :param stress_squares: (F,) sum of the six squared stress component errors in (eV/Å³)²; NaN without a stress.
    :param force_absolutes: (F,) sum of the force component errors' moduli in eV/Å.
    :param stress_absolutes: (F,) sum of the six stress component errors' moduli in eV/Å³; NaN without a stress.
    """

    energy: NDArray[np.float64]
    force_squares: NDArray[np.float64]
    force_counts: NDArray[np.int64]
    stress_squares: NDArray[np.float64]
    force_absolutes: NDArray[np.float64]
    stress_absolutes: NDArray[np.float64]


def residuals(
    *,
    energies: ArrayLike,
    forces: ArrayLike,
    predicted_energies: ArrayLike,
    predicted_forces: ArrayLike,
    stresses: ArrayLike | None = None,
    predicted_stresses: ArrayLike | None = None,
) -> Residuals:
    """Return the residuals of frames of one size.

    :param energies: (F,) total energies in eV.
    :param forces: (F, N, 3) in eV/Å.
    :param predicted_energies: (F,) in eV.
    :param predicted_forces: (F, N, 3) in eV/Å.
    :param stresses: (F, 3, 3) in eV/Å³, NaN where there is none; None: none at all.
    :param predicted_stresses: (F, 3, 3) in eV/Å³; None: none at all.
    :raises ValueError: if shapes differ, or an energy or force is not finite.
    """
    difference = np.asarray(predicted_forces, dtype=np.float64) - _like(forces, predicted_forces, "forces")
    energy = np.asarray(predicted_energies, dtype=np.float64) - _like(energies, predicted_energies, "energies")
    if difference.ndim != 3 or energy.shape != difference.shape[:1]:
        raise ValueError(f"energies of shape {energy.shape} do not fit forces of shape {difference.shape}")
    if not (np.isfinite(difference).all() and np.isfinite(energy).all()):
        raise ValueError("an energy or a force is not finite")
    n_frames, n_atoms = difference.shape[:2]
    stress_squares, stress_absolutes = np.full(n_frames, np.nan), np.full(n_frames, np.nan)
    if stresses is not None and predicted_stresses is not None:
        stress = np.asarray(predicted_stresses, dtype=np.float64) - _like(stresses, predicted_stresses, "stresses")
        components = stress[:, VOIGT[0], VOIGT[1]]
        stress_squares, stress_absolutes = np.sum(components**2, axis=1), np.sum(np.abs(components), axis=1)
    return Residuals(
        energy / max(n_atoms, 1),
        np.sum(difference**2, axis=(1, 2)),
        np.full(n_frames, 3 * n_atoms, dtype=np.int64),
        stress_squares,
        np.sum(np.abs(difference), axis=(1, 2)),
        stress_absolutes,
    )


def _like(label: ArrayLike, prediction: ArrayLike, name: str) -> NDArray[np.float64]:
    array = np.asarray(label, dtype=np.float64)
    if array.shape != np.shape(prediction):
        raise ValueError(f"{name}: labels of shape {array.shape}, predictions of shape {np.shape(prediction)}")
    return array


def concatenate(parts: Sequence[Residuals]) -> Residuals:
    """Return the residuals of several sets of frames, whose numbers of atoms may differ, as one.

    :param parts: at least one.
    """
    return Residuals(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Residuals)))


def energy_rmse(energy: ArrayLike, *, remove_offset: bool = False) -> float:
    """Return the root mean square energy error per atom.

    :param energy: (F,) predicted minus labelled energy in eV/atom.
    :param remove_offset: subtract the mean error first: a constant has no influence on any ensemble.
    :returns: in eV/atom; NaN without a frame, and with one frame if its offset is removed.
    """
    values = np.asarray(energy, dtype=np.float64)
    if values.size < (2 if remove_offset else 1):
        return math.nan
    return float(_energy(values[None], remove_offset)[0])


def force_rmse(squares: ArrayLike, counts: ArrayLike) -> float:
    """Return the root mean square error of a force component over all atoms, frames and directions.

    :param squares: (F,) sums of squared component errors in (eV/Å)².
    :param counts: (F,) numbers of components.
    :returns: in eV/Å; NaN without a frame.
    """
    total = float(np.sum(counts))
    return math.sqrt(float(np.sum(squares)) / total) if total else math.nan


def stress_rmse(squares: ArrayLike) -> float:
    """Return the root mean square error over the six independent stress components, sqrt(sum / 6F).

    :param squares: (F,) sums of the six squared component errors in (eV/Å³)²; NaN frames are left out.
    :returns: in eV/Å³; NaN if no frame has a stress.
    """
    values = np.asarray(squares, dtype=np.float64)
    values = values[np.isfinite(values)]
    return math.sqrt(float(values.mean()) / 6.0) if values.size else math.nan


def _energy(values: NDArray[np.float64], remove_offset: bool) -> NDArray[np.float64]:
    """Return the energy error of every row of (R, F)."""
    return values.std(axis=1) if remove_offset else np.sqrt(np.mean(values**2, axis=1))


def error_draws(data: Residuals, block_length: int | None, resamples: int, seed: int) -> tuple[NDArray[np.int64], int]:
    """Return bootstrap samples of the frames, and the length of their blocks.

    :param data: residuals in the order of the cycles.
    :param block_length: frames a block; None: twice the autocorrelation time of the residuals.
    :param resamples: number of bootstrap samples.
    :param seed: of the resampling.
    :returns: (resamples, F), and the length.
    """
    n = len(data.energy)
    # Consecutive endpoints start from the same or neighbouring states, so that their errors are alike.
    # Frames of energies alone have no force.
    forces = data.force_squares / np.maximum(data.force_counts, 1)
    tau = max(autocorrelation_time(forces), autocorrelation_time(data.energy))
    block = block_length or block_length_for(tau, n, multiple=2.0)
    return block_indices(n, n, block, rng=np.random.default_rng(seed), resamples=resamples), block


def summarise(
    data: Residuals, *, block_length: int | None = None, resamples: int = RESAMPLES, seed: int = BOOTSTRAP_SEED
) -> dict[str, Any]:
    """Return all errors with their standard errors, from a bootstrap over (blocks of) frames.

    :param data: residuals in the order of the cycles.
    :param block_length: frames a block of the bootstrap; None: twice the autocorrelation time of the residuals.
    :param resamples: number of bootstrap samples.
    :param seed: of the resampling.
    :returns: ``energy_rmse``, ``energy_rmse_offset_removed``, ``energy_offset`` (eV/atom), ``force_rmse`` (eV/Å),
        ``stress_rmse`` (eV/Å³), each with ``..._error``; ``n_frames``, ``n_stresses``, and the bootstrap's settings.
        What the frames cannot tell is NaN.
    """
    n = len(data.energy)
    n_stresses = int(np.isfinite(data.stress_squares).sum())
    values = {
        "energy_rmse": energy_rmse(data.energy),
        "energy_rmse_offset_removed": energy_rmse(data.energy, remove_offset=True),
        "energy_offset": float(data.energy.mean()) if n else math.nan,
        "force_rmse": force_rmse(data.force_squares, data.force_counts),
        "stress_rmse": stress_rmse(data.stress_squares),
    }
    spread = dict.fromkeys(values, math.nan)
    block = 1
    if n > 1:
        draws, block = error_draws(data, block_length, resamples, seed)
        energy = data.energy[draws]
        counts = data.force_counts[draws].sum(axis=1)
        samples = {
            "energy_rmse": _energy(energy, False),
            "energy_rmse_offset_removed": _energy(energy, True),
            "energy_offset": energy.mean(axis=1),
            "force_rmse": np.sqrt(data.force_squares[draws].sum(axis=1) / np.where(counts, counts, np.nan)),
        }
        if n_stresses == n:
            samples["stress_rmse"] = np.sqrt(data.stress_squares[draws].mean(axis=1) / 6.0)
        spread |= {name: _spread(sample) for name, sample in samples.items()}
    return {
        **values,
        **{f"{name}_error": error for name, error in spread.items()},
        "n_frames": n,
        "n_stresses": n_stresses,
        "bootstrap": {"block_length": block, "resamples": resamples, "seed": seed},
    }


def _spread(sample: NDArray[np.float64]) -> float:
    """Return the standard deviation of what resamples gave; those without a force gave nothing."""
    known = sample[np.isfinite(sample)]
    return float(np.std(known, ddof=1)) if known.size > 1 else math.nan


def mean_absolute_errors(
    data: Residuals, *, block_length: int | None = None, resamples: int = RESAMPLES, seed: int = BOOTSTRAP_SEED
) -> dict[str, float]:
    """Return the mean absolute errors with their standard errors, from a bootstrap over (blocks of) frames.

    :param data: residuals in the order of the cycles.
    :param block_length: frames a block of the bootstrap; None: twice the autocorrelation time of the residuals.
    :param resamples: number of bootstrap samples.
    :param seed: of the resampling.
    :returns: ``energy_mae`` (eV/atom), ``force_mae`` (eV/Å), ``stress_mae`` (eV/Å³), each with ``..._error``. What the
        frames cannot tell is NaN.
    """
    n = len(data.energy)
    stressed = np.isfinite(data.stress_absolutes)
    sums = {
        "energy_mae": (np.abs(data.energy), np.ones(n)),
        "force_mae": (data.force_absolutes, data.force_counts),
        "stress_mae": (np.where(stressed, data.stress_absolutes, 0.0), 6.0 * stressed),
    }
    draws = error_draws(data, block_length, resamples, seed)[0] if n > 1 else None
    found: dict[str, float] = {}
    for name, (values, counts) in sums.items():
        found[name], found[f"{name}_error"] = ratio(values, counts, draws)
    return found


def ratio(values: ArrayLike, counts: ArrayLike, draws: NDArray[np.int64] | None) -> tuple[float, float]:
    """Return the sum of values over the sum of counts, with its standard error from resampled frames.

    :param values: (F,).
    :param counts: (F,).
    :param draws: (R, F) the frames of every resample; None: no error.
    :returns: both in the unit of the values; NaN where nothing counts.
    """
    above, below = np.asarray(values, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    if not below.sum():
        return math.nan, math.nan
    value = float(above.sum() / below.sum())
    if draws is None:
        return value, math.nan
    totals = below[draws].sum(axis=1)
    kept = totals > 0
    return value, float(np.std(above[draws].sum(axis=1)[kept] / totals[kept], ddof=1)) if kept.sum() > 1 else math.nan


def model_errors(
    *,
    energies: ArrayLike,
    forces: ArrayLike,
    predicted_energies: ArrayLike,
    predicted_forces: ArrayLike,
    stresses: ArrayLike | None = None,
    predicted_stresses: ArrayLike | None = None,
    numbers: ArrayLike | None = None,
) -> dict[str, Any]:
    """Return the errors of predictions on frames of one size; see :func:`summarise` for what is returned.

    :param energies: (F,) total energies in eV.
    :param forces: (F, N, 3) in eV/Å.
    :param predicted_energies: (F,) in eV.
    :param predicted_forces: (F, N, 3) in eV/Å.
    :param stresses: (F, 3, 3) in eV/Å³, NaN where there is none.
    :param predicted_stresses: (F, 3, 3) in eV/Å³.
    :param numbers: (F, N) atomic numbers; checked against the forces if given.
    :raises ValueError: if shapes differ, or an energy or force is not finite.
    """
    if numbers is not None and np.shape(numbers) != np.shape(forces)[:2]:
        raise ValueError(f"numbers of shape {np.shape(numbers)} do not fit forces of shape {np.shape(forces)}")
    return summarise(
        residuals(
            energies=energies,
            forces=forces,
            stresses=stresses,
            predicted_energies=predicted_energies,
            predicted_forces=predicted_forces,
            predicted_stresses=predicted_stresses,
        )
    )


def force_gain(
    data: Residuals,
    baseline: Residuals,
    *,
    block_length: int | None = None,
    resamples: int = RESAMPLES,
    seed: int = BOOTSTRAP_SEED,
) -> tuple[float, float]:
    """Return how much lower the force error is than a baseline's on the same frames, with its standard error.

    The frames are drawn together: what makes a frame hard for both models cancels, and the difference is known better
    than either error.

    :param data: residuals of the model.
    :param baseline: residuals of the other model on the same frames in the same order.
    :param block_length: frames a block of the bootstrap; None: from the residuals.
    :param resamples: number of bootstrap samples.
    :param seed: of the resampling.
    :returns: baseline minus model RMSE, and the error of the difference, in eV/Å.
    :raises ValueError: if the frames differ in number or size, or there are fewer than two.
    """
    if not np.array_equal(data.force_counts, baseline.force_counts) or len(data.energy) < 2:
        raise ValueError("a paired difference needs the same frames, at least two, from both models")
    draws, _ = error_draws(data, block_length, resamples, seed)
    counts = data.force_counts[draws].sum(axis=1)
    samples = [np.sqrt(part.force_squares[draws].sum(axis=1) / counts) for part in (baseline, data)]
    value = force_rmse(baseline.force_squares, baseline.force_counts) - force_rmse(
        data.force_squares, data.force_counts
    )
    return value, float(np.std(samples[0] - samples[1], ddof=1))
