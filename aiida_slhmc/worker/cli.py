"""``slhmc-worker``: run one task in a folder. Needs no AiiDA."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import click

from . import io
from .errors import TaskError

TASKS = ("propose", "label", "predict", "finetune", "dynamics")


def run_task(task: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Run a task.

    :param task: one of :data:`TASKS`.
    :param payload: its input.
    :returns: its result.
    :raises TaskError: for a failure that the task names.
    """
    function = getattr(importlib.import_module(f"aiida_slhmc.worker.{task}"), task)
    return dict(function(payload))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("task", type=click.Choice(TASKS))
@click.option(
    "--folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path("."),
    help="Folder with input.json and input.npz; output.json and output.npz are written there.",
)
def main(task: str, folder: Path) -> None:
    """Run one TASK on the payload in a folder and write its result beside it."""
    # Names in the payload are relative to the folder.
    os.chdir(folder)
    here = Path(".")
    try:
        result = run_task(task, io.read(here))
    except TaskError as error:
        result = {"failure": {"kind": error.kind, "message": str(error)}}
    io.write(here, result, "output")


if __name__ == "__main__":
    main()
