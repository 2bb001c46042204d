"""Calls to an fsspec implementation: each line is one thread with one file system object, and a deadline on every call.

Few implementations may be used from two threads at once, and none of them from an event loop. A line whose peer has fallen
silent or broken off is given up and another one takes its place. Knows nothing of keys, drafts or objects.
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

__all__ = ["PATIENCE", "ConnectionPool", "PooledConnection"]

MOST = 6  # lines; OpenSSH lets 10 connections wait for their password at once
PATIENCE = 60.0  # seconds for one call, which moves 1 MiB at most or lists one folder

# What a healthy connection says of a file; after anything else the connection itself is in doubt.
SOUND = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    NotImplementedError,
    PermissionError,
    SluiceError,
)

T = TypeVar("T")


class PooledConnection:
    """What is asked of it happens in order, one after the other, whoever waits for the answers."""

    def __init__(
        self, make: Callable[[], Any], word: Callable[[BaseException], SluiceError]
    ) -> None:
        self._make, self._word = make, word
        self._made: Any = None
        self._asked: queue.SimpleQueue[
            tuple[concurrent.futures.Future[Any], Callable[[Any], Any]] | None
        ] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._users = 0
        self._proven = False
        self.lost: bool = False  # nobody new may use it

    @property
    def users(self) -> int:
        return self._users

    @property
    def went_stale(self) -> bool:
        """It worked once and broke since, perhaps while nobody used it: what may be done twice goes to another one."""
        return self.lost and self._proven

    @contextmanager
    def used(self) -> Iterator[PooledConnection]:
        self.take()
        try:
            yield self
        finally:
            self.leave()

    def take(self) -> None:
        self._users += 1

    def leave(self) -> None:
        self._users -= 1
        if self.lost and not self._users:
            self.close()

    def ask(self, work: Callable[[Any], T]) -> asyncio.Future[T]:
        """The answer; whoever does not wait for it leaves the work to be done all the same."""
        if self._thread is None:
            # A daemon: a call that never returns must not keep the process from ending.
            self._thread = threading.Thread(
                target=self._serve, name="sluiceway-fsspec", daemon=True
            )
            self._thread.start()
        answer: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._asked.put((answer, work))
        told = asyncio.wrap_future(answer)
        told.add_done_callback(_forget)
        return told

    async def call(self, work: Callable[[Any], T], seconds: float = PATIENCE) -> T:
        """Raises what the work raised, as one of our errors, and PeerTimeout."""
        return await self.answer(self.ask(work), seconds)

    async def answer(self, asked: asyncio.Future[T], seconds: float = PATIENCE) -> T:
        """What `ask` promised. A caller that is cancelled leaves the work to its thread."""
        done, _ = await asyncio.wait([asked], timeout=seconds)
        if not done:
            self.lost = True
            threading.Thread(target=_hang_up, args=(self._made,), daemon=True).start()
            raise PeerTimeout(
                f"The destination did not answer within {seconds:g} seconds; try again later"
            )
        try:
            told = asked.result()
            self._proven = True
            return told
        except SluiceError:
            raise
        except asyncio.CancelledError:
            raise self._word(ConnectionError("the line was closed")) from None
        except Exception as error:
            self.lost = self.lost or not isinstance(error, SOUND)
            raise self._word(error) from None  # its own text may hold a password

    def close(self) -> None:
        """When what was asked before is done."""
        self.lost = True
        if self._thread is not None:
            self._asked.put(None)

    def _serve(self) -> None:
        while (job := self._asked.get()) is not None:
            answer, work = job
            try:
                if self._made is None:
                    self._made = self._make()
                result = work(self._made)
            except BaseException as error:
                _tell(answer, error=error)
            else:
                _tell(answer, result=result)
                del result
            del job, answer, work  # not while waiting for the next: they hold blocks
        _hang_up(self._made)
        self._made = None


class ConnectionPool:
    """As many lines as are busy, up to a few."""

    def __init__(
        self, make: Callable[[], Any], word: Callable[[BaseException], SluiceError]
    ) -> None:
        self._make, self._word = make, word
        self._lines: list[PooledConnection] = []

    def pick(self, anew: bool = False) -> PooledConnection:
        """The one with the fewest users. `anew`: a new one, for what broke one idle connection has broken them all."""
        for line in [line for line in self._lines if line.lost or (anew and not line.users)]:
            self._lines.remove(line)
            if not line.users:
                line.close()
        best = min(self._lines, key=lambda line: line.users, default=None)
        if best is None or anew or (best.users and len(self._lines) < MOST):
            best = PooledConnection(self._make, self._word)
            self._lines.append(best)
        return best

    async def call(
        self, work: Callable[[Any], T], seconds: float = PATIENCE, again: bool = False
    ) -> T:
        """On any line. `again`: it may be done twice, so a connection that broke while it was idle is nobody's error."""
        with self.pick().used() as line:
            try:
                return await line.call(work, seconds)
            except PeerTimeout:
                raise
            except SluiceError:
                if not again or not line.went_stale:
                    raise
        with self.pick(anew=True).used() as line:
            return await line.call(work, seconds)

    def close(self) -> None:
        for line in self._lines:
            line.close()
        self._lines.clear()


def _tell(
    answer: concurrent.futures.Future[Any], result: Any = None, error: BaseException | None = None
) -> None:
    with suppress(
        concurrent.futures.InvalidStateError, RuntimeError
    ):  # cancelled, or the event loop has ended
        if answer.set_running_or_notify_cancel():
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)


def _forget(asked: asyncio.Future[Any]) -> None:
    if not asked.cancelled():
        asked.exception()  # heard, so that nobody complains that it was not


def _hang_up(made: Any) -> None:
    """fsspec knows no way to close a file system; those with a connection keep it under one of these names."""
    for name in ("ftp", "client"):
        with suppress(Exception):  # it is given up, whatever it says
            getattr(made, name).close()
