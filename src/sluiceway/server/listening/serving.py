"""uvicorn's server and its parent of workers, as ours stop: at once, or for a successor.

A successor's port is served already, so nothing hurries: uploads have `--replace-timeout`, and no
connection is closed that may bring a request. Extends uvicorn's internals, so its version is
pinned.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess, multiprocess

from sluiceway.errors import SluiceError
from sluiceway.server.http1.stopping import STOPPING, Stopping
from sluiceway.server.listening.systemd import notify
from sluiceway.server.settings.checked import Settings
from sluiceway.server.state.worker_files import WORKER, read_worker_file

__all__ = ["KEEP_ALIVE", "SluiceServer", "Supervisor", "WorkerProcess", "shutdown_seconds"]

log: logging.Logger = logging.getLogger("sluiceway")

KEEP_ALIVE = 30  # seconds that an idle connection stays open: browsers use it for their next file
# Seconds for which idle connections may still bring a request where the supervisor holds the port,
# and waits for our end before it starts the next server.
LAST_REQUESTS = 0.5
# Seconds from the end of the last request until the process ends, whatever still hangs: uploads,
# spool and events have deadlines of their own, 35 seconds in all. A thread has none.
CLOSE_TIMEOUT = 45.0
# Seconds in which a second signal is the same stop: a supervisor and a terminal send it to all
# processes of a group, and our parent of workers sends it to them, too.
SAME_STOP = 1.0
LOOP_ANSWERS = 10.0  # seconds
WORKERS_START = 60.0  # seconds until all workers must be ready
# Workers that may be killed before they are ready; one that ends with an error would do so again.
KILLED_AT_START = 5
LEAVE: int | None = getattr(signal, "SIGUSR1", None)  # to workers: a successor serves already
KILL: int = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has one way only
POLL = 0.05  # seconds
# Objects that came and did not go, after which Python looks for circles among them. 16 small
# uploads under way have more than its own 700: it looked once for 18 of them.
LOOK_AFTER = 2000


def shutdown_seconds(seconds: float) -> int:
    """uvicorn takes whole seconds; without a number a stop would wait for the longest upload."""
    return max(1, round(seconds))


class SluiceServer(uvicorn.Server):
    """One process that serves. `on_started` may raise SluiceError: then it stops again."""

    def __init__(
        self,
        config: uvicorn.Config,
        settings: Settings,
        on_started: Callable[[], None] = lambda: None,
        is_activated: bool = False,
    ) -> None:
        """`is_activated`: the supervisor goes on holding the port."""
        super().__init__(config)
        self.should_exit: bool
        self._settings, self._on_started = settings, on_started
        self._is_activated, self._is_replaced = is_activated, False
        self._drain: asyncio.Timeout | None = None
        self._hurries = False
        self._stop_began, self._patience = 0.0, settings.shutdown_timeout
        self.failure: SluiceError | None = None

    def leave(self) -> None:
        """A successor serves the port: end when the last request has ended. From any thread."""
        self.config.timeout_graceful_shutdown = shutdown_seconds(self._settings.replace_timeout)
        self._is_replaced = self.should_exit = True

    def run_in_loop(self, action: Callable[[], None]) -> None:
        """From another thread; returns when it is done."""
        done = threading.Event()

        def act() -> None:
            action()
            done.set()

        self._loop.call_soon_threadsafe(act)
        done.wait(LOOP_ANSWERS)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """`on_started` is not called earlier: who reads the address may send a signal at once."""
        await super().startup(sockets)
        if self.started:
            self._loop = asyncio.get_running_loop()
            gc.freeze()  # what is loaded stays: to look through it would stop the loop for 25 ms
            gc.set_threshold(LOOK_AFTER, *gc.get_threshold()[1:])
            try:
                self._on_started()
            except SluiceError as error:
                self.failure, self.should_exit = error, True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Uvicorn's, which asks each connection to end."""
        stopping: Stopping = self.lifespan.state[STOPPING]
        bound = self.config.timeout_graceful_shutdown or 0
        stopping.port_stays = self._is_replaced or self._is_activated
        stopping.idle_for = min(KEEP_ALIVE, bound / 2) if self._is_replaced else LAST_REQUESTS
        stopping.begun = True
        if not self._is_replaced:
            notify(STOPPING=1)
        if under_way := len(self.server_state.tasks):
            log.info("Stopping; requests under way: %d, for up to %d s", under_way, bound)
        logging.getLogger("uvicorn.error").addFilter(_say_what_is_cut)
        await super().shutdown(sockets)

    async def _wait_tasks_to_complete(self) -> None:
        async with asyncio.timeout(None) as self._drain:
            if self._hurries:
                self._hurry()
            try:
                await super()._wait_tasks_to_complete()
            finally:
                _end_process_within(CLOSE_TIMEOUT)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """A stop while a successor serves leaves only `--shutdown-timeout` for what still runs."""
        if self._is_replaced and not self._hurries:
            self._captured_signals.append(sig)
            self._hurries = True
            if self._drain is not None:
                self._loop.call_soon_threadsafe(self._hurry)
        elif not self.should_exit:
            self._stop_began = time.monotonic()
            super().handle_exit(sig, frame)
        elif self._patience and time.monotonic() - self._stop_began > SAME_STOP:
            self._captured_signals.append(sig)
            self._hurries, self._patience = True, 0.0
            log.warning("A second signal: the requests that still run are cut now")
            self._loop.call_soon_threadsafe(self._hurry)

    def _hurry(self) -> None:
        if self._drain is not None and not self._drain.expired():
            self._drain.reschedule(self._loop.time() + self._patience)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """A stop by a signal is a success. Stock uvicorn would kill itself by the same signal, for
        the exit code."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()


def _say_what_is_cut(record: logging.LogRecord) -> bool:
    """uvicorn's line names tasks, which no operator knows, and calls it an error."""
    if str(record.msg).startswith("Cancel %s running task"):
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg = (
            "%s requests have not ended in time and are cut; what was kept of a resumable upload "
            "goes on at the next server"
        )
    return True


def _end_process_within(seconds: float) -> None:
    """A thread that waits for a hung place would hold up the end of the stores, of the event loop
    and of Python itself. What it was to store is resumed as after a kill."""

    def end() -> None:
        log.error("A place hangs and holds up the stop; the server kills itself")
        logging.shutdown()
        os.kill(os.getpid(), KILL)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


class WorkerProcess(multiprocess.Process):
    """One of several workers, seen from the parent and, in `target`, from itself."""

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        settings, _ = read_worker_file(os.environ[WORKER])
        server = SluiceServer(self.config, settings)
        self._server = server
        os.environ.pop("NOTIFY_SOCKET", None)  # the parent speaks for all
        threading.Thread(target=_end_with_parent, daemon=True).start()
        if LEAVE is not None:
            signal.signal(LEAVE, lambda *_: server.leave())
        super().target(sockets)

    def leave(self) -> None:
        """A successor serves the port."""
        if LEAVE is not None and self.pid is not None and self.process.is_alive():
            os.kill(self.pid, LEAVE)


def _end_with_parent() -> None:
    """Stops this worker as SIGTERM does, once the parent is gone: a killed one stops no worker,
    and they would hold the port against the next server. Each has a pipe that only the parent
    holds open."""
    if (parent := parent_process()) is not None:
        parent.join()
        log.warning("The parent of this worker has ended, and was not asked to; it stops, too")
        os.kill(os.getpid(), signal.SIGTERM)


class Supervisor(Multiprocess):
    """The parent of worker processes."""

    def __init__(
        self,
        config: uvicorn.Config,
        sockets: list[socket.socket],
        on_started: Callable[[], None],
        start_successor: Callable[[], None],
    ) -> None:
        super().__init__(config, sockets)
        # uvicorn lets nobody choose the class; this process has no other supervisor
        multiprocess.Process = WorkerProcess  # type: ignore[misc]
        self._on_started, self._is_replaced = on_started, False
        self.handle_usr2 = start_successor
        self.failure: SluiceError | None = None

    def leave(self) -> None:
        """A successor serves the port. From any thread."""
        self._is_replaced = True
        self.should_exit.set()

    def init_processes(self) -> None:
        super().init_processes()
        try:
            if self._all_ready():
                self._on_started()
        except SluiceError as error:
            self.failure = error
            self.should_exit.set()

    def _all_ready(self) -> bool:
        deadline = time.monotonic() + WORKERS_START
        killed = 0
        for index in range(len(self.processes)):
            while not self.processes[index].is_ready(timeout=1):
                self.handle_signals()
                if self.should_exit.wait(POLL):
                    return False
                process = self.processes[index]
                is_killed = not process.process.is_alive() and (process.exitcode or 0) <= 0
                killed += is_killed
                if is_killed and killed <= KILLED_AT_START:
                    self._start_anew(index)
                elif not process.process.is_alive() or time.monotonic() > deadline:
                    raise SluiceError("The workers could not start; the lines above say why")
        return True

    def _start_anew(self, index: int) -> None:
        process = self.processes[index]
        log.warning("Worker %s was killed before it was ready; another one starts", process.pid)
        process.kill()  # closes its pipe
        process.join()
        self.processes[index] = multiprocess.Process(self.config, self.sockets)
        self.processes[index].start()

    def terminate_all(self) -> None:
        for sock in self.sockets:
            sock.close()  # else a client could still connect, and no one would accept
        if not self._is_replaced:
            notify(STOPPING=1)
            super().terminate_all()
            return
        for process in self.processes:
            if isinstance(process, WorkerProcess):
                process.leave()

    def join_all(self) -> None:
        """A signal that comes while a successor serves ends what still runs."""
        for process in self.processes:
            while process.process.is_alive():
                process.process.join(POLL * 4)
                if self._is_replaced and self.signal_queue:
                    self._is_replaced = False
                    self.signal_queue.clear()
                    super().terminate_all()
        super().join_all()

    def handle_hup(self) -> None:
        """Stock uvicorn would replace the workers, and end the uploads that take too long.

        Each worker looks at the files itself, within a second.
        """
        log.info("SIGHUP: the workers read again what has changed")
