"""The commands on the page of the analyses run as they are printed."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import aiida_slhmc.models
from aiida_slhmc.cli import main
from tests.cli.analyse.sets import write_sets

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "analyse-files.md"
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    for line in block.splitlines()
]
MODEL = "tio2-pbe-small.model"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("page")
    write_sets(path)
    shutil.copy(Path(aiida_slhmc.models.__file__).parent / MODEL, path / MODEL)
    return path


def test_the_page_has_every_analysis():
    named = {shlex.split(command)[2] for command in COMMANDS}
    assert named == {"rdf", "distances", "cell", "errors", "coverage", "chain"}
    assert named == set(main.commands["analyse"].commands)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.split()[2:])[:60])
def test_commands_run_as_printed(command, folder, monkeypatch):
    for word, package in (("coverage", "dscribe"), ("--model", "mace")):
        if word in command:
            pytest.importorskip(package)
    monkeypatch.chdir(folder)
    program, *arguments = shlex.split(command)
    assert program == "aiida-slhmc"
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    if "-o" in arguments:
        output = Path(arguments[arguments.index("-o") + 1])
        assert {".csv", ".png", ".pdf"} <= {path.suffix for path in output.iterdir()}


def test_options_that_the_page_names_exist():
    options = {
        name for command in main.commands["analyse"].commands.values() for one in command.params for name in one.opts
    }
    assert set(re.findall(r"`(--[a-z-]+)", PAGE.read_text(encoding="utf-8"))) <= options
