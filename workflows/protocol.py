"""Protocols: named, described sets of settings, with overrides."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar

import yaml

from aiida_slhmc.worker import hyperparameters
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.posterior.settings import PosteriorSettings

#: Groups whose defaults are the same for all WorkChains.
SHARED = ("ensemble", "split", "failure", "labelling", "executor", "finetune")
#: The group that may be given like a named set of ``dynamics.yaml``, and the key that names it.
LIKE = ("dynamics", "like")

FOLDER = Path(__file__).parent / "protocols"


def _load(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((FOLDER / f"{name.replace('-', '_')}.yaml").read_text()))


def protocols(table: str = "slhmc") -> dict[str, str]:
    """Return the description of each protocol by its name.

    :param table: name of the file: ``slhmc``, ``naive``, ``periodic``, ``relabel``.
    """
    return {name: entry["description"] for name, entry in _load(table)["protocols"].items()}


def finetune_settings(name: str) -> dict[str, Any]:
    """Return the complete hyperparameters of a fine-tuning protocol.

    :param name: of the protocol.
    :raises ValueError: if there is none of this name.
    """
    try:
        return hyperparameters.protocol(name)
    except TaskError as error:
        raise ValueError(str(error)) from error


def dynamics_settings(name: str = "exact", **changes: Any) -> dict[str, Any]:
    """Return complete settings for sampling one surface.

    :param name: ``exact`` (hybrid Monte Carlo), ``paper`` (massive Nosé-Hoover chains, 500 frames of 5 ps).
    :param changes: settings that differ.
    :raises ValueError: for an unknown name or setting.
    """
    table = _load("dynamics")
    if name not in table:
        raise ValueError(_unknown("settings of dynamics", name, table))
    settings = {key: value for key, value in table[name].items() if key != "description"}
    for key in changes:
        if key not in settings:
            raise ValueError(_unknown("setting of 'dynamics'", key, settings))
    return {**settings, **changes}


def _unknown(what: str, name: str, known: Any) -> str:
    close = get_close_matches(str(name), list(known), n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"there is no {what} '{name}'; known are: {', '.join(known)}.{hint}"


def protocol_inputs(
    protocol: str | None = None, overrides: Mapping[str, Any] | None = None, table: str = "slhmc"
) -> dict[str, Any]:
    """Return the complete settings of a protocol with overrides.

    :param protocol: name; None takes the default.
    :param overrides: nested by group, such as ``{"budget": {"cycles": 5}}``. ``finetune`` takes the name of a
        fine-tuning protocol, hyperparameters, or None for no training.
    :param table: name of the file.
    :returns: settings by group: ensemble, budget, driver, proposal, split, failure, labelling, executor, finetune.
    :raises ValueError: for an unknown protocol, group or key.
    """
    content = _table(table)
    name = protocol or content["default_protocol"]
    if name not in content["protocols"]:
        raise ValueError(_unknown("protocol", name, content["protocols"]))
    settings = copy.deepcopy(content["default_inputs"])
    chosen = {key: value for key, value in content["protocols"][name].items() if key != "description"}
    training = chosen.pop("finetune", settings.pop("finetune"))
    settings.pop("finetune", None)
    for group, values in chosen.items():
        settings[group] = _changed(group, settings[group], values)
    finetune: dict[str, Any] | None = finetune_settings(training)
    for group, values in (overrides or {}).items():
        if group == "finetune":
            finetune = _finetune_overrides(finetune, values)
            continue
        if group not in settings:
            raise ValueError(_unknown("group of settings", group, [*settings, "finetune"]))
        if not isinstance(values, Mapping):
            raise ValueError(f"the override of '{group}' must be a mapping of its settings, not {values!r}.")
        settings[group] = _changed(group, settings[group], values)
    if settings["ensemble"]["ensemble"] == "NPT":
        chosen_cell = {key: value for key, value in settings["ensemble"].items() if value is not None}
        settings["ensemble"] = {**settings["ensemble"], **content["npt"], **chosen_cell}
    return {**settings, "finetune": finetune}


def uncertainty_inputs(
    finetune: Mapping[str, Any] | None, protocol: str | None = None, overrides: Mapping[str, Any] | None = None
) -> dict[str, dict[str, Any]]:
    """Return the complete settings of a trial of uncertainties.

    :param finetune: hyperparameters of the run whose labels are used; None: the defaults.
    :param protocol: name of a set of ``uncertainty.yaml``; None takes the default.
    :param overrides: of ``uncertainty``, ``posterior`` and ``finetune``, and ``committee``, its size.
    :returns: settings of ``uncertainty``, ``posterior``, and ``finetune`` with a committee from the foundation model.
    :raises ValueError: for an unknown protocol, group or key.
    """
    content = _load("uncertainty")
    name = protocol or content["default_protocol"]
    if name not in content["protocols"]:
        raise ValueError(_unknown("protocol", name, content["protocols"]))
    given = dict(overrides or {})
    for group in given:
        if group not in (*content["default_inputs"], "finetune"):
            raise ValueError(_unknown("group of settings", group, [*content["default_inputs"], "finetune"]))
    defaults = {
        **content["default_inputs"],
        "posterior": PosteriorSettings().to_dict() | content["default_inputs"]["posterior"],
    }
    settings = {}
    for group in ("uncertainty", "posterior"):
        chosen = _changed(group, defaults[group], content["protocols"][name].get(group, {}))
        settings[group] = _changed(group, chosen, given.get(group, {}))
    training = _finetune_overrides(dict(finetune) if finetune else None, given.get("finetune", {})) or {}
    size = given.get("committee", content["protocols"][name].get("committee", content["default_inputs"]["committee"]))
    return {**settings, "finetune": {**training, "start": "foundation", "committee": size}}


def _table(name: str) -> dict[str, Any]:
    """Return a file of protocols, with the defaults that all WorkChains share.

    :param name: of the file.
    """
    content, common = _load(name), _load("slhmc")
    shared = {group: common["default_inputs"][group] for group in SHARED}
    own = dict(content["default_inputs"])
    if LIKE[0] in own:
        own[LIKE[0]] = _changed(LIKE[0], {}, own[LIKE[0]])
    return {"npt": common["npt"], **content, "default_inputs": {**shared, **own}}


def _changed(group: str, settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a group of settings with changes.

    :param group: its name.
    :param settings: as they are; empty: only ``like`` can say what they are.
    :param changes: settings that differ; those of dynamics may start from a named set, ``like``.
    :raises ValueError: for a setting that does not exist.
    """
    changes, base = dict(changes), dict(settings)
    if group == LIKE[0] and LIKE[1] in changes:
        base = dynamics_settings(changes.pop(LIKE[1]))
    for key in changes:
        if key not in base:
            raise ValueError(_unknown(f"setting of '{group}'", key, base))
    return {**base, **changes}


def _finetune_overrides(current: dict[str, Any] | None, values: Any) -> dict[str, Any] | None:
    if values is None:
        return None
    if isinstance(values, str):
        return finetune_settings(values)
    if not isinstance(values, Mapping):
        raise ValueError(f"the override of 'finetune' must be a name, a mapping or null, not {values!r}.")
    base = dict(current or finetune_settings(values.get("protocol", "balanced")))
    for key, value in values.items():
        if key == "protocol":
            base = finetune_settings(value)
    for key, value in values.items():
        if key == "protocol":
            continue
        if key not in base:
            raise ValueError(_unknown("hyperparameter", key, base))
        base[key] = value
    return base


class ProtocolMixin:
    """Give a WorkChain ``get_builder_from_protocol``."""

    #: File of its protocols.
    TABLE: ClassVar[str] = "slhmc"

    @classmethod
    def get_builder_from_protocol(
        cls,
        *,
        structure: Any,
        model: Any,
        level: Mapping[str, Any],
        seed: int,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        worker_code: Any = None,
        target_code: Any = None,
        worker_options: Mapping[str, Any] | None = None,
        target_options: Mapping[str, Any] | None = None,
        structures: Mapping[str, Any] | None = None,
        replay: Any = None,
    ) -> Any:
        """Return a builder with a protocol's settings.

        :param structure: ``StructureData`` that every chain starts from.
        :param model: ``MaceModelData``, or a level of theory (``Dict``) as a frozen proposal surface.
        :param level: level of theory of the target.
        :param seed: root seed.
        :param protocol: name of the protocol.
        :param overrides: of its settings, nested by group.
        :param worker_code: code ``slhmc-worker`` for steps whose executor is ``job``.
        :param target_code: code that labels, if not the worker's.
        :param worker_options: scheduler options of the worker's jobs.
        :param target_options: scheduler options of the labels.
        :param structures: starts of single chains by name (``chain_000``, ...).
        :param replay: ``DatasetData`` or ``FramesData`` of the replay set.
        :raises ValueError: for an unknown protocol or key, or a level of theory that cannot be.
        """
        from aiida import orm

        from aiida_slhmc.targets.level import normalise

        settings = protocol_inputs(protocol, overrides, cls.TABLE)
        builder: Any = cls.get_builder()  # type: ignore[attr-defined]
        builder.structure = structure
        builder.model = model
        builder.target.level = orm.Dict(normalise(dict(level)))
        code = target_code or worker_code
        if code is not None:
            builder.target.code = code
        builder.target.options = dict(target_options or {})
        if worker_code is not None:
            builder.worker.code = worker_code
            builder.worker.options = dict(worker_options or {})
        for group, values in settings.items():
            if group != "finetune":
                builder[group] = orm.Dict(values)
        if settings["finetune"] is not None and not isinstance(model, orm.Dict):
            builder.finetune = orm.Dict(settings["finetune"])
        if structures:
            builder.structures = dict(structures)
        if replay is not None:
            builder.replay = replay
        builder.seed = orm.Int(seed)
        return builder
