"""Task ``explore``: molecular dynamics on the mean of an ensemble until its doubt asks for a label."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from aiida_slhmc.numerics.calibration import Calibration
from aiida_slhmc.numerics.gate import Gate, Verdict
from aiida_slhmc.numerics.nose_hoover import Phase

from . import stepper
from .dynamics import md_settings
from .errors import TaskError, need
from .guard import Guarded
from .posterior.ensemble import Ensemble, EnsemblePotential, Prediction

_WHAT = "the payload of 'explore'"
#: Difference in Å of a labelled structure from the one that the step leads to: AiiDA keeps 14 digits of a position.
ROUNDING = 1e-9


def explore(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Go on with molecular dynamics until a structure needs a label, or the steps are spent.

    Every step is a pure function of the point before it. Where the doubt asks for a label, the point *before* the step
    is what the task leaves; the next call repeats the step with the label in place of the ensemble's prediction, so
    that the label's forces (and stress) act in the step that asked, as in the paper.

    :param payload: ``numbers`` (N,), ``masses`` (N,) in amu, ``pbc`` (3,); ``models`` and ``heads`` of the ensemble;
        ``state``: arrays of a point as of :func:`.stepper.store` and ``step`` (1,), or positions, cell, energy, forces,
        stress of the start, and ``next_`` positions, cell, energy, forces, stress where a label has come; ``steps``
        (most steps to make), ``thinning``; ``method`` and the settings of the dynamics and its ensemble as for
        ``dynamics``; ``gate``: decide, tolerance, force_accuracy, and energy and forces (calibrations by name); K is
        that of the heads; ``seed``.
    :returns: ``state`` (where to go on), ``reason`` of the label that is asked for (None: the steps are spent) and with
        it ``positions`` (N, 3) and ``cell`` (3, 3) in Å, ``prediction`` (energy, energy_sd, forces, forces_sd, stress,
        stress_sd), ``sigma`` (eV), ``exceedance``, ``force_exceedance``; of every decision in ``trace`` step, energy
        and energy_sd (eV), exceedance, force_exceedance; of every thinning-th point in ``frames`` step, positions,
        cells, temperatures (K); ``step``, ``accuracy`` (eV), ``tolerance``, ``largest_sigma`` (eV, beyond which a label
        is asked for), ``wall_time`` (s).
    :raises TaskError: ``bad_input``; ``not_finite`` or ``absurd`` if the motion leaves what makes sense.
    """
    started = time.perf_counter()
    limit, thinning = (int(need(payload, key, _WHAT)) for key in ("steps", "thinning"))
    if limit < 1 or thinning < 1:
        raise TaskError("bad_input", f"steps and thinning must be at least 1, not {limit} and {thinning}.")
    settings = md_settings(payload)
    numbers, masses = (np.asarray(need(payload, key, _WHAT)) for key in ("numbers", "masses"))
    pbc = tuple(bool(value) for value in need(payload, "pbc", _WHAT))
    motion = stepper.Stepper(payload["method"], numbers, masses, pbc, settings, int(need(payload, "seed", _WHAT)))
    ensemble = Ensemble(need(payload, "models", _WHAT), need(payload, "heads", _WHAT))
    gate = _gate(need(payload, "gate", _WHAT), ensemble)
    surface = EnsemblePotential(ensemble, numbers, pbc, stress=settings.cell is not None)
    minimum, change = (need(payload, key, _WHAT) for key in ("min_distance", "max_volume_change"))
    guarded = Guarded(surface, minimum, change, (pbc[0], pbc[1], pbc[2]))
    phase, first, label = _state(need(payload, "state", _WHAT), motion)

    rows: list[tuple[float, ...]] = []
    frames: list[tuple[int, Phase]] = []
    verdict: Verdict | None = None
    step = first
    while step < first + limit:
        guarded.step = step + 1
        given, label = label, None
        try:
            # Overflows end at the guard, or in a matrix function that refuses them.
            with np.errstate(over="ignore", invalid="ignore"):
                point = motion.step(phase, step + 1, guarded if given is None else given)
        except (ValueError, OverflowError, np.linalg.LinAlgError) as error:
            raise guarded.stop("not_finite", f"the motion cannot be continued ({error})") from error
        if given is not None:
            _check(point, given)
        else:
            prediction = _last(surface)
            sigma = float(prediction.energy_sd[0])
            judged = gate.judge(sigma, prediction.forces_sd)
            rows.append((step + 1, float(prediction.energy[0]), sigma, judged.energy, judged.forces))
            if judged.asks:
                verdict = judged
                break
        phase, step = point, step + 1
        if step % thinning == 0:
            frames.append((step, phase))
    names = ("steps", "energies", "energy_sds", "exceedances", "force_exceedances")
    result = {
        "state": {**stepper.store(phase), "step": np.array([step])},
        "trace": dict(zip(names, np.array(rows, dtype=np.float64).reshape(-1, len(names)).T, strict=True)),
        "frames": _frames(frames, motion, len(numbers)),
        "step": step,
        "reason": None,
        "accuracy": gate.accuracy,
        "tolerance": gate.tolerance,
        "largest_sigma": gate.energy.largest_sigma(gate.accuracy, gate.tolerance),
    }
    if verdict is not None:
        whole = ensemble.predict(ensemble.build(numbers, point.positions, point.cell, pbc), stress=all(pbc))
        result |= {
            "reason": verdict.reason,
            "positions": point.positions,
            "cell": point.cell,
            "prediction": _prediction(whole),
            "sigma": sigma,
            "exceedance": verdict.energy,
            "force_exceedance": verdict.forces,
        }
    return {**result, "wall_time": time.perf_counter() - started}


def _gate(values: Mapping[str, Any], ensemble: Ensemble) -> Gate:
    if ensemble.heads is None:
        raise TaskError("bad_input", "an ensemble that explores needs its heads: its accuracy K is theirs.")
    try:
        return Gate(
            accuracy=ensemble.heads.accuracy,
            energy=Calibration.from_dict(values["energy"]),
            forces=Calibration.from_dict(values["forces"]),
            decide=values["decide"],
            force_accuracy=values["force_accuracy"],
            tolerance=values["tolerance"],
        )
    except KeyError as error:
        raise TaskError("bad_input", f"the gate of {_WHAT} lacks {error}.") from None
    except ValueError as error:
        raise TaskError("bad_input", f"{error}.") from None


def _state(arrays: Mapping[str, Any], motion: stepper.Stepper) -> tuple[Phase, int, stepper.Known | None]:
    """Return the point to go on from, its step, and the label that the next step has, if it has come."""
    if "momenta" in arrays:
        phase = stepper.restore(arrays)
    else:
        positions, cell = (np.asarray(need(arrays, name, "the state")) for name in ("positions", "cell"))
        phase = motion.start(positions, cell, stepper.from_arrays(arrays))
    label = None
    if "next_positions" in arrays:
        evaluation = stepper.from_arrays(arrays, "next_")
        if motion.piston is not None and evaluation.stress is None:
            raise TaskError("bad_input", "the label has no stress, without which the cell cannot move.")
        label = stepper.Known(np.asarray(arrays["next_positions"]), evaluation)
    return phase, int(need(arrays, "step", "the state")[0]), label


def _check(point: Phase, given: stepper.Known) -> None:
    """Check that the step leads to the structure that was labelled.

    :raises TaskError: ``bad_input`` if it does not: state and label do not belong together.
    """
    difference = float(np.abs(point.positions - given.positions).max())
    if not difference <= ROUNDING:
        raise TaskError(
            "bad_input", f"the step leads {difference:.2g} Å away from the structure that was labelled: were seed or"
            " settings of the dynamics changed in between?",
        )  # fmt: skip


def _last(surface: EnsemblePotential) -> Prediction:
    assert surface.last is not None
    return surface.last


def _prediction(prediction: Prediction) -> dict[str, Any]:
    missing = np.full((3, 3), np.nan)
    return {
        "energy": prediction.energy,
        "energy_sd": prediction.energy_sd,
        "forces": prediction.forces,
        "forces_sd": prediction.forces_sd,
        "stress": missing if prediction.stress is None else prediction.stress[0],
        "stress_sd": missing if prediction.stress_sd is None else prediction.stress_sd[0],
    }


def _frames(frames: list[tuple[int, Phase]], motion: stepper.Stepper, n_atoms: int) -> dict[str, Any]:
    return {
        "steps": np.array([step for step, _ in frames], dtype=np.int64),
        "positions": np.array([phase.positions for _, phase in frames]).reshape(-1, n_atoms, 3),
        "cells": np.array([phase.cell for _, phase in frames]).reshape(-1, 3, 3),
        "temperatures": np.array([motion.temperature(phase) for _, phase in frames]),
    }
