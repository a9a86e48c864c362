"""A run as a YAML file: what ``aiida-slhmc launch`` and ``verdi run workflows/launch_slhmc.py`` read."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from aiida import orm
from aiida.common import MultipleObjectsError, NotExistent
from ase import Atoms

from aiida_slhmc import models
from aiida_slhmc.data import MaceModelData
from aiida_slhmc.worker.errors import TaskError

from .settings import EXECUTOR

#: Keys of a run file; those with a True must be there.
KEYS = {
    "structure": True,
    "structures": False,
    "model": True,
    "target": True,
    "workflow": False,
    "protocol": False,
    "replay": False,
    "overrides": False,
    "seed": True,
    "executor": False,
    "code": False,
    "target_code": False,
    "options": False,
    "target_options": False,
    "label": False,
}


#: What a run file may name as its workflow: protocols of fine-tuning under one budget of labels.
WORKFLOWS = ("slhmc", "naive", "periodic", "relabel", "on-the-fly")


def entry_point(workflow: str) -> str:
    """Return the name of the entry point of a workflow.

    :param workflow: one of :data:`WORKFLOWS`, or another.
    """
    return f"slhmc.{workflow.replace('-', '_')}"


class RunFileError(ValueError):
    """Say in one sentence what is wrong with a run file."""


def rutile(a: float = 4.594, c: float = 2.959, u: float = 0.305) -> Atoms:
    """Return the 6-atom cell of rutile TiO2 at the experimental cell of 300 K.

    :param a: lattice constant in Å.
    :param c: lattice constant in Å.
    :param u: internal coordinate of oxygen.
    """
    fractions = [(0, 0, 0), (0.5, 0.5, 0.5), (u, u, 0), (-u, -u, 0), (0.5 + u, 0.5 - u, 0.5), (0.5 - u, 0.5 + u, 0.5)]
    positions = np.mod(np.array(fractions), 1.0)
    return Atoms("Ti2O4", scaled_positions=positions, cell=[a, a, c], pbc=True)


#: Structures that a run file may name.
STRUCTURES = {"rutile-TiO2": rutile}


def load_structure(value: Any, folder: Path) -> orm.StructureData:
    """Return the structure that a run file names.

    :param value: a name of :data:`STRUCTURES`, a file that ASE reads, the PK or UUID of a ``StructureData``, or
        ``{"file": ..., "repeat": [1, 1, 2]}``.
    :param folder: what relative paths are relative to.
    :raises RunFileError: if there is no such structure.
    """
    import ase.io

    repeat = (1, 1, 1)
    if isinstance(value, Mapping):
        unknown = sorted(set(value) - {"file", "repeat"})
        if unknown or "file" not in value:
            raise RunFileError(f"structure: a mapping takes 'file' and 'repeat', not {sorted(value)}.")
        repeat = tuple(value.get("repeat", repeat))
        value = value["file"]
    if isinstance(value, int):
        return _load_node(value, orm.StructureData, "structure")
    if value in STRUCTURES:
        atoms = STRUCTURES[value]()
    else:
        path = folder / str(value)
        if not path.exists():
            raise RunFileError(f"structure: there is no file '{path}'; named structures are: {', '.join(STRUCTURES)}.")
        try:
            atoms = ase.io.read(path)
        except Exception as error:
            raise RunFileError(f"structure: ASE cannot read '{path}': {error}") from error
    if len(repeat) != 3 or any(int(number) < 1 for number in repeat):
        raise RunFileError(f"structure.repeat must be three positive integers, not {list(repeat)}.")
    atoms = atoms.repeat([int(number) for number in repeat])
    if abs(atoms.cell.volume) < 1e-3:
        raise RunFileError("structure has no cell (its volume is zero): give a structure with three lattice vectors.")
    atoms.calc = None
    return orm.StructureData(ase=atoms)


def _load_node(identifier: int | str, kind: type, name: str) -> Any:
    try:
        node = orm.load_node(identifier)
    except (NotExistent, MultipleObjectsError, ValueError) as error:
        raise RunFileError(f"{name}: there is no node '{identifier}' in this profile.") from error
    if not isinstance(node, kind):
        raise RunFileError(f"{name}: node {identifier} is a {type(node).__name__}, not a {kind.__name__}.")
    return node


def load_model(value: Any, folder: Path) -> MaceModelData:
    """Return the model that a run file names.

    The same weights give the same node: a model already in the profile is taken from there.

    :param value: name of a shipped model, path of a ``.model`` file, name of a MACE-MP model (``mace-mp-0-small``;
        needs the network or mace's cache), or the PK of a ``MaceModelData``.
    :param folder: what relative paths are relative to.
    :raises RunFileError: if there is no such model.
    """
    # MACE says at import what GPU packages are missing; a user can do nothing with it.
    with contextlib.redirect_stdout(io.StringIO()):
        from aiida_slhmc.worker.models import describe, resolve_foundation

    if isinstance(value, int):
        return _load_node(value, MaceModelData, "model")
    candidate = folder / str(value)
    try:
        path = candidate if candidate.is_file() else Path(resolve_foundation(str(value)))
        description = dict(describe(path))
    except TaskError as error:
        raise RunFileError(f"model: {error}") from error
    query = orm.QueryBuilder().append(
        MaceModelData, filters={"attributes.description.file_sha256": description["file_sha256"]}
    )
    known = query.order_by({MaceModelData: "id"}).first(flat=True)
    # A model that a run made has a creator; as an input it would drag that run's graph along.
    if known is not None and known.creator is None:
        return known
    from aiida_slhmc.calculations.base import storable

    return MaceModelData(path, description=storable(description))


def load_replay(value: Any, folder: Path, seed: int, store: bool) -> Any:
    """Return the replay set that a run file names.

    :param value: PK or UUID of a ``DatasetData`` or ``FramesData``, or a file of extended XYZ, which is imported.
    :param folder: what relative paths are relative to.
    :param seed: of the frames of a file that forgetting is measured on.
    :param store: whether to import a file, or only to look into it.
    :raises RunFileError: if there is none.
    """
    from aiida_slhmc.data import DatasetData, FramesData

    from .protocol import protocol_inputs
    from .replay_set import import_file, preview

    path = folder / str(value)
    if isinstance(value, str) and path.suffix and not path.is_file():
        raise RunFileError(f"replay: there is no file '{path}'.")
    if isinstance(value, int) or not path.is_file():
        node = _load_node(value, orm.Data, "replay")
        if not isinstance(node, (DatasetData, FramesData)):
            raise RunFileError(f"replay: node {value} is a {type(node).__name__}, no replay set.")
        return node
    fraction = protocol_inputs(None, None, "replay_set")["split"]["valid_fraction"]
    try:
        return import_file(path, {}, seed, fraction) if store else preview(path, {})
    except ValueError as error:
        raise RunFileError(f"replay: {error}") from error


def load_code(value: str, name: str) -> orm.AbstractCode:
    """Return a code by its label.

    :param value: ``label@computer``.
    :param name: of the key, for the message.
    :raises RunFileError: if there is none.
    """
    try:
        return orm.load_code(value)
    except (NotExistent, MultipleObjectsError, ValueError) as error:
        query = orm.QueryBuilder().append(orm.Computer, tag="computer", project="label")
        query.append(orm.AbstractCode, with_computer="computer", project="label")
        labels = ", ".join(sorted(f"{code}@{computer}" for computer, code in query.all())) or "none"
        raise RunFileError(f"{name}: there is no code '{value}' in this profile; it has: {labels}.") from error


def read(path: Path) -> dict[str, Any]:
    """Read a run file.

    :param path: YAML file.
    :returns: its keys.
    :raises RunFileError: if it is no YAML mapping, or has an unknown key, or lacks one.
    """
    if not path.is_file():
        raise RunFileError(f"there is no run file '{path}'.")
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RunFileError(f"'{path}' is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise RunFileError(f"'{path}' must be a mapping with the keys {', '.join(KEYS)}.")
    unknown = sorted(set(content) - set(KEYS), key=str)
    if unknown:
        raise RunFileError(f"'{path}' has the unknown key '{unknown[0]}'; known are: {', '.join(KEYS)}.")
    missing = [key for key, needed in KEYS.items() if needed and key not in content]
    if missing:
        raise RunFileError(f"'{path}' lacks '{missing[0]}'.")
    return content


def load_workflow(value: Any) -> Any:
    """Return the WorkChain that a run file names.

    :param value: one of :data:`WORKFLOWS`; None: self-learning.
    :raises RunFileError: if there is none of this name.
    """
    from aiida.plugins import WorkflowFactory

    name = "slhmc" if value is None else value
    if name not in WORKFLOWS:
        close = get_close_matches(str(name), WORKFLOWS, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise RunFileError(f"workflow must be one of {', '.join(WORKFLOWS)}, not {name!r}.{hint}")
    return WorkflowFactory(entry_point(name))


def load_target(value: Any, folder: Path) -> dict[str, Any]:
    """Return the level of theory that a run file names, its file of weights found beside the run file.

    :param value: ``engine``, ``functional``, ``parameters``.
    :param folder: what relative paths are relative to.
    :raises RunFileError: if it is no mapping.
    """
    if not isinstance(value, Mapping):
        raise RunFileError("target must be a level of theory: a mapping with 'engine', 'functional', 'parameters'.")
    parameters = value.get("parameters")
    if not isinstance(parameters, Mapping):
        return dict(value)
    model = parameters.get("model")
    if isinstance(model, str) and (folder / model).is_file():
        return {**value, "parameters": {**parameters, "model": str((folder / model).resolve())}}
    return dict(value)


def executor_override(value: Any) -> dict[str, Any]:
    """Return the executor settings that ``executor`` in a run file means.

    :param value: ``local`` or ``job`` for all steps, or a mapping by step.
    :raises RunFileError: if it is neither.
    """
    if value is None:
        return {}
    if isinstance(value, str):
        return dict.fromkeys(EXECUTOR, value)
    if isinstance(value, Mapping):
        return dict(value)
    raise RunFileError(f"executor must be 'local', 'job' or a mapping by step, not {value!r}.")


def builder_from_run(content: Mapping[str, Any], folder: Path, store: bool = True) -> Any:
    """Return the builder of the run that a run file describes, checked.

    :param content: of the file.
    :param folder: what relative paths are relative to.
    :param store: whether a file of replay frames may be imported; without, it is only looked into.
    :raises RunFileError: for anything that can be known to be wrong before any compute is spent.
    """
    workflow = load_workflow(content.get("workflow"))
    overrides = dict(content.get("overrides") or {})
    executor = executor_override(content.get("executor"))
    if executor:
        overrides["executor"] = {**executor, **dict(overrides.get("executor") or {})}
    seed = content["seed"]
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise RunFileError(f"seed must be an integer of at least 0, not {seed!r}.")
    code = load_code(content["code"], "code") if content.get("code") else None
    target_code = load_code(content["target_code"], "target_code") if content.get("target_code") else None
    structure = load_structure(content["structure"], folder)
    starts = content.get("structures") or {}
    if not isinstance(starts, Mapping):
        raise RunFileError("structures must be a mapping of names (chain_001, trajectory_001, ...) to structures.")
    structures = {str(name): load_structure(value, folder) for name, value in starts.items()}
    model = load_model(content["model"], folder)
    given = content.get("replay")
    replay = None if given is None else load_replay(given, folder, seed, store)
    try:
        builder = workflow.get_builder_from_protocol(
            structure=structure,
            structures=structures,
            model=model,
            level=load_target(content["target"], folder),
            seed=seed,
            protocol=content.get("protocol"),
            overrides=overrides,
            worker_code=code,
            target_code=target_code,
            worker_options=content.get("options"),
            target_options=content.get("target_options") or content.get("options"),
            **({} if replay is None else {"replay": replay}),
        )
    except ValueError as error:
        raise RunFileError(_one_sentence(error)) from error
    if content.get("label"):
        builder.metadata.label = str(content["label"])
    check(builder)
    return builder


def check(builder: Any) -> None:
    """Check a builder as AiiDA will, without storing anything.

    :param builder: of a WorkChain.
    :raises RunFileError: with the validators' sentence.
    """
    problem = builder.process_class.spec().inputs.validate(dict(builder._inputs(prune=True)))
    if problem is not None:
        raise RunFileError(_one_sentence(problem))


def _one_sentence(error: Any) -> str:
    """Return the sentence of a validator, without AiiDA's words around it.

    :param error: exception or port validation error.
    """
    text = getattr(error, "message", None) or str(error)
    for prefix in ("invalid attribute value: ", "invalid attribute value "):
        text = text.removeprefix(prefix)
    return " ".join(text.split())


def shipped_models() -> list[str]:
    """Return the names of the models that come with the package."""
    return list(models.names())
