"""Task ``label``: the target's energy, forces and stress at one structure, distrusted before they are handed on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculatorError
from ase.neighborlist import neighbor_list

from aiida_slhmc.numerics.potential import Evaluation

from . import calculators
from .deadline import deadline
from .errors import TaskError, need
from .potentials import build_potential, engine_version

#: Forces beyond this (eV/Å) are no label but a broken calculation; ``max_force`` of the payload overrides it.
MAX_FORCE = 500.0

#: Atoms further apart than this (Å) may have no force between them; of atoms nearer, one that is the nearest alone by
#: more than the tolerance (Å) breaks every symmetry that would make the force on its neighbour vanish.
FAR, TOLERANCE = 5.0, 1e-4

#: What engines raise when they fail. Other exceptions are defects, and show as such.
ENGINE_ERRORS = (CalculatorError, RuntimeError, ValueError, ArithmeticError, LookupError, AssertionError, OSError)


def label(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Label one structure.

    :param payload: structure and ``level``; ``max_force`` (eV/Å), ``timeout`` (s; none: no limit), ``log`` (file
        of the engine's own output).
    :returns: energy (eV, the one that the forces are the gradient of), forces (N, 3) in eV/Å, stress (3, 3) in eV/Å³
        (absent where the engine gives none, or none to be trusted), converged, scf_steps (None without a
        self-consistent field), engine, version, wall_time (s).
    :raises TaskError: ``bad_input``, ``missing_dependency``; ``unconverged``; ``not_finite`` or ``absurd`` for a label
        that came without an error and yet cannot be one; ``timeout``; ``failed`` for any other failure of the engine.
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
    timeout = payload.get("timeout")
    try:
        with deadline(None if timeout is None else float(timeout)):
            answer = potential.evaluate(positions, cell)
    except TaskError as error:
        if error.kind == "timeout":
            # What was cut short may be left in any state.
            calculators.forget()
        raise
    except ENGINE_ERRORS as error:
        reason = " ".join(str(error).split())[:300]
        message = f"the engine '{level['engine']}' gave no label: {type(error).__name__}: {reason}"
        raise TaskError("failed", message) from error
    check(answer, len(numbers), max_force=float(payload.get("max_force") or MAX_FORCE))
    # On an analytic surface, zero is what was asked for.
    if level.get("functional") != "analytic" and not np.any(answer.forces):
        check_zero_forces(numbers, positions, cell, pbc)
    result = {
        "energy": float(answer.energy),
        "forces": np.asarray(answer.forces, dtype=np.float64),
        "converged": True,
        "scf_steps": getattr(potential, "scf_steps", None),
        "engine": level["engine"],
        "version": getattr(potential, "version", None) or engine_version(level["engine"]),
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


def check_zero_forces(numbers: Any, positions: Any, cell: Any, pbc: Any) -> None:
    """Distrust forces that are all exactly zero where no symmetry makes them so.

    A force that vanishes by symmetry cannot point anywhere: the site has no invariant direction, so that every atom has
    at least two nearest neighbours at the same distance. In a structure that moves, an atom has one that is the nearest
    alone, and forces of exactly zero are an engine's empty array. A perfect crystal, a single atom, and atoms too far
    apart to feel each other are believed.

    :param numbers: atomic numbers (N,).
    :param positions: (N, 3) in Å.
    :param cell: (3, 3) in Å.
    :param pbc: (3,).
    :raises TaskError: ``absurd``.
    """
    atoms = Atoms(numbers=numbers, positions=positions, cell=cell, pbc=pbc)
    first, second, distance = neighbor_list("ijd", atoms, FAR)
    for atom in range(len(atoms)):
        others = distance[(first == atom) & (second != atom)]
        # An atom's own images come in pairs and tell nothing by themselves.
        if others.size and np.count_nonzero(np.abs(distance[first == atom] - others.min()) < TOLERANCE) < 2:
            raise TaskError(
                "absurd",
                f"the label has forces of exactly zero on all {len(atoms)} atoms, but atom {atom} has one neighbour "
                f"nearer than all others ({others.min():.3f} Å): the engine left them empty.",
            )
