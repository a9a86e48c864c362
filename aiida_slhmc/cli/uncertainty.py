"""``aiida-slhmc uncertainty``: what estimates of uncertainty are worth on the labels of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .errors import InputError, RunError

PROCESS = "aiida.workflows:slhmc.uncertainty"


@click.command()
@click.argument("pk")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("slhmc-uncertainty"), show_default=True,
              help="Folder for figure, table and numbers.")  # fmt: skip
@click.option("--protocol", default=None, help="Set of settings: fast, balanced, paper [default: balanced].")
@click.option("--chunks", type=click.IntRange(min=1), default=None, help="Chunks to train on [default: half of them].")
@click.option("--committee", type=click.IntRange(2, 16), default=None, help="Members of the committee.")
@click.option("--members", type=click.IntRange(2, 16), default=None, help="Members of the sampled posterior.")
@click.option("--steps", type=click.IntRange(min=1), default=None, help="Steps of the sampler for each label.")
@click.pass_context
def uncertainty(context: click.Context, pk: str, output: Path, **options: Any) -> None:
    """Put estimates of uncertainty on trial with the labels of the finished run PK (or UUID); no label is asked for.

    A committee, a sampled posterior and the distance from the training set are made from the first labels and judged
    on those that came later. With the PK of such a trial its report is written anew.
    """
    from .session import load

    load(context.obj["profile"], context.obj["path"])
    try_uncertainties(pk, output, **options)


def try_uncertainties(pk: str, output: Path, **options: Any) -> None:
    """Put estimates of uncertainty on trial in the loaded profile, and report.

    :param pk: PK or UUID of a finished run, or of a trial.
    :param output: folder for figure, table and numbers.
    :param options: ``protocol``, ``chunks``, ``committee``, ``members``, ``steps``; those left out take the protocol's.
    :raises InputError: if the run's labels are not enough, or a setting is wrong.
    :raises RunError: if the trial did not end well.
    """
    from aiida_slhmc.report.uncertainty import table_rows, uncertainty_report

    from .session import load_process

    node = load_process(pk)
    trial = node if node.process_type == PROCESS else _run(pk, options)
    if not trial.is_finished_ok:
        reason = trial.exit_message or trial.exception or trial.process_state.value
        raise RunError(f"the trial <{trial.pk}> failed: {reason}")
    result = uncertainty_report(trial, output)
    click.echo(
        f"trial <{trial.pk}>: {result['frames']['calibration']} frames set the scales, "
        f"{result['frames']['scored']} were scored; {100 * result['outliers']:.0f} % of all atoms are outliers by Q"
    )
    for row in table_rows(result["scores"]):
        raw = "" if row["z_raw"] is None else f"  raw error/spread {row['z_raw']:.2f}"
        click.echo(
            f"{row['estimator']:10s} {row['quantity']:6s}  RMSE {row['rmse']:8.2f} {row['unit']:8s}  "
            f"AUROC {_two(row['auroc'])}  Spearman {_two(row['spearman'])}  miscalibration "
            f"{row['area_calibrated']:.3f}{raw}"
        )
    click.echo(f"figure and tables: {output.resolve()}")


def _two(value: float | None) -> str:
    return "   -" if value is None else f"{value:.2f}"


def _run(pk: str, options: dict[str, Any]) -> Any:
    """Run the trial for a finished run.

    :param pk: of the run.
    :param options: of the command line.
    """
    from aiida_slhmc.engine.runner import EngineFailure, Interrupted, Paused, run_foreground
    from aiida_slhmc.workflows.runfile import RunFileError, check
    from aiida_slhmc.workflows.uncertainty import UncertaintyWorkChain

    from .launch import resume_command
    from .session import load_run

    overrides = {
        "uncertainty": {"chunks": options.get("chunks")},
        "posterior": {"members": options.get("members"), "steps_per_label": options.get("steps")},
    }
    given: dict[str, Any] = {
        group: {name: value for name, value in values.items() if value is not None}
        for group, values in overrides.items()
    }
    if options.get("committee") is not None:
        given["committee"] = options["committee"]
    try:
        builder = UncertaintyWorkChain.get_builder_from_run(
            load_run(pk), protocol=options.get("protocol"), overrides=given
        )
        check(builder)
    except (ValueError, RunFileError) as error:
        raise InputError(str(error)) from error
    click.echo("training a committee and sampling a posterior on the first labels ...")
    try:
        return run_foreground(builder)
    except (Interrupted, Paused) as error:
        raise RunError(f"interrupted; nothing is lost. Continue with: {resume_command(error.pk)}") from error
    except EngineFailure as error:
        raise RunError(f"{error}. Continue with: {resume_command(error.pk)}") from error
