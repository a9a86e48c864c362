"""What a status says on one line and in the live table."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from aiida_slhmc.cli.progress import fields, plain_line, render
from aiida_slhmc.provenance.progress import RunStatus

STATUS = RunStatus(
    pk=7, uuid="u", state="running", exit_status=None, exit_message=None, phase="production", block=3, blocks=3,
    cycles_done=80, cycles_total=100, accepted=56, mean_probability=0.7, divergent=2, labels=79, labels_failed=0,
    length=12, force_rmse=31.0, energy_rmse=0.61, elapsed=120.0, remaining=30.0,
    acceptance_interval=[0.65, 0.75], creutz=1.02, creutz_error=0.03, energy_tau=2.4, energy_tau_error=0.3,
    energy_ess=33.0, energy_rhat=1.03, implied_model_error=0.55, implied_model_error_error=0.05,
    warnings=["Fewer than 50 independent samples: energy 33. Go on [cycles]."],
)  # fmt: skip


def test_the_line_holds_each_diagnostic_with_its_unit():
    shown = dict(fields(STATUS))
    assert shown["accepted"] == "56/80 = 0.70 [0.65, 0.75], 2 diverged"
    assert shown["energy error"] == "0.55 meV/atom by acceptance, 0.61 by labels"
    assert shown["chain"] == "energy tau 2.4 cycles, 33 independent, R-hat 1.03, <exp(-d/kT)> 1.02 ± 0.03"
    line = plain_line(STATUS)
    assert "\n" not in line
    assert all(value in line for value in shown.values())


@pytest.mark.parametrize(
    ("changes", "name", "text"),
    [
        ({"energy_tau": None}, "chain", "too short to judge"),
        ({"energy_rhat": None, "creutz": None}, "chain", "energy tau 2.4 cycles, 33 independent"),
        ({"implied_model_error": None, "energy_rmse": None}, "energy error", "-"),
        ({"implied_model_error": None}, "energy error", "- meV/atom by acceptance, 0.61 by labels"),
        ({"acceptance_interval": None, "cycles_done": 0, "accepted": 0, "divergent": 0}, "accepted", "0/0"),
    ],
)
def test_what_is_not_known_is_left_out(changes, name, text):
    assert dict(fields(replace(STATUS, **changes)))[name] == text


def test_the_table_shows_warnings_as_they_are():
    console = Console(file=io.StringIO(), width=160)
    paused = "label 3: [Errno 28] No space left on [/scratch]. Mend the cause and resume: it is tried again."
    console.print(render(replace(STATUS, paused=[paused])))
    text = console.file.getvalue()
    assert paused in text
    # Square brackets are markup to the library: they must survive.
    assert "Go on [cycles]." in text
    assert "[0.65, 0.75]" in text
