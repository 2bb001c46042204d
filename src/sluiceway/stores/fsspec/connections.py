"""Calls to an fsspec implementation: a few connections, each a thread with one file system object.

Few implementations may be used from two threads at once, and none from an event loop. Every call
has a deadline; a broken or silent connection is replaced. Knows nothing of keys, drafts or objects.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from sluiceway.errors import PeerTimeout, SluiceError

__all__ = ["CALL_TIMEOUT", "ConnectionPool", "PooledConnection"]

MOST_CONNECTIONS = 6  # OpenSSH lets 10 connections wait for their password at once
CALL_TIMEOUT = 60.0  # seconds for one call, which moves 1 MiB at most or lists one folder

# Errors of a healthy connection. After any other error the connection itself is in doubt.
HEALTHY_ERRORS = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    NotImplementedError,
    PermissionError,
    SluiceError,
)

T = TypeVar("T")
Connect = Callable[[], Any]
MapError = Callable[[BaseException], SluiceError]


class PooledConnection:
    """Runs calls one after the other, in the order they were submitted."""

    def __init__(self, connect: Connect, map_error: MapError) -> None:
        self._connect, self._map_error = connect, map_error
        self._fs: Any = None
        self._calls: queue.SimpleQueue[
            tuple[concurrent.futures.Future[Any], Callable[[Any], Any]] | None
        ] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._users = 0
        self._has_worked = False
        self.broken: bool = False  # no new user may have it

    @property
    def users(self) -> int:
        return self._users

    @property
    def went_stale(self) -> bool:
        """It worked once and broke since, perhaps while idle: a repeatable call tries another."""
        return self.broken and self._has_worked

    @contextmanager
    def used(self) -> Iterator[PooledConnection]:
        self.acquire()
        try:
            yield self
        finally:
            self.release()

    def acquire(self) -> None:
        self._users += 1

    def release(self) -> None:
        self._users -= 1
        if self.broken and not self._users:
            self.close()

    def submit(self, work: Callable[[Any], T]) -> asyncio.Future[T]:
        """Queue a call. It is made even when no task waits for its result."""
        if self._thread is None:
            # A daemon: a call that never returns must not keep the process from ending.
            self._thread = threading.Thread(
                target=self._serve, name="sluiceway-fsspec", daemon=True
            )
            self._thread.start()
        result: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._calls.put((result, work))
        submitted = asyncio.wrap_future(result)
        submitted.add_done_callback(_retrieve_error)
        return submitted

    async def call(self, work: Callable[[Any], T], timeout: float = CALL_TIMEOUT) -> T:
        """What `work` returns. Raises its errors as ours, and PeerTimeout.

        A caller that is cancelled leaves the work to the thread.
        """
        submitted = self.submit(work)
        done, _ = await asyncio.wait([submitted], timeout=timeout)
        if not done:
            self.broken = True
            threading.Thread(target=_disconnect, args=(self._fs,), daemon=True).start()
            raise PeerTimeout(
                f"The destination did not answer within {timeout:g} seconds; try again later"
            )
        try:
            result = submitted.result()
            self._has_worked = True
            return result
        except SluiceError:
            raise
        except asyncio.CancelledError:
            raise self._map_error(ConnectionError("the connection was closed")) from None
        except Exception as error:
            self.broken = self.broken or not isinstance(error, HEALTHY_ERRORS)
            raise self._map_error(error) from None  # its own text may hold a password

    def close(self) -> None:
        """After the calls that were submitted before."""
        self.broken = True
        if self._thread is not None:
            self._calls.put(None)

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            future, work = call
            try:
                if self._fs is None:
                    self._fs = self._connect()
                result = work(self._fs)
            except BaseException as error:
                _resolve(future, error=error)
            else:
                _resolve(future, result=result)
                del result
            del call, future, work  # not held while waiting for the next call: they hold blocks
        _disconnect(self._fs)
        self._fs = None


class ConnectionPool:
    """As many connections as are busy, up to MOST_CONNECTIONS."""

    def __init__(self, connect: Connect, map_error: MapError) -> None:
        self._connect, self._map_error = connect, map_error
        self._connections: list[PooledConnection] = []

    def pick(self, fresh: bool = False) -> PooledConnection:
        """The connection with the fewest users.

        `fresh` asks for a new one: what broke one idle connection has broken all of them.
        """
        for one in [one for one in self._connections if one.broken or (fresh and not one.users)]:
            self._connections.remove(one)
            if not one.users:
                one.close()
        best = min(self._connections, key=lambda one: one.users, default=None)
        if best is None or fresh or (best.users and len(self._connections) < MOST_CONNECTIONS):
            best = PooledConnection(self._connect, self._map_error)
            self._connections.append(best)
        return best

    async def call(
        self, work: Callable[[Any], T], timeout: float = CALL_TIMEOUT, repeatable: bool = False
    ) -> T:
        """Call on any connection.

        A `repeatable` call is made again on a new connection when the first one had broken while
        it was idle.
        """
        with self.pick().used() as connection:
            try:
                return await connection.call(work, timeout)
            except PeerTimeout:
                raise
            except SluiceError:
                if not repeatable or not connection.went_stale:
                    raise
        with self.pick(fresh=True).used() as connection:
            return await connection.call(work, timeout)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        self._connections.clear()


def _resolve(
    future: concurrent.futures.Future[Any], result: Any = None, error: BaseException | None = None
) -> None:
    # Suppressed: the future was cancelled, or its event loop has ended.
    with suppress(concurrent.futures.InvalidStateError, RuntimeError):
        if future.set_running_or_notify_cancel():
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)


def _retrieve_error(submitted: asyncio.Future[Any]) -> None:
    """asyncio would log an error that no task retrieved."""
    if not submitted.cancelled():
        submitted.exception()


def _disconnect(fs: Any) -> None:
    """fsspec cannot close a file system; those with a connection keep it under one of two names."""
    for name in ("ftp", "client"):
        with suppress(Exception):  # the connection is given up in any case
            getattr(fs, name).close()
