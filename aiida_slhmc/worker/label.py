"""Task ``label``: the target's energy, forces and stress at one structure, distrusted before they are handed on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from ase.calculators.calculator import CalculatorError

from aiida_slhmc.numerics.potential import Evaluation

from .errors import TaskError, need
from .potentials import build_potential, engine_version

#: Forces beyond this (eV/Å) are no label but a broken calculation; ``max_force`` of the payload overrides it.
MAX_FORCE = 500.0

#: What engines raise when they fail. Other exceptions are defects, and show as such.
ENGINE_ERRORS = (CalculatorError, RuntimeError, ValueError, ArithmeticError, LookupError, AssertionError, OSError)


def label(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Label one structure.

    :param payload: structure and ``level``; ``max_force`` (eV/Å), ``log`` (file of the engine's own output).
    :returns: energy (eV, the one that the forces are the gradient of), forces (N, 3) in eV/Å, stress (3, 3) in eV/Å³
        (absent where the engine gives none, or none to be trusted), converged, scf_steps (None without a
        self-consistent field), engine, version, wall_time (s).
    :raises TaskError: ``bad_input``, ``missing_dependency``; ``unconverged``; ``not_finite`` or ``absurd`` for a label
        that came without an error and yet cannot be one; ``failed`` for any other failure of the engine.
    """
    started = time.perf_counter()
    level = need(payload, "level", "the payload of 'label'")
    numbers, pbc = need(payload, "numbers", "the payload of 'label'"), need(payload, "pbc", "the payload of 'label'")
    positions = np.asarray(need(payload, "positions", "the payload of 'label'"), dtype=np.float64)
    cell = np.asarray(need(payload, "cell", "the payload of 'label'"), dtype=np.float64)
    # Some engines run for ever on NaN.
    if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
        raise TaskError("bad_input", "a position or the cell of the structure to label is not finite.")
    potential = build_potential(level, numbers, pbc, log=payload.get("log"))
    try:
        answer = potential.evaluate(positions, cell)
    except ENGINE_ERRORS as error:
        reason = " ".join(str(error).split())[:300]
        message = f"the engine '{level['engine']}' gave no label: {type(error).__name__}: {reason}"
        raise TaskError("failed", message) from error
    check(answer, len(numbers), max_force=float(payload.get("max_force") or MAX_FORCE))
    result = {
        "energy": float(answer.energy),
        "forces": np.asarray(answer.forces, dtype=np.float64),
        "converged": True,
        "scf_steps": getattr(potential, "scf_steps", None),
        "engine": level["engine"],
        "version": engine_version(level["engine"]),
        "wall_time": time.perf_counter() - started,
    }
    if answer.stress is not None:
        result["stress"] = np.asarray(answer.stress, dtype=np.float64)
    return result


def check(answer: Evaluation, n_atoms: int, *, max_force: float = MAX_FORCE) -> None:
    """Distrust a label that came without an error.

    :param answer: energy in eV, forces (N, 3) in eV/Å, stress (3, 3) in eV/Å³ or None.
    :param n_atoms: N.
    :param max_force: largest component in eV/Å that is believed.
    :raises TaskError: ``not_finite`` or ``absurd``.
    """
    forces = np.asarray(answer.forces)
    if forces.shape != (n_atoms, 3):
        raise TaskError("absurd", f"the label has forces of shape {forces.shape} for {n_atoms} atoms.")
    if not np.isfinite(answer.energy):
        raise TaskError("not_finite", f"the label's energy is {answer.energy}.")
    if not np.isfinite(forces).all():
        raise TaskError("not_finite", "the label's forces are not finite.")
    largest = float(np.abs(forces).max(initial=0.0))
    if largest > max_force:
        raise TaskError(
            "absurd", f"the label has a force of {largest:.0f} eV/Å, beyond max_force = {max_force:g} eV/Å."
        )
    if answer.stress is not None:
        if np.asarray(answer.stress).shape != (3, 3):
            raise TaskError("absurd", f"the label has a stress of shape {np.asarray(answer.stress).shape}.")
        if not np.isfinite(answer.stress).all():
            raise TaskError("not_finite", "the label's stress is not finite.")
