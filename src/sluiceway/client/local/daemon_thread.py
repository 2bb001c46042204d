"""A thread for blocking calls that may never return: the process ends without waiting for it."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

__all__ = ["DaemonThread"]

T = TypeVar("T")


class DaemonThread:
    """One daemon thread. It does one piece of work after another."""

    def __init__(self, name: str) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def do(self, work: Callable[[], T]) -> T:
        """Run `work` there and return its result.

        When the caller is cancelled, the work goes on and its result is dropped.
        """
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            try:
                deliver = partial(result.set_result, work())
            except Exception as error:
                deliver = partial(result.set_exception, error)
            try:
                loop.call_soon_threadsafe(_unless_done, result, deliver)
            except RuntimeError:
                pass  # the loop is closed: the result has no receiver

        self._work.put(run)
        return await result

    def close(self) -> None:
        """Take no more work. The thread ends after its current call."""
        self._work.put(None)

    def _run(self) -> None:
        while work := self._work.get():
            work()


def _unless_done(result: asyncio.Future[T], deliver: Callable[[], None]) -> None:
    if not result.done():  # it was cancelled meanwhile
        deliver()
