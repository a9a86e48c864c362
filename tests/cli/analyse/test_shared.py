"""What all analyses share: options, refusals in one sentence, no profile; reports and how they are shown."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest
from ase import Atoms
from ase.io import write

from aiida_slhmc.cli.analyse.shared import Numbers, Pair, Window, input_errors, show
from aiida_slhmc.cli.errors import InputError

from .calls import call, refused
from .sets import ensemble


@pytest.mark.parametrize("command", ["rdf", "distances", "cell", "chain"])
def test_files_that_are_none(folder, tmp_path, command):
    assert "there is no file '" in refused(command, tmp_path / "none.xyz")
    (tmp_path / "empty.xyz").write_text("")
    assert "empty.xyz' is empty." in refused(command, tmp_path / "empty.xyz")
    (tmp_path / "words.xyz").write_text("not a number\n")
    assert "words.xyz' cannot be read" in refused(command, tmp_path / "words.xyz")
    assert "run.extxyz" in refused(command, folder / "run.extxyz", "--discard", "40")


def test_input_that_is_wrong(folder, tmp_path):
    run, other = folder / "run.extxyz", folder / "other.traj"
    assert "no pair C-O; there are O-O, O-Ti, Ti-Ti." in refused("rdf", run, "--pair", "C-O")
    assert "no frame has Ti–C neighbours (40 × no C)" in refused("distances", run, "--pair", "Ti-C", "--cutoff", "2")
    assert "run.extxyz': the first 20 frames show no shell of Ti–C" in refused("distances", run, "--pair", "Ti-C")
    assert "a cut-off of 500 Å takes in about" in refused("rdf", run, "--cutoff", "500")
    assert "less than two bins" in refused("rdf", run, "--cutoff", "0.001")
    assert "labels and predictions would be the same" in refused("errors", run)
    assert "1 files for 2 files of predictions" in refused("errors", run, other, "--labels", run)
    assert "frame 0 of" in refused("errors", run, "--labels", other)
    assert "40 × no predicted energy" in refused("errors", run, "--predictions-key", "X_")
    assert "there is no model" in refused("errors", run, "--model", tmp_path / "none.model")
    assert "has no column 'x'; it has cycle, energy, pressure." in refused(
        "chain", folder / "chain-1.csv", "--column", "x"
    )
    assert "frame 0 of" in refused("chain", run, "--quantity", "dipole_z")
    assert "a chain has one composition" in refused("chain", folder / "test-set.xyz")
    write(tmp_path / "atoms.xyz", [Atoms("O"), Atoms("Ti")], format="extxyz")
    assert "none of its 2 frames has a volume" in refused("rdf", tmp_path / "atoms.xyz")
    assert "none of its 2 frames is periodic" in refused("cell", tmp_path / "atoms.xyz")
    short = ensemble(3, seed=1)
    write(tmp_path / "short.extxyz", short)
    assert "ends after 3 frames" in refused("errors", tmp_path / "short.extxyz", "--labels", run)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--pair", "Ti"), ("--pair", "Ti-Oo"), ("--window", "Ti-O=2"), ("--window", "Ti-O=3:2"), ("--cutoff", "-1")],
)
def test_options_that_are_wrong(folder, option, value):
    result = call("rdf", folder / "run.extxyz", option, value)
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.output


def test_no_profile_and_no_aiida(folder, tmp_path):
    """The analyses run where AiiDA cannot be imported."""
    script = "import sys\nsys.modules['aiida'] = None\nfrom aiida_slhmc.cli import main\nmain(args=sys.argv[1:])\n"
    command = [sys.executable, "-c", script, "analyse", "cell", str(folder / "run.extxyz"), "-o", str(tmp_path / "out")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "cell.pdf").is_file()


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Pair(), "Ti-O", ("Ti", "O")),
        (Window(), "Ti-O=1.6:2.2", (("Ti", "O"), (1.6, 2.2))),
        (Numbers(int), "4,2", (4, 2)),
        (Numbers(float, 3), "2,2,0.5", (2.0, 2.0, 0.5)),
    ],
)
def test_options_are_read_as_typed_and_left_alone_when_given(kind, text, value):
    assert kind.convert(text, None, None) == value
    assert kind.convert(value, None, None) == value


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        (Pair(), "X-O", "no pair of elements"),
        (Pair(), "Ti-O-O", "no pair of elements"),
        (Window(), "Ti-O=a:b", "no window such as"),
        (Window(), "Ti-O=nan:2", "begins behind its end"),
        (Numbers(int), "4,two", "no list of numbers"),
        (Numbers(int), "4,0", "above zero"),
        (Numbers(float), "nan", "above zero"),
        (Numbers(float, 3), "1,2", "3 numbers above zero"),
    ],
)
def test_options_that_say_nothing_are_refused(kind, text, says):
    with pytest.raises(click.BadParameter, match=says):
        kind.convert(text, None, None)


def test_errors_of_the_analyses_are_one_sentence():
    with pytest.raises(InputError, match=r"^the file is no file\.$"), input_errors():
        raise ValueError("the file is no file.")
    with pytest.raises(InputError, match="'dscribe' is not installed: pip install"), input_errors():
        raise ModuleNotFoundError(name="dscribe")
    # A defect of ours is no bad input.
    with pytest.raises(KeyError), input_errors():
        raise KeyError("energy")


class Shown:
    """A report of one row."""

    title, columns, lines, notes = "Errors", ("quantity", "value"), [("force [/RMSE]", "10.0")], ["of [one] frame"]

    def as_dict(self):
        return {"rows": [{"quantity": "force [/RMSE]", "value": 10.0}]}

    def write(self, folder):
        folder.mkdir()
        path = folder / "errors.csv"
        path.write_text("quantity,value\n")
        return [path]


def test_a_report_is_shown_and_written(tmp_path, capsys):
    show(Shown(), tmp_path / "out", as_json=False)
    said = capsys.readouterr().out
    # Brackets are text, not markup.
    assert "force [/RMSE]" in said
    assert "Note: of [one] frame." in said
    assert f"1 files in {tmp_path / 'out'}" in said
    show(Shown(), None, as_json=True)
    assert json.loads(capsys.readouterr().out) == Shown().as_dict()
    with pytest.raises(InputError, match="cannot be written: File exists"):
        show(Shown(), tmp_path / "out", as_json=False)
