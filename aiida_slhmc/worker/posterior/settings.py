"""Hyperparameters of the posterior sampler: types, defaults, bounds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from ase import units

from ..errors import TaskError

#: One kcal/mol in eV: the paper states its standard deviations in kcal/mol.
KCAL_PER_MOL = units.kcal / units.mol

#: Smallest and largest value.
BOUNDS: dict[str, tuple[float, float]] = {
    "members": (2, 1000),
    "steps_per_label": (1, 10_000_000),
    "batch_size": (2, 100_000),
    "step_size": (1e-12, 1e3),
    "prior_sd": (1e-12, 1e12),
    "friction": (1e-6, 1.0),
    "decay": (0.0, 1.0 - 1e-12),
    "eps": (1e-30, 1e30),
    "temperature": (0.0, 1e6),
    "noise_off": (0.0, 1.0),
    "noise_ramp": (0.0, 1.0),
    "freeze": (0.0, 1.0),
    "energy_share": (1e-6, 1e3),
    "force_sigma": (1e-12, 1e3),
    "stress_sigma": (1e-12, 1e3),
}


@dataclass(frozen=True)
class PosteriorSettings:
    """Hold the settings of one update of the posterior. The defaults are the paper's for MACE; see decision 11.

    :param members: M, chains that are run, each of which ends in one member of the ensemble.
    :param steps_per_label: steps of an update for each new label.
    :param batch_size: B, frames drawn for a step; all of them while there are no more.
    :param step_size: gamma at the start of an update, from where it falls as half a cosine.
    :param prior_sd: sTL, of every weight about the parent's, and of the weights of the new head about 0.
    :param friction: alpha.
    :param decay: b, of the running mean of the squared gradient.
    :param eps: the least root mean square gradient that the mass counts; at least that of the prior alone is taken.
    :param temperature: T; 1 samples the posterior, less a narrower one.
    :param noise_off: share of an update's steps without noise at its start.
    :param noise_ramp: share over which the noise then rises.
    :param freeze: share of an update's steps after which the mass stays as it is.
    :param energy_share: standard deviation of a labelled energy in units of the accuracy K.
    :param force_sigma: standard deviation of a force component that the head starts from, in eV/Å (0.1 kcal/mol/Å).
    :param stress_sigma: standard deviation of a stress component in eV/Å³ (0.1/16 kcal/mol/Å³).
    :param dtype: precision of the members: 'float64' or 'float32'.
    """

    members: int = 8
    steps_per_label: int = 2000
    batch_size: int = 5
    step_size: float = 1e-3
    prior_sd: float = 0.5
    friction: float = 0.1
    decay: float = 0.999
    eps: float = 1e-4
    temperature: float = 1.0
    noise_off: float = 0.2
    noise_ramp: float = 0.05
    freeze: float = 0.5
    energy_share: float = 0.1
    force_sigma: float = 0.1 * KCAL_PER_MOL
    stress_sigma: float = 0.1 / 16.0 * KCAL_PER_MOL
    dtype: str = "float64"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PosteriorSettings:
        """Check settings and fill in what is missing.

        :param values: settings by name.
        :raises TaskError: ``bad_input`` naming the key that is unknown, of a wrong type or out of bounds.
        """
        kinds = {field.name: str(field.type) for field in dataclasses.fields(cls)}
        checked = {}
        for name, value in values.items():
            if name not in kinds:
                close = get_close_matches(str(name), list(kinds), n=1)
                hint = f"Did you mean '{close[0]}'?" if close else f"Known are: {', '.join(kinds)}."
                raise TaskError("bad_input", f"the posterior has no hyperparameter '{name}'. {hint}")
            checked[name] = _check(name, kinds[name], value)
        return cls(**checked)

    def to_dict(self) -> dict[str, Any]:
        """Return all settings by name."""
        return dataclasses.asdict(self)


def _check(name: str, kind: str, value: Any) -> Any:
    if kind == "str":
        if value not in ("float64", "float32"):
            raise TaskError("bad_input", f"{name} must be float64 or float32, not {value!r}.")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TaskError("bad_input", f"{name} must be a finite number, not {value!r}.")
    low, high = BOUNDS[name]
    if not low <= value <= high:
        raise TaskError("bad_input", f"{name} must lie between {low:g} and {high:g}, not {value!r}.")
    if kind == "int":
        if value != int(value):
            raise TaskError("bad_input", f"{name} must be a whole number, not {value!r}.")
        return int(value)
    return float(value)
