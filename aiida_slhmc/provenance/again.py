"""Run a step again from its recorded inputs, outside the graph: nothing is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

import numpy as np
from aiida import orm
from aiida.common.exceptions import EntryPointError
from aiida.common.links import LinkType
from aiida.engine import ExitCode
from aiida.manage import get_manager
from aiida.plugins import CalculationFactory

from aiida_slhmc.calculations import base
from aiida_slhmc.calculations import predict as predicting
from aiida_slhmc.data import FramesData, MaceModelData, trust
from aiida_slhmc.targets.registry import get_target

from .comparing import (
    CHAOTIC,
    DIFFERS,
    TOLERANCES,
    WITHIN,
    Difference,
    Tolerance,
    compare,
    verdict,
)
from .steps import step_name

#: Verdicts on steps that were not run again: no fault of theirs.
ENGINE, UNTRUSTED, FAILED = "needs the engine", "not trusted", "failed then"
#: What a CalcJob makes besides its results.
ASIDE = ("retrieved", "remote_folder", "remote_stash")
#: Namespaces are joined so in the labels of links.
SEPARATOR = "__"
#: Exit status of a package that is missing; of what a time limit or a machine did.
MISSING, INFRASTRUCTURE = 310, (320, 330)
#: Frames on which two models are compared.
FRAMES = 4
#: Differences that are told of one step, those beyond the tolerance first.
SHOWN = 20
#: Packages whose versions are told.
PACKAGES = ("aiida-slhmc", "aiida-core", "numpy", "scipy", "ase", "torch", "mace-torch", "e3nn")


@dataclass
class Replay:
    """Say what came of running one step again.

    :param step: its name: ``propose``, ``label``, ...
    :param verdict: ``identical``, ``within tolerance``, ``differs``, or why it was not run.
    :param reason: of the verdict, where there is something to say.
    :param differences: the first ones.
    :param then: versions that made it.
    """

    pk: int
    uuid: str
    step: str
    verdict: str
    reason: str = ""
    differences: list[Difference] = field(default_factory=list)
    then: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the replay as plain values, for JSON."""
        return asdict(self)


def versions_now() -> dict[str, str]:
    """Return the versions of the packages that matter, as far as they are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def versions_then(process: orm.ProcessNode) -> dict[str, Any]:
    """Return the versions that a process recorded.

    :param process: a step.
    """
    version = process.base.attributes.get("version", {})
    found = {"aiida-core": version.get("core"), "aiida-slhmc": version.get("plugin")}
    for name in process.outputs:
        node = process.outputs[name]
        if isinstance(node, orm.Dict):
            found |= {f"engine {node['engine']}": node["version"]} if {"engine", "version"} <= set(node.keys()) else {}
            found |= node.get_dict().get("versions") or {}
    return {name: value for name, value in found.items() if value is not None}


def replay_step(process: orm.ProcessNode) -> Replay:
    """Run a step again and compare.

    A job is run by the function of this process that has the same contract. A step of another plugin (VASP) needs its
    engine and is left out; so is one whose model or level of theory came from elsewhere and is not trusted.

    :param process: a calcfunction or CalcJob that has ended.
    """
    step = step_name(process)
    found = Replay(int(process.pk or 0), process.uuid, step or process.process_label or "", ENGINE)
    found.then = versions_then(process)
    if step is None:
        found.reason = f"{process.process_label} is a process of another plugin."
        return found
    if process.exit_status is None or process.exit_status in INFRASTRUCTURE:
        found.verdict, found.reason = (
            FAILED,
            f"it ended as {process.process_state.value}, status {process.exit_status}.",
        )
        return found
    function = function_of(step)
    if function is None:
        found.reason = f"there is no step '{step}' in this version."
        return found
    try:
        inputs = recorded_inputs(process)
        for node in inputs.values():
            if isinstance(node, orm.Dict) and {"engine", "parameters"} <= set(node.keys()):
                _refuse_engine(node.get_dict())
        with _a_user():
            made = outputs_of(function(**inputs))
    except trust.Untrusted as error:
        found.verdict, found.reason = UNTRUSTED, str(error)
        return found
    except ValueError as error:
        found.verdict, found.reason = DIFFERS, f"it cannot be run on its recorded inputs: {error}"
        return found
    if isinstance(made, ExitCode):
        return _compare_status(found, process, made)
    differences = _differences(process, made, TOLERANCES.get(step, Tolerance()), step, inputs)
    found.verdict = verdict(differences)
    found.differences = sorted(differences, key=lambda one: one.within)[:SHOWN]
    if process.exit_status != 0:
        found.verdict, found.reason = DIFFERS, f"it failed then with status {process.exit_status}, and does not now."
    elif found.verdict == WITHIN:
        more = all(one.size is None for one in found.differences)
        found.reason = "this version tells more than the one that made it" if more else TOLERANCES[step].why
    return found


def _refuse_engine(level: Mapping[str, Any]) -> None:
    trust.require_level(level)
    get_target(level["engine"])


def _compare_status(found: Replay, process: orm.ProcessNode, made: ExitCode) -> Replay:
    """Return the verdict on a step that fails now."""
    if made.status == MISSING and process.exit_status != MISSING:
        found.verdict, found.reason = ENGINE, str(made.message)
    elif made.status == process.exit_status:
        found.verdict = verdict([])
    else:
        found.verdict = DIFFERS
        found.reason = f"it ended with status {process.exit_status} then, and with {made.status} now: {made.message}"
    return found


def function_of(step: str) -> Callable[..., Any] | None:
    """Return the plain function of a step, without what AiiDA does around it.

    :param step: its name.
    :returns: None if this version has no such step.
    """
    for name in (f"slhmc.{step}.local", f"slhmc.{step}"):
        try:
            process = CalculationFactory(name)
        except EntryPointError:
            continue
        if getattr(process, "is_process_function", False):
            return process.__wrapped__  # type: ignore[no-any-return]
    return None


def recorded_inputs(process: orm.ProcessNode) -> dict[str, Any]:
    """Return what a process was given, by the names of its function's arguments; codes are not among them.

    :param process: a step.
    """
    found: dict[str, Any] = {}
    for link in process.base.links.get_incoming(link_type=LinkType.INPUT_CALC).all():
        if isinstance(link.node, orm.AbstractCode):
            continue
        *spaces, name = link.link_label.split(SEPARATOR)
        place = found
        for space in spaces:
            place = place.setdefault(space, {})
        place[name] = link.node
    return found


def outputs_of(result: Any) -> Any:
    """Return what a function made, by the labels that links would have; or its exit code.

    :param result: what the function returned.
    """
    if isinstance(result, ExitCode):
        return result
    if isinstance(result, orm.Data):
        return {"result": result}
    found: dict[str, orm.Data] = {}
    for name, value in result.items():
        label = name.replace(".", SEPARATOR)
        if isinstance(value, Mapping):
            found |= {f"{label}{SEPARATOR}{key}": node for key, node in value.items()}
        else:
            found[label] = value
    return found


def _differences(
    process: orm.ProcessNode, made: Mapping[str, orm.Data], tolerance: Tolerance, step: str, inputs: Mapping[str, Any]
) -> list[Difference]:
    stored = {
        link.link_label: link.node
        for link in process.base.links.get_outgoing(link_type=LinkType.CREATE).all()
        if link.link_label not in ASIDE
    }
    found: list[Difference] = []
    for label in sorted({*stored, *made}):
        if label not in made or label not in stored:
            found.append(Difference(label, *(("a node", None) if label in stored else (None, "a node"))))
            continue
        differences = compare(stored[label], made[label], tolerance, label, step in CHAOTIC)
        if differences and isinstance(stored[label], MaceModelData):
            differences = _models(stored[label], made[label], tolerance, label, inputs)
        found += differences
    return found


def _models(
    then: MaceModelData, now: Any, tolerance: Tolerance, where: str, inputs: Mapping[str, Any]
) -> list[Difference]:
    """Return the differences of two models whose weights are not the same: those of their predictions."""
    from aiida_slhmc.worker.models import read, state_sha256

    with then.local_path() as path:
        held = state_sha256(read(path))
    if held != then.state_sha256:
        return [Difference(f"{where}.state_sha256 of the stored file", then.state_sha256, held)]
    frames = _some_frames(inputs)
    if frames is None:
        return [Difference(f"{where}.state_sha256", then.state_sha256, now.state_sha256)]
    predictions = []
    for model in (then, now):
        with base.potential_spec(model) as spec:
            result = base.attempt("predict", predicting.payload(spec, frames))
        if isinstance(result, ExitCode):
            return [Difference(where, "a model", str(result.message))]
        predictions.append(predicting.outputs(result)["predictions"])
    one, other = predictions
    for node in predictions:
        # An error of the energy is one an atom.
        node.set_array("energies", node.get_array("energies") / frames.n_atoms)
    found = compare(one, other, tolerance, f"{where}: its predictions")
    return found or [Difference(f"{where}.state_sha256", then.state_sha256, now.state_sha256, 0.0, True)]


def _some_frames(inputs: Mapping[str, Any]) -> FramesData | None:
    """Return a few of the frames that a training learned from."""
    dataset, chunk = inputs.get("dataset"), inputs.get("chunk")
    chunks = [*(dataset.frames() if dataset is not None else []), *([] if chunk is None else [chunk])]
    filled = [node for node in chunks if node.n_frames]
    if not filled:
        return None
    arrays = {name: filled[-1].get_array(name)[:FRAMES] for name in (*predicting.GEOMETRY, "energies")}
    n_atoms = arrays["numbers"].shape[1]
    count = len(arrays["energies"])
    arrays |= {"forces": np.zeros((count, n_atoms, 3)), "stresses": np.zeros((count, 3, 3))}
    return FramesData(arrays)


@contextmanager
def _a_user() -> Iterator[None]:
    """Lend the profile a user for as long as nodes are made that are never stored: an archive has none of its own."""
    storage = get_manager().get_profile_storage()
    if storage.default_user is not None:
        yield
        return
    profile = storage.profile
    before = profile.default_user_email
    profile.default_user_email = orm.QueryBuilder().append(orm.User, project="email").first(flat=True)
    storage.reset_default_user()
    try:
        yield
    finally:
        profile.default_user_email = before
        storage.reset_default_user()
