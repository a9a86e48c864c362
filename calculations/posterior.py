"""Posterior: sample the weights of a model given the labels so far; the samples are the members of an ensemble."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import ExitCode, calcfunction

from aiida_slhmc.data import DatasetData, FramesData, MaceModelData
from aiida_slhmc.data.frames import REQUIRED

from . import base

#: Namespace of the members among inputs and outputs, and the beginning of their link labels in it.
MEMBERS, MEMBER = "members", "member_"
#: Name of the file of the members' heads, and of those to go on from in a job's folder.
HEADS_FILE, GIVEN_HEADS = "heads.npz", "given-heads.npz"
#: Key of the hyperparameters that the sampler takes apart: K in eV per structure.
ACCURACY = "accuracy"
#: Points to which the trace of a chain is averaged.
TRACE = 20


def member_name(index: int) -> str:
    """Return the name of a member in its namespace.

    :param index: of the member, from 0.
    """
    return f"{MEMBER}{index:03d}"


def member_file(index: int) -> str:
    """Return the name of a member's file in a job's folder.

    :param index: of the member, from 0.
    """
    return f"given-{index}.model"


def in_order(members: Mapping[str, MaceModelData]) -> list[MaceModelData]:
    """Return the members of a namespace in order.

    :param members: by name.
    """
    return [members[name] for name in sorted(members)]


def ensemble_files(members: Mapping[str, MaceModelData], heads: orm.SinglefileData | None) -> dict[str, Any]:
    """Return the files of an ensemble by their names in a job's folder.

    :param members: by name.
    :param heads: the file of their heads; None: a committee.
    """
    files: dict[str, Any] = {member_file(index): node for index, node in enumerate(in_order(members))}
    return files if heads is None else {**files, GIVEN_HEADS: heads}


def job_ensemble(members: Mapping[str, MaceModelData], heads: orm.SinglefileData | None) -> base.Payload:
    """Return an ensemble as a task takes it, inside a job's folder.

    :param members: by name.
    :param heads: the file of their heads; None: a committee.
    :returns: ``models`` (paths) and ``heads`` (path or None).
    """
    names = [member_file(index) for index in range(len(members))]
    return {"models": names, "heads": None if heads is None else GIVEN_HEADS}


@contextmanager
def local_ensemble(members: Mapping[str, MaceModelData], heads: orm.SinglefileData | None) -> Iterator[base.Payload]:
    """Give an ensemble as a task takes it, on this machine, for as long as the context lasts.

    :param members: by name.
    :param heads: the file of their heads; None: a committee.
    """
    with ExitStack() as stack:
        paths = [str(stack.enter_context(node.local_path())) for node in in_order(members)]
        file = None
        if heads is not None:
            file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / GIVEN_HEADS
            file.write_bytes(heads.get_content(mode="rb"))
        yield {"models": paths, "heads": None if file is None else str(file)}


def payload(
    file: str,
    out: str,
    chains: base.Payload | None,
    hyperparameters: orm.Dict,
    stream: orm.Dict,
    dataset: DatasetData | None = None,
    chunk: FramesData | None = None,
    posterior: orm.Dict | None = None,
) -> base.Payload:
    """Return the payload of the task ``posterior_update``.

    All frames are trained on, whatever their role in the dataset. Those that came since the update before count as new.

    :param file: path to the parent model.
    :param out: folder of the new members.
    :param chains: ``models`` and ``heads`` to go on from; None for the first update.
    :param hyperparameters: ``accuracy`` (K in eV per structure), and any of
        :class:`~aiida_slhmc.worker.posterior.settings.PosteriorSettings`.
    :param stream: seed, number of the update.
    :param dataset: labels, if there are any before ``chunk``.
    :param chunk: the latest labels, which no dataset has yet.
    :param posterior: what the update before reported.
    """
    nodes = [*(dataset.frames() if dataset is not None else []), *([] if chunk is None else [chunk])]
    frames = [{name: node.get_array(name) for name in REQUIRED} for node in nodes if node.n_frames]
    total, place = sum(len(arrays["energies"]) for arrays in frames), stream.get_dict()
    settings = hyperparameters.get_dict()
    accuracy = {ACCURACY: settings.pop(ACCURACY)} if ACCURACY in settings else {}
    return {
        "model": file,
        "frames": frames,
        "newest": total - (0 if posterior is None else posterior.get_dict()["frames"]),
        **accuracy,
        "hyperparameters": settings,
        "seed": place["seed"],
        "update": place["update"],
        "chains": chains,
        "out": out,
    }


def outputs(result: base.Payload, model: MaceModelData, folder: Path) -> dict[str, Any]:
    """Return the output nodes of an update.

    :param result: what the task ``posterior_update`` returned.
    :param model: the parent model, whose hash every member carries.
    :param folder: where the new files lie.
    """
    members = {
        member_name(index): MaceModelData(
            folder / Path(path).name, description=base.storable(row["description"]), parent=model.state_sha256
        )
        for index, (path, row) in enumerate(zip(result["models"], result["members"], strict=True))
    }
    rows = [{key: value for key, value in row.items() if key != "description"} for row in result["members"]]
    pieces = np.array_split(result["log_posterior"], min(TRACE, result["steps"]), axis=1)
    trace = np.stack([piece.mean(axis=1) for piece in pieces], axis=1)
    info = {key: value for key, value in result.items() if key not in ("models", "heads", "members", "log_posterior")}
    return {
        MEMBERS: members,
        "heads": orm.SinglefileData(folder / Path(result["heads"]).name, filename=HEADS_FILE),
        "posterior": orm.Dict(base.storable({**info, MEMBERS: rows, "trace": trace})),
    }


@calcfunction
def posterior_local(
    model: MaceModelData,
    hyperparameters: orm.Dict,
    stream: orm.Dict,
    dataset: DatasetData | None = None,
    chunk: FramesData | None = None,
    heads: orm.SinglefileData | None = None,
    posterior: orm.Dict | None = None,
    **nested: Any,
) -> Any:
    """Sample in this process: the same contract as :class:`PosteriorCalculation`.

    :param nested: the namespace ``members``, where there are some.
    """
    members = nested.get(MEMBERS, {})
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        path = stack.enter_context(model.local_path())
        chains = stack.enter_context(local_ensemble(members, heads)) if members else None
        content = payload(str(path), folder, chains, hyperparameters, stream, dataset, chunk, posterior)
        result = base.attempt("posterior_update", content)
        return result if isinstance(result, ExitCode) else outputs(result, model, Path(folder))


class PosteriorCalculation(base.WorkerCalculation):
    """Sample as a job on any computer."""

    TASK = "posterior_update"

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs and outputs."""
        super().define(spec)
        spec.inputs["metadata"]["options"]["parser_name"].default = "slhmc.posterior"
        spec.input("model", valid_type=MaceModelData, help="Parent model: centre of the prior.")
        spec.input("hyperparameters", valid_type=orm.Dict, help="accuracy (K, eV per structure); of the sampler.")
        spec.input("stream", valid_type=orm.Dict, help="Seed and number of the update.")
        spec.input("dataset", valid_type=DatasetData, required=False, help="Labels, all of which are trained on.")
        spec.input("chunk", valid_type=FramesData, required=False, help="The latest labels, not in the dataset yet.")
        spec.input_namespace(
            MEMBERS, valid_type=MaceModelData, dynamic=True, required=False, help="Members to go on from."
        )
        spec.input("heads", valid_type=orm.SinglefileData, required=False, help="Heads of the members to go on from.")
        spec.input("posterior", valid_type=orm.Dict, required=False, help="Report of the update before.")
        spec.inputs.validator = cls.validate
        spec.output_namespace(MEMBERS, valid_type=MaceModelData, dynamic=True, help="The members, in order.")
        spec.output("heads", valid_type=orm.SinglefileData, help="Their heads: standard deviations of forces.")
        spec.output("posterior", valid_type=orm.Dict, help="Traces, errors before and after, offset (eV), settings.")

    @classmethod
    def validate(cls, value: Mapping[str, Any], port: Any) -> str | None:
        """Validate the inputs as a whole.

        :param value: inputs.
        :param port: unused; AiiDA asks for it.
        """
        if "dataset" not in value and "chunk" not in value:
            return "there is nothing to learn from: give 'dataset', 'chunk' or both."
        return None

    def payload(self) -> base.Payload:
        """Return the payload of the task."""
        inputs = self.inputs
        members: Mapping[str, MaceModelData] = inputs.get(MEMBERS, {})
        return payload(
            base.MODEL_FILE,
            ".",
            job_ensemble(members, inputs.get("heads")) if members else None,
            inputs.hyperparameters,
            inputs.stream,
            inputs.get("dataset"),
            inputs.get("chunk"),
            inputs.get("posterior"),
        )

    def extra_files(self) -> dict[str, Any]:
        """Return the files of the members to go on from."""
        return ensemble_files(self.inputs.get(MEMBERS, {}), self.inputs.get("heads"))

    def extra_retrieve(self) -> list[Any]:
        """Return the names of the new members and their heads."""
        return ["member-*.model", HEADS_FILE]


class PosteriorParser(base.WorkerParser):
    """Parse an update of the posterior."""

    def results(self, result: base.Payload, folder: Path) -> dict[str, Any]:
        """Return the output nodes."""
        return outputs(result, self.node.inputs.model, folder)
