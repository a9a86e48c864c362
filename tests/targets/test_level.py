"""Levels of theory: written out in full, refused in one sentence, hashed by content."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from aiida_slhmc.targets.level import level_hash, normalise, validate
from aiida_slhmc.targets.registry import get_target

EINSTEIN = {"engine": "einstein", "parameters": {"sites": [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]], "spring_constant": 2.0}}
LEVELS = {
    "chgnet": {"engine": "chgnet"},
    "gpaw": {"engine": "gpaw"},
    "einstein": EINSTEIN,
    "ase": {"engine": "ase", "parameters": {"calculator": "emt"}},
}


@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
def test_every_default_is_written_out(level):
    complete = normalise(level)
    assert set(complete) == {"engine", "functional", "parameters"}
    target = get_target(level["engine"])
    assert set(complete["parameters"]) == {*target.defaults, *target.required}
    validate(level)
    validate(complete)
    assert normalise(complete) == complete


@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
def test_the_hash_survives_a_database(level):
    complete = normalise(level)
    assert level_hash(json.loads(json.dumps(complete))) == level_hash(complete)


def test_the_defaults_of_gpaw_are_those_of_the_paper():
    parameters = normalise({"engine": "gpaw"})["parameters"]
    assert parameters["cutoff"] == 520.0
    assert parameters["kpoints"] == [1, 1, 1]
    assert parameters["smearing"] == 0.05


def test_chgnet_pins_its_weights():
    weights = {functional: normalise({"engine": "chgnet", "functional": functional})["parameters"]["weights"]
               for functional in ("PBE", "r2SCAN")}  # fmt: skip
    assert len(set(weights.values())) == 2
    assert all(len(digest) == 64 for digest in weights.values())


@pytest.mark.parametrize(
    ("spelled", "name"), [("pbe", "PBE"), ("R2SCAN", "r2SCAN"), ("r2scan", "r2SCAN"), ("PBE", "PBE")]
)
def test_a_functional_is_spelled_as_its_engine_does(spelled, name):
    assert normalise({"engine": "gpaw", "functional": spelled})["functional"] == name


def test_equal_levels_have_equal_hashes_however_they_are_written():
    written = [
        {"engine": "gpaw", "functional": "PBE", "parameters": {"cutoff": 340, "smearing": 0.05}},
        {"parameters": {"smearing": 0.05, "cutoff": 340.0}, "functional": "pbe", "engine": "gpaw"},
        # YAML takes 1e-6 for text.
        {"engine": "gpaw", "parameters": {"cutoff": "340", "energy_convergence": "1e-6", "kpoints": (1, 1, 1)}},
    ]
    assert len({level_hash(normalise(level)) for level in written}) == 1


def test_what_changes_the_surface_changes_the_hash():
    levels = [
        {},
        {"cutoff": 400.0},
        {"kpoints": [2, 2, 2]},
        {"smearing": 0.1},
        {"density_convergence": 1e-5},
        {"setups": None},
    ]
    hashes = {level_hash(normalise({"engine": "gpaw", "parameters": parameters})) for parameters in levels}
    hashes |= {level_hash(normalise({"engine": "gpaw", "functional": name})) for name in ("r2SCAN", "HSE06")}
    hashes |= {level_hash(normalise({"engine": "chgnet", "functional": name})) for name in ("PBE", "r2SCAN")}
    assert len(hashes) == len(levels) + 4


def test_the_hash_is_the_same_today_and_tomorrow():
    """A change of the canonical form would orphan every label that is stored."""
    level = {
        "engine": "ase",
        "functional": "ase",
        "parameters": {"calculator": "lj", "arguments": {"sigma": 2.5, "rc": 8.0}},
    }
    text = '{"engine":"ase","functional":"ase","parameters":{"arguments":{"rc":8,"sigma":2.5},"calculator":"lj"}}'
    import hashlib

    assert level_hash(level) == hashlib.sha256(text.encode()).hexdigest()


def test_numbers_keep_what_a_database_keeps():
    sites = np.random.default_rng(0).uniform(-9, 9, (5, 3))
    level = {"engine": "einstein", "parameters": {"sites": sites, "spring_constant": np.float64(2.0)}}
    complete = normalise(level)
    kept = complete["parameters"]["sites"]
    assert all(type(value) is float for row in kept for value in row)
    np.testing.assert_allclose(kept, sites, atol=1e-12)
    # AiiDA stores 14 significant digits.
    assert [[float(f"{value:.14g}") for value in row] for row in kept] == kept
    assert level_hash(
        level | {"functional": "analytic", "parameters": level["parameters"] | {"offset": 0}}
    ) == level_hash(complete)


@pytest.mark.parametrize(
    ("level", "says"),
    [
        ({}, "needs the key 'engine'"),
        ("gpaw", "must be a mapping"),
        ({"engine": 3}, "needs the key 'engine'"),
        ({"engine": "gpaww"}, "there is no engine 'gpaww'; installed are: .*gpaw.* Did you mean 'gpaw'?"),
        ({"engine": "gpaw", "seed": 1}, "has the keys engine, functional, parameters, not 'seed'"),
        ({"engine": "gpaw", "functional": "B3LYP"}, "no functional 'B3LYP'; it has PBE, r2SCAN, HSE06"),
        ({"engine": "gpaw", "functional": 5}, "must be a name"),
        ({"engine": "gpaw", "parameters": [1]}, "must be a mapping"),
        ({"engine": "gpaw", "parameters": {"cutof": 300}}, "no parameter 'cutof'.*Did you mean 'cutoff'?"),
        ({"engine": "gpaw", "parameters": {"cutoff": -300}}, "'cutoff' must be a number greater than 0, not -300.0"),
        ({"engine": "gpaw", "parameters": {"cutoff": "high"}}, "'cutoff' must be a number greater than 0, not 'high'"),
        ({"engine": "gpaw", "parameters": {"smearing": 0}}, "'smearing' must be a number greater than 0"),
        ({"engine": "gpaw", "parameters": {"cutoff": math.nan}}, "'cutoff' must be finite"),
        ({"engine": "gpaw", "parameters": {"cutoff": True}}, "'cutoff' must be a number"),
        ({"engine": "gpaw", "parameters": {"kpoints": [1, 1]}}, "three positive integers"),
        ({"engine": "gpaw", "parameters": {"kpoints": 3.0}}, "three positive integers"),
        ({"engine": "gpaw", "parameters": {"kpoints": [1, 1, 0]}}, "three positive integers"),
        ({"engine": "gpaw", "parameters": {"max_iterations": 3.5}}, "an integer greater than 0"),
        ({"engine": "gpaw", "parameters": {"setups": 3}}, "'setups' must name"),
        ({"engine": "chgnet", "functional": "HSE06"}, "no functional 'HSE06'"),
        ({"engine": "chgnet", "parameters": {"precision": "half"}}, "float64 or float32"),
        ({"engine": "einstein"}, "needs the parameter 'sites'"),
        ({"engine": "einstein", "parameters": {"sites": [[0, 0, 0]], "spring_constant": -1}}, "greater than 0"),
        ({"engine": "einstein", "parameters": {"sites": [0, 0], "spring_constant": 1}}, r"positions \(N, 3\)"),
        ({"engine": "einstein", "parameters": {"sites": [[0, 0, 0]], "spring_constant": [1, 2]}}, "or 1, not 2"),
        ({"engine": "einstein", "parameters": {"sites": [["a", 0, 0]], "spring_constant": 1}}, "must be numbers"),
        ({"engine": "ase"}, "needs the parameter 'calculator'"),
        ({"engine": "ase", "parameters": {"calculator": 3}}, "ASE's name of a calculator"),
        ({"engine": "ase", "parameters": {"calculator": "lj", "arguments": 3}}, "'arguments' must be a mapping"),
        ({"engine": "ase", "parameters": {"calculator": "lj", "arguments": {"f": object()}}}, "cannot hold a object"),
    ],
)  # fmt: skip
def test_a_wrong_level_is_refused_in_one_sentence(level, says):
    with pytest.raises(ValueError, match=says) as caught:
        validate(level)
    assert "\n" not in str(caught.value)


def test_a_level_that_was_not_written_out_is_refused_where_it_matters():
    """Not normalised, so its defaults would not be recorded."""
    with pytest.raises(ValueError, match="needs the parameter 'cutoff'"):
        get_target("gpaw").validate({"engine": "gpaw", "functional": "PBE", "parameters": {}}, [22], np.eye(3))


def test_the_number_of_atoms_of_the_structure():
    with pytest.raises(ValueError, match="the target has 2 atoms, but the structure has 6"):
        get_target("einstein").validate(normalise(EINSTEIN), [8] * 6, np.eye(3))
    get_target("einstein").validate(normalise(EINSTEIN), [8] * 2, np.eye(3))


def test_an_element_beyond_chgnet():
    with pytest.raises(ValueError, match="up to 94, not 95"):
        get_target("chgnet").validate(normalise({"engine": "chgnet"}), [8, 95], np.eye(3))


def test_levels_need_neither_torch_nor_aiida():
    code = (
        "import sys; from aiida_slhmc.targets import level, registry, engines, contract; "
        "[level.validate(x) for x in ({'engine': 'chgnet'}, {'engine': 'gpaw'})]; "
        "print([name for name in ('torch', 'mace', 'chgnet', 'gpaw', 'aiida') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
