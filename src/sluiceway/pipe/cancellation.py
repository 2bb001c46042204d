"""Ways to wait for work that must come to its end although its caller is cancelled.

`finish_then_cancel` raises the cancellation after the work, `finish_or_undo` once that is undone;
`shield_until_done` returns a success and drops the cancellation: `cancel_task` and `end_task`
cancel again. `run_each` goes on past what fails. Knows nothing of threads, files or what the work
is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

__all__ = [
    "cancel_later",
    "cancel_task",
    "end_task",
    "finish_all",
    "finish_or_undo",
    "finish_then_cancel",
    "run_each",
    "shield_until_done",
]

T = TypeVar("T")

log: logging.Logger = logging.getLogger("sluiceway")

CANCEL_AGAIN = 1.0  # seconds; a library may take a cancellation for a failure of its own

# Of tasks that are to end, and whether they still are.
_ending: WeakKeyDictionary[asyncio.Task[Any], Callable[[], bool]] = WeakKeyDictionary()


async def finish_then_cancel(work: Awaitable[T]) -> T:
    """Return what `work` returns, or raise what it raises.

    A caller that is cancelled meanwhile gets the cancellation, but only after the end of `work`.
    The outcome of `work` is then lost, so this is for work whose result needs no cleaning up.
    """
    job = asyncio.ensure_future(work)
    try:
        await finish_all([job])
    except asyncio.CancelledError:
        if not job.cancelled():
            job.exception()  # retrieved: asyncio would log an error that nobody looked at
        raise
    return job.result()


async def finish_or_undo(work: Awaitable[T], undo: Callable[[T], Awaitable[object]]) -> T:
    """Return what `work` returns, or raise what it raises: for work that takes something.

    A caller that is cancelled meanwhile never learns that it has it, and so could not give it back:
    `undo` gets the result, and the cancellation is raised when that is done, too. An error of
    `undo` is the context of the cancellation.
    """
    job = asyncio.ensure_future(work)
    try:
        await finish_all([job])
    except asyncio.CancelledError as cancelled:
        if job.cancelled() or job.exception() is not None:
            raise
        try:
            await finish_then_cancel(undo(job.result()))
        except Exception as error:
            raise cancelled from error
        raise
    return job.result()


async def shield_until_done(work: Awaitable[T]) -> T:
    """Return what `work` returns, also to a caller that is cancelled meanwhile: a commit stands.

    The cancellation is raised only when `work` fails as well. So a caller never takes for undone
    what was done. One that is to end (`cancel_task`) is cancelled where it waits next.
    """
    job = asyncio.ensure_future(work)
    try:
        await finish_all([job])
    except asyncio.CancelledError:
        if job.cancelled() or job.exception() is not None:
            raise
        cancel_later()
    return job.result()


def cancel_later() -> None:
    """A success of this task took a cancellation up. One that is to end gets it once more, where
    it waits next."""
    task = asyncio.current_task()
    if task is not None and (still := _ending.get(task)) is not None and still():
        task.uncancel()  # the same cancellation
        task.cancel()


def cancel_task(task: asyncio.Task[Any], still: Callable[[], bool] = lambda: True) -> None:
    """Cancel a task that others hold up with work whose success stands, until it takes notice.

    Without this a loop, or a body that takes an hour, went on after a cancellation that came while
    it committed something. `still` says, after each commit, whether the task is still to end.
    """
    _ending[task] = still
    task.cancel()


async def end_task(task: asyncio.Task[Any]) -> None:
    """Cancel a task that works in the background, and wait for its end. Raises none of its
    errors."""
    while not task.done():
        cancel_task(task)
        await asyncio.wait([task], timeout=CANCEL_AGAIN)


async def finish_all(jobs: Collection[asyncio.Future[Any]]) -> None:
    """Wait until all are done.

    A caller that is cancelled meanwhile gets the cancellation at the end. The outcomes stay in the
    futures: this raises nothing else. `jobs` may grow or shrink meanwhile.
    """
    cancelled: asyncio.CancelledError | None = None
    while (job := next((job for job in jobs if not job.done()), None)) is not None:
        # As asyncio.wait, which costs three times as much.
        ended = job.get_loop().create_future()
        wake = partial(_wake, ended)
        job.add_done_callback(wake)
        try:
            await ended
        except asyncio.CancelledError as error:
            cancelled = error
        finally:
            job.remove_done_callback(wake)
    if cancelled is not None:
        raise cancelled


async def run_each(*steps: Callable[[], Awaitable[object]]) -> None:
    """Close several things, one after the other. What one raises is logged, and the others go on.

    A full disk refused one write at the end, and nothing behind it was closed. Only a cancellation
    is raised, at the end.
    """
    cancelled: asyncio.CancelledError | None = None
    for step in steps:
        try:
            await step()
        except asyncio.CancelledError as error:
            cancelled = error
        except Exception as error:
            log.warning("At the end of the server: %s", error)
    if cancelled is not None:
        raise cancelled


def _wake(ended: asyncio.Future[None], _: asyncio.Future[Any]) -> None:
    if not ended.done():
        ended.set_result(None)
