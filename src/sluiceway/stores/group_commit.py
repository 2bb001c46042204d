"""Work that waits at the same time shares a visit to a thread, and what it can of its commit.

One that comes alone begins at once; those that come meanwhile are the next group. Knows nothing of
the work: a function does a whole group.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Generic, TypeVar

from sluiceway.pipe.cancellation import cancel_later
from sluiceway.pipe.worker_thread import commit_in_thread

__all__ = ["MOST_TOGETHER", "RUNNERS", "FsyncPace", "GroupCommit"]

T = TypeVar("T")

MOST_TOGETHER = 16  # of a group: the first one is done when the last one is
RUNNERS = 2  # threads: while one waits for the disk, the other one writes
# Seconds. A disk that takes longer for an fsync gets those of a group side by side: it serves them
# together. On a faster one a thread for each costs more than it saves.
SLOW_FSYNC = 0.002
FORGETS = 1.25  # how fast the shortest fsync so far is forgotten, for each one since


class FsyncPace:
    """How long an fsync takes on this disk, of late."""

    __slots__ = ("_shortest",)

    def __init__(self) -> None:
        self._shortest = 0.0  # seconds

    @property
    def is_slow(self) -> bool:
        """Whether the fsyncs of a group are faster side by side."""
        return self._shortest > SLOW_FSYNC

    def note(self, seconds: float) -> None:
        # The shortest: any other may have waited for the interpreter's lock.
        self._shortest = min(seconds, self._shortest * FORGETS + 1e-6)


class _Place(Generic[T]):
    """An item that waits, or is being done."""

    __slots__ = ("failure", "has_ended", "item", "wake")

    def __init__(self, item: T, wake: asyncio.Future[None]) -> None:
        self.item = item
        self.wake = wake
        self.has_ended = False
        self.failure: Exception | None = None


class GroupCommit(Generic[T]):
    """`commit` does a group in a thread: each item has its own outcome. What it raises all the same
    is raised for each item of the group, and so is what `error_of` finds in an item.

    Used from one event loop only.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[T]], None],
        threads: Executor,
        runners: int = RUNNERS,
        most: int = MOST_TOGETHER,
        error_of: Callable[[T], Exception | None] = lambda _: None,
    ) -> None:
        self._commit, self._threads, self._runners = commit, threads, runners
        self._most, self._error_of = most, error_of
        self._lock = threading.Lock()  # for what follows, which both sides use
        self._waiting: list[_Place[T]] = []
        self._running = 0

    async def run(self, item: T) -> None:
        """Do it with those that wait. A caller that is cancelled waits too, and hears it then."""
        cancelled = await self._wait(item)
        if cancelled is not None:
            raise cancelled

    async def commit(self, item: T, *, alone: bool) -> None:
        """As `run`, but what is done is not cancelled. A large one is done `alone`, so that no
        other waits for it."""
        if alone:
            await commit_in_thread(partial(self._commit, [item]), self._threads)
        elif await self._wait(item) is not None:
            cancel_later()

    async def _wait(self, item: T) -> asyncio.CancelledError | None:
        """Returns the cancellation that came meanwhile; a failure raises it."""
        loop = asyncio.get_running_loop()
        place = _Place(item, loop.create_future())
        with self._lock:
            self._waiting.append(place)
            starts = self._running < self._runners
            self._running += starts
        if starts:
            self._threads.submit(self._work, loop)
        cancelled: asyncio.CancelledError | None = None
        while not place.has_ended:
            try:
                await place.wake
            except asyncio.CancelledError as error:
                cancelled, place.wake = error, loop.create_future()
        if place.failure is not None:
            raise cancelled or place.failure
        return cancelled

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread."""
        while group := self._next():
            failure: Exception | None = None
            try:
                self._commit([place.item for place in group])
            except Exception as error:  # of these only: the next group must not wait for ever
                failure = error
            loop.call_soon_threadsafe(self._finish, group, failure)

    def _next(self) -> list[_Place[T]]:
        with self._lock:
            group = self._waiting[: self._most]
            del self._waiting[: self._most]
            if not group:
                self._running -= 1
            return group

    def _finish(self, group: Sequence[_Place[T]], failure: Exception | None) -> None:
        for place in group:
            place.has_ended, place.failure = True, failure or self._error_of(place.item)
            if not place.wake.done():  # else its caller was cancelled, and has yet to hear of that
                place.wake.set_result(None)
