"""GPAW's isolated atoms."""

import importlib.util

import pytest

from aiida_slhmc.targets.level import normalise
from aiida_slhmc.targets.registry import get_target
from aiida_slhmc.worker.label import label

LEVEL = normalise({"engine": "gpaw", "functional": "PBE", "parameters": {"cutoff": 300.0, "energy_convergence": 1e-5}})


def energy(level, atom):
    payload = {"numbers": atom.numbers, "positions": atom.positions, "cell": atom.cell[:], "pbc": atom.pbc}
    return label({**payload, "level": level})["energy"]


@pytest.mark.dft
@pytest.mark.skipif(importlib.util.find_spec("gpaw") is None, reason="needs GPAW: `make test-dft` installs it")
def test_an_oxygen_atom_is_a_triplet():
    """By PBE the spin is worth about 1.8 eV: GPAW's atom without it is no reference."""
    level, atom = get_target("gpaw").isolated_atom(LEVEL, 8)
    atom.set_cell([6.0, 6.5, 7.0])
    paired = {**level, "parameters": {**level["parameters"], "spin": False, "smearing": 0.05}}
    assert energy(paired, atom) - energy(level, atom) == pytest.approx(1.8, abs=0.4)


def test_spin_is_for_a_single_atom():
    level, _ = get_target("gpaw").isolated_atom(LEVEL, 8)
    with pytest.raises(ValueError, match="for a single atom"):
        get_target("gpaw").validate(level, [8, 8], None)
