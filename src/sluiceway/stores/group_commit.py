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

from sluiceway.pipe.cancellation import shield_until_done
from sluiceway.pipe.worker_thread import commit_in_thread

__all__ = ["MOST_TOGETHER", "RUNNERS", "GroupCommit"]

T = TypeVar("T")

MOST_TOGETHER = 16  # of a group: the first one is done when the last one is
RUNNERS = 2  # threads: while one waits for the disk, the other one writes


class GroupCommit(Generic[T]):
    """`commit` does a group in a thread: each item has its own outcome. What it raises all the same
    is raised for each item of the group.

    Used from one event loop only.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[T]], None],
        threads: Executor,
        runners: int = RUNNERS,
    ) -> None:
        self._commit, self._threads, self._runners = commit, threads, runners
        self._lock = threading.Lock()  # for what follows, which both sides use
        self._waiting: list[tuple[T, asyncio.Future[None]]] = []
        self._running = 0

    async def run(self, item: T, *, alone: bool) -> None:
        """Do it with those that wait; a large one `alone`, so that no other waits for it.

        A caller that is cancelled waits too, and gets no cancellation: it may be done already.
        """
        if alone:
            await commit_in_thread(partial(self._commit, [item]), self._threads)
        else:
            await shield_until_done(self.submit(item))

    def submit(self, item: T) -> asyncio.Future[None]:
        """Begin it with those that wait; the future is done when it is."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._waiting.append((item, done))
            starts = self._running < self._runners
            self._running += starts
        if starts:
            self._threads.submit(self._work, loop)
        return done

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread."""
        while group := self._next():
            failure: Exception | None = None
            try:
                self._commit([item for item, _ in group])
            except Exception as error:  # of these only: the next group must not wait for ever
                failure = error
            loop.call_soon_threadsafe(_finish, [done for _, done in group], failure)

    def _next(self) -> list[tuple[T, asyncio.Future[None]]]:
        with self._lock:
            group = self._waiting[:MOST_TOGETHER]
            del self._waiting[:MOST_TOGETHER]
            if not group:
                self._running -= 1
            return group


def _finish(group: Sequence[asyncio.Future[None]], failure: Exception | None) -> None:
    for done in group:
        if done.done():
            continue
        if failure is None:
            done.set_result(None)
        else:
            done.set_exception(failure)
