"""Dynamics: sample the ensemble of one frozen surface."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import ExitCode, calcfunction

from aiida_slhmc.data import MaceModelData
from aiida_slhmc.data.content import json_hash
from aiida_slhmc.numerics.cells import cell_mass

from . import base
from .adapt import PERIOD
from .propose import ENSEMBLE

#: Keys of the settings that the task takes as they are.
SETTINGS = (
    "method",
    "timestep",
    "samples",
    "discard",
    "thinning",
    "length",
    "length_law",
    "centre_of_mass",
    "thermostat_time",
    "chain_length",
    "barostat_time",
    "min_distance",
    "max_energy_change",
    "max_volume_change",
)


def payload(
    spec: base.Payload,
    model: orm.Data,
    structure: orm.StructureData,
    ensemble: orm.Dict,
    settings: orm.Dict,
    seed: orm.Int,
    stream: orm.Dict | None = None,
) -> base.Payload:
    """Return the payload of the task ``dynamics``.

    :param spec: potential specification of the surface.
    :param model: the node behind it.
    :param structure: where the chain starts.
    :param ensemble: ``ensemble``, ``temperature`` in K, ``pressure`` in GPa, ``cell``.
    :param settings: ``method``, ``timestep`` (fs), ``samples``, ``discard``, limits, and what the method needs: see
        ``DYNAMICS`` in :mod:`aiida_slhmc.workflows.settings`.
    :param seed: root seed.
    :param stream: round and trajectory, where a run has several on one surface.
    """
    name = model.state_sha256 if isinstance(model, MaceModelData) else json_hash(model.get_dict())
    values, law = settings.get_dict(), ensemble.get_dict()
    atoms = base.structure_payload(structure)
    if stream is not None:
        # Nor must two trajectories on one surface.
        name = json_hash([name, stream.get_dict()["round"], stream.get_dict()["trajectory"]])
    return {
        **atoms,
        "potential": spec,
        "seed": seed.value,
        # Two surfaces sampled with one root seed must not share their random numbers: their difference has an error.
        "chain": int(name[:7], 16),
        **{key: law[key] for key in ENSEMBLE},
        # 'cell' is the matrix.
        "cell_kind": law["cell"],
        **{key: values[key] for key in SETTINGS},
        "cell_mass": _cell_mass(values, law, atoms["cell"]),
    }


def _cell_mass(values: Mapping[str, Any], law: Mapping[str, Any], cell: np.ndarray) -> float | None:
    """Return the mass of the cell for HMC at constant pressure; None where it is not used.

    :param values: settings.
    :param law: of the ensemble.
    :param cell: (3, 3) in Å.
    """
    if values["method"] != "hmc" or law["ensemble"] != "NPT" or values["cell_mass"] is not None:
        return None if values["cell_mass"] is None else float(values["cell_mass"])
    period = values["cell_period"] or PERIOD * values["length"] * values["timestep"]
    return cell_mass(values["bulk_modulus"], abs(float(np.linalg.det(cell))), period, law["cell"])


def outputs(result: base.Payload, structure: orm.StructureData) -> dict[str, orm.Data]:
    """Return the output nodes: samples with energies (S,) in eV and stresses (S, 3, 3) in eV/Å³, and how it went.

    The samples hold temperatures (S,) in K, pressures (S,) in GPa and volumes (S,) in Å³ too.

    :param result: what the task ``dynamics`` returned.
    :param structure: where the chain started.
    """
    arrays = {name: np.asarray(value) for name, value in result.items() if isinstance(value, np.ndarray)}
    arrays["numbers"] = base.structure_payload(structure)["numbers"]
    info = {name: value for name, value in result.items() if not isinstance(value, np.ndarray)}
    return {"trajectory": orm.ArrayData(arrays), "dynamics_info": orm.Dict(base.storable(info))}


@calcfunction
def dynamics_local(
    model: orm.Data,
    structure: orm.StructureData,
    ensemble: orm.Dict,
    settings: orm.Dict,
    seed: orm.Int,
    stream: orm.Dict | None = None,
) -> Any:
    """Sample in this process: the same contract as :class:`DynamicsCalculation`."""
    with base.potential_spec(model) as spec:
        result = base.attempt("dynamics", payload(spec, model, structure, ensemble, settings, seed, stream))
    return result if isinstance(result, ExitCode) else outputs(result, structure)


class DynamicsCalculation(base.WorkerCalculation):
    """Sample as a job on any computer."""

    TASK = "dynamics"
    #: Temperatures, pressures, volumes and checks among the outputs.
    CACHE_VERSION = 2

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs and outputs."""
        super().define(spec)
        spec.input("model", valid_type=(MaceModelData, orm.Dict), help="Surface: a MACE model or a level of theory.")
        spec.input("structure", valid_type=orm.StructureData, help="Start of the chain (Å).")
        spec.input("ensemble", valid_type=orm.Dict, help="Ensemble; temperature in K, pressure in GPa, cell.")
        spec.input("settings", valid_type=orm.Dict, help="Method, time step (fs), samples, discard, ...")
        spec.input("seed", valid_type=orm.Int, help="Root seed of the run.")
        spec.input(
            "stream", valid_type=orm.Dict, required=False, help="Round and trajectory, of several on one surface."
        )
        spec.output("trajectory", valid_type=orm.ArrayData, help="Samples of the ensemble (Å, eV, K, GPa).")
        spec.output("dynamics_info", valid_type=orm.Dict, help="How it went: checks with warnings, wall time (s).")

    def payload(self) -> base.Payload:
        """Return the payload of the task."""
        inputs = self.inputs
        spec = base.job_potential_spec(inputs.model)
        return payload(
            spec,
            inputs.model,
            inputs.structure,
            inputs.ensemble,
            inputs.settings,
            inputs.seed,
            inputs.get("stream"),
        )


class DynamicsParser(base.WorkerParser):
    """Parse a dynamics run."""

    def results(self, result: base.Payload, folder: Path) -> dict[str, orm.Data]:
        """Return the output nodes."""
        return outputs(result, self.node.inputs.structure)
