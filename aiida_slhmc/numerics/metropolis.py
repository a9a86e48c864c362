"""The Metropolis test, in log space and with the target's total energies."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ase import units


@dataclass(frozen=True)
class Decision:
    """Hold all that is needed to audit one decision.

    :param accepted: the outcome.
    :param delta: change of the Hamiltonian in eV; infinity for an endpoint that has no energy.
    :param log_probability: log of the acceptance probability.
    :param probability: min(1, exp(-delta/kT)).
    :param log_uniform: log of the uniform number that decided.
    """

    accepted: bool
    delta: float
    log_probability: float
    probability: float
    log_uniform: float


def decide(
    *,
    potential_start: float,
    potential_end: float,
    kinetic_start: float,
    kinetic_end: float,
    temperature: float,
    log_uniform: float,
    cell_start: float = 0.0,
    cell_end: float = 0.0,
) -> Decision:
    """Accept with probability min(1, exp(-[H(end) - H(start)]/kT)).

    H is the target's potential energy plus the kinetic energy: Duane et al., Phys. Lett. B 195, 216 (1987); at constant
    pressure also what the cell adds, P V - c kT ln V and its kinetic energy: :mod:`aiida_slhmc.numerics.npt`. An end
    that is not finite is rejected, which is exact for a trajectory that its reverse would reject as well.

    :param potential_start: the target's energy of the current state in eV.
    :param potential_end: the target's energy of the endpoint in eV.
    :param kinetic_start: in eV, of the momenta that were drawn.
    :param kinetic_end: in eV.
    :param temperature: in K.
    :param log_uniform: log of a uniform number of (0, 1).
    :param cell_start: what the moving cell adds to H at the start in eV.
    :param cell_end: likewise at the end.
    :raises ValueError: if the current state has no finite energy, or the temperature is not positive.
    """
    if not (math.isfinite(potential_start) and math.isfinite(kinetic_start) and math.isfinite(cell_start)):
        raise ValueError("the current state has no finite energy")
    if not temperature > 0:
        raise ValueError(f"the temperature must be positive, not {temperature} K")
    # Differences first: two total energies of -1e5 eV keep the digits that matter.
    delta = (potential_end - potential_start) + (kinetic_end - kinetic_start) + (cell_end - cell_start)
    if not math.isfinite(delta):
        return Decision(False, math.inf, -math.inf, 0.0, log_uniform)
    log_probability = min(0.0, -delta / (units.kB * temperature))
    return Decision(log_uniform <= log_probability, delta, log_probability, math.exp(log_probability), log_uniform)
