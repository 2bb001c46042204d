"""A coroutine in a thread of its own that calls functions in the thread of a WSGI request.

Only the thread of a request may read its body. Knows threads and futures only.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

__all__ = ["RequestThread"]

P = ParamSpec("P")
T = TypeVar("T")


class RequestThread(Executor):
    """The thread that creates it, as an executor: while it waits, it runs what is submitted."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run the coroutine in a thread of its own; returns its outcome.

        It has to end in every case: give each of its waits a deadline.
        """
        outcome: Future[T] = Future()

        def run() -> None:
            try:
                result = asyncio.run(work)
            except BaseException as error:
                outcome.set_exception(error)
            else:
                outcome.set_result(result)

        threading.Thread(target=run, name="sluiceway-request", daemon=True).start()
        return outcome

    def wait(self, future: Future[T]) -> T:
        """Run what the coroutine submits until `future` is done. Returns or raises its outcome."""
        future.add_done_callback(lambda _: self._jobs.put(None))
        while (job := self._jobs.get()) is not None:
            job()
        return future.result()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """From the coroutine's thread: run this in the request's thread."""
        future: Future[T] = Future()

        def job() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except BaseException as error:
                    future.set_exception(error)

        self._jobs.put(job)
        return future

    async def call(self, fn: Callable[..., T], *args: Any) -> T:
        """From the coroutine: run this in the request's thread, and wait for it."""
        return await asyncio.get_running_loop().run_in_executor(self, fn, *args)
