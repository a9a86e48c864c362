"""Coverage: how far the atoms of frames are from those of a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import ExitCode, calcfunction

from aiida_slhmc.data import DatasetData, FramesData

from . import base
from .predict import GEOMETRY

#: Arrays of a coverage, one value an atom.
ARRAYS = ("q", "t2", "outlier")


def payload(dataset: DatasetData, frames: FramesData, settings: orm.Dict) -> base.Payload:
    """Return the payload of the task ``coverage``.

    :param dataset: the reference set.
    :param frames: whose atoms are looked at.
    :param settings: of descriptors and subspaces; see :class:`aiida_slhmc.analysis.coverage.Settings`.
    """
    return {
        "reference": [{name: node.get_array(name) for name in GEOMETRY} for node in dataset.frames() if node.n_frames],
        "frames": {name: frames.get_array(name) for name in GEOMETRY},
        "settings": settings.get_dict(),
    }


def outputs(result: base.Payload) -> dict[str, orm.Data]:
    """Return the output nodes: Q, T² and outliers (F, N), and what they were measured by.

    :param result: what the task ``coverage`` returned.
    """
    told = {name: result[name] for name in ("atoms", "components", "settings")}
    return {
        "coverage": orm.ArrayData({name: result[name] for name in ARRAYS}),
        "report": orm.Dict(base.storable(told)),
    }


@calcfunction
def coverage_local(dataset: DatasetData, frames: FramesData, settings: orm.Dict) -> Any:
    """Compare in this process: the same contract as :class:`CoverageCalculation`."""
    result = base.attempt("coverage", payload(dataset, frames, settings))
    return result if isinstance(result, ExitCode) else outputs(result)


class CoverageCalculation(base.WorkerCalculation):
    """Compare as a job on any computer."""

    TASK = "coverage"

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs and outputs."""
        super().define(spec)
        spec.input("dataset", valid_type=DatasetData, help="The reference set.")
        spec.input("frames", valid_type=FramesData, help="Frames whose atoms are looked at.")
        spec.input("settings", valid_type=orm.Dict, help="Of descriptors and subspaces.")
        spec.output("coverage", valid_type=orm.ArrayData, help="Q-residual, T² and outliers of every atom.")
        spec.output("report", valid_type=orm.Dict, help="Atoms and components of each element; settings.")

    def payload(self) -> base.Payload:
        """Return the payload of the task."""
        return payload(self.inputs.dataset, self.inputs.frames, self.inputs.settings)


class CoverageParser(base.WorkerParser):
    """Parse a coverage."""

    def results(self, result: base.Payload, folder: Path) -> dict[str, orm.Data]:
        """Return the output nodes."""
        return outputs(result)
