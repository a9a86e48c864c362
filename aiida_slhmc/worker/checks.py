"""What a run of dynamics must show if it sampled the ensemble that was asked for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from aiida_slhmc.numerics.diagnostics import integrated_autocorrelation_time, mean_with_error
from aiida_slhmc.numerics.potential import Array

#: Deviation of a mean in standard errors that is called wrong.
SIGMAS = 5.0
#: Drift of the conserved quantity in eV/atom/ps that is called wrong: over 10 ps a fifth of kT at 300 K.
DRIFT = 5e-4


def compare(values: Array, expected: float) -> dict[str, float]:
    """Return the mean of a series beside what it must be.

    :param values: (S,).
    :param expected: the exact mean.
    :returns: ``mean``, its ``error`` with the autocorrelation time, ``expected``, and the deviation in ``sigmas``; NaN
        where nothing can be said.
    """
    mean, error = mean_with_error(values)
    sigmas = (mean - expected) / error if error > 0 else math.nan
    return {"mean": mean, "error": error, "expected": float(expected), "sigmas": sigmas}


def drift(times: Array, conserved: Array, n_atoms: int) -> tuple[float, float]:
    """Return the slope of the conserved quantity and its standard error, by least squares.

    The residuals of a short run are waves rather than noise: the error is stretched by their autocorrelation time.

    :param times: (S,) in ps.
    :param conserved: (S,) in eV.
    :param n_atoms: N.
    :returns: in eV/atom/ps; NaN for fewer than 3 frames, or where nothing is conserved.
    """
    if len(times) < 3 or not np.isfinite(conserved).all():
        return math.nan, math.nan
    t = times - times.mean()
    y = conserved - conserved.mean()
    slope = float(t @ y / (t @ t))
    residuals = y - slope * t
    tau = max(integrated_autocorrelation_time(residuals)[0], 1.0)
    error = math.sqrt(float(residuals @ residuals) / (len(t) - 2) / float(t @ t) * tau)
    return slope / n_atoms, error / n_atoms


def assess(
    temperatures: Array,
    temperature: float,
    pressures: Array,
    pressure: float | None,
    slope: float = math.nan,
    slope_error: float = math.nan,
) -> dict[str, Any]:
    """Return the checks of a run, and a sentence for each that fails.

    :param temperatures: (S,) instantaneous, in K.
    :param temperature: that was asked for, in K.
    :param pressures: (S,) instantaneous, with the kinetic part, in GPa; NaN where there is no stress.
    :param pressure: that was asked for in GPa; None at constant volume.
    :param slope: drift of the conserved quantity in eV/atom/ps; NaN where nothing is conserved.
    :param slope_error: its standard error.
    :returns: ``temperature`` and ``pressure`` (None at constant volume) as of :func:`compare`; ``drift`` with
        ``slope``, ``error`` and ``bound`` (eV/atom/ps; None where nothing is conserved); ``warnings``, sentences.
    """
    warnings = []
    found: dict[str, Any] = {"temperature": compare(temperatures, temperature), "pressure": None, "drift": None}
    if pressure is not None:
        found["pressure"] = compare(pressures, pressure)
    for name, unit in (("temperature", "K"), ("pressure", "GPa")):
        row = found[name]
        if row is None:
            continue
        if math.isnan(row["sigmas"]):
            warnings.append(f"The mean {name} could not be checked: there are too few frames, or nothing moved.")
        elif abs(row["sigmas"]) > SIGMAS:
            warnings.append(
                f"The mean {name} is {row['mean']:.5g} ± {row['error']:.2g} {unit}, {abs(row['sigmas']):.1f} standard"
                f" errors from {row['expected']:.5g} {unit}: discard more frames, or take a shorter time step."
            )
    if not math.isnan(slope):
        found["drift"] = {"slope": slope, "error": slope_error, "bound": DRIFT}
        if abs(slope) > DRIFT and abs(slope) > SIGMAS * slope_error:
            warnings.append(
                f"The conserved quantity drifts by {slope:.2g} eV/atom/ps, more than {DRIFT:g}: the time step is too"
                " long, or the forces are not the derivatives of the energy."
            )
    return {**found, "warnings": warnings}
