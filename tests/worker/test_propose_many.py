"""Trajectories of several chains in step: the proposals of each chain by itself."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.models import MacePotential
from aiida_slhmc.worker.propose import propose
from aiida_slhmc.worker.propose_many import propose_many

from .rutile import MODEL, rattled

POTENTIAL = {"engine": "mace", "file": str(MODEL)}


def trajectory(chain: int, **changes) -> dict:
    atoms = rattled(1, chain)[0]
    return {
        "numbers": atoms.numbers, "positions": atoms.positions, "cell": atoms.cell[:], "pbc": atoms.pbc,
        "masses": atoms.get_masses(), "seed": 1, "chain": chain, "cycle": 3, "temperature": 300.0, "timestep": 1.0,
        "length": 6, "length_law": "uniform", "centre_of_mass": "keep", "min_distance": 0.7,
        "max_energy_change": None, **changes,
    }  # fmt: skip


@pytest.mark.parametrize("npt", [False, True])
def test_each_chain_gets_its_own_proposal(npt):
    changes = {"ensemble": "NPT", "pressure": 0.0, "cell_kind": "orthorhombic", "cell_mass": 3e3} if npt else {}
    # Of different lengths, temperatures, and one that is rejected unseen.
    one_by_one = [
        trajectory(0, **changes),
        trajectory(1, **changes, temperature=600.0),
        trajectory(2, **changes) | {"min_distance": 1.9},
        trajectory(3, **changes, length=15) if not npt else trajectory(3, **changes),
    ]
    result = propose_many({"potential": POTENTIAL, "trajectories": one_by_one})
    assert result["wall_time"] > 0
    assert len({proposal["n_steps"] for proposal in result["proposals"]}) > 1
    for single, together in zip(one_by_one, result["proposals"], strict=True):
        alone = propose({**single, "potential": POTENTIAL})
        assert np.allclose(together["positions"], alone["positions"], rtol=0, atol=1e-9)
        assert np.allclose(together["cell"], alone["cell"], rtol=0, atol=1e-9)
        for key in ("kinetic_start", "n_steps", "divergent", "reason"):
            assert together[key] == alone[key], key
        assert together["potential_end"] == pytest.approx(alone["potential_end"], abs=1e-8, nan_ok=True)
    assert [proposal["divergent"] for proposal in result["proposals"]] == [False, False, True, False]


def test_a_batch_evaluates_as_single_structures_do():
    cells = rattled(5, 7)
    potential = MacePotential(MODEL, cells[0].numbers, [True] * 3)
    points = [(atoms.positions, atoms.cell[:]) for atoms in cells]
    points[2] = (np.full((6, 3), np.nan), points[2][1])
    for point, together in zip(points, potential.evaluate_many(points), strict=True):
        alone = potential.evaluate(*point)
        assert together.energy == pytest.approx(alone.energy, abs=1e-10, nan_ok=True)
        assert np.allclose(together.forces, alone.forces, rtol=0, atol=1e-10, equal_nan=True)
        assert np.allclose(together.stress, alone.stress, rtol=0, atol=1e-12, equal_nan=True)
    good = [points[0], points[1]]
    assert np.allclose(potential.evaluate_many(good)[1].forces, potential.evaluate(*good[1]).forces, atol=1e-10)


def test_chains_whose_atoms_stand_in_another_order():
    turned = trajectory(1)
    for key in ("numbers", "positions", "masses"):
        turned[key] = turned[key][::-1].copy()
    result = propose_many({"potential": POTENTIAL, "trajectories": [trajectory(0), turned]})
    alone = propose({**turned, "potential": POTENTIAL})
    assert np.array_equal(result["proposals"][1]["positions"], alone["positions"])


def test_bad_input_of_one_chain_is_one_sentence():
    with pytest.raises(TaskError, match="'temperature' must be greater than 0"):
        propose_many({"potential": POTENTIAL, "trajectories": [trajectory(0), trajectory(1, temperature=-1.0)]})
