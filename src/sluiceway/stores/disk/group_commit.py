"""Publications that wait at the same time share a visit to a thread, and their folders' fsync.

One that comes alone begins at once; those that come meanwhile are the next group. Runs on the event
loop; what is done with a group, `publishing` says.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial

from sluiceway.pipe.cancellation import shield_until_done
from sluiceway.pipe.worker_thread import commit_in_thread
from sluiceway.stores.disk.publishing import Publication, Publisher

__all__ = ["GroupCommit"]

MOST_TOGETHER = 16  # publications of a group: the last of them waits for the fsync of all others
RUNNERS = 2  # threads: while one waits for the disk, the other one writes


class GroupCommit:
    """Used from one event loop only."""

    def __init__(self, publisher: Publisher, threads: Executor) -> None:
        self._publisher, self._threads = publisher, threads
        self._lock = threading.Lock()  # for what follows, which both sides use
        self._waiting: list[tuple[Publication, asyncio.Future[None]]] = []
        self._running = 0

    async def publish(self, publication: Publication, *, alone: bool) -> None:
        """Publish it with those that wait. Its outcome is in it.

        A large file goes `alone`: the small ones need not wait for it, nor it for them. A caller
        that is cancelled waits too, and gets no cancellation: the object may be visible.
        """
        loop = asyncio.get_running_loop()
        if alone:
            work = partial(self._publisher.publish, [publication])
            await commit_in_thread(work, self._threads)
            return
        done: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._waiting.append((publication, done))
            starts = self._running < RUNNERS
            self._running += starts
        if starts:
            self._threads.submit(self._run, loop)
        await shield_until_done(done)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread."""
        while group := self._next():
            try:
                self._publisher.publish([publication for publication, _ in group])
            finally:
                loop.call_soon_threadsafe(_finish, [done for _, done in group])

    def _next(self) -> list[tuple[Publication, asyncio.Future[None]]]:
        with self._lock:
            group = self._waiting[:MOST_TOGETHER]
            del self._waiting[:MOST_TOGETHER]
            if not group:
                self._running -= 1
            return group


def _finish(group: Sequence[asyncio.Future[None]]) -> None:
    for done in group:
        if not done.done():
            done.set_result(None)
