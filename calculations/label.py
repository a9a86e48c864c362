"""Label: energy, forces and stress of the target functional at one structure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import ExitCode, calcfunction

from aiida_slhmc.data import FramesData
from aiida_slhmc.data.labels import make_label
from aiida_slhmc.targets.level import level_hash

from . import base


def payload(structure: orm.StructureData, level: orm.Dict, failure: orm.Dict | None = None) -> base.Payload:
    """Return the payload of the task ``label``.

    :param structure: what to label.
    :param level: level of theory.
    :param failure: failure policy with ``timeout`` (s); None: no limit.
    """
    content = {**base.structure_payload(structure), "level": level.get_dict()}
    timeout = None if failure is None else failure.get_dict().get("timeout")
    return content if timeout is None else {**content, "timeout": timeout}


def outputs(result: base.Payload, structure: orm.StructureData, level: orm.Dict) -> dict[str, orm.Data]:
    """Return the output nodes of a label.

    :param result: what the task ``label`` returned: energy in eV, forces (N, 3) in eV/Å, stress (3, 3) in eV/Å³.
    :param structure: the labelled structure.
    :param level: level of theory.
    """
    geometry = base.structure_payload(structure)
    stress = result.get("stress")
    frame = {
        "numbers": geometry["numbers"][None],
        "positions": geometry["positions"][None],
        "cells": geometry["cell"][None],
        "pbc": geometry["pbc"][None],
        "energies": np.array([result["energy"]], dtype=np.float64),
        "forces": np.asarray(result["forces"], dtype=np.float64)[None],
        "stresses": (np.full((3, 3), np.nan) if stress is None else np.asarray(stress, dtype=np.float64))[None],
    }
    digest = level_hash(level.get_dict())
    info = {key: value for key, value in result.items() if key not in ("forces", "stress")}
    return {
        "label": make_label(frame, level.get_dict()),
        "label_info": orm.Dict(base.storable({**info, "has_stress": stress is not None, "level_hash": digest})),
    }


@calcfunction
def label_local(structure: orm.StructureData, level: orm.Dict, failure: orm.Dict | None = None) -> Any:
    """Label in this process: the same contract as :class:`LabelCalculation`, with the engine already loaded.

    :param structure: what to label.
    :param level: level of theory.
    :param failure: failure policy with ``timeout`` (s), where there is one.
    """
    result = base.attempt("label", payload(structure, level, failure))
    return result if isinstance(result, ExitCode) else outputs(result, structure, level)


class LabelCalculation(base.WorkerCalculation):
    """Label as a job on any computer."""

    TASK = "label"

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs and outputs."""
        super().define(spec)
        spec.input("structure", valid_type=orm.StructureData, help="Structure to label (Å).")
        spec.input("level", valid_type=orm.Dict, help="Level of theory.")
        spec.input("failure", valid_type=orm.Dict, required=False, help="Failure policy: timeout (s).")
        spec.output("label", valid_type=FramesData, help="One frame: energy (eV), forces (eV/Å), stress (eV/Å³).")
        spec.output("label_info", valid_type=orm.Dict, help="Convergence, engine, version, wall time (s).")

    def payload(self) -> base.Payload:
        """Return the payload of the task."""
        return payload(self.inputs.structure, self.inputs.level, self.inputs.get("failure"))

    def extra_retrieve(self) -> list[Any]:
        """Return the engine's own log, which not every engine writes: a pattern may match nothing."""
        return [("engine.txt*", ".", 0)]


class LabelParser(base.WorkerParser):
    """Parse a label."""

    def results(self, result: base.Payload, folder: Path) -> dict[str, orm.Data]:
        """Return the output nodes."""
        return outputs(result, self.node.inputs.structure, self.node.inputs.level)
