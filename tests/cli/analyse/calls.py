"""Call ``aiida-slhmc analyse`` as a user does."""

from __future__ import annotations

import csv
import json

from click.testing import CliRunner

from aiida_slhmc.cli import main


def call(*arguments):
    return CliRunner().invoke(main, ["analyse", *(str(argument) for argument in arguments)])


def rows(*arguments):
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["rows"]


def table(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def refused(*arguments):
    """Return the one sentence that a call is refused with."""
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert result.output.rstrip().endswith(line)
    return line
