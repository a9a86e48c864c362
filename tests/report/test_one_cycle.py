"""The picture of one cycle shows the links that the processes declare, and the committed files are the script's."""

from __future__ import annotations

import importlib.util
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType

import pytest
from matplotlib.image import imread

from aiida_slhmc.calculations.label import LabelCalculation, label_local
from aiida_slhmc.calculations.metropolis import metropolis
from aiida_slhmc.calculations.propose import ProposeCalculation, propose_local

ROOT = Path(__file__).resolve().parents[2]
#: What every process has besides its own ports.
COMMON = {"metadata", "code", "monitors", "remote_folder"}
#: Names in the picture of what a port calls otherwise.
RENAMED = {"structure": "endpoint"}


@pytest.fixture(scope="module")
def picture() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_one_cycle", ROOT / "scripts" / "draw_one_cycle.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawn(picture: ModuleType, process: str) -> set[str]:
    return {source for source, target in picture.LINKS if target == process}


@pytest.mark.parametrize(
    ("process", "classes"),
    [
        ("propose", (ProposeCalculation, propose_local)),
        ("label_step", (LabelCalculation, label_local)),
        ("metropolis", (metropolis,)),
    ],
)
def test_inputs_are_those_of_the_processes(picture: ModuleType, process: str, classes: tuple) -> None:
    for each in classes:
        ports = {RENAMED.get(name, name) for name in each.spec().inputs if name not in COMMON}
        assert drawn(picture, process) == ports - set(picture.CONSTANT)


def test_outputs_are_those_of_the_processes(picture: ModuleType) -> None:
    made = {target for source, target in picture.LINKS if source == "propose"}
    assert made == set(ProposeCalculation.spec().outputs) - {"remote_folder", "remote_stash", "retrieved"}
    made = {target.removeprefix("endpoint_") for source, target in picture.LINKS if source == "label_step"}
    assert made == set(LabelCalculation.spec().outputs) - {"remote_folder", "remote_stash", "retrieved"}


def test_every_link_has_its_route_and_its_ends(picture: ModuleType) -> None:
    assert set(picture.ROUTES) == set(picture.LINKS)
    assert {name for link in picture.LINKS for name in link} == set(picture.DATA) | set(picture.PROCESSES)


def test_committed_picture_is_whole() -> None:
    svg = ElementTree.parse(ROOT / "docs" / "images" / "one-cycle.svg").getroot()
    assert svg.tag.endswith("svg")
    assert imread(ROOT / "docs" / "images" / "one-cycle.png").shape[1] > 1500
