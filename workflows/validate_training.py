"""What can be wrong with the fine-tuning of a run, said before any compute is spent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ase.data import chemical_symbols

from aiida_slhmc.calculations.base import structure_payload
from aiida_slhmc.data import FramesData, MaceModelData

#: Classes of models that MACE can rebuild, as two heads or random weights ask for.
REBUILT = ("ScaleShiftMACE", "MACELES", "PolarMACE")


def validate_finetune(value: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the hyperparameters or with what they need, or None.

    :param value: inputs of the run.
    """
    from aiida_slhmc.worker.errors import TaskError
    from aiida_slhmc.worker.hyperparameters import Hyperparameters

    if "finetune" not in value:
        return (
            "replay: a replay set is given, but this run fine-tunes no model: leave it out."
            if "replay" in value
            else None
        )
    try:
        settings = Hyperparameters.from_dict(value["finetune"].get_dict())
    except TaskError as error:
        return f"finetune: {error}"
    if settings.e0 == "isolated":
        from aiida_slhmc.targets.registry import get_target

        level = value["target"]["level"].get_dict()
        try:
            for number in sorted(set(structure_payload(value["structure"])["numbers"].tolist())):
                get_target(level["engine"]).isolated_atom(level, number)
        except ValueError as error:
            return f"finetune.e0 is 'isolated', but {error}"
    return _strategy(settings.strategy, settings.start, value) or validate_replay(value)


def _strategy(strategy: str, start: str, value: Mapping[str, Any]) -> str | None:
    model = value["model"]
    if strategy == "multihead" and "replay" not in value:
        return (
            "finetune.strategy is 'multihead', but there is no replay set: give 'replay' (make one with 'aiida-slhmc"
            " replay-set make'), or take the strategy 'naive'."
        )
    if strategy == "multihead" and start == "previous":
        return (
            "finetune.start is 'previous', but 'multihead' starts every training from the foundation model, whose own"
            " energies the replay set has: set it to 'foundation'."
        )
    if strategy in ("multihead", "scratch") and isinstance(model, MaceModelData):
        name = str(model.description.get("class"))
        if name not in REBUILT:
            return (
                f"finetune.strategy is '{strategy}', but MACE cannot rebuild a {name}, only {', '.join(REBUILT)}: take"
                " another strategy."
            )
    return None


def validate_replay(value: Mapping[str, Any]) -> str | None:
    """Return why a replay set cannot be used, or None.

    :param value: inputs of the run.
    """
    if "replay" not in value or not isinstance(value["model"], MaceModelData):
        return None
    replay, known = value["replay"], set(value["model"].atomic_numbers)
    if replay.n_frames == 0:
        return "replay: the replay set has no frames."
    try:
        chunks = [replay] if isinstance(replay, FramesData) else replay.frames()
    except ValueError as error:
        return f"replay: {error}."
    present = {int(number) for node in chunks if node.n_frames for number in set(node.get_array("numbers").flat)}
    unknown = sorted(present - known)
    if unknown:
        return (
            f"replay: the model does not know the element(s) {', '.join(chemical_symbols[n] for n in unknown)} of the"
            f" replay set; it knows {', '.join(chemical_symbols[n] for n in sorted(known))}."
        )
    return None
