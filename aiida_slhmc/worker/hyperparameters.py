"""Hyperparameters of fine-tuning: their types, units and bounds. Their values come from ``protocols/finetune.yaml``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from .errors import TaskError

#: The one table of values; a plain file, so that reading it needs no AiiDA.
TABLE = Path(__file__).parents[1] / "workflows" / "protocols" / "finetune.yaml"

CHOICES: dict[str, tuple[str, ...]] = {
    "start": ("previous", "foundation"),
    "strategy": ("naive", "multihead", "frozen", "lora", "scratch"),
    "frozen_layers": ("embedding", "interactions", "products"),
    "e0": ("foundation", "estimated", "average", "isolated"),
    "dtype": ("float64", "float32"),
    "scheduler": ("plateau", "cosine", "constant"),
}

#: Smallest and largest value, and whether None (off) is allowed.
BOUNDS: dict[str, tuple[float, float, bool]] = {
    "lora_rank": (1, 1024, False),
    "lora_alpha": (1e-6, 1e6, False),
    "replay_weight": (1e-9, 1e9, False),
    "replay_frames": (1, 100_000_000, True),
    "committee": (1, 16, False),
    "max_epochs": (1, 100_000, False),
    "patience": (1, 100_000, False),
    "batch_size": (1, 100_000, False),
    "valid_batch_size": (1, 100_000, False),
    "learning_rate": (1e-12, 1e12, False),
    "weight_decay": (0.0, 1e6, False),
    "clip_grad": (1e-12, 1e12, True),
    "ema_decay": (0.0, 1.0 - 1e-12, True),
    "scheduler_patience": (0, 100_000, False),
    "scheduler_factor": (1e-6, 1.0 - 1e-12, False),
    "scheduler_floor": (0.0, 1.0, False),
    "energy_weight": (0.0, 1e12, False),
    "forces_weight": (0.0, 1e12, False),
    "stress_weight": (0.0, 1e12, False),
}


@cache
def _table() -> dict[str, Any]:
    import yaml

    return dict(yaml.safe_load(TABLE.read_text(encoding="utf-8")))


def protocol(name: str | None = None) -> dict[str, Any]:
    """Return the complete hyperparameters of a protocol.

    :param name: ``paper``, ``balanced``, ``fast``; None takes the default protocol.
    :raises TaskError: ``bad_input`` if there is no such protocol.
    """
    table = _table()
    name = table["default_protocol"] if name is None else name
    if name not in table["protocols"]:
        raise TaskError(
            "bad_input", f"there is no fine-tuning protocol '{name}'; known are {', '.join(table['protocols'])}."
        )
    chosen = {key: value for key, value in table["protocols"][name].items() if key != "description"}
    return {**table["default_inputs"], **chosen}


@dataclass(frozen=True)
class Hyperparameters:
    """Hold the settings of one fine-tuning, checked.

    :param start: which model the training starts from: 'previous' or 'foundation'. The caller acts on it.
    :param strategy: which weights move: 'naive' (all), 'multihead' (all, on a replay set too, which has a head of its
        own), 'frozen' (those above a layer), 'lora' (low-rank adapters, merged at the end), 'scratch' (all, from random
        ones).
    :param frozen_layers: 'embedding', 'interactions' (and all before) or 'products' (and all before) stay as they are:
        MACE's --freeze 1, 5 and 6. Only for 'frozen'.
    :param lora_rank: of the adapters. Only for 'lora'.
    :param lora_alpha: the adapters' product is multiplied by alpha/rank. Only for 'lora'.
    :param replay_weight: of a replayed frame in the loss, where one of the target has 1. Only for 'multihead'.
    :param replay_frames: most frames of the replay set that are trained on; None takes all. Only for 'multihead'.
    :param e0: policy for the reference energies: 'foundation', 'estimated', 'average' or 'isolated'.
    :param committee: how many models are trained, each with random numbers of its own; the first is the result, all
        together say how sure it is.
    :param bootstrap: whether the further members of a committee train on frames drawn with replacement from those to
        train on. From one start and on the same frames, members differ by the order of their batches alone.
    :param dtype: precision of the training and of the result: 'float64' or 'float32'.
    :param max_epochs: most epochs.
    :param patience: epochs without a better validation loss before the training stops.
    :param batch_size: frames in a step; fewer frames than this make one smaller batch.
    :param valid_batch_size: frames evaluated at a time; changes memory, not results.
    :param learning_rate: of Adam at the start.
    :param weight_decay: of the weights that MACE decays (linear and product weights).
    :param amsgrad: whether Adam keeps the largest second moment, as MACE always does.
    :param clip_grad: largest norm of the gradient; None leaves it.
    :param ema_decay: decay of the moving average of the weights, which then is the result; None keeps none.
    :param scheduler: 'plateau' (lower the rate when the validation loss stalls), 'cosine' or 'constant'.
    :param scheduler_patience: epochs that 'plateau' waits.
    :param scheduler_factor: by which 'plateau' multiplies the rate.
    :param scheduler_floor: final rate of 'cosine' as a fraction of the first.
    :param energy_weight: of the squared energy error, in (eV/atom)⁻².
    :param forces_weight: of the squared force error, in (eV/Å)⁻².
    :param stress_weight: of the squared stress error, in (eV/Å³)⁻²; 0 trains on energies and forces.
    """

    start: str
    strategy: str
    frozen_layers: str
    lora_rank: int
    lora_alpha: float
    replay_weight: float
    replay_frames: int | None
    e0: str
    committee: int
    bootstrap: bool
    dtype: str
    max_epochs: int
    patience: int
    batch_size: int
    valid_batch_size: int
    learning_rate: float
    weight_decay: float
    amsgrad: bool
    clip_grad: float | None
    ema_decay: float | None
    scheduler: str
    scheduler_patience: int
    scheduler_factor: float
    scheduler_floor: float
    energy_weight: float
    forces_weight: float
    stress_weight: float

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Hyperparameters:
        """Check settings and fill in what is missing.

        :param values: settings by name; those left out take the default protocol's, or those of the protocol that the
            key ``protocol`` names.
        :raises TaskError: ``bad_input`` naming the key that is unknown, of a wrong type or out of bounds.
        """
        given = dict(values)
        complete = protocol(given.pop("protocol", None))
        for key, value in given.items():
            if key not in complete:
                close = get_close_matches(str(key), list(complete), n=1)
                hint = f" Did you mean '{close[0]}'?" if close else f" Known are: {', '.join(complete)}."
                raise TaskError("bad_input", f"there is no hyperparameter '{key}'.{hint}")
            complete[key] = value
        checked = {
            field.name: _check(field.name, str(field.type), complete[field.name]) for field in dataclasses.fields(cls)
        }
        if checked["energy_weight"] == checked["forces_weight"] == checked["stress_weight"] == 0.0:
            raise TaskError(
                "bad_input", "energy_weight, forces_weight and stress_weight are all 0: nothing to train on."
            )
        if checked["strategy"] == "multihead" and checked["e0"] == "average":
            raise TaskError(
                "bad_input",
                "e0 'average' cannot be had with the strategy 'multihead': both heads share the weights that hold the "
                "binding energy, which 'average' counts a second time in one of them; take 'estimated'.",
            )
        return cls(**checked)

    def to_dict(self) -> dict[str, Any]:
        """Return all settings by name."""
        return dataclasses.asdict(self)


def _check(name: str, kind: str, value: Any) -> Any:
    if name in CHOICES:
        if value not in CHOICES[name]:
            raise TaskError("bad_input", f"{name} must be one of {', '.join(CHOICES[name])}, not {value!r}.")
        return value
    if kind == "bool":
        if not isinstance(value, bool):
            raise TaskError("bad_input", f"{name} must be true or false, not {value!r}.")
        return value
    low, high, optional = BOUNDS[name]
    if value is None and optional:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TaskError("bad_input", f"{name} must be a finite number{' or null' if optional else ''}, not {value!r}.")
    if not low <= value <= high:
        raise TaskError("bad_input", f"{name} must lie between {low:g} and {high:g}, not {value!r}.")
    if kind.startswith("int"):
        if value != int(value):
            raise TaskError("bad_input", f"{name} must be a whole number, not {value!r}.")
        return int(value)
    return float(value)
