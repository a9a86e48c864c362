"""Explore: molecular dynamics on an ensemble's mean until its doubt asks for a label."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import ExitCode, calcfunction

from aiida_slhmc.data import MaceModelData

from . import base
from .dynamics import SETTINGS
from .posterior import MEMBERS, ensemble_files, job_ensemble, local_ensemble
from .propose import ENSEMBLE

#: Settings of the gate that the task takes as they are.
GATE = ("decide", "tolerance", "force_accuracy")
#: Name of the file of a state.
STATE_FILE = "state.npz"
#: Beginning of the names, in a state, of what belongs to the next step: the structure that its label is asked for.
ASKED = "next_"


def pack(arrays: Mapping[str, Any]) -> orm.SinglefileData:
    """Return a state as one file: a node of some twenty arrays would be as many files, read and written at every label.

    :param arrays: by name.
    """
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return orm.SinglefileData(io.BytesIO(buffer.getvalue()), filename=STATE_FILE)


def unpack(state: orm.SinglefileData) -> dict[str, Any]:
    """Return the arrays of a state by name; the inverse of :func:`pack`.

    :param state: as of :func:`pack`.
    """
    with state.open(mode="rb") as file, np.load(io.BytesIO(file.read()), allow_pickle=False) as content:
        return {name: content[name] for name in content.files}


def steps_in_all(dynamics: Mapping[str, Any]) -> int:
    """Return how many steps of molecular dynamics a run has.

    :param dynamics: settings: ``samples``, ``thinning``.
    """
    return int(dynamics["samples"] * dynamics["thinning"])


def payload(
    ensemble_spec: base.Payload,
    structure: orm.StructureData,
    state: orm.SinglefileData,
    calibration: orm.Dict,
    stream: orm.Dict,
    ensemble: orm.Dict,
    dynamics: orm.Dict,
    gate: orm.Dict,
) -> base.Payload:
    """Return the payload of the task ``explore``.

    :param ensemble_spec: ``models`` and ``heads``.
    :param structure: whose atoms move.
    :param state: where to go on.
    :param calibration: of energy and forces.
    :param stream: seed.
    :param ensemble: ``ensemble``, ``temperature`` in K, ``pressure`` in GPa, ``cell``.
    :param dynamics: method, time step (fs), ``samples`` times ``thinning`` steps in all, limits.
    :param gate: decide, tolerance, force_accuracy (eV/Å), ``segment``: most steps of one process.
    """
    atoms, law = base.structure_payload(structure), ensemble.get_dict()
    values, settings, known = dynamics.get_dict(), gate.get_dict(), calibration.get_dict()
    arrays = unpack(state)
    left = steps_in_all(values) - int(arrays["step"][0])
    return {
        **{name: atoms[name] for name in ("numbers", "masses", "pbc")},
        **ensemble_spec,
        "state": arrays,
        "steps": min(left, settings["segment"]),
        "gate": {**{name: settings[name] for name in GATE}, **{name: known[name] for name in ("energy", "forces")}},
        "seed": stream.get_dict()["seed"],
        **{key: law[key] for key in ENSEMBLE},
        # 'cell' is the matrix.
        "cell_kind": law["cell"],
        **{key: values[key] for key in SETTINGS},
    }


def outputs(result: base.Payload, structure: orm.StructureData) -> dict[str, orm.Data]:
    """Return the output nodes.

    :param result: what the task ``explore`` returned.
    :param structure: whose atoms moved.
    """
    frames = {("frame_steps" if name == "steps" else name): value for name, value in result["frames"].items()}
    told = ("state", "trace", "frames", "prediction", "positions", "cell")
    asked = {} if result["reason"] is None else {name: result[name] for name in ("positions", "cell")}
    nodes = {
        # With the structure that is asked about, to the bit, which a StructureData is not.
        "state": pack({**result["state"], **{f"{ASKED}{name}": value for name, value in asked.items()}}),
        "trajectory": orm.ArrayData({**result["trace"], **frames}),
        "exploration": orm.Dict(base.storable({key: value for key, value in result.items() if key not in told})),
    }
    if result["reason"] is None:
        return nodes
    return nodes | {
        "structure": base.moved(structure, result["positions"], result["cell"]),
        "prediction": orm.ArrayData({name: np.asarray(value) for name, value in result["prediction"].items()}),
    }


@calcfunction
def explore_local(
    structure: orm.StructureData,
    state: orm.SinglefileData,
    calibration: orm.Dict,
    stream: orm.Dict,
    ensemble: orm.Dict,
    dynamics: orm.Dict,
    gate: orm.Dict,
    heads: orm.SinglefileData,
    **nested: Any,
) -> Any:
    """Explore in this process: the same contract as :class:`ExploreCalculation`.

    :param nested: the namespace ``members``.
    """
    with local_ensemble(nested[MEMBERS], heads) as spec:
        content = payload(spec, structure, state, calibration, stream, ensemble, dynamics, gate)
        result = base.attempt("explore", content)
    return result if isinstance(result, ExitCode) else outputs(result, structure)


class ExploreCalculation(base.WorkerCalculation):
    """Explore as a job on any computer."""

    TASK = "explore"

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs and outputs."""
        super().define(spec)
        spec.input("structure", valid_type=orm.StructureData, help="Whose atoms move.")
        spec.input(
            "state", valid_type=orm.SinglefileData, help="Where to go on; with a label, where one was asked for."
        )
        spec.input("calibration", valid_type=orm.Dict, help="Calibration of energy and forces.")
        spec.input("stream", valid_type=orm.Dict, help="Seed of the random numbers.")
        spec.input("ensemble", valid_type=orm.Dict, help="Ensemble; temperature in K, pressure in GPa, cell.")
        spec.input("dynamics", valid_type=orm.Dict, help="Method, time step (fs), samples and thinning, limits.")
        spec.input("gate", valid_type=orm.Dict, help="What decides, tolerance, accuracy of forces (eV/Å), segment.")
        spec.input("heads", valid_type=orm.SinglefileData, help="Heads of the members; K (eV) is theirs.")
        spec.input_namespace(MEMBERS, valid_type=MaceModelData, dynamic=True, help="Members of the ensemble.")
        spec.output(
            "state", valid_type=orm.SinglefileData, help="Where to go on: before the step that asks, if one does."
        )
        spec.output("trajectory", valid_type=orm.ArrayData, help="Every decision; every thinning-th point (Å, eV, K).")
        spec.output("exploration", valid_type=orm.Dict, help="Step reached; reason, s and P(|e| > K) of a request.")
        spec.output("structure", valid_type=orm.StructureData, required=False, help="What is to be labelled (Å).")
        spec.output("prediction", valid_type=orm.ArrayData, required=False, help="The ensemble's prediction of it.")

    def payload(self) -> base.Payload:
        """Return the payload of the task."""
        names = ("structure", "state", "calibration", "stream", "ensemble", "dynamics", "gate")
        spec = job_ensemble(self.inputs[MEMBERS], self.inputs.heads)
        return payload(spec, **{name: self.inputs[name] for name in names})

    def extra_files(self) -> dict[str, Any]:
        """Return the files of the members."""
        return ensemble_files(self.inputs[MEMBERS], self.inputs.heads)


class ExploreParser(base.WorkerParser):
    """Parse an exploration."""

    def results(self, result: base.Payload, folder: Path) -> dict[str, Any]:
        """Return the output nodes."""
        return outputs(result, self.node.inputs.structure)
