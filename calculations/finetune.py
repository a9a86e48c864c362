"""Fine-tune: train the model on the dataset and keep the best of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import ExitCode, calcfunction

from aiida_slhmc.data import DatasetData, MaceModelData
from aiida_slhmc.numerics.randomness import Purpose, generator

from . import base


def payload(
    file: str,
    dataset: DatasetData,
    hyperparameters: orm.Dict,
    seed: orm.Int,
    out: str,
    isolated: orm.Dict | None = None,
) -> base.Payload:
    """Return the payload of the task ``finetune``.

    :param file: path to the parent model.
    :param dataset: chunks and the assignment of their frames.
    :param hyperparameters: of the training; see ``workflows/protocols/finetune.yaml``.
    :param seed: root seed of the run; the training's own follows from it and the number of chunks.
    :param out: path of the new model.
    :param isolated: energies of isolated atoms in eV by symbol, for the policy e0 'isolated'.
    """
    # A chunk in which every proposal diverged holds no label.
    chunks = [
        (node.arrays, split) for node, split in zip(dataset.frames(), dataset.splits, strict=True) if node.n_frames
    ]
    return {
        "model": file,
        "frames": [arrays for arrays, _ in chunks],
        "split": [split for _, split in chunks],
        "hyperparameters": hyperparameters.get_dict(),
        "seed": int(generator(seed.value, 0, len(dataset.chunks), Purpose.TRAINING).integers(2**31)),
        "out": out,
        "isolated": None if isolated is None else isolated.get_dict(),
    }


def outputs(result: base.Payload, model: MaceModelData, file: Path) -> dict[str, orm.Data]:
    """Return the output nodes of a fine-tuning.

    :param result: what the task ``finetune`` returned.
    :param model: the parent model.
    :param file: where the new model lies.
    """
    description = base.storable(result["description"])
    info = {key: value for key, value in result.items() if key not in ("description", "model")}
    return {
        "model": MaceModelData(file, description=description, parent=model.state_sha256),
        "training": orm.Dict(base.storable(info)),
    }


@calcfunction
def finetune_local(
    model: MaceModelData,
    dataset: DatasetData,
    hyperparameters: orm.Dict,
    seed: orm.Int,
    isolated: orm.Dict | None = None,
) -> Any:
    """Fine-tune in this process: the same contract as :class:`FinetuneCalculation`."""
    with tempfile.TemporaryDirectory() as folder, model.local_path() as path:
        file = Path(folder) / base.NEW_MODEL_FILE
        result = base.attempt("finetune", payload(str(path), dataset, hyperparameters, seed, str(file), isolated))
        return result if isinstance(result, ExitCode) else outputs(result, model, file)


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
        spec.output("model", valid_type=MaceModelData, help="The fine-tuned model.")
        spec.output("training", valid_type=orm.Dict, help="Curve by epoch, errors, complete hyperparameters, E0s.")

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
        )

    def extra_retrieve(self) -> list[Any]:
        """Return the new model's file name."""
        return [base.NEW_MODEL_FILE]


class FinetuneParser(base.WorkerParser):
    """Parse a fine-tuning."""

    def results(self, result: base.Payload, folder: Path) -> dict[str, orm.Data]:
        """Return the output nodes."""
        return outputs(result, self.node.inputs.model, folder / base.NEW_MODEL_FILE)
