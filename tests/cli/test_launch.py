"""Launch, go on, resume: how a run that ends, or does not, is told."""

import pytest
from aiida import orm

from aiida_slhmc.cli.errors import InputError, RunError
from aiida_slhmc.cli.launch import follow, produce, resume_run
from aiida_slhmc.engine.runner import Interrupted, Paused


def test_going_on_from_a_finished_run(analytic_run, capsys):
    node = produce(str(analytic_run.pk), 2, plain=True)
    assert node.is_finished_ok
    assert node.process_label == "ProductionWorkChain"
    assert f"<{node.pk}> finished" in capsys.readouterr().out


def test_what_cannot_be_gone_on_from(analytic_run):
    with pytest.raises(InputError, match="no run of"):
        produce(str(analytic_run.called[0].pk), 2)


def test_resuming_what_has_ended_says_so_and_runs_nothing(analytic_run, capsys):
    count = orm.QueryBuilder().append(orm.ProcessNode).count()
    assert resume_run(str(analytic_run.pk)).pk == analytic_run.pk
    assert "has already ended: finished [0]" in capsys.readouterr().out
    assert orm.QueryBuilder().append(orm.ProcessNode).count() == count


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (Interrupted(12, 2), "nothing is lost. Continue with: aiida-slhmc .*resume 12"),
        (Paused(13, {13: "cycle 4: no label."}), "cycle 4: no label. Continue with: aiida-slhmc .*resume 13"),
    ],
)
def test_a_run_that_stops_says_how_to_go_on(aiida_profile, error, says):
    def run(tick):
        raise error

    with pytest.raises(RunError, match=says):
        follow(run, plain=True)
