"""Launch and resume runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .errors import InputError, RunError
from .progress import Display
from .session import load_run


def launch_file(file: Path, *, dry_run: bool = False, to_daemon: bool = False, plain: bool = False) -> Any:
    """Launch the run of a YAML file and follow it to its end.

    :param file: run file.
    :param dry_run: check only.
    :param to_daemon: submit instead of running here.
    :param plain: plain lines instead of the live display.
    :returns: the node; None for a dry run.
    :raises InputError: for anything wrong with the input.
    :raises RunError: if the run did not end well.
    """
    from aiida_slhmc.data import trust
    from aiida_slhmc.workflows.runfile import RunFileError, builder_from_run, read

    try:
        builder = builder_from_run(read(file), file.resolve().parent, store=not dry_run)
    except RunFileError as error:
        raise InputError(str(error)) from error
    if dry_run:
        click.echo(f"'{file}' is a valid run; nothing was computed.")
        return None
    # The user wrote them, code that they name included.
    for level in _levels(builder.target.level, builder.model):
        trust.trust_level(level)
    if to_daemon:
        return submit(builder)
    return follow(lambda tick: _run(builder, tick), plain)


def _levels(*nodes: Any) -> list[dict[str, Any]]:
    """Return the levels of theory among the targets and models of a run."""
    from aiida import orm

    return [node.get_dict() for node in nodes if isinstance(node, orm.Dict)]


def produce(identifier: str, cycles: int, *, to_daemon: bool = False, plain: bool = False) -> Any:
    """Go on from a finished run with everything frozen, and follow it to its end.

    :param identifier: PK or UUID of the finished run.
    :param cycles: of each chain.
    :param to_daemon: submit instead of running here.
    :param plain: plain lines instead of the live display.
    :returns: the node.
    :raises InputError: if the run cannot be gone on from.
    :raises RunError: if the production run did not end well.
    """
    from aiida_slhmc.data import trust
    from aiida_slhmc.workflows.production import ProductionWorkChain
    from aiida_slhmc.workflows.runfile import RunFileError, check

    try:
        run = load_run(identifier)
        # The run may be another's, and this user has never seen what its levels of theory name.
        for level in _levels(run.inputs.target.level, run.outputs.model if "model" in run.outputs else None):
            trust.require_level(level)
        builder = ProductionWorkChain.get_builder_from_run(run, cycles=cycles)
        check(builder)
    except (ValueError, RunFileError) as error:
        raise InputError(str(error)) from error
    if to_daemon:
        return submit(builder)
    return follow(lambda tick: _run(builder, tick), plain)


def submit(builder: Any) -> Any:
    """Hand a run to the daemon.

    :param builder: of the run.
    :returns: the node.
    :raises InputError: if no daemon can take it.
    """
    from aiida.common import AiidaException
    from aiida.engine import submit as submit_process

    try:
        node = submit_process(builder)
    except AiidaException as error:
        raise InputError(f"the daemon cannot take the run: {error} Start it with 'verdi daemon start'.") from error
    click.echo(f"submitted <{node.pk}>; follow it with 'aiida-slhmc status {node.pk}'.")
    return node


def _run(builder: Any, tick: Callable[[Any], None]) -> Any:
    from aiida_slhmc.engine.runner import run_foreground

    return run_foreground(builder, on_tick=tick)


def resume_run(identifier: str, *, plain: bool = False) -> Any:
    """Resume a run where it stood and follow it to its end.

    :param identifier: PK or UUID.
    :param plain: plain lines instead of the live display.
    :raises InputError: if there is no such run, or another process runs it.
    :raises RunError: if the run did not end well.
    """
    from aiida_slhmc.engine.claim import StillRunning
    from aiida_slhmc.engine.resume import NotResumable, resume

    node = load_run(identifier)
    if node.is_terminated:
        click.echo(f"run <{node.pk}> has already ended: {node.process_state.value} [{node.exit_status}].")
        return node
    try:
        return follow(lambda tick: resume(node.pk, on_tick=tick), plain)
    except (NotResumable, StillRunning) as error:
        raise InputError(str(error)) from error


def follow(run: Callable[[Callable[[Any], None]], Any], plain: bool) -> Any:
    """Run with a display and say how it ended.

    :param run: takes the display's tick and returns the node.
    :param plain: plain lines instead of the live display.
    :returns: the node of a run that ended well.
    :raises RunError: for any other end.
    """
    from aiida_slhmc.engine.runner import EngineFailure, Interrupted, Paused

    with Display(plain) as display:
        try:
            node = run(display.tick)
        except Interrupted as error:
            raise RunError(f"interrupted; nothing is lost. Continue with: {resume_command(error.pk)}") from error
        except Paused as error:
            reasons = " ".join(error.messages.values())
            raise RunError(f"{reasons} Continue with: {resume_command(error.pk)}") from error
        except EngineFailure as error:
            raise RunError(f"{error}. Continue with: {resume_command(error.pk)}") from error
        display.finish(node)
    if not node.is_finished_ok:
        reason = node.exit_message or node.exception or node.process_state.value
        raise RunError(f"run <{node.pk}> failed: {reason} Look with: verdi process report {node.pk}")
    return node


def resume_command(pk: int) -> str:
    """Return the command that resumes a run in the loaded profile.

    :param pk: of the run.
    """
    from .session import prefix

    return f"{prefix()} resume {pk}"
