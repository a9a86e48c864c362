"""The decision to ask for a label: is the chance of an intolerable error above what is put up with?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from numpy.typing import ArrayLike

from .calibration import TOLERANCE, Calibration

#: What a decision looks at.
Decide = Literal["energy", "forces", "both"]


@dataclass(frozen=True)
class Verdict:
    """Hold what a decision saw.

    :param energy: P(|e| > K) of the energy.
    :param forces: the largest P(|e| > K_F) of a force component; NaN where forces have no bound.
    :param reason: what asks for a label: ``energy``, ``forces`` or ``both``; None: nothing does.
    """

    energy: float
    forces: float
    reason: Decide | None

    @property
    def asks(self) -> bool:
        """Return whether a label is asked for."""
        return self.reason is not None


@dataclass(frozen=True)
class Gate:
    """Ask for a label where P(|e| > K), by the calibrated uncertainty, is above a tolerance.

    Rensmeyer, Kramer and Niggemann, on-the-fly Bayesian fine-tuning (2025), decide on the energy; forces are decided on
    in the same way, each component with the calibration of the forces.

    :param accuracy: K in eV per structure.
    :param energy: calibration of the energy.
    :param forces: calibration of the force components.
    :param decide: ``energy``, ``forces`` or ``both``: any of the two asks.
    :param force_accuracy: K_F in eV/Å of a force component; None where forces are not decided on.
    :param tolerance: largest chance that is put up with, above 0 and below 1.
    :raises ValueError: for numbers that make no gate.
    """

    accuracy: float
    energy: Calibration
    forces: Calibration
    decide: Decide = "energy"
    force_accuracy: float | None = None
    tolerance: float = TOLERANCE

    def __post_init__(self) -> None:
        if self.decide not in get_args(Decide):
            raise ValueError(f"a gate decides on {', '.join(get_args(Decide))}, not on {self.decide!r}")
        if self.decide != "energy" and self.force_accuracy is None:
            raise ValueError(f"a gate that decides on '{self.decide}' needs an accuracy of the forces in eV/Å")
        for name in ("accuracy", "force_accuracy"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0.0):
                raise ValueError(f"{name} of a gate must be positive and finite, not {value}")
        if not 0.0 < self.tolerance < 1.0:
            raise ValueError(f"the tolerance is a probability above 0 and below 1, not {self.tolerance}")

    def judge(self, energy_sd: float, force_sds: ArrayLike) -> Verdict:
        """Judge one structure.

        :param energy_sd: predicted standard deviation of its energy in eV.
        :param force_sds: those of its force components in eV/Å, any shape.
        :raises ValueError: for a spread that is negative or no number.
        """
        energy = float(self.energy.exceedance(energy_sd, self.accuracy))
        forces = math.nan
        if self.force_accuracy is not None:
            forces = float(self.forces.exceedance(force_sds, self.force_accuracy).max())
        asked: dict[Decide, bool] = {
            "energy": self.decide != "forces" and energy > self.tolerance,
            "forces": self.decide != "energy" and forces > self.tolerance,
        }
        reasons = [name for name, asks in asked.items() if asks]
        return Verdict(energy, forces, "both" if len(reasons) == 2 else reasons[0] if reasons else None)
