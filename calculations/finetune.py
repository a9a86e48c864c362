"""Fine-tune: train the model on the dataset and keep the best of it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import ExitCode, calcfunction

from aiida_slhmc.data import DatasetData, FramesData, MaceModelData
from aiida_slhmc.data.dataset import TRAIN
from aiida_slhmc.numerics.randomness import Purpose, generator
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.hyperparameters import Hyperparameters

from . import base

#: Namespace of the further models of a committee, and prefix of their names: the first is ``model``.
COMMITTEE, MEMBER = "committee", "member_"


def member_name(index: int) -> str:
    """Return the name of a member of a committee in link labels.

    :param index: of the member, from 1: the member 0 is ``model``.
    """
    return f"{MEMBER}{index:03d}"


def committee_size(hyperparameters: orm.Dict) -> int:
    """Return how many models a fine-tuning trains; 1 if the hyperparameters are wrong, which the task will say.

    :param hyperparameters: of the training.
    """
    try:
        return Hyperparameters.from_dict(hyperparameters.get_dict()).committee
    except TaskError:
        return 1


def committee_of(node: orm.ProcessNode) -> list[MaceModelData]:
    """Return all members of the committee that a process left, the result first.

    :param node: a fine-tuning, or a WorkChain that fine-tunes.
    """
    further = dict(node.outputs[COMMITTEE]) if COMMITTEE in node.outputs else {}
    return [node.outputs.model, *(further[name] for name in sorted(further))]


def read_chunks(frames: DatasetData | FramesData) -> base.Payload:
    """Return frames as the worker takes them: ``frames``, the arrays of each chunk, and ``split``, their roles.

    :param frames: a dataset; or a block of frames, all of which are trained on.
    """
    if isinstance(frames, FramesData):
        return {"frames": [frames.arrays], "split": [np.full(frames.n_frames, TRAIN)]}
    # A chunk in which every proposal diverged holds no label.
    chunks = [(node.arrays, split) for node, split in zip(frames.frames(), frames.splits, strict=True) if node.n_frames]
    return {"frames": [arrays for arrays, _ in chunks], "split": [split for _, split in chunks]}


def payload(
    file: str,
    dataset: DatasetData,
    hyperparameters: orm.Dict,
    seed: orm.Int,
    out: str,
    isolated: orm.Dict | None = None,
    replay: DatasetData | FramesData | None = None,
    starts: Mapping[str, str] | None = None,
) -> base.Payload:
    """Return the payload of the task ``finetune``.

    :param file: path to the parent model.
    :param dataset: chunks and the assignment of their frames.
    :param hyperparameters: of the training; see ``workflows/protocols/finetune.yaml``.
    :param seed: root seed of the run; each member's own follows from it, its number and the number of chunks.
    :param out: path of the new model; those of further members get a number.
    :param isolated: energies of isolated atoms in eV by symbol, for the policy e0 'isolated'.
    :param replay: frames that the new model is not to forget, with the parent's own energies.
    :param starts: paths of what members of a committee start from, by their names; the parent serves the others.
    """
    members = [
        {
            "model": (starts or {}).get(member_name(index), file),
            "seed": int(generator(seed.value, index, len(dataset.chunks), Purpose.TRAINING).integers(2**31)),
            "out": _numbered(out, index),
        }
        for index in range(committee_size(hyperparameters))
    ]
    return {
        **members[0],
        **read_chunks(dataset),
        "hyperparameters": hyperparameters.get_dict(),
        "isolated": None if isolated is None else isolated.get_dict(),
        "replay": None if replay is None else read_chunks(replay),
        "members": members[1:],
    }


def _numbered(name: str, index: int) -> str:
    path = Path(name)
    return str(path.with_stem(f"{path.stem}-{index}")) if index else name


def outputs(
    result: base.Payload, model: MaceModelData, file: Path, starts: Mapping[str, MaceModelData] | None = None
) -> dict[str, orm.Data]:
    """Return the output nodes of a fine-tuning.

    :param result: what the task ``finetune`` returned.
    :param model: the parent model.
    :param file: where the new model lies; those of further members beside it.
    :param starts: what members of a committee started from, by their names.
    """
    records = [result, *result["committee"]]
    nodes = {}
    for index, record in enumerate(records):
        name = "model" if index == 0 else f"{COMMITTEE}.{member_name(index)}"
        parent = (starts or {}).get(member_name(index), model)
        nodes[name] = MaceModelData(
            Path(_numbered(str(file), index)),
            description=base.storable(record["description"]),
            parent=parent.state_sha256,
        )
    told = [
        {key: value for key, value in record.items() if key not in ("description", "model", "committee")}
        for record in records
    ]
    return {**nodes, "training": orm.Dict(base.storable({**told[0], "committee": told[1:]}))}


@calcfunction
def finetune_local(
    model: MaceModelData,
    dataset: DatasetData,
    hyperparameters: orm.Dict,
    seed: orm.Int,
    isolated: orm.Dict | None = None,
    replay: orm.Data | None = None,
    **starts: MaceModelData,
) -> Any:
    """Fine-tune in this process: the same contract as :class:`FinetuneCalculation`."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = stack.enter_context(model.local_path())
        paths = {name: str(stack.enter_context(node.local_path())) for name, node in starts.items()}
        file = Path(folder) / base.NEW_MODEL_FILE
        given = payload(str(path), dataset, hyperparameters, seed, str(file), isolated, replay, paths)
        result = base.attempt("finetune", given)
        return result if isinstance(result, ExitCode) else outputs(result, model, file, starts)


class FinetuneCalculation(base.WorkerCalculation):
    """Fine-tune as a job on any computer."""

    TASK = "finetune"

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs and outputs."""
        super().define(spec)
        spec.input("model", valid_type=MaceModelData, help="Model to start from.")
        spec.input("dataset", valid_type=DatasetData, help="Labelled frames with their train/valid assignment.")
        spec.input("hyperparameters", valid_type=orm.Dict, help="Of the training.")
        spec.input("seed", valid_type=orm.Int, help="Root seed of the run.")
        spec.input("isolated", valid_type=orm.Dict, required=False, help="Energies of isolated atoms (eV) by symbol.")
        spec.input(
            "replay", valid_type=(DatasetData, FramesData), required=False,
            help="Frames that are not to be forgotten, labelled by the foundation model or as it was trained.",
        )  # fmt: skip
        # member_001, ...: what members of a committee start from, where that is not ``model``.
        spec.inputs.dynamic = True
        spec.inputs.valid_type = MaceModelData
        spec.output("model", valid_type=MaceModelData, help="The fine-tuned model.")
        spec.output_namespace(
            COMMITTEE, dynamic=True, valid_type=MaceModelData, required=False, help="Further members: member_001, ..."
        )
        spec.output("training", valid_type=orm.Dict, help="Curve by epoch, errors, complete hyperparameters, E0s.")

    @property
    def starts(self) -> dict[str, MaceModelData]:
        """Return what members of a committee start from, by their names."""
        return {name: node for name, node in self.inputs.items() if name.startswith(MEMBER)}

    def payload(self) -> base.Payload:
        """Return the payload of the task."""
        inputs = self.inputs
        return payload(
            base.MODEL_FILE,
            inputs.dataset,
            inputs.hyperparameters,
            inputs.seed,
            base.NEW_MODEL_FILE,
            inputs.get("isolated"),
            inputs.get("replay"),
            {name: f"{name}.model" for name in self.starts},
        )

    def extra_files(self) -> dict[str, orm.SinglefileData]:
        """Return the models that members start from, by their names in the job's folder."""
        return {f"{name}.model": node for name, node in self.starts.items()}

    def extra_retrieve(self) -> list[Any]:
        """Return the names of the new models' files."""
        count = committee_size(self.inputs.hyperparameters)
        return [_numbered(base.NEW_MODEL_FILE, index) for index in range(count)]


class FinetuneParser(base.WorkerParser):
    """Parse a fine-tuning."""

    def results(self, result: base.Payload, folder: Path) -> dict[str, orm.Data]:
        """Return the output nodes."""
        inputs = self.node.inputs
        starts = {name: inputs[name] for name in inputs if name.startswith(MEMBER)}
        return outputs(result, inputs.model, folder / base.NEW_MODEL_FILE, starts)
