"""Two results of one step: identical, within a tolerance of their quantity, or different."""

import re
from pathlib import Path

import numpy as np
from aiida import orm

from aiida_slhmc.provenance.comparing import DIFFERS, IDENTICAL, TOLERANCES, WITHIN, Tolerance, compare, verdict
from tests.fixtures import rutile


def test_tolerances_are_of_quantities(aiida_profile):
    tolerance = Tolerance(energy=1e-3, forces=1e-2, length=1e-6, relative=1e-6, why="a test")
    then = orm.ArrayData({"energies": np.array([1.0, np.nan]), "forces": np.zeros((2, 3))})
    for energy, force, expected in (
        (0.0, 0.0, IDENTICAL), (5e-4, 0.0, WITHIN), (0.0, 5e-3, WITHIN), (2e-3, 0.0, DIFFERS), (np.nan, 0.0, DIFFERS),
    ):  # fmt: skip
        now = orm.ArrayData({"energies": np.array([1.0 + energy, np.nan]), "forces": np.full((2, 3), force)})
        assert verdict(compare(then, now, tolerance, "it")) == expected
    short = orm.ArrayData({"energies": np.array([1.0])})
    assert verdict(compare(then, short, tolerance, "it")) == DIFFERS
    numbers = orm.Dict({"count": 3, "energy": 1.0, "other": 100.0, "wall_time": 1.0, "done": True})
    for change, expected in (
        ({"wall_time": 9.0}, IDENTICAL), ({"other": 100.00001}, WITHIN), ({"other": 100.01}, DIFFERS),
        ({"done": False}, DIFFERS), ({"count": 4}, DIFFERS), ({"more": 1}, WITHIN),
    ):  # fmt: skip
        assert verdict(compare(numbers, orm.Dict({**numbers.get_dict(), **change}), tolerance, "it")) == expected
    less = {key: value for key, value in numbers.get_dict().items() if key != "energy"}
    assert verdict(compare(numbers, orm.Dict(less), tolerance, "it")) == DIFFERS
    atoms = rutile()
    first = orm.StructureData(ase=atoms)
    for shift, expected in ((5e-7, WITHIN), (5e-6, DIFFERS)):
        atoms = rutile()
        atoms.positions[2, 1] += shift
        assert verdict(compare(first, orm.StructureData(ase=atoms), tolerance, "it")) == expected


def test_the_page_states_the_tolerances_that_are_used():
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "check-an-archive.md").read_text(encoding="utf-8")
    stated = {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 6 and cells[0].startswith("`"):
            numbers = [0.0 if cell == "–" else float(cell) for cell in cells[1:]]
            stated |= dict.fromkeys(re.findall("`([a-z_]+)`", cells[0]), numbers)
    used = {step: [one.energy, one.forces, one.stress, one.length, one.relative] for step, one in TOLERANCES.items()}
    assert stated == {step: numbers for step, numbers in used.items() if numbers[0] > 1e-9}


def test_of_dynamics_that_grew_apart_the_first_frame_counts(aiida_profile):
    then = orm.ArrayData({"positions": np.zeros((3, 2, 3))})
    late, early = np.zeros((3, 2, 3)), np.zeros((3, 2, 3))
    late[2], early[0] = 1.0, 1.0
    tolerance = Tolerance(length=1e-4, why="a test")
    assert verdict(compare(then, orm.ArrayData({"positions": late}), tolerance, "it", chaotic=True)) == WITHIN
    assert verdict(compare(then, orm.ArrayData({"positions": late}), tolerance, "it")) == DIFFERS
    assert verdict(compare(then, orm.ArrayData({"positions": early}), tolerance, "it", chaotic=True)) == DIFFERS
