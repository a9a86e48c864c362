"""Predict: what a model says of frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import ExitCode, calcfunction

from aiida_slhmc.data import FramesData, MaceModelData

from . import base

#: Arrays that describe the structures of frames.
GEOMETRY = ("numbers", "positions", "cells", "pbc")


def payload(spec: base.Payload, frames: FramesData) -> base.Payload:
    """Return the payload of the task ``predict``.

    :param spec: potential specification.
    :param frames: what to predict.
    """
    return {"potential": spec, "frames": {name: frames.get_array(name) for name in GEOMETRY}}


def outputs(result: base.Payload) -> dict[str, orm.Data]:
    """Return the output node: energies (F,) in eV, forces (F, N, 3) in eV/Å, stresses (F, 3, 3) in eV/Å³.

    :param result: what the task ``predict`` returned.
    """
    return {"predictions": orm.ArrayData({name: result[name] for name in ("energies", "forces", "stresses")})}


@calcfunction
def predict_local(model: orm.Data, frames: FramesData) -> Any:
    """Predict in this process: the same contract as :class:`PredictCalculation`."""
    with base.potential_spec(model) as spec:
        result = base.attempt("predict", payload(spec, frames))
    return result if isinstance(result, ExitCode) else outputs(result)


class PredictCalculation(base.WorkerCalculation):
    """Predict as a job on any computer."""

    TASK = "predict"

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs and outputs."""
        super().define(spec)
        spec.input("model", valid_type=(MaceModelData, orm.Dict), help="Model (MACE, or a level of theory).")
        spec.input("frames", valid_type=FramesData, help="Frames to predict.")
        spec.output("predictions", valid_type=orm.ArrayData, help="Energies, forces and stresses.")

    def payload(self) -> base.Payload:
        """Return the payload of the task."""
        return payload(base.job_potential_spec(self.inputs.model), self.inputs.frames)


class PredictParser(base.WorkerParser):
    """Parse a prediction."""

    def results(self, result: base.Payload, folder: Path) -> dict[str, orm.Data]:
        """Return the output node."""
        return outputs(result)
