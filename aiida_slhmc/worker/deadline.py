"""A time limit for what an engine does in this process."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from .errors import TaskError


class _Expired(BaseException):
    """Break off: no ``except Exception`` of an engine may swallow it."""


@contextlib.contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Break off what takes too long.

    A timer interrupts Python code, and the wait for a subprocess; a call of compiled code is broken off when it
    returns. Where it may never return, label as a job and let the scheduler's wall time end it.

    :param seconds: limit in s; None: none.
    :raises TaskError: ``timeout`` when the time is over; ``bad_input`` where no timer can be set.
    """
    if seconds is None:
        yield
        return
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        raise TaskError(
            "bad_input",
            "failure.timeout needs the main thread of a process on Linux or macOS: set it to null, or label as a job.",
        )

    def expire(signum: int, frame: FrameType | None) -> None:
        raise _Expired

    started = time.monotonic()
    handler = signal.signal(signal.SIGALRM, expire)
    # Another timer, such as a test runner's, goes on afterwards with what is left of it.
    remaining, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except _Expired:
        message = f"the engine gave no label within failure.timeout = {seconds:g} s and was broken off."
        raise TaskError("timeout", message) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, handler)
        if remaining:
            left = max(remaining - (time.monotonic() - started), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, left, interval)
