"""Show a run while it goes on: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from aiida_slhmc.provenance.progress import RunStatus, run_status

#: Seconds between two plain lines: a log file of a long run stays readable.
PLAIN_INTERVAL = 10.0


def duration(seconds: float | None) -> str:
    """Return a duration in words.

    :param seconds: in s; None: not known.
    """
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _number(value: float | None, template: str) -> str:
    return "-" if value is None else template.format(value)


def fields(status: RunStatus) -> list[tuple[str, str]]:
    """Return what is shown of a status, as names and values with units.

    :param status: of the run.
    """
    time_left = duration(status.remaining) if status.state not in ("finished", "excepted", "killed") else "-"
    error = ("force RMSE", _number(status.force_rmse, "{:.0f} meV/Å (last block, before learning from it)"))
    if status.models_total is not None:
        return [("models", f"{status.models_done}/{status.models_total}"), ("elapsed", duration(status.elapsed))]
    cost = [("DFT calls", _calls(status)), ("elapsed", duration(status.elapsed)), ("time left", time_left)]
    if status.steps_total is not None:
        return [
            ("labels", f"{status.labels + status.labels_reused}/{status.labels_total}"),
            ("steps", f"{status.steps}/{status.steps_total}"),
            ("outside", _outside(status)),
            error,
            *cost,
        ]
    if status.labels_total is not None:
        return [
            ("round", f"{status.block}/{status.blocks}"),
            ("labels", f"{status.labels + status.labels_reused}/{status.labels_total}"),
            error,
            *cost,
        ]
    return [
        ("phase", f"{status.phase}, block {status.block}/{status.blocks}"),
        ("cycle", f"{status.cycles_done}/{status.cycles_total}"),
        ("accepted", _acceptance(status)),
        ("proposal length", _number(status.length, "{} steps")),
        error,
        ("energy error", _energy_error(status)),
        ("chain", _chain(status)),
        *cost,
    ]


def _outside(status: RunStatus) -> str:
    """Return how many of the predictions that a label tested were wrong by more than the accuracy."""
    text = f"{status.outside}/{status.interventions} interventions"
    return text + (
        f" = {status.outside / status.interventions:.2f}" if status.interventions and status.outside is not None else ""
    )


def _calls(status: RunStatus) -> str:
    """Return what the labels cost: attempts of the engine, and the labels that came of them or were known before."""
    parts = [f"{status.labels} labels"] if status.calls != status.labels or status.labels_reused else []
    parts += [f"{status.labels_reused} reused"] if status.labels_reused else []
    parts += [f"{status.labels_failed} failed"] if status.labels_failed else []
    return str(status.calls) + (f" ({', '.join(parts)})" if parts else "")


def _acceptance(status: RunStatus) -> str:
    text = f"{status.accepted}/{status.cycles_done}"
    if status.cycles_done:
        text += f" = {status.accepted / status.cycles_done:.2f}"
    if status.acceptance_interval is not None:
        text += " [{:.2f}, {:.2f}]".format(*status.acceptance_interval)
    text += f", {status.divergent} diverged" if status.divergent else ""
    return text + (f", {status.rejected_unlabelled} without a label" if status.rejected_unlabelled else "")


def _energy_error(status: RunStatus) -> str:
    """Return what the acceptance says of the model's energy, beside what the labels say."""
    if status.implied_model_error is None and status.energy_rmse is None:
        return "-"
    implied = _number(status.implied_model_error, "{:.2f}")
    return f"{implied} meV/atom by acceptance, {_number(status.energy_rmse, '{:.2f}')} by labels"


def _chain(status: RunStatus) -> str:
    """Return how long the chains remember, and what they are worth."""
    if status.energy_tau is None:
        return "too short to judge"
    text = f"energy tau {status.energy_tau:.1f} cycles, {_number(status.energy_ess, '{:.0f}')} independent"
    text += f", R-hat {status.energy_rhat:.2f}" if status.energy_rhat is not None else ""
    if status.creutz is not None and status.creutz_error is not None:
        text += f", <exp(-d/kT)> {status.creutz:.2f} ± {status.creutz_error:.2f}"
    return text


def _title(status: RunStatus) -> str:
    """Return the name of the protocol."""
    name = status.workflow.removesuffix("WorkChain")
    return {"Slhmc": "SLHMC", "": "SLHMC", "OnTheFly": "On-the-fly"}.get(name, name)


def plain_line(status: RunStatus) -> str:
    """Return a status as one line.

    :param status: of the run.
    """
    return f"{_title(status)} <{status.pk}> {status.state} | " + " | ".join(
        f"{name} {value}" for name, value in fields(status)
    )


class Display:
    """Show the progress of a run; a context manager whose ``tick`` takes the root node.

    :param plain: plain lines even in a terminal.
    """

    def __init__(self, plain: bool = False):
        self.console = Console()
        self.live = None if plain or not self.console.is_terminal else Live(console=self.console, auto_refresh=False)
        self.last = 0.0
        self.shown = ""

    def __enter__(self) -> Display:
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.live is not None:
            self.live.stop()

    def tick(self, root: Any) -> None:
        """Show where the run stands now.

        :param root: node of the run.
        """
        if self.live is None:
            if time.monotonic() - self.last >= PLAIN_INTERVAL:
                self.plain(root)
            return
        self.live.update(render(run_status(root)), refresh=True)

    def plain(self, root: Any) -> None:
        """Print one line, if it says something new.

        :param root: node of the run.
        """
        self.last = time.monotonic()
        line = plain_line(run_status(root))
        if line != self.shown:
            self.shown = line
            click.echo(line)
            sys.stdout.flush()

    def finish(self, root: Any) -> None:
        """Show the end of the run.

        :param root: node of the run.
        """
        if self.live is None:
            self.plain(root)
        else:
            self.live.update(render(run_status(root)), refresh=True)


def render(status: RunStatus) -> Table:
    """Return the live table of a status.

    :param status: of the run.
    """
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    bar = Progress(
        TextColumn(f"{_title(status)} <{status.pk}>"), BarColumn(bar_width=40), TextColumn("{task.percentage:.0f} %")
    )
    total, done = status.cycles_total, status.cycles_done
    if status.models_total is not None:
        total, done = status.models_total, status.models_done or 0
    elif status.labels_total is not None:
        total, done = status.labels_total, status.labels + status.labels_reused
    if status.steps_total is not None and status.steps is not None and status.steps * total > done * status.steps_total:
        total, done = status.steps_total, status.steps
    bar.add_task("run", total=max(1, total), completed=done)
    table.add_row(bar)
    for name, value in fields(status):
        table.add_row(f"{name:16} {value}")
    for message in status.warnings:
        table.add_row(f"[yellow]warning[/yellow] {escape(message)}")
    for message in status.paused:
        table.add_row(f"[red]paused[/red] {escape(message)}")
    return table


Tick = Callable[[Any], None]
