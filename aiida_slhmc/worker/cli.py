"""``slhmc-worker``: run one task in a folder. Needs no AiiDA."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from . import io
from .errors import TaskError, need

TASKS = (
    "propose", "propose_many", "label", "predict", "finetune", "dynamics", "describe", "posterior_update",
    "predict_ensemble", "explore", "coverage", "replay_frames",
)  # fmt: skip

#: Where an engine writes its own output in the folder of a job.
ENGINE_LOG = "engine.txt"


def run_task(task: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Run a task.

    :param task: one of :data:`TASKS`.
    :param payload: its input.
    :returns: its result.
    :raises TaskError: for a failure that the task names.
    """
    # Only the task that is run is imported: labelling with DFT must not wait for torch.
    if task == "describe":
        models = importlib.import_module("aiida_slhmc.worker.models")
        return dict(models.describe(need(payload, "file", "the payload")))
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
    """Run one TASK on the payload in a folder and write its result beside it.

    A failure that the task names ends in output.json as {"failure": {"kind", "message"}}, with exit status 0. Anything
    else is a defect: it ends in a traceback, without output.json and with another status.
    """
    # Names in the payload are relative to the folder.
    os.chdir(folder)
    here = Path(".")
    for stale in ("output.json", "output.npz"):
        # What an earlier run left must not pass for the result of this one.
        (here / stale).unlink(missing_ok=True)
    try:
        result = run_task(task, _payload(here, task))
    except TaskError as error:
        result = {"failure": {"kind": error.kind, "message": str(error)}}
    io.write(here, result, "output")


def _payload(folder: Path, task: str) -> dict[str, Any]:
    """Read the payload.

    :param folder: where from.
    :param task: whose payload it is.
    :raises TaskError: if there is none.
    """
    try:
        payload = io.read(folder)
    except OSError as error:
        raise TaskError(
            "bad_input", f"the payload of '{task}' cannot be read: {error.strerror}: input.json."
        ) from error
    except ValueError as error:
        raise TaskError("bad_input", f"the payload of '{task}' is broken: {error}.") from error
    if task == "label":
        payload.setdefault("log", ENGINE_LOG)
    return payload


if __name__ == "__main__":
    main()
