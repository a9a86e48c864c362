"""Propose: one short trajectory on the current model's surface."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import ExitCode, calcfunction

from aiida_slhmc.data import MaceModelData

from . import base

#: Keys of the proposal settings that the trajectory needs.
SETTINGS = (
    "timestep",
    "length",
    "length_law",
    "centre_of_mass",
    "min_distance",
    "max_energy_change",
    "max_volume_change",
    "cell_mass",
)
#: Keys of the ensemble that it needs.
ENSEMBLE = ("ensemble", "temperature", "pressure")
#: Prefixes of the inputs and outputs of proposals of several chains; the name of the chain follows.
STATE, STREAM, LAW, ENDPOINT, INFO = "state_", "stream_", "ensemble_", "endpoint_", "proposal_info_"


def payload(
    spec: base.Payload, state: orm.StructureData, stream: orm.Dict, ensemble: orm.Dict, proposal: orm.Dict
) -> base.Payload:
    """Return the payload of the task ``propose``.

    :param spec: potential specification of the proposal model.
    :param state: current state of the chain.
    :param stream: ``seed``, ``chain`` and ``cycle``: where in the random numbers this proposal stands.
    :param ensemble: ``ensemble``, ``temperature`` in K, ``pressure`` in GPa, ``cell``.
    :param proposal: ``timestep`` (fs), ``length`` (integration steps), ``length_law``, ``centre_of_mass``, limits,
        ``cell_mass``.
    """
    return {"potential": spec, **_trajectory(state, stream, ensemble, proposal)}


def _trajectory(state: orm.StructureData, stream: orm.Dict, ensemble: orm.Dict, proposal: orm.Dict) -> base.Payload:
    position, settings, law = stream.get_dict(), proposal.get_dict(), ensemble.get_dict()
    return {
        **base.structure_payload(state),
        **{key: position[key] for key in ("seed", "chain", "cycle")},
        **{key: law[key] for key in ENSEMBLE},
        # 'cell' is the matrix.
        "cell_kind": law["cell"],
        **{key: settings[key] for key in SETTINGS},
    }


def payload_many(spec: base.Payload, proposal: orm.Dict, nodes: Mapping[str, Any]) -> base.Payload:
    """Return the payload of the task ``propose_many``.

    :param spec: potential specification of the proposal model.
    :param proposal: settings of the proposals.
    :param nodes: ``state_<chain>``, ``stream_<chain>`` and ``ensemble_<chain>`` of every chain.
    """
    trajectories = [
        _trajectory(nodes[STATE + name], nodes[STREAM + name], nodes[LAW + name], proposal) for name in names(nodes)
    ]
    return {"potential": spec, "trajectories": trajectories}


def names(nodes: Mapping[str, Any]) -> list[str]:
    """Return the names of the chains whose states are among nodes, in order.

    :param nodes: inputs of proposals of several chains.
    """
    return sorted(key.removeprefix(STATE) for key in nodes if key.startswith(STATE))


def outputs_many(result: base.Payload, nodes: Mapping[str, Any]) -> dict[str, orm.Data]:
    """Return the output nodes of proposals of several chains: ``endpoint_<chain>`` and ``proposal_info_<chain>``.

    :param result: what the task ``propose_many`` returned.
    :param nodes: the inputs.
    """
    found: dict[str, orm.Data] = {}
    share = result["wall_time"] / len(result["proposals"])
    for name, one in zip(names(nodes), result["proposals"], strict=True):
        single = outputs({**one, "wall_time": share}, nodes[STATE + name])
        found[ENDPOINT + name], found[INFO + name] = single["endpoint"], single["proposal_info"]
    return found


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


@calcfunction
def propose_many_local(model: orm.Data, proposal: orm.Dict, **nodes: orm.Data) -> Any:
    """Propose for several chains in this process: the same contract as :class:`ProposeManyCalculation`."""
    with base.potential_spec(model) as spec:
        result = base.attempt("propose_many", payload_many(spec, proposal, nodes))
    return result if isinstance(result, ExitCode) else outputs_many(result, nodes)


class ProposeManyCalculation(base.WorkerCalculation):
    """Propose for several chains as one job: one start of Python and of the model, trajectories in batches."""

    TASK = "propose_many"

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs and outputs."""
        super().define(spec)
        spec.input("model", valid_type=(MaceModelData, orm.Dict), help="Proposal model (MACE, or a level of theory).")
        spec.input("proposal", valid_type=orm.Dict, help="Time step (fs), proposal length (steps), law, limits.")
        # state_<chain>, stream_<chain>, ensemble_<chain>
        spec.inputs.dynamic = True
        spec.inputs.valid_type = (orm.StructureData, orm.Dict)
        # endpoint_<chain>, proposal_info_<chain>
        spec.outputs.dynamic = True
        spec.outputs.valid_type = orm.Data

    def payload(self) -> base.Payload:
        """Return the payload of the task."""
        return payload_many(base.job_potential_spec(self.inputs.model), self.inputs.proposal, dict(self.inputs))


class ProposeManyParser(base.WorkerParser):
    """Parse the proposals of several chains."""

    def results(self, result: base.Payload, folder: Path) -> dict[str, orm.Data]:
        """Return the output nodes."""
        return outputs_many(result, {label: self.node.inputs[label] for label in self.node.inputs})
