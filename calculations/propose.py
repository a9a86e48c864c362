"""Propose: one short trajectory on the current model's surface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import ExitCode, calcfunction

from aiida_slhmc.data import MaceModelData

from . import base

#: Keys of the proposal settings that the trajectory needs.
SETTINGS = ("timestep", "length", "length_law", "centre_of_mass", "min_distance", "max_energy_change")


def payload(
    spec: base.Payload, state: orm.StructureData, stream: orm.Dict, ensemble: orm.Dict, proposal: orm.Dict
) -> base.Payload:
    """Return the payload of the task ``propose``.

    :param spec: potential specification of the proposal model.
    :param state: current state of the chain.
    :param stream: ``seed``, ``chain`` and ``cycle``: where in the random numbers this proposal stands.
    :param ensemble: ``temperature`` in K.
    :param proposal: ``timestep`` (fs), ``length`` (integration steps), ``length_law``, ``centre_of_mass``, limits.
    """
    position = stream.get_dict()
    settings = proposal.get_dict()
    return {
        **base.structure_payload(state),
        "potential": spec,
        "seed": position["seed"],
        "chain": position["chain"],
        "cycle": position["cycle"],
        "temperature": ensemble.get_dict()["temperature"],
        **{key: settings[key] for key in SETTINGS},
    }


def outputs(result: base.Payload, state: orm.StructureData) -> dict[str, orm.Data]:
    """Return the output nodes of a proposal.

    :param result: what the task ``propose`` returned.
    :param state: the state that the trajectory started from.
    """
    info = {key: value for key, value in result.items() if key not in ("positions", "cell")}
    return {
        "endpoint": base.moved(state, result["positions"], result["cell"]),
        "proposal_info": orm.Dict(base.storable(info)),
    }


@calcfunction
def propose_local(
    model: orm.Data, state: orm.StructureData, stream: orm.Dict, ensemble: orm.Dict, proposal: orm.Dict
) -> Any:
    """Propose in this process: the same contract as :class:`ProposeCalculation`, with the model already loaded."""
    with base.potential_spec(model) as spec:
        result = base.attempt("propose", payload(spec, state, stream, ensemble, proposal))
    return result if isinstance(result, ExitCode) else outputs(result, state)


class ProposeCalculation(base.WorkerCalculation):
    """Propose as a job on any computer."""

    TASK = "propose"

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs and outputs."""
        super().define(spec)
        spec.input("model", valid_type=(MaceModelData, orm.Dict), help="Proposal model (MACE, or a level of theory).")
        spec.input("state", valid_type=orm.StructureData, help="Current state of the chain (Å).")
        spec.input("stream", valid_type=orm.Dict, help="Seed, chain and cycle of the random numbers.")
        spec.input("ensemble", valid_type=orm.Dict, help="Ensemble; temperature in K.")
        spec.input("proposal", valid_type=orm.Dict, help="Time step (fs), proposal length (steps), law, limits.")
        spec.output("endpoint", valid_type=orm.StructureData, help="End of the trajectory (Å).")
        spec.output("proposal_info", valid_type=orm.Dict, help="Energies of the model and kinetic energies (eV).")

    def payload(self) -> base.Payload:
        """Return the payload of the task."""
        inputs = self.inputs
        spec = base.job_potential_spec(inputs.model)
        return payload(spec, inputs.state, inputs.stream, inputs.ensemble, inputs.proposal)


class ProposeParser(base.WorkerParser):
    """Parse a proposal."""

    def results(self, result: base.Payload, folder: Path) -> dict[str, orm.Data]:
        """Return the output nodes."""
        return outputs(result, self.node.inputs.state)
