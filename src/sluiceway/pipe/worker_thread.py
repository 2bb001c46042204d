"""Blocking work in a worker thread, to its end although the caller is cancelled.

A thread cannot be stopped: it goes on using its descriptor after the caller has left. So the caller
waits for it, or names what undoes its result. Knows nothing of what the work is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Self, TypeVar

from sluiceway.pipe.cancellation import finish_then_cancel, shield_until_done

__all__ = ["Beside", "Turns", "commit_in_thread", "in_thread", "open_in_thread"]

T = TypeVar("T")

_beside = ThreadPoolExecutor(4, thread_name_prefix="sluiceway-beside")


async def in_thread(work: Callable[[], T], threads: Executor | None = None) -> T:
    """Return what `work` returns. A cancellation is raised after the end of `work`.

    `threads` is the pool to use; None is the event loop's own.
    """
    return await finish_then_cancel(asyncio.get_running_loop().run_in_executor(threads, work))


async def commit_in_thread(work: Callable[[], T], threads: Executor | None = None) -> T:
    """As `in_thread`, but a success is returned also to a caller that was cancelled meanwhile."""
    return await shield_until_done(asyncio.get_running_loop().run_in_executor(threads, work))


async def open_in_thread(
    work: Callable[[], T], close: Callable[[T], object], threads: Executor | None = None
) -> T:
    """Return what `work` opens. A caller that is cancelled does not wait: `close` gets the result.

    `close` then runs in the event loop, so it must not block for long.
    """
    opening = asyncio.get_running_loop().run_in_executor(threads, work)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(partial(_close_unused, close))
        raise


def _close_unused(close: Callable[[T], object], opening: asyncio.Future[T]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        close(opening.result())


class Turns:
    """A thread for each of so many that are at work; others wait. Used from one event loop."""

    def __init__(self, threads: int) -> None:
        self._threads = self._free = threads
        self._queue: dict[asyncio.Future[None], None] = {}
        self._busy = self._blocked = 0.0  # seconds of all work, and of its waits for destinations

    @property
    def taken(self) -> int:
        return self._threads - self._free

    @property
    def waiting(self) -> int:
        return len(self._queue)

    async def acquire(self) -> float:
        """Returns the seconds of the wait in which those with a turn waited for destinations."""
        if self._free:
            self._free -= 1
            return 0.0
        granted = asyncio.get_running_loop().create_future()
        self._queue[granted] = None
        began, busy, blocked = time.monotonic(), self._busy, self._blocked
        try:
            await granted
        except asyncio.CancelledError:
            if self._queue.pop(granted, self) is self:
                self.release()  # it was granted meanwhile
            raise
        busy, blocked = self._busy - busy, self._blocked - blocked
        return (time.monotonic() - began) * (blocked / busy if busy else 0.0)

    def note(self, busy: float, blocked: float) -> None:
        """Work of `busy` seconds has ended; `blocked` of them it waited for its destination."""
        self._busy += busy
        self._blocked += min(busy, blocked)

    def release(self) -> None:
        while self._queue:
            granted = next(iter(self._queue))
            del self._queue[granted]
            if not granted.done():  # else it was cancelled
                granted.set_result(None)
                return
        self._free += 1


class Beside:
    """Calls `work` with each piece in another thread, in order, one at a time; the caller goes on.

    To hash the bytes of one relay so made it a third faster, for 3 to 9 % more processor time:
    they are cold there. An upload to disk gained nothing. Where other transfers run, no processor
    is idle.
    """

    def __init__(self, work: Callable[[memoryview], object]) -> None:
        self._work = work
        self._under_way: Future[object] | None = None

    def show(self, piece: memoryview) -> None:
        """Returns when the piece before was worked in, and raises what that raised.

        `piece` may not change until the next call.
        """
        self.settle()
        self._under_way = _beside.submit(self._work, piece)

    def settle(self) -> None:
        """Wait until all pieces were worked in."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.settle()
