"""Targets are found by entry point, and say what the rest needs to know."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from aiida_slhmc.targets import registry
from aiida_slhmc.targets.level import normalise
from aiida_slhmc.targets.port import Target
from aiida_slhmc.targets.process import ProcessTarget
from aiida_slhmc.targets.registry import engines, get_target


class Foreign(Target):
    """A third party's."""

    name = "foreign"
    default_functional = "none"


def test_the_engines_that_come_with_the_package():
    assert {"ase", "chgnet", "einstein", "gpaw"} <= set(engines())
    for name in engines():
        target = get_target(name)
        assert target.name == name
        assert target.default_executor in ("local", "job")


def test_an_unknown_engine_names_the_known_ones():
    with pytest.raises(
        ValueError, match="no engine 'no_such'; installed are: ase, breathing, chgnet, einstein, "
    ) as caught:
        get_target("no_such")
    assert "\n" not in str(caught.value)


def install(monkeypatch, value: str) -> None:
    point = EntryPoint("foreign", value, registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])


def test_a_third_party_is_found(monkeypatch):
    install(monkeypatch, f"{__name__}:Foreign")
    assert engines() == ["foreign"]
    assert type(get_target("foreign")) is Foreign
    assert normalise({"engine": "foreign"}) == {"engine": "foreign", "functional": "none", "parameters": {}}


def test_a_third_party_that_cannot_be_imported(monkeypatch):
    install(monkeypatch, "no_such_package.targets:Foreign")
    with pytest.raises(ValueError, match=r"'foreign' .* cannot be imported: No module named 'no_such_package'"):
        get_target("foreign")


def test_what_is_no_target_is_refused(monkeypatch):
    install(monkeypatch, "builtins:dict")
    with pytest.raises(ValueError, match=r"is no aiida_slhmc\.targets\.port\.Target"):
        get_target("foreign")


class Unfinished(ProcessTarget):
    """Of another plugin's processes, of which it does not say which."""

    name = "foreign"

    def builder(self, inputs, previous=()):
        return None


def test_an_unfinished_target_says_what_it_lacks(monkeypatch):
    install(monkeypatch, f"{__name__}:Unfinished")
    with pytest.raises(ValueError, match=r"'foreign' .* lacks the methods reading\."):
        get_target("foreign")


@pytest.mark.parametrize(
    ("level", "stress", "executor", "requires"),
    [
        ({"engine": "chgnet", "functional": "PBE"}, True, "local", "worker"),
        ({"engine": "gpaw", "functional": "PBE"}, False, "job", "dft"),
        ({"engine": "gpaw", "functional": "PBE", "parameters": {"cutoff": 700}}, True, "job", "dft"),
        ({"engine": "gpaw", "functional": "r2SCAN", "parameters": {"cutoff": 700}}, True, "job", "dft"),
        ({"engine": "gpaw", "functional": "HSE06", "parameters": {"cutoff": 700}}, False, "job", "dft"),
        ({"engine": "einstein", "parameters": {"sites": [[0, 0, 0]], "spring_constant": 1}}, False, "local", ""),
        ({"engine": "ase", "parameters": {"calculator": "emt"}}, True, "local", ""),
        ({"engine": "ase", "parameters": {"calculator": "tip3p"}}, False, "local", ""),
    ],
)
def test_what_a_target_says_of_itself(level, stress, executor, requires):
    target = get_target(level["engine"])
    assert target.has_stress(normalise(level)) is stress
    assert target.default_executor == executor
    assert target.requires == requires
