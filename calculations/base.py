"""What every step shares: one worker task, run in AiiDA's own process or as a job on any computer."""

from __future__ import annotations

import importlib
import math
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from aiida import orm
from aiida.common import CalcInfo, CodeInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJob, ExitCode
from aiida.parsers import Parser

from aiida_slhmc.data import MaceModelData
from aiida_slhmc.data.model import FILENAME
from aiida_slhmc.targets.registry import get_target
from aiida_slhmc.worker import io
from aiida_slhmc.worker.errors import TaskError

Payload = dict[str, Any]

#: Exit status, label and whether a rerun could differ, by the kind of failure that a task names.
#: 2xx bad input, 3xx infrastructure, 4xx recoverable, 5xx the physics says no.
FAILURES: dict[str, tuple[int, str]] = {
    "bad_input": (210, "ERROR_BAD_INPUT"),
    "missing_dependency": (310, "ERROR_MISSING_DEPENDENCY"),
    "no_output": (320, "ERROR_NO_OUTPUT"),
    "timeout": (330, "ERROR_TIMEOUT"),
    "failed": (390, "ERROR_TASK_FAILED"),
    "unconverged": (410, "ERROR_UNCONVERGED"),
    "not_finite": (510, "ERROR_NOT_FINITE"),
    "absurd": (511, "ERROR_ABSURD_LABEL"),
    "diverged": (520, "ERROR_TRAINING_DIVERGED"),
}

#: Name of the model file in the job's folder.
MODEL_FILE = "model.model"
#: Name of the file that a fine-tuning leaves.
NEW_MODEL_FILE = "finetuned.model"


def exit_code(kind: str, message: str) -> ExitCode:
    """Return the exit code of a failure.

    :param kind: one of :data:`FAILURES`; another kind counts as ``failed``.
    :param message: what to tell the user.
    :returns: the exit code.
    """
    status, _ = FAILURES.get(kind, FAILURES["failed"])
    return ExitCode(status, message, invalidates_cache=status < 400)


def define_failures(spec: Any) -> None:
    """Declare the exit codes of :data:`FAILURES` on a process specification.

    :param spec: the specification.
    """
    for status, label in FAILURES.values():
        spec.exit_code(status, label, message="{message}", invalidates_cache=status < 400)


def storable(value: Any) -> Any:
    """Return a value as AiiDA can store it: plain types, None for what is not finite, string keys.

    :param value: a result of a task.
    :returns: the storable copy.
    """
    if isinstance(value, Mapping):
        return {str(key): storable(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return storable(value.tolist())
    if isinstance(value, (list, tuple)):
        return [storable(item) for item in value]
    if isinstance(value, np.generic):
        return storable(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def structure_payload(structure: orm.StructureData) -> Payload:
    """Return the structure part of a task's payload.

    :param structure: positions and cell in Å.
    :returns: numbers (N,), positions (N, 3) in Å, cell (3, 3) in Å, pbc (3,), masses (N,) in amu.
    """
    atoms = structure.get_ase()
    return {
        "numbers": np.asarray(atoms.get_atomic_numbers(), dtype=np.int64),
        "positions": np.asarray(atoms.get_positions(), dtype=np.float64),
        "cell": np.asarray(atoms.get_cell()[:], dtype=np.float64),
        "pbc": np.asarray(atoms.get_pbc(), dtype=bool),
        "masses": np.asarray(atoms.get_masses(), dtype=np.float64),
    }


def moved(structure: orm.StructureData, positions: Any, cell: Any) -> orm.StructureData:
    """Return a new structure with the same sites, moved.

    :param structure: where kinds and order come from.
    :param positions: (N, 3) in Å.
    :param cell: (3, 3) in Å, rows are lattice vectors.
    :returns: an unstored structure.
    """
    new = structure.clone()
    new.set_cell(np.asarray(cell, dtype=float).tolist())
    new.reset_sites_positions(np.asarray(positions, dtype=float).tolist())
    return new


@contextmanager
def potential_spec(model: orm.Data) -> Iterator[Payload]:
    """Give the potential specification of a model for use on this machine.

    :param model: a MACE model, or a level of theory (``Dict``).
    """
    if isinstance(model, MaceModelData):
        with model.local_path() as path:
            yield {"engine": "mace", "file": str(path), "sha256": model.description.get("file_sha256")}
    else:
        yield model.get_dict()


def job_potential_spec(model: orm.Data) -> Payload:
    """Return the potential specification of a model inside a job's folder.

    :param model: a MACE model, or a level of theory (``Dict``).
    """
    return {"engine": "mace", "file": MODEL_FILE} if isinstance(model, MaceModelData) else dict(model.get_dict())


def single_file(node: orm.SinglefileData) -> str:
    """Return the name of the file in a node.

    :param node: of one file.
    :raises ValueError: if the node, which may come from an archive, names a folder: a folder's files name themselves.
    """
    name = FILENAME if isinstance(node, MaceModelData) else node.filename
    if not node.base.repository.get_object(name).is_file():
        raise ValueError(f"node <{node.pk}> ({node.uuid}) does not hold one file.")
    return str(name)


def attempt(task: str, payload: Payload) -> Payload | ExitCode:
    """Run a worker task in this process.

    :param task: name of the task: a function of the same name in ``aiida_slhmc.worker.<task>``.
    :param payload: its input.
    :returns: its result, or the exit code of a failure that the task names.
    """
    function = getattr(importlib.import_module(f"aiida_slhmc.worker.{task}"), task)
    try:
        return dict(function(payload))
    except TaskError as error:
        return exit_code(error.kind, str(error))


class WorkerCalculation(CalcJob):
    """Run one worker task as a job: ``slhmc-worker TASK --folder .``."""

    #: Name of the worker's task.
    TASK = ""
    #: Inputs that hold a MACE model (or a level of theory), whose file goes into the job's folder.
    CACHE_VERSION = 1

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare what all worker jobs share."""
        super().define(spec)
        spec.inputs["metadata"]["options"]["resources"].default = {"num_machines": 1, "num_mpiprocs_per_machine": 1}
        spec.inputs["metadata"]["options"]["parser_name"].default = f"slhmc.{cls.TASK}"
        spec.inputs["metadata"]["options"]["withmpi"].default = False
        define_failures(spec)

    @abstractmethod
    def payload(self) -> Payload:
        """Return the payload of the task, with file names relative to the job's folder."""

    def extra_retrieve(self) -> list[Any]:
        """Return further files to retrieve."""
        return []

    def extra_files(self) -> dict[str, orm.SinglefileData]:
        """Return further files that the job needs, by their names in its folder."""
        return {}

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the payload and say what to copy and what to bring back.

        :param folder: where the job's input files are collected.
        """
        io.write(Path(folder.abspath), self.payload())
        codeinfo = CodeInfo()
        codeinfo.code_uuid = self.inputs.code.uuid
        codeinfo.cmdline_params = [self.TASK, "--folder", "."]
        codeinfo.stdout_name = "worker.log"
        codeinfo.join_files = True
        calcinfo = CalcInfo()
        calcinfo.codes_info = [codeinfo]
        files = self.extra_files()
        if isinstance(self.inputs.get("model"), MaceModelData):
            files = {MODEL_FILE: self.inputs.model, **files}
        for node in files.values():
            # The job will load it.
            if isinstance(node, MaceModelData):
                node.require_trust()
        calcinfo.local_copy_list = [(node.uuid, single_file(node), name) for name, node in files.items()]
        calcinfo.retrieve_list = ["output.json", "output.npz", "worker.log", *self.extra_retrieve()]
        # The payload is made from the input nodes; storing it again would double every dataset.
        calcinfo.provenance_exclude_list = ["input.json", "input.npz", *files, *self._take_along(folder)]
        return calcinfo

    def _take_along(self, folder: Folder) -> list[str]:
        """Copy the files that levels of theory name by their hashes into the job's folder.

        :param folder: where the job's input files are collected.
        :returns: their names there.
        """
        names = []
        for node in (self.inputs.get("level"), self.inputs.get("model")):
            if isinstance(node, orm.Dict):
                level = node.get_dict()
                for name, path in get_target(level["engine"]).files(level).items():
                    shutil.copyfile(path, Path(folder.abspath) / name)
                    names.append(name)
        return names


class WorkerParser(Parser):
    """Read ``output.json`` and hand the result to the step's ``outputs`` function."""

    @abstractmethod
    def results(self, result: Payload, folder: Path) -> dict[str, Any]:
        """Turn the task's result into output nodes.

        :param result: what the task returned.
        :param folder: where the retrieved files lie.
        """

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Parse the retrieved files."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            self.retrieved.copy_tree(folder)
            if not (folder / "output.json").exists():
                log = folder / "worker.log"
                tail = log.read_text(errors="replace").strip().splitlines()[-3:] if log.exists() else []
                return self._failure("no_output", "the job left no output.json; its log ends: " + " | ".join(tail))
            try:
                result = io.read(folder, "output")
            except (ValueError, KeyError, OSError) as error:
                return self._failure("no_output", f"the job's output cannot be read: {error}")
            if "failure" in result:
                return self._failure(str(result["failure"]["kind"]), str(result["failure"]["message"]))
            for label, node in self.results(result, folder).items():
                self.out(label, node)
        return None

    def _failure(self, kind: str, message: str) -> ExitCode:
        _, label = FAILURES.get(kind, FAILURES["failed"])
        code = getattr(self.exit_codes, label)
        return code.format(message=message)
