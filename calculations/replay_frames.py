"""Replay frames: structures far from equilibrium with the foundation model's own labels, for a replay set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import ExitCode, calcfunction

from aiida_slhmc.data import FramesData, MaceModelData
from aiida_slhmc.data.frames import REQUIRED
from aiida_slhmc.data.labels import hash_of

from . import base


def payload(spec: base.Payload, structure: orm.StructureData, settings: orm.Dict, seed: orm.Int) -> base.Payload:
    """Return the payload of the task ``replay_frames``.

    :param spec: potential specification of the model.
    :param structure: where dynamics starts, and what is displaced.
    :param settings: what to make: the group ``replay_set`` of :mod:`aiida_slhmc.workflows.settings`.
    :param seed: root seed.
    """
    return {
        **base.structure_payload(structure),
        **settings.get_dict(),
        "potential": spec,
        "seed": seed.value,
        # No two structures share their random numbers.
        "number": int(hash_of(structure)[:7], 16),
    }


def outputs(result: base.Payload) -> dict[str, orm.Data]:
    """Return the output nodes: the frames, with their ``origin`` (0 dynamics, 1 displaced), and how it went.

    :param result: what the task ``replay_frames`` returned.
    """
    frames = {name: result[name] for name in (*REQUIRED, "origin")}
    info = {name: result[name] for name in ("left_out", "checks", "wall_time")}
    return {"frames": FramesData(frames), "replay_info": orm.Dict(base.storable(info))}


@calcfunction
def replay_frames_local(model: MaceModelData, structure: orm.StructureData, settings: orm.Dict, seed: orm.Int) -> Any:
    """Make replay frames in this process: the same contract as :class:`ReplayFramesCalculation`."""
    with base.potential_spec(model) as spec:
        result = base.attempt("replay_frames", payload(spec, structure, settings, seed))
    return result if isinstance(result, ExitCode) else outputs(result)


class ReplayFramesCalculation(base.WorkerCalculation):
    """Make replay frames as a job on any computer."""

    TASK = "replay_frames"

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs and outputs."""
        super().define(spec)
        spec.input("model", valid_type=MaceModelData, help="Foundation model: samples and labels.")
        spec.input("structure", valid_type=orm.StructureData, help="Start of the dynamics, and what is displaced (Å).")
        spec.input("settings", valid_type=orm.Dict, help="Temperature (K), frames, strain, rattle (Å), limits.")
        spec.input("seed", valid_type=orm.Int, help="Root seed.")
        spec.output("frames", valid_type=FramesData, help="Frames with the model's energies, forces and stresses.")
        spec.output("replay_info", valid_type=orm.Dict, help="Frames left out, checks of the dynamics, wall time (s).")

    def payload(self) -> base.Payload:
        """Return the payload of the task."""
        inputs = self.inputs
        spec = base.job_potential_spec(inputs.model)
        return payload(spec, inputs.structure, inputs.settings, inputs.seed)


class ReplayFramesParser(base.WorkerParser):
    """Parse replay frames."""

    def results(self, result: base.Payload, folder: Path) -> dict[str, orm.Data]:
        """Return the output nodes."""
        return outputs(result)
