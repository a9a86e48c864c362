"""The command group."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from aiida_slhmc.cli.main import main
from aiida_slhmc.workflows.runfile import WORKFLOWS


def test_every_command_has_a_line_of_help():
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for name in main.commands:
        assert name in result.output
        assert main.commands[name].get_short_help_str(200).strip()


def test_help_loads_neither_torch_nor_mace():
    """It has to come at once, on a daemon's machine without torch too."""
    look = (
        "import sys; from aiida_slhmc.cli.main import main; print([m for m in ('torch', 'mace') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_the_protocols_of_each_workflow(workflow):
    lines = CliRunner().invoke(main, ["protocols", workflow]).output.splitlines()
    assert [line.split()[:2] for line in lines] == [[workflow, name] for name in ("fast", "balanced", "paper")]


def test_a_workflow_that_is_none():
    result = CliRunner().invoke(main, ["protocols", "slhcm"])
    assert result.exit_code == 2
    assert "there is no workflow 'slhcm'" in result.output
