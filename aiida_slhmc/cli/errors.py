"""Errors that a user can mend: one sentence and exit code 2, never a traceback."""

from __future__ import annotations

import click


class InputError(click.ClickException):
    """Say which input is wrong, what is wrong with it, and what to do.

    :param message: one sentence.
    """

    exit_code = 2


class RunError(click.ClickException):
    """Say how a run ended that did not end well.

    :param message: one or two sentences.
    """

    exit_code = 1
