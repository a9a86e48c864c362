"""Labels from what aiida-vasp reads of VASP: units and signs in one place."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction
from ase.units import GPa

from aiida_slhmc.numerics.potential import Evaluation
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.label import check, check_zero_forces

from . import base
from .label import outputs

#: eV/Å³ in one kBar.
KBAR = 0.1 * GPa


def ase_stress(stress: Any) -> np.ndarray:
    """Return VASP's stress in ASE's unit and with ASE's sign.

    VASP writes the negative of the derivative of the energy with the strain: positive where the cell wants to grow.

    :param stress: (3, 3) in kBar, as in ``vasprun.xml``.
    :returns: (3, 3) in eV/Å³, negative where the cell wants to grow.
    """
    tensor = -KBAR * np.asarray(stress, dtype=np.float64)
    return np.asarray(0.5 * (tensor + tensor.T))


def result(misc: base.Payload, geometry: base.Payload) -> base.Payload:
    """Return what a label holds, read from aiida-vasp's ``misc``, and distrust it.

    :param misc: with ``total_energies`` (eV), ``forces`` (N, 3) in eV/Å, ``stress`` (3, 3) in kBar, ``run_status``.
    :param geometry: numbers (N,), positions (N, 3) in Å, cell (3, 3) in Å, pbc (3,).
    :returns: energy (eV, free), forces (eV/Å), stress (eV/Å³), converged, scf_steps, engine, version, wall_time (s).
    :raises TaskError: ``unconverged``, ``no_output``, ``not_finite``, ``absurd``.
    """
    status = misc.get("run_status") or {}
    if not (status.get("finished") and status.get("electronic_converged")):
        raise TaskError("unconverged", f"VASP did not converge within NELM = {status.get('nelm')} steps.")
    energy = (misc.get("total_energies") or {}).get("energy_free")
    if energy is None:
        # The extrapolated one is no substitute: its gradient is not the forces.
        raise TaskError(
            "no_output", "VASP's output lacks the free energy, the one that the forces are the gradient of."
        )
    for name in ("forces", "stress"):
        if misc.get(name) is None:
            raise TaskError("no_output", f"VASP's output lacks the {name}.")
    forces = np.asarray(misc["forces"], dtype=np.float64)
    stress = ase_stress(misc["stress"])
    check(Evaluation(float(energy), forces, stress), len(geometry["numbers"]))
    if not np.any(forces):
        check_zero_forces(*(geometry[name] for name in ("numbers", "positions", "cell", "pbc")))
    return {
        "energy": float(energy),
        "forces": forces,
        "stress": stress,
        "converged": True,
        "scf_steps": (status.get("last_iteration_index") or [None])[-1],
        "engine": "vasp",
        "version": str(misc.get("version", "unknown")),
        "wall_time": (misc.get("run_stats") or {}).get("elapsed_time"),
    }


@calcfunction
def label_vasp(structure: orm.StructureData, level: orm.Dict, misc: orm.Dict) -> Any:
    """Make a label of what aiida-vasp read.

    :param structure: the labelled structure; VASP keeps the order of its atoms.
    :param level: level of theory.
    :param misc: output of a ``VaspCalculation`` that ended with exit code 0.
    :returns: ``label`` and ``label_info``, or an exit code.
    """
    try:
        answer = result(misc.get_dict(), base.structure_payload(structure))
    except TaskError as error:
        return base.exit_code(error.kind, str(error))
    return outputs(answer, structure, level)
