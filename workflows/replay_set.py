"""Replay sets: frames of one's own structures, labelled by the foundation model; or somebody else's file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import ToContext, WorkChain

from aiida_slhmc.calculations.dataset import extend
from aiida_slhmc.calculations.import_replay import BATCH, chunk, import_replay, read_replay, sizes
from aiida_slhmc.calculations.replay_frames import ReplayFramesCalculation, replay_frames_local
from aiida_slhmc.data import DatasetData, FramesData, MaceModelData

from .protocol import protocol_inputs
from .steps import Steps, dispatch, failed, settings_port, worker_ports
from .validate import validate_model, validate_structure

#: Name of a structure in link labels: ``structure_000``, ...
STRUCTURE = "structure_"
#: Groups of settings that the WorkChain takes.
GROUPS = ("replay_set", "split", "executor")


def validate_structures(value: Mapping[str, Any], _: Any) -> str | None:
    """Return what is wrong with the inputs of a replay set, or None.

    :param value: inputs.
    """
    if any(name not in value for name in ("structures", "model", *GROUPS)):
        return None
    if not value["structures"]:
        return "structures: there is none to make replay frames of."
    for name, structure in value["structures"].items():
        problem = validate_structure(structure) or validate_model(value["model"], structure)
        if problem:
            return f"structures.{name}: {problem}"
    if value["executor"].get_dict()["dynamics"] == "job" and value.get("worker", {}).get("code") is None:
        return "executor.dynamics is 'job' but worker.code is missing: give the code slhmc-worker@computer."
    return None


class ReplaySetWorkChain(Steps, WorkChain):
    """Make a replay set: hot dynamics and displaced cells of structures, labelled by the foundation model itself."""

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs, outputs and outline."""
        super().define(spec)
        spec.input("model", valid_type=MaceModelData, help="Foundation model: samples and labels.")
        spec.input_namespace(
            "structures", valid_type=orm.StructureData, dynamic=True, help="structure_000, ...: what to make frames of."
        )
        spec.input("seed", valid_type=orm.Int, help="Root seed: every random number follows from it.")
        worker_ports(spec)
        for group in GROUPS:
            settings_port(spec, group)
        spec.inputs.validator = validate_structures
        spec.outline(cls.make, cls.gather)
        spec.output("replay", valid_type=DatasetData, help="The replay set, with the roles of its frames.")
        spec.exit_code(470, "ERROR_NO_FRAMES", message="no frames can be made of {structure}: {message}")

    @classmethod
    def get_builder_from_protocol(
        cls,
        *,
        structures: list[orm.StructureData],
        model: MaceModelData,
        seed: int,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        worker_code: Any = None,
        worker_options: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return a builder with a protocol's settings.

        :param structures: what to make frames of.
        :param model: the foundation model.
        :param seed: root seed.
        :param protocol: name of the protocol.
        :param overrides: of its settings, nested by group: ``replay_set``, ``split``, ``executor``.
        :param worker_code: code ``slhmc-worker``, if the frames are made as jobs.
        :param worker_options: scheduler options of the jobs.
        :raises ValueError: for an unknown protocol or key.
        """
        foreign = sorted(set(overrides or {}) - set(GROUPS))
        if foreign:
            raise ValueError(f"there is no group of settings '{foreign[0]}'; known are: {', '.join(GROUPS)}.")
        settings = protocol_inputs(protocol, overrides, "replay_set")
        builder: Any = cls.get_builder()
        builder.model = model
        builder.structures = {f"{STRUCTURE}{index:03d}": node for index, node in enumerate(structures)}
        builder.seed = orm.Int(seed)
        for group in GROUPS:
            builder[group] = orm.Dict(settings[group])
        if worker_code is not None:
            builder.worker.code = worker_code
            builder.worker.options = dict(worker_options or {})
        return builder

    def make(self) -> ToContext | None:
        """Make the frames of each structure."""
        worker = self.inputs.get("worker", {})
        awaited: dict[str, Any] = {}
        for name in sorted(self.inputs.structures):
            inputs = {
                "model": self.inputs.model,
                "structure": self.inputs.structures[name],
                "settings": self.inputs.replay_set,
                "seed": self.inputs.seed,
            }
            waiting = dispatch(
                self, name, f"{name}_frames", "dynamics", ReplayFramesCalculation, replay_frames_local, inputs,
                code=worker.get("code"), options=worker.get("options"),
            )  # fmt: skip
            awaited |= waiting or {}
        return ToContext(**awaited) if awaited else None

    def gather(self) -> Any:
        """Put the frames into one set."""
        replay = None
        for name in sorted(self.inputs.structures):
            problem = failed(self.ctx[name])
            if problem:
                return self.exit_codes.ERROR_NO_FRAMES.format(structure=name, message=problem)
            inputs = {"chunk": self.ctx[name].outputs.frames, "seed": self.inputs.seed, "split": self.inputs.split}
            if replay is not None:
                inputs["previous"] = replay
            replay = self.call_once_node(f"{name}_extend", extend, **inputs).outputs.result
        self.out("replay", replay)
        return None


def preview(path: Path, keys: Mapping[str, str | None]) -> FramesData:
    """Return the largest chunk of a file, not stored: enough to check a run with it.

    :param path: extended XYZ.
    :param keys: where it keeps ``energy``, ``forces``, ``stress``; None: see :func:`read_replay`.
    :raises ValueError: with one sentence on what is wrong with the file.
    """
    labelled = read_replay(path, keys)
    counts = [item.frame["numbers"].shape[1] for item in labelled]
    return chunk(labelled, max(sizes(labelled), key=counts.count))


def import_file(path: Path, keys: Mapping[str, str | None], seed: int, valid_fraction: float) -> DatasetData:
    """Make a replay set of a file; the same file, seed and fraction give the set that is in the profile.

    :param path: extended XYZ.
    :param keys: where it keeps ``energy``, ``forces``, ``stress``; None: see :func:`read_replay`.
    :param seed: of the frames that forgetting is measured on.
    :param valid_fraction: of these.
    :raises ValueError: with one sentence on what is wrong with the file.
    """
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    known = _known(digest, seed, valid_fraction)
    if known is not None:
        return known
    wanted = sizes(read_replay(path, keys))
    source = orm.SinglefileData(path.resolve(), filename=path.name)
    root, split = orm.Int(seed), orm.Dict({"valid_fraction": valid_fraction})
    replay: Any = None
    for begin in range(0, len(wanted), BATCH):
        selection = orm.Dict({"keys": dict(keys), "sizes": wanted[begin : begin + BATCH], "sha256": digest})
        _, node = import_replay.run_get_node(source=source, selection=selection)
        if not node.is_finished_ok:
            raise ValueError(str(failed(node)))
        for name in sorted(node.outputs):
            inputs = {"chunk": node.outputs[name], "seed": root, "split": split}
            replay = extend(**inputs) if replay is None else extend(**inputs, previous=replay)
    return replay


def _known(digest: str, seed: int, valid_fraction: float) -> DatasetData | None:
    """Return the replay set that was made before of a file with this SHA-256."""
    query = orm.QueryBuilder()
    query.append(orm.Dict, filters={"attributes.sha256": digest}, tag="selection")
    query.append(orm.CalcFunctionNode, with_incoming="selection", filters={"attributes.exit_status": 0}, tag="import")
    query.append(FramesData, with_incoming="import", tag="chunk")
    query.append(orm.CalcFunctionNode, with_incoming="chunk", tag="extend")
    query.append(orm.Int, with_outgoing="extend", edge_filters={"label": "seed"}, filters={"attributes.value": seed})
    query.append(
        orm.Dict, with_outgoing="extend", edge_filters={"label": "split"},
        filters={"attributes.valid_fraction": valid_fraction},
    )  # fmt: skip
    query.append(DatasetData, with_incoming="extend", project="*")
    # Each chunk made the set longer: the longest is the whole.
    return max(query.all(flat=True), key=lambda node: node.n_frames, default=None)
