"""Run a WorkChain to its end in this process: no daemon, no broker, no polling interval, no killing on Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

from aiida import orm
from aiida.common import exceptions
from aiida.engine import Process, ProcessState, WorkChain
from aiida.engine.runners import Runner
from aiida.engine.utils import is_process_function, loop_scope, prepare_inputs
from aiida.manage import get_manager
from plumpy import ensure_portal, run_until_complete

from aiida_slhmc.engine.claim import claimed

LOGGER = logging.getLogger(__name__)

POLL_INTERVAL = 0.1  # s, for children that live in another process
TICK_SHARE = 0.05  # of the run's time, at most, for its display: what that looks up grows with the run
GRACE = 10.0  # s, for the file transfers and submissions in flight when the user interrupts

OnTick = Callable[[orm.ProcessNode], object]


class Interrupted(Exception):
    """A signal stopped the loop; every checkpoint is in the database and ``resume(pk)`` continues.

    Args:
        pk: pk of the root process.
        signum: number of the signal.
        hard: whether a second signal cut a running step short.
    """

    def __init__(self, pk: int, signum: int, hard: bool = False):
        super().__init__(f"process <{pk}> was interrupted by {signal.Signals(signum).name}; it can be resumed")
        self.pk, self.signum, self.hard = pk, signum, hard


class Paused(Exception):
    """Nothing in the tree can go on, because processes are paused; ``resume(pk)`` plays them.

    Args:
        pk: pk of the root process.
        messages: the message of each paused process by its pk.
    """

    def __init__(self, pk: int, messages: Mapping[int, str]):
        reasons = "; ".join(f"<{child}> {message}" for child, message in messages.items())
        super().__init__(f"process <{pk}> is paused: {reasons}")
        self.pk, self.messages = pk, dict(messages)


class EngineFailure(Exception):
    """The engine itself failed (a locked database, a full disk); the checkpoints remain and ``resume(pk)`` continues.

    Args:
        pk: pk of the root process.
        message: what failed.
    """

    def __init__(self, pk: int, message: str):
        super().__init__(f"process <{pk}> could not go on: {message}; it can be resumed")
        self.pk = pk


def run_foreground(
    process_class_or_builder: Any,
    inputs: Mapping[str, Any] | None = None,
    *,
    on_tick: OnTick | None = None,
    tick: float = 0.5,
) -> orm.ProcessNode:
    """Run a process and all its children in this process and return its node when all have terminated.

    Children that live here report at once, several children of one parent run side by side. SIGINT, SIGTERM and SIGHUP
    kill no process: they stop the loop between two steps. A second SIGINT cuts the running step short; its calcfunction
    node stays behind and ``resume`` closes it. A third one ends the interpreter.

    Args:
        process_class_or_builder: process class or builder.
        inputs: inputs of the class; must be empty with a builder.
        on_tick: called with the root node about every ``tick`` seconds between steps, in this thread; what it raises is
            logged and otherwise ignored.
        tick: seconds between two calls of ``on_tick``.

    Returns:
        The node, finished, excepted or killed: look at ``is_finished_ok``.

    Raises:
        Interrupted: a signal arrived.
        Paused: all that could run has run, and what remains is paused.
        EngineFailure: the engine itself failed.
    """
    runner = LocalRunner()
    return runner.run_tree(lambda: runner.submit(process_class_or_builder, dict(inputs or {})), on_tick, tick)


class LocalRunner(Runner):
    """A runner that owns every process of one tree and drives them in one event loop."""

    def __init__(self) -> None:
        try:
            loop, self._own_loop = asyncio.get_running_loop(), False  # a notebook
        except RuntimeError:
            loop, self._own_loop = asyncio.new_event_loop(), True
        super().__init__(POLL_INTERVAL, loop=loop, communicator=None, persister=get_manager().get_persister())
        self._context = contextvars.copy_context()
        self._live: dict[int, Process] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiters: dict[int, list[Callable[[], Any]]] = {}
        self._polled: dict[int, orm.ProcessNode] = {}
        self._changed = asyncio.Event()
        self._ticker: _Ticker | None = None
        self._signum: int | None = None
        self._failure: BaseException | None = None
        self._stopping = False

    @property
    def is_daemon_runner(self) -> bool:
        """Tell process functions to leave SIGINT alone: this runner handles it."""
        return True

    # Starting and driving processes

    def submit(self, process: Any, inputs: dict[str, Any] | None = None, **kwargs: Any) -> orm.ProcessNode:
        """Instantiate a process and drive it in this runner.

        Args:
            process: process class or builder.
            inputs: its inputs; ``kwargs`` are the alternative.
            kwargs: its inputs by keyword.

        Returns:
            The node of the process.

        Raises:
            InvalidOperation: the process would not be stored.
        """
        if is_process_function(process):
            raise exceptions.InvalidOperation("a process function is called, not submitted")
        instance = self.instantiate_process(process, **prepare_inputs(inputs, **kwargs))
        if not instance.metadata.store_provenance or instance.metadata.get("dry_run", False):
            raise exceptions.InvalidOperation("a process that is not stored cannot be submitted")
        self.adopt(instance)
        return instance.node

    schedule = submit

    def adopt(self, process: Process) -> None:
        """Drive a process, new or recreated from its checkpoint, from here on.

        Args:
            process: a process that was made with this runner.
        """
        pk = process.node.pk
        assert pk is not None
        self._live[pk] = process
        # The context of the step that submits holds the parent: a task that kept it would keep the parent alive.
        task = self._context.copy().run(self.loop.create_task, self._drive(process))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._on_driver_done(pk, done))

    async def _drive(self, process: Process) -> None:
        """Step a process until it terminates, and give way to the others, to signals and to ticks after every step."""
        await ensure_portal()
        while not process.has_terminated() and not self._stopping:
            await process.step()
            if process.paused:
                self._changed.set()
            if self._ticker is not None:
                self._ticker()
            await asyncio.sleep(0)

    def _on_driver_done(self, pk: int, task: asyncio.Task[None]) -> None:
        """Tell the parents of a process that terminated; remember a failure of the engine."""
        self._tasks.discard(task)
        process = self._live[pk]
        if not task.cancelled() and task.exception() is not None:
            self._failure = self._failure or task.exception()
        elif process.has_terminated():
            del self._live[pk]
            for callback in self._waiters.pop(pk, []):
                self.loop.call_soon(callback)
        self._changed.set()

    def call_on_process_finish(self, pk: int, callback: Callable[[], Any]) -> None:
        """Call back when a process terminates: at once where it lives here, else after polling the database.

        Args:
            pk: pk of the process.
            callback: called without arguments.
        """
        if pk in self._live:
            self._waiters.setdefault(pk, []).append(callback)
        else:
            self._poll_process(orm.load_node(pk), callback)

    def _poll_process(self, node: orm.ProcessNode, callback: Callable[[], Any]) -> None:
        """Look whether a process that lives elsewhere has terminated, or came to live here, and come back if not."""
        assert node.pk is not None
        if node.pk in self._live:
            self._polled.pop(node.pk, None)
            self._waiters.setdefault(node.pk, []).append(callback)
        elif node.is_terminated:
            self._polled.pop(node.pk, None)
            self.loop.call_soon(callback)
        else:
            self._polled[node.pk] = node
            self.loop.call_later(POLL_INTERVAL, self._poll_process, node, callback)

    # The run as a whole

    def run_tree(
        self, start: Callable[[], orm.ProcessNode], on_tick: OnTick | None, tick: float, *, claim: bool = True
    ) -> orm.ProcessNode:
        """Run what ``start`` adopts until all of it has terminated, and close this runner.

        Args:
            start: called inside the loop; adopts processes and returns the root node.
            on_tick: as for ``run_foreground``.
            tick: s, as for ``run_foreground``.
            claim: whether to claim the root; not where the caller holds the claim.

        Returns:
            The root node.

        Raises:
            Interrupted, Paused, EngineFailure: as for ``run_foreground``.
        """
        root: list[orm.ProcessNode] = []
        with loop_scope(self.loop), self._signals():
            try:
                return run_until_complete(self.loop, self._main(start, root, on_tick, tick, claim))
            except KeyboardInterrupt:
                if not root or self._signum is None:
                    raise
                raise Interrupted(_pk(root[0]), self._signum, hard=True) from None
            finally:
                self._shut_down()

    async def _main(
        self,
        start: Callable[[], orm.ProcessNode],
        root: list[orm.ProcessNode],
        on_tick: OnTick | None,
        tick: float,
        claim: bool,
    ) -> orm.ProcessNode:
        """Start the tree and watch over it."""
        node = start()
        root.append(node)
        if on_tick is not None:
            self._ticker = _Ticker(node, on_tick, tick)
            self._tasks.add(self.loop.create_task(self._ticker.run()))
        with claimed(node) if claim else contextlib.nullcontext():
            await self._watch(node)
        return node

    async def _watch(self, node: orm.ProcessNode) -> None:
        """Wait until the tree has ended, is stuck on paused processes, failed, or a signal asks to stop."""
        while self._live:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), timeout=1.0)
            self._changed.clear()
            if self._signum is not None:
                await self._park()
                raise Interrupted(_pk(node), self._signum)
            if self._failure is not None:
                await self._park()
                raise EngineFailure(_pk(node), repr(self._failure)) from self._failure
            if paused := self._stuck():
                self._stopping = True
                raise Paused(_pk(node), paused)

    def _stuck(self) -> dict[int, str]:
        """Return the messages of the paused processes if nothing in the tree can go on, else nothing."""
        blocked = set(self._live) | {pk for pk, node in self._polled.items() if node.paused}
        for process in self._live.values():
            if process.paused:
                continue
            awaited = {item.pk for item in process._awaitables} if isinstance(process, WorkChain) else set()
            if process.state != ProcessState.WAITING or not awaited or not awaited <= blocked:
                return {}
        return {pk: process.status or "" for pk, process in self._live.items() if process.paused}

    async def _park(self) -> None:
        """Let no further step begin, and the transfers in flight end within limits."""
        self._stopping = True
        deadline = self.loop.time() + GRACE
        while self.loop.time() < deadline and any(map(_in_transfer, self._live.values())):
            await asyncio.sleep(0.02)

    def _shut_down(self) -> None:
        """Drop the tasks that are left, and the loop if it is ours. Nothing is written but transport status lines."""
        self._stopping = True
        tasks = asyncio.all_tasks(self.loop) if self._own_loop else set(self._tasks)
        for task in tasks:
            task.cancel()
        if self._own_loop:
            if tasks:
                self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self.loop.close()
        self._closed = True

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Handle the signals that ask a program to end, for as long as the tree runs."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may set handlers
            return
        wanted = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
        # Under nohup the hang-up is ignored, and stays so.
        before = {num: signal.getsignal(num) for num in wanted if signal.getsignal(num) is not signal.SIG_IGN}
        for num in before:
            signal.signal(num, self._on_signal)
        try:
            yield
        finally:
            for num, handler in before.items():
                signal.signal(num, handler)

    def _on_signal(self, signum: int, _frame: FrameType | None) -> None:
        """Ask the loop to stop; at the second SIGINT, leave the running step."""
        if self._signum is None:
            LOGGER.warning("%s: stopping after the step in flight; once more to cut it", signal.Signals(signum).name)
            self._signum = signum
            self._stopping = True  # now, as the loop may have the steps of many others to run before it wakes the watch
            self.loop.call_soon_threadsafe(self._changed.set)
        elif signum == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            raise KeyboardInterrupt


class _Ticker:
    """Calls back with the root node now and then, seldom if that takes long, and survives what the callback raises."""

    def __init__(self, node: orm.ProcessNode, on_tick: OnTick, tick: float):
        self._node, self._on_tick, self._tick = node, on_tick, tick
        self._next = 0.0

    def __call__(self) -> None:
        """Call back if it is time."""
        started = time.monotonic()
        if started >= self._next:
            with self:
                self._on_tick(self._node)
            now = time.monotonic()
            self._next = now + max(self._tick, (now - started) / TICK_SHARE)

    async def run(self) -> None:
        """Call back for ever, for the times when no process takes a step."""
        while True:
            self()
            await asyncio.sleep(self._tick)

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        # A broken display must not end a calculation.
        if isinstance(error, Exception):
            LOGGER.warning("the progress callback failed", exc_info=error)
        return isinstance(error, Exception)


def _in_transfer(process: Process) -> bool:
    """Return whether a CalcJob is moving files or talking to its scheduler."""
    return process._stepping and getattr(process._state, "_command", None) in {"upload", "submit", "stash", "retrieve"}


def _pk(node: orm.ProcessNode) -> int:
    """Return the pk of a stored node."""
    assert node.pk is not None
    return node.pk
