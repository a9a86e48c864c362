"""Any ASE calculator: by ASE's name, or from a package; what it needs and which version it is are said."""

from __future__ import annotations

from importlib import metadata

import ase
import numpy as np
import pytest
from ase.build import bulk

from aiida_slhmc.targets.contract import check_target
from aiida_slhmc.targets.level import normalise
from aiida_slhmc.targets.registry import get_target
from aiida_slhmc.worker.errors import TaskError
from aiida_slhmc.worker.potentials import build_potential
from tests.worker.rutile import rutile


def level(calculator: str, **arguments) -> dict:
    return normalise({"engine": "ase", "parameters": {"calculator": calculator, "arguments": arguments}})


def copper():
    atoms = bulk("Cu", cubic=True, a=3.5)
    atoms.rattle(0.06, seed=1)
    return atoms


def test_a_calculator_of_ase_by_module_and_class():
    named, by_path = (
        check_target(level(name), copper(), translation=True, extensive=True)
        for name in ("emt", "ase.calculators.emt:EMT")
    )
    assert named.energy == by_path.energy
    assert named.version == ase.__version__


def test_a_calculator_of_another_package():
    pytest.importorskip("tblite", reason="tblite is not installed: pip install 'aiida-slhmc[tblite]'")
    theory = level("tblite.ase:TBLite", method="GFN1-xTB", accuracy=0.1, verbosity=0)
    atoms = rutile()
    atoms.set_cell(atoms.cell[:] * 0.98, scale_atoms=True)
    atoms.rattle(0.06, seed=1)
    report = check_target(theory, atoms)
    assert report.version == f"{ase.__version__}, tblite {metadata.version('tblite')}"
    own = normalise({"engine": "tblite", "functional": "GFN1-xTB"})
    energy = build_potential(own, atoms.numbers, atoms.pbc).evaluate(atoms.positions, atoms.cell[:]).energy
    assert report.energy == pytest.approx(energy, abs=1e-8)


@pytest.mark.parametrize(
    ("calculator", "kind", "says"),
    [
        ("no_such", "bad_input", "ASE knows no calculator 'no_such'; one of another package is 'package.module:Class'"),
        ("ase.calculators.emt:ETM", "bad_input", "the module 'ase.calculators.emt' has no 'ETM'"),
        ("no_such_package.ase:Calc", "missing_dependency", "pip install no_such_package"),
    ],
)
def test_what_cannot_be_had_is_said_in_one_sentence(calculator, kind, says):
    with pytest.raises(TaskError) as caught:
        build_potential(level(calculator), [29], [True] * 3)
    assert caught.value.kind == kind
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_whether_there_is_a_stress():
    assert get_target("ase").has_stress(level("ase.calculators.emt:EMT"))
    assert not get_target("ase").has_stress(level("ase.calculators.tip3p:TIP3P"))
    # Its package may be on the computing machine alone.
    assert get_target("ase").has_stress(level("no_such_package.ase:Calc"))


def test_history_does_not_matter():
    """Lennard-Jones keeps a neighbour list with a skin."""
    atoms = bulk("Ar", cubic=True, a=5.0)
    potential = build_potential(level("lj", sigma=3.4, epsilon=0.01, rc=8.0), atoms.numbers, atoms.pbc)
    rng = np.random.default_rng(1)
    places = [atoms.positions + 0.05 * rng.standard_normal((4, 3)) for _ in range(4)]
    first = [potential.evaluate(place, atoms.cell[:]).energy for place in places]
    again = [potential.evaluate(place, atoms.cell[:]).energy for place in reversed(places)]
    assert first == again[::-1]
