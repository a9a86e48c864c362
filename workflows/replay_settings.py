"""The settings of a replay set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .fields import Field, positive

REPLAY_SET = {
    "temperature": Field(float, "temperature of the dynamics in K", positive, "greater than 0"),
    "samples": Field(int, "frames of the dynamics of each structure", lambda v: v >= 0, "at least 0"),
    "discard": Field(int, "frames of it to discard first", lambda v: v >= 0, "at least 0"),
    "thinning": Field(int, "steps from one frame to the next", lambda v: v >= 1, "at least 1"),
    "timestep": Field(float, "time step of the dynamics in fs", positive, "greater than 0"),
    "thermostat_time": Field(float, "time of the thermostat in fs", positive, "greater than 0"),
    "displaced": Field(int, "strained and rattled cells of each structure", lambda v: v >= 0, "at least 0"),
    "rattle": Field(
        float, "standard deviation of their displacements in Å", lambda v: 0 <= v <= 1, "between 0 and 1"
    ),
    "strain": Field(float, "their largest strain", lambda v: 0 <= v <= 0.5, "between 0 and 0.5"),
    "min_distance": Field(float, "closest approach of two atoms in Å", positive, "greater than 0"),
    "max_force": Field(float, "largest force in eV/Å of a frame that is kept", positive, "greater than 0"),
}  # fmt: skip


def check_replay_set(values: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the settings of a replay set, or None.

    :param values: complete settings.
    """
    if values["samples"] == values["displaced"] == 0:
        return "replay_set.samples and replay_set.displaced are both 0: there is nothing to make."
    return None
