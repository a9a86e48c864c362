"""Dynamics: sample the ensemble of one frozen surface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import ExitCode, calcfunction

from aiida_slhmc.data import MaceModelData
from aiida_slhmc.data.content import json_hash

from . import base

#: Keys of the settings, beside the ensemble.
SETTINGS = (
    "timestep",
    "length",
    "length_law",
    "centre_of_mass",
    "samples",
    "discard",
    "min_distance",
    "max_energy_change",
)


def payload(
    spec: base.Payload,
    model: orm.Data,
    structure: orm.StructureData,
    ensemble: orm.Dict,
    settings: orm.Dict,
    seed: orm.Int,
) -> base.Payload:
    """Return the payload of the task ``dynamics``.

    :param spec: potential specification of the surface.
    :param model: the node behind it.
    :param structure: where the chain starts.
    :param ensemble: ``temperature`` in K.
    :param settings: ``timestep`` (fs), ``length`` (steps), ``samples``, ``discard``, law and limits.
    :param seed: root seed.
    """
    name = model.state_sha256 if isinstance(model, MaceModelData) else json_hash(model.get_dict())
    values = settings.get_dict()
    return {
        **base.structure_payload(structure),
        "potential": spec,
        "seed": seed.value,
        # Two surfaces sampled with one root seed must not share their random numbers: their difference has an error.
        "chain": int(name[:7], 16),
        "temperature": ensemble.get_dict()["temperature"],
        **{key: values[key] for key in SETTINGS},
    }


def outputs(result: base.Payload, structure: orm.StructureData) -> dict[str, orm.Data]:
    """Return the output nodes: samples with energies (S,) in eV and stresses (S, 3, 3) in eV/Å³, and how it went.

    :param result: what the task ``dynamics`` returned.
    :param structure: where the chain started.
    """
    arrays = {name: np.asarray(value) for name, value in result.items() if isinstance(value, np.ndarray)}
    arrays["numbers"] = base.structure_payload(structure)["numbers"]
    info = {name: value for name, value in result.items() if not isinstance(value, np.ndarray)}
    return {"trajectory": orm.ArrayData(arrays), "dynamics_info": orm.Dict(base.storable(info))}


@calcfunction
def dynamics_local(
    model: orm.Data, structure: orm.StructureData, ensemble: orm.Dict, settings: orm.Dict, seed: orm.Int
) -> Any:
    """Sample in this process: the same contract as :class:`DynamicsCalculation`."""
    with base.potential_spec(model) as spec:
        result = base.attempt("dynamics", payload(spec, model, structure, ensemble, settings, seed))
    return result if isinstance(result, ExitCode) else outputs(result, structure)


class DynamicsCalculation(base.WorkerCalculation):
    """Sample as a job on any computer."""

    TASK = "dynamics"

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs and outputs."""
        super().define(spec)
        spec.input("model", valid_type=(MaceModelData, orm.Dict), help="Surface: a MACE model or a level of theory.")
        spec.input("structure", valid_type=orm.StructureData, help="Start of the chain (Å).")
        spec.input("ensemble", valid_type=orm.Dict, help="Ensemble; temperature in K.")
        spec.input("settings", valid_type=orm.Dict, help="Time step (fs), length (steps), samples, discard.")
        spec.input("seed", valid_type=orm.Int, help="Root seed of the run.")
        spec.output("trajectory", valid_type=orm.ArrayData, help="Samples of the ensemble.")
        spec.output("dynamics_info", valid_type=orm.Dict, help="Acceptance, wall time (s).")

    def payload(self) -> base.Payload:
        """Return the payload of the task."""
        inputs = self.inputs
        spec = base.job_potential_spec(inputs.model)
        return payload(spec, inputs.model, inputs.structure, inputs.ensemble, inputs.settings, inputs.seed)


class DynamicsParser(base.WorkerParser):
    """Parse a dynamics run."""

    def results(self, result: base.Payload, folder: Path) -> dict[str, orm.Data]:
        """Return the output nodes."""
        return outputs(result, self.node.inputs.structure)
