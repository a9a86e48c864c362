"""Predict with an ensemble: what a committee or a sampled posterior says of frames, and how sure it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import ExitCode, calcfunction

from aiida_slhmc.data import FramesData, MaceModelData

from . import base
from .posterior import MEMBERS, ensemble_files, job_ensemble, local_ensemble
from .predict import GEOMETRY

#: Arrays of a prediction: means over the members, and their standard deviations.
ARRAYS = ("energies", "forces", "stresses", "energy_sds", "force_sds", "stress_sds")


def payload(ensemble: base.Payload, frames: FramesData) -> base.Payload:
    """Return the payload of the task ``predict_ensemble``.

    :param ensemble: ``models`` and ``heads``.
    :param frames: what to predict.
    """
    return {**ensemble, "frames": {name: frames.get_array(name) for name in GEOMETRY}}


def outputs(result: base.Payload) -> dict[str, orm.Data]:
    """Return the output node: energies (F,) in eV, forces (F, N, 3) in eV/Å, stresses (F, 3, 3) in eV/Å³, and their
    standard deviations.

    :param result: what the task ``predict_ensemble`` returned.
    """
    return {"predictions": orm.ArrayData({name: result[name] for name in ARRAYS})}


@calcfunction
def predict_ensemble_local(frames: FramesData, heads: orm.SinglefileData | None = None, **nested: Any) -> Any:
    """Predict in this process: the same contract as :class:`PredictEnsembleCalculation`.

    :param nested: the namespace ``members``.
    """
    with local_ensemble(nested.get(MEMBERS, {}), heads) as ensemble:
        result = base.attempt("predict_ensemble", payload(ensemble, frames))
    return result if isinstance(result, ExitCode) else outputs(result)


class PredictEnsembleCalculation(base.WorkerCalculation):
    """Predict as a job on any computer."""

    TASK = "predict_ensemble"

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs and outputs."""
        super().define(spec)
        spec.input_namespace(MEMBERS, valid_type=MaceModelData, dynamic=True, help="Members of the ensemble.")
        spec.input("heads", valid_type=orm.SinglefileData, required=False, help="Heads of a posterior's members.")
        spec.input("frames", valid_type=FramesData, help="Frames to predict.")
        spec.output("predictions", valid_type=orm.ArrayData, help="Means and standard deviations.")

    def payload(self) -> base.Payload:
        """Return the payload of the task."""
        return payload(job_ensemble(self.inputs[MEMBERS], self.inputs.get("heads")), self.inputs.frames)

    def extra_files(self) -> dict[str, Any]:
        """Return the files of the members and their heads."""
        return ensemble_files(self.inputs[MEMBERS], self.inputs.get("heads"))


class PredictEnsembleParser(base.WorkerParser):
    """Parse a prediction."""

    def results(self, result: base.Payload, folder: Path) -> dict[str, orm.Data]:
        """Return the output node."""
        return outputs(result)
