"""One runner per tree: who runs a process now, and may another one take over.

A claim is an exclusive ``flock`` on a file named by the UUID of the root process, in the configuration folder of AiiDA.
The kernel gives it up when its holder dies, however it dies: a claim can neither go stale nor be mistaken for that of a
later program with the same PID, as a PID written to a file or to the database could. The text in the file only serves
the message to the user. The daemon is asked directly: a worker answers for each process that it holds.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
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


def refuse_if_daemon_runs(pks: Collection[int]) -> None:
    """Raise if the daemon holds any of these processes, or will once it is started.

    A live daemon is asked: a worker answers for every process that it holds, waiting ones too. For a stopped one the
    task queue of the broker is read.

    Args:
        pks: pks of processes.

    Raises:
        StillRunning: the daemon has one of them.
    """
    from aiida.engine.daemon.client import get_daemon_client
    from aiida.engine.processes.control import get_process_tasks
    from aiida.manage import get_manager

    broker = get_manager().get_broker()
    if broker is None:
        return
    pid = get_daemon_client().get_daemon_pid()  # from a file that a crash leaves behind
    if pid is not None and psutil.pid_exists(pid) and broker.check_service_reachable():
        for pk in pks:
            _ask_worker(pk)
    elif get_manager().get_profile().process_control_backend == "core.zeromq" or broker.check_service_reachable():
        for pk in set(get_process_tasks(broker)) & set(pks):
            raise StillRunning(pk, "the daemon, which is stopped but keeps it in its queue (verdi daemon start)")


def _ask_worker(pk: int) -> None:
    """Raise if a daemon worker holds the process."""
    from aiida.manage import get_manager
    from kiwipy import TimeoutError as KiwiTimeoutError
    from kiwipy import UnroutableError

    try:
        answer = get_manager().get_process_controller().get_status(pk).exception(timeout=RPC_TIMEOUT)
    except (TimeoutError, KiwiTimeoutError):
        raise StillRunning(pk, "a daemon worker that is too busy to answer (verdi daemon stop)") from None
    # RabbitMQ says that nobody listens under this pk with a type, ZeroMQ with a text.
    if not isinstance(answer, UnroutableError) and "not found" not in str(answer):
        raise StillRunning(pk, "a worker of the daemon")
