"""The contract that every target keeps, as a test that any adapter can import and run.

>>> from aiida_slhmc.targets.contract import check_target
>>> check_target({"engine": "ase", "parameters": {"calculator": "emt"}}, atoms)  # doctest: +SKIP
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from .level import level_hash, normalise
from .process import ProcessTarget
from .registry import get_target

Array = NDArray[np.float64]


class ContractError(AssertionError):
    """Say in one sentence what a target does that it must not."""


@dataclass(frozen=True)
class Report:
    """Hold what was measured.

    :param engine: name of the engine.
    :param version: of its package.
    :param energy: total energy of the structure in eV.
    :param repeat_error: difference between two labels of the structure, with another one in between, in eV.
    :param force_error: largest difference between forces and finite differences along the directions tried, in eV/Å.
    :param stress_error: likewise of the stress in eV/Å³; NaN without a stress.
    :param translation_error: change of the energy when the structure is moved as a whole, in eV; NaN if not tried.
    :param extensivity_error: energy of the doubled cell less twice that of the cell, in eV an atom; NaN if not tried.
    """

    engine: str
    version: str
    energy: float
    repeat_error: float
    force_error: float
    stress_error: float
    translation_error: float = math.nan
    extensivity_error: float = math.nan


@dataclass(frozen=True)
class Tolerances:
    """Hold what counts as agreement.

    :param energy: of two labels of the same structure in eV.
    :param force: of a directional derivative in eV/Å.
    :param stress: of a directional derivative in eV/Å³. With plane waves at a fixed cut-off the finite difference holds
        the Pulay stress as well: for rutile with GPAW at 340 eV give 0.05.
    :param displacement: step of the finite differences of the positions in Å.
    :param strain: step of those of the cell.
    :param translation: of the energies of a structure and a moved one in eV. Where a grid in space is used (GPAW,
        VASP), the energy feels where the crystal stands: 1e-2 and less.
    :param extensivity: of the energies of a cell and its double in eV an atom.
    """

    energy: float = 1e-6
    force: float = 5e-3
    stress: float = 5e-4
    displacement: float = 1e-3
    strain: float = 1e-3
    translation: float = 1e-5
    extensivity: float = 1e-5


def check_target(
    level: Mapping[str, Any],
    atoms: Atoms,
    *,
    tolerances: Tolerances | None = None,
    directions: int = 2,
    seed: int = 0,
    translation: bool = False,
    extensive: bool = False,
    label: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None,
) -> Report:
    """Check that a target keeps its contract; costs 2 labels, 2 for every direction and 2 for the stress.

    Checked are: the level of theory (defaults written out, storable, refused when wrong), the result (names, shapes,
    kinds, finite), that equal structures have equal labels whatever came between, that the forces are the gradient of
    the total energy in eV and Å, the sign and the unit of the stress, and that a failure is one sentence.

    :param level: of the target; its engine is found by entry point.
    :param atoms: a structure away from equilibrium: displaced by 0.05 Å or so and strained by 2 %, so that forces and
        stress are far above the tolerances.
    :param tolerances: what counts as agreement.
    :param directions: random directions that the forces are tried along.
    :param seed: of the directions.
    :param translation: whether to check too that the energy does not change when the structure is moved as a whole; not
        for a target whose sites are fixed. Costs a label.
    :param extensive: whether to check too that the doubled cell has twice the energy: for engines that see the crystal
        and not a mesh of k-points, and one more answer to whether the energy is total. Costs a label.
    :param label: how to label, for a :class:`~aiida_slhmc.targets.process.ProcessTarget`, which the worker does not
        run: takes ``numbers``, ``positions`` (N, 3) in Å, ``cell`` (3, 3) in Å, ``pbc``, ``level``, and returns what
        the task ``label`` does.
    :returns: what was measured.
    :raises ContractError: with what is wrong and, where it can be guessed, why.
    """
    limits = tolerances or Tolerances()
    probe = _Probe(_check_level(level, atoms), atoms, label)
    rng = np.random.default_rng(seed)
    first = probe.label(probe.positions, probe.cell)
    _check_result(first, probe)
    force_error = max(_check_forces(probe, first, limits, rng) for _ in range(directions))
    # The finite differences came in between: a target that starts from its last density shows here.
    again = probe.label(probe.positions, probe.cell)
    repeat_error = abs(again["energy"] - first["energy"])
    if repeat_error > limits.energy:
        raise ContractError(
            f"two labels of one structure differ by {repeat_error:.1e} eV, more than {limits.energy:.1e} eV: the label "
            "must be a function of the structure alone (fix seeds, start afresh, converge further)."
        )
    stress_error = math.nan
    if probe.target.has_stress(probe.level):
        stress_error = _check_stress(probe, first, limits, rng)
    translation_error = _check_translation(probe, first, limits, rng) if translation else math.nan
    extensivity_error = _check_extensivity(probe, first, limits) if extensive else math.nan
    if label is None:
        _check_failures(probe)
    return Report(
        engine=probe.level["engine"],
        version=str(first["version"]),
        energy=float(first["energy"]),
        repeat_error=float(repeat_error),
        force_error=float(force_error),
        stress_error=float(stress_error),
        translation_error=float(translation_error),
        extensivity_error=float(extensivity_error),
    )


class _Probe:
    """Label variants of one structure.

    :param level: normalised level of theory.
    :param atoms: the structure.
    :param task: how to label; None: as the worker does.
    :raises ContractError: if the worker cannot.
    """

    def __init__(self, level: dict[str, Any], atoms: Atoms, task: Callable[..., Mapping[str, Any]] | None = None):
        self.level = level
        self.target = get_target(level["engine"])
        if task is None and isinstance(self.target, ProcessTarget):
            raise ContractError(f"the engine '{level['engine']}' is labelled by a process: say how with 'label'.")
        self.task = task
        self.numbers = atoms.get_atomic_numbers()
        self.pbc = atoms.get_pbc()
        self.positions = np.asarray(atoms.get_positions(), dtype=np.float64)
        self.cell = np.asarray(atoms.get_cell()[:], dtype=np.float64)

    def label(self, positions: Array, cell: Array, level: dict[str, Any] | None = None) -> Mapping[str, Any]:
        """Label a variant.

        :param positions: (N, 3) in Å.
        :param cell: (3, 3) in Å.
        :param level: another level of theory than its own.
        """
        structure = {"numbers": self.numbers, "positions": positions, "cell": cell, "pbc": self.pbc}
        return self.answer({**structure, "level": level or self.level})

    def answer(self, payload: dict[str, Any]) -> Mapping[str, Any]:
        """Label any structure.

        :param payload: of the task ``label``.
        """
        if self.task is not None:
            return self.task(payload)
        # The worker's part comes in here alone, so that looking at targets loads no engine.
        from aiida_slhmc.worker.label import label

        return label(payload)


def _check_level(level: Mapping[str, Any], atoms: Atoms) -> dict[str, Any]:
    complete = normalise(level)
    target = get_target(complete["engine"])
    target.validate(complete, atoms.get_atomic_numbers().tolist(), np.asarray(atoms.get_cell()[:]))
    if normalise(complete) != complete:
        raise ContractError("normalising a level of theory twice gives another one: it must be written out at once.")
    if level_hash(json.loads(json.dumps(complete))) != level_hash(complete):
        raise ContractError("the level of theory does not survive being stored as JSON.")
    wrong = {**complete, "parameters": {**complete["parameters"], "no_such_parameter": 1}}
    _refuses(target, wrong, "an unknown parameter")
    if target.functionals:
        _refuses(target, {**complete, "functional": "no-such-functional"}, "an unknown functional")
    if target.default_executor not in ("local", "job"):
        raise ContractError(f"default_executor must be 'local' or 'job', not '{target.default_executor}'.")
    return complete


def _refuses(target: Any, level: Mapping[str, Any], what: str) -> None:
    try:
        target.check(level)
    except ValueError as error:
        if not str(error) or "\n" in str(error):
            raise ContractError(f"{what} must be refused with one sentence, not {str(error)!r}.") from error
        return
    raise ContractError(f"{what} is not refused: it would be ignored, and the level of theory would lie.")


def _check_result(result: Mapping[str, Any], probe: _Probe) -> None:
    missing = {"energy", "forces", "converged", "engine", "version", "wall_time"} - set(result)
    if missing:
        raise ContractError(f"the label lacks {', '.join(sorted(missing))}.")
    if result["converged"] is not True:
        raise ContractError("a label that is handed on must be converged; raise TaskError('unconverged', ...) instead.")
    if result["version"] == "unknown":
        raise ContractError("the version of the engine is unknown: it must be recorded with the label.")
    if ("stress" in result) != probe.target.has_stress(probe.level) and probe.pbc.all():
        raise ContractError(
            f"has_stress says {probe.target.has_stress(probe.level)}, but the label "
            f"{'has a' if 'stress' in result else 'has no'} stress."
        )


def _derivative(probe: _Probe, ends: list[tuple[Array, Array]], step: float) -> float:
    """Return the central difference of the energy between two structures.

    :param probe: what labels.
    :param ends: positions and cell in Å ahead, and behind.
    :param step: half the distance between them.
    """
    ahead, behind = (probe.label(positions, cell)["energy"] for positions, cell in ends)
    return float((ahead - behind) / (2 * step))


def _check_forces(probe: _Probe, first: Mapping[str, Any], limits: Tolerances, rng: np.random.Generator) -> float:
    forces, step = np.asarray(first["forces"]), limits.displacement
    size = float(np.linalg.norm(forces))
    if not size > 8 * limits.force:
        raise ContractError(
            f"the forces are only {size:.1e} eV/Å in all: displace the atoms further from equilibrium, or the test "
            "cannot tell right from wrong."
        )
    # Half of the direction along the forces: a random one alone could be across them, and see nothing.
    random = rng.standard_normal(forces.shape)
    direction = forces / size + random / np.linalg.norm(random)
    direction /= np.linalg.norm(direction)
    analytic = float(np.sum(forces * direction))
    shift = step * direction
    ends = [(probe.positions + shift, probe.cell), (probe.positions - shift, probe.cell)]
    numerical = -_derivative(probe, ends, step)
    error = abs(analytic - numerical)
    if error <= limits.force:
        return error
    hint = _guess(
        analytic,
        numerical,
        {
            "they have the opposite sign": -1.0,
            "the energy seems to be per atom": float(len(forces)),
            "the forces seem to be in Hartree/Bohr": units.Bohr / units.Hartree,
            "the energy seems to be in Hartree": units.Hartree,
        },
    )
    raise ContractError(
        f"the forces are not the gradient of the total energy: {analytic:.6f} against {numerical:.6f} eV/Å by finite "
        f"difference{hint}; with smeared electrons the energy must be the free energy."
    )


def _check_stress(probe: _Probe, first: Mapping[str, Any], limits: Tolerances, rng: np.random.Generator) -> float:
    stress, step = np.asarray(first["stress"]), limits.strain
    if not np.allclose(stress, stress.T, atol=limits.stress):
        raise ContractError("the stress is not symmetric.")
    size = float(np.linalg.norm(stress))
    if not size > 4 * limits.stress:
        raise ContractError(
            f"the stress is only {size:.1e} eV/Å³ in all: strain the cell by 2 % or more, or the test cannot tell "
            "right from wrong."
        )
    random = rng.standard_normal((3, 3))
    random += random.T
    direction = stress / size + random / np.linalg.norm(random)
    direction /= np.linalg.norm(direction)
    analytic = float(np.sum(stress * direction))
    maps = [np.eye(3) + sign * step * direction for sign in (1, -1)]
    ends = [(probe.positions @ strain, probe.cell @ strain) for strain in maps]
    numerical = _derivative(probe, ends, step) / abs(float(np.linalg.det(probe.cell)))
    error = abs(analytic - numerical)
    if error <= limits.stress:
        return error
    volume = abs(float(np.linalg.det(probe.cell)))
    hint = _guess(
        analytic,
        numerical,
        {
            "it has the opposite sign (a pressure)": -1.0,
            "it seems to be in GPa": 1 / units.GPa,
            "it seems to be in GPa, with the opposite sign": -1 / units.GPa,
            "it seems to be in kBar": 10 / units.GPa,
            "it seems to be in kBar, with the opposite sign": -10 / units.GPa,
            "it seems to be a virial, not divided by the volume": volume,
            "it seems to be a virial with the opposite sign, not divided by the volume": -volume,
        },
    )
    raise ContractError(
        f"the stress is not the derivative of the energy with the strain, over the volume: {analytic:.6f} against "
        f"{numerical:.6f} eV/Å³ by finite difference{hint}."
    )


def _check_translation(probe: _Probe, first: Mapping[str, Any], limits: Tolerances, rng: np.random.Generator) -> float:
    # By a good part of a bond, in no special direction.
    shift = 0.5 * rng.standard_normal(3)
    error = abs(probe.label(probe.positions + shift, probe.cell)["energy"] - first["energy"])
    if error > limits.translation:
        raise ContractError(
            f"the energy changes by {error:.1e} eV, more than {limits.translation:.1e} eV, when the structure is moved "
            "as a whole: it depends on where the structure stands."
        )
    return float(error)


def _check_extensivity(probe: _Probe, first: Mapping[str, Any], limits: Tolerances) -> float:
    # Along the shortest vector: the cell is then nearest to a cube.
    axis = int(np.argmin(np.linalg.norm(probe.cell, axis=1)))
    stretch = np.eye(3)
    stretch[axis, axis] = 2.0
    payload = {
        "numbers": np.tile(probe.numbers, 2),
        "positions": np.concatenate([probe.positions, probe.positions + probe.cell[axis]]),
        "cell": stretch @ probe.cell,
        "pbc": probe.pbc,
        "level": probe.level,
    }
    double, single, atoms = probe.answer(payload)["energy"], first["energy"], len(probe.numbers)
    error = abs(double - 2 * single) / (2 * atoms)
    if error > limits.extensivity:
        hint = "; the energy seems to be per atom" if math.isclose(double, single, rel_tol=0.03) else ""
        raise ContractError(
            f"the doubled cell has {double:.6f} eV, where the cell has {single:.6f}: not twice the energy{hint}."
        )
    return float(error)


def _guess(analytic: float, numerical: float, known: Mapping[str, float]) -> str:
    """Return a guess at why an analytic derivative is wrong, for the end of a clause.

    :param analytic: what the target says.
    :param numerical: what the finite difference says.
    :param known: ratios of the two by what they come from.
    """
    for reason, ratio in known.items():
        if math.isclose(analytic, ratio * numerical, rel_tol=0.03):
            return f" ({reason})"
    return ""


def _check_failures(probe: _Probe) -> None:
    from aiida_slhmc.worker.errors import TaskError

    broken = {"a position that is not a number": (np.full_like(probe.positions, np.nan), probe.level)}
    if probe.target.functionals:
        wrong = {**probe.level, "functional": "no-such-functional"}
        broken["an unknown functional"] = (probe.positions, wrong)
    for what, (positions, level) in broken.items():
        try:
            probe.label(positions, probe.cell, level)
        except TaskError as error:
            if not str(error) or "\n" in str(error):
                raise ContractError(f"{what} must fail with one sentence, not {str(error)!r}.") from error
        else:
            raise ContractError(f"{what} gives a label, where it must raise a TaskError.")
