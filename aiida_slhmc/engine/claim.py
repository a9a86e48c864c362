"""One runner per tree: who runs a process now, and may another one take over.

A claim is an exclusive ``flock`` on a file named by the UUID of the root process, in the configuration folder of AiiDA.
The kernel gives it up when its holder dies, however it dies, so that a claim can neither go stale nor be mistaken for
that of a later process with the same PID, as a PID written to a file or to the database could. The text in the file only
serves the message to the user. A daemon worker is asked directly: it answers for each process that it holds.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from aiida import orm

RPC_TIMEOUT = 3.0  # s; a worker answers in milliseconds unless a step of another process blocks its loop


class StillRunning(Exception):
    """Another live program runs this process.

    Args:
        pk: pk of the process.
        owner: who runs it, in words.
    """

    def __init__(self, pk: int | None, owner: str):
        super().__init__(f"process <{pk}> is still being run by {owner}")
        self.pk, self.owner = pk, owner


@contextmanager
def claimed(node: orm.ProcessNode) -> Iterator[None]:
    """Hold the claim on a root process for the duration of the block.

    Args:
        node: the root node.

    Raises:
        StillRunning: another live process holds it.
    """
    path = _folder() / f"{node.uuid}.lock"
    descriptor = _lock(path, node)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        # Unlinked while it is held: whoever opened the old file sees that it lost its name and tries again.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _lock(path: Path, node: orm.ProcessNode) -> int:
    """Return a descriptor that holds the lock on the file that has this name now."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(descriptor, 200).decode(errors="replace") or "another process"
            os.close(descriptor)
            raise StillRunning(node.pk, owner) from None
        try:
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)


def _folder() -> Path:
    """Return the folder of the claims; UUIDs are unique, so that one serves all profiles."""
    from aiida.manage.configuration.settings import AiiDAConfigDir

    folder = Path(AiiDAConfigDir.get()) / "slhmc-claims"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def refuse_if_daemon_runs(pks: Iterable[int]) -> None:
    """Raise if a daemon worker holds any of these processes.

    Args:
        pks: pks of processes.

    Raises:
        StillRunning: a worker answered for one of them.
    """
    from aiida.engine.daemon.client import get_daemon_client
    from aiida.manage import get_manager
    from kiwipy import TimeoutError as KiwiTimeoutError
    from kiwipy import UnroutableError

    broker = get_manager().get_broker()
    if broker is None or not get_daemon_client().is_daemon_running or not broker.check_service_reachable():
        return
    controller = get_manager().get_process_controller()
    for pk in pks:
        try:
            controller.get_status(pk).result(timeout=RPC_TIMEOUT)
        except UnroutableError:
            continue  # nobody listens under this pk
        except (TimeoutError, KiwiTimeoutError):
            raise StillRunning(pk, "a daemon worker that is busy and gave no answer; stop the daemon first") from None
        raise StillRunning(pk, "a worker of the daemon") from None
