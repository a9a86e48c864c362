"""Dynamics at constant pressure and temperature: a cell with inertia and massive Nosé-Hoover chains on everything.

Martyna, Tobias and Klein, J. Chem. Phys. 101, 4177 (1994), in the form of a cell that changes at a rate v:

    dr = p/m + r v,  dh = h v,  dp = F - p v' - (tr v/Nf) p,  v = sum_k (p_k/W) E_k
    dp_k = E_k : [sum p p/m - V stress - P V + (2K/Nf) 1] + c_k kT

with v' the transpose of v, Nf = 3N and E_k the directions in which the cell may move: 1 (isotropic: p_k belongs to
ln V/3), the three entries of the diagonal (orthorhombic), the six of a lower triangle (flexible). Every component of
every atom and every p_k has a chain of its own.

The measure. The flow of (r, p) contracts at the rate tr v = d ln V/dt. So dr dp d(ln L) carries the factor V, and
integrated over the momenta the law of the volume is

    V^N exp(-(U + P V)/kT) dV

over fractional coordinates: the ensemble of :mod:`.npt` with all 3N momenta. The shape is flat in ln(L_a/L_b), or in
the entries of h/V^(1/3). For the triangle dh = h v expands at 3 v_11 + 2 v_22 + v_33, which leaves 1/(h_11² h_22) over
the flat measure of the six entries; c = (1, 0, 0, 0, 0, -1), the force of the potential -kT ln(h_11/h_33), turns this
into 1/V, hence into dV again. For the other cells c = 0. (Tuckerman et al., J. Phys. A 39, 5629, 2006, give the
contraction of phase space for isotropic and full cells.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import units
from scipy.linalg import expm
from scipy.special import exprel

from .cells import CellKind, law_of
from .momenta import draw, kinetic_energy
from .nose_hoover import Bath, Phase, chains_energy, couple, draw_chains
from .potential import Array, Evaluation, Potential

#: Directions E_k in which a cell moves, (k, 3, 3).
DIRECTIONS: dict[CellKind, Array] = {
    "isotropic": np.eye(3)[None],
    "orthorhombic": np.array([np.diag(row) for row in np.eye(3)]),
    "flexible": np.array(
        [np.outer(np.eye(3)[row], np.eye(3)[column]) for row, column in zip(*np.tril_indices(3), strict=True)]
    ),
}
#: c_k: what turns the measure of each cell into dV, in units of kT.
CORRECTIONS: dict[CellKind, Array] = {
    "isotropic": np.zeros(1),
    "orthorhombic": np.zeros(3),
    "flexible": np.array([1.0, 0.0, 0.0, 0.0, 0.0, -1.0]),
}


@dataclass(frozen=True)
class Piston:
    """Hold what moves the cell.

    :param pressure: external pressure in GPa.
    :param cell: ``isotropic``, ``orthorhombic`` (needs a diagonal cell) or ``flexible`` (needs a lower-triangular one).
    :param mass: W in eV fs²; it moves no average. See :func:`piston_mass`.
    """

    pressure: float
    cell: CellKind
    mass: float


def piston_mass(n_atoms: int, temperature: float, time: float, cell: CellKind) -> float:
    """Return the mass W = (3N + 3) kT tau², a third of it if each direction has its own (Martyna et al. 1994).

    The period of the volume is shorter than tau: 2 pi tau sqrt((3N + 3) kT/(9 B V)) for an isotropic cell of bulk
    modulus B, 0.16 tau for 48 atoms of rutile TiO2 at 300 K.

    :param n_atoms: N.
    :param temperature: in K.
    :param time: tau in fs.
    :param cell: kind of cell.
    :returns: in eV fs².
    :raises ValueError: for a time that is not positive.
    """
    if not (np.isfinite(time) and time > 0):
        raise ValueError(f"the time of a barostat must be positive, not {time} fs")
    mass = (3 * n_atoms + 3) * units.kB * temperature * time**2
    return float(mass if cell == "isotropic" else mass / 3.0)


def start(
    positions: Array,
    cell: Array,
    masses: Array,
    potential: Potential,
    bath: Bath,
    piston: Piston,
    rng: np.random.Generator,
) -> Phase:
    """Return a start: momenta of atoms and cell and the chains' velocities, from their laws in equilibrium.

    :param positions: (N, 3) in Å.
    :param cell: (3, 3) in Å.
    :param masses: (N,) in amu.
    :param potential: the surface.
    :param bath: the thermostat, of the cell too.
    :param piston: pressure, kind of cell, mass.
    :param rng: where the numbers come from: the momenta, those of the cell, the chains.
    :raises ValueError: if the cell is not of the kind, the mass is not positive, or the surface has no stress.
    """
    law_of(piston.cell, cell)
    if not (np.isfinite(piston.mass) and piston.mass > 0):
        raise ValueError(f"the mass of a cell must be positive, not {piston.mass} eV fs²")
    momenta = draw(masses, bath.temperature, rng)
    size = len(DIRECTIONS[piston.cell])
    cell_momenta = rng.standard_normal(size) * np.sqrt(piston.mass * units.fs**2 * bath.heat)
    chains = draw_chains(momenta.size + size, bath, rng)
    return Phase(positions, cell, momenta, cell_momenta, chains, potential.evaluate(positions, cell))


def force_on_cell(
    cell: Array, momenta: Array, masses: Array, evaluation: Evaluation, bath: Bath, piston: Piston
) -> Array:
    """Return dp_k/dt without the thermostat, (k,) in eV.

    :param cell: (3, 3) in Å.
    :param momenta: (N, 3) in ASE's unit.
    :param masses: (N,) in amu.
    :param evaluation: of the surface.
    :param bath: the thermostat.
    :param piston: pressure and kind of cell.
    :raises ValueError: if the surface has no stress.
    """
    if evaluation.stress is None:
        raise ValueError("a cell that moves needs a stress, and the surface gives none")
    volume = abs(float(np.linalg.det(cell)))
    kinetic = momenta.T @ (momenta / masses[:, None])
    tensor = kinetic - volume * evaluation.stress
    tensor += (np.trace(kinetic) / momenta.size - piston.pressure * units.GPa * volume) * np.eye(3)
    force = np.einsum("kab,ab->k", DIRECTIONS[piston.cell], tensor)
    return np.asarray(force + bath.heat * CORRECTIONS[piston.cell])


def _flow(generator: Array, interval: float) -> tuple[Array, Array]:
    """Return exp(g t) and the integral of exp(g s) over s from 0 to t, both (3, 3).

    :param generator: g, (3, 3).
    :param interval: t.
    """
    diagonal = np.diagonal(generator)
    if np.count_nonzero(generator - np.diag(diagonal)) == 0:
        return np.diag(np.exp(diagonal * interval)), np.diag(interval * exprel(diagonal * interval))
    block = np.zeros((6, 6))
    block[:3, :3], block[:3, 3:] = generator * interval, interval * np.eye(3)
    both = expm(block)
    return np.asarray(both[:3, :3]), np.asarray(both[:3, 3:])


def step(phase: Phase, masses: Array, potential: Potential, bath: Bath, piston: Piston, timestep: float) -> Phase:
    """Return the point one step on; one evaluation.

    Chains(dt/2), cell momenta (dt/2), momenta (dt/2), positions and cell (dt), and back in reverse order. Each part is
    solved exactly; the rate of the cell is constant in the middle three, which together keep the measure. Reversed
    momenta and chain velocities lead back.

    :param phase: a point.
    :param masses: (N,) in amu.
    :param potential: the surface.
    :param bath: the thermostat.
    :param piston: pressure, kind of cell, mass.
    :param timestep: in fs.
    :raises ValueError: if the surface has no stress.
    """
    dt = timestep * units.fs
    n, shape = phase.momenta.size, phase.momenta.shape
    inertia = np.full(len(phase.cell_momenta), piston.mass * units.fs**2)
    flat = np.concatenate([np.repeat(masses, 3), inertia])
    everything, chains = couple(
        np.concatenate([phase.momenta.ravel(), phase.cell_momenta]), flat, phase.chains, bath, 0.5 * dt
    )
    p, cell_momenta = everything[:n].reshape(shape), everything[n:]
    cell_momenta = cell_momenta + 0.5 * dt * force_on_cell(phase.cell, p, masses, phase.evaluation, bath, piston)
    rate = np.einsum("k,kab->ab", cell_momenta / inertia, DIRECTIONS[piston.cell])
    damping, kick = _flow(-rate.T - np.trace(rate) / n * np.eye(3), 0.5 * dt)
    p = p @ damping + phase.evaluation.forces @ kick
    stretch, shift = _flow(rate, dt)
    positions = phase.positions @ stretch + (p / masses[:, None]) @ shift
    cell = phase.cell @ stretch
    evaluation = potential.evaluate(positions, cell)
    p = p @ damping + evaluation.forces @ kick
    cell_momenta = cell_momenta + 0.5 * dt * force_on_cell(cell, p, masses, evaluation, bath, piston)
    everything, chains = couple(np.concatenate([p.ravel(), cell_momenta]), flat, chains, bath, 0.5 * dt)
    return Phase(positions, cell, everything[:n].reshape(shape), everything[n:], chains, evaluation)


def conserved(phase: Phase, masses: Array, bath: Bath, piston: Piston) -> float:
    """Return the conserved quantity K + U + P V + sum p_k²/2W + chains in eV, with -kT ln(h_11/h_33) if flexible.

    :param phase: a point.
    :param masses: (N,) in amu.
    :param bath: the thermostat.
    :param piston: pressure, kind of cell, mass.
    """
    volume = abs(float(np.linalg.det(phase.cell)))
    total = kinetic_energy(phase.momenta, masses) + phase.evaluation.energy
    total += piston.pressure * units.GPa * volume
    total += 0.5 * float(phase.cell_momenta @ phase.cell_momenta) / (piston.mass * units.fs**2)
    if piston.cell == "flexible":
        total -= bath.heat * float(np.log(phase.cell[0, 0] / phase.cell[2, 2]))
    return total + chains_energy(phase.chains, bath)
