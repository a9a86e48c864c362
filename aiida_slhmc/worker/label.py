"""Task ``label``: the target's energy, forces and stress at one structure, distrusted before they are handed on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import calculators
from .errors import TaskError
from .potentials import build_potential

#: Forces beyond this (eV/Å) are no label but a broken calculation.
MAX_FORCE = 500.0
PACKAGES = {"chgnet": "chgnet", "gpaw": "gpaw", "ase": "ase", "einstein": "aiida-slhmc"}


def label(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Label one structure.

    :param payload: structure and ``level``.
    :returns: energy (eV, the one that the forces are the gradient of), forces (N, 3) in eV/Å, stress (3, 3) in eV/Å³
        (absent where the engine gives none), converged, scf_steps, engine, version, wall_time (s).
    :raises TaskError: if the engine cannot be had, did not converge, or gave what cannot be.
    """
    started = time.perf_counter()
    level = payload["level"]
    potential = build_potential(level, payload["numbers"], payload["pbc"])
    try:
        answer = potential.evaluate(payload["positions"], payload["cell"])
    except TaskError:
        raise
    except Exception as error:  # noqa: BLE001 - an engine raises what it likes; whatever it is, there is no label
        kind = "unconverged" if type(error).__name__ in ("KohnShamConvergenceError", "ConvergenceError") else "failed"
        # A calculator that failed half-way may carry its broken density into the next structure.
        calculators.forget()
        raise TaskError(kind, f"{level['engine']} gave no label: {type(error).__name__}: {error}") from error
    check(answer.energy, answer.forces, len(payload["numbers"]))
    result = {
        "energy": answer.energy,
        "forces": answer.forces,
        "converged": True,
        "scf_steps": _scf_steps(level),
        "engine": level["engine"],
        "version": calculators.version(PACKAGES[level["engine"]]),
        "wall_time": time.perf_counter() - started,
    }
    if answer.stress is not None:
        if not np.isfinite(answer.stress).all():
            raise TaskError("not_finite", "the label's stress is not finite.")
        result["stress"] = answer.stress
    return result


def check(energy: float, forces: np.ndarray, n_atoms: int) -> None:
    """Distrust a label that came without an error.

    :param energy: in eV.
    :param forces: (N, 3) in eV/Å.
    :param n_atoms: N.
    :raises TaskError: if a number is not finite, absurd, or missing.
    """
    if forces.shape != (n_atoms, 3):
        raise TaskError("absurd", f"the label has forces of shape {forces.shape} for {n_atoms} atoms.")
    if not np.isfinite(energy) or not np.isfinite(forces).all():
        raise TaskError("not_finite", "the label's energy or forces are not finite.")
    largest = float(np.abs(forces).max())
    if largest > MAX_FORCE:
        raise TaskError("absurd", f"the label has a force of {largest:.0f} eV/Å, beyond {MAX_FORCE:.0f} eV/Å.")


def _scf_steps(level: Mapping[str, Any]) -> int | None:
    if level["engine"] != "gpaw":
        return None
    return int(calculators.calculator(level).get_number_of_iterations())
