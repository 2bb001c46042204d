"""Ways to wait for work that must come to its end although its caller is cancelled.

`finish_then_cancel` raises the cancellation after the work; `shield_until_done` lets a success
stand. Knows nothing of threads, files or what the work is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection
from functools import partial
from typing import Any, TypeVar

__all__ = ["finish_all", "finish_then_cancel", "shield_until_done"]

T = TypeVar("T")


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


async def shield_until_done(work: Awaitable[T]) -> T:
    """Return what `work` returns, also to a caller that is cancelled meanwhile: a commit stands.

    The cancellation is raised only when `work` fails as well. So a caller never takes for undone
    what was done.
    """
    job = asyncio.ensure_future(work)
    try:
        await finish_all([job])
    except asyncio.CancelledError:
        if job.cancelled() or job.exception() is not None:
            raise
    return job.result()


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


def _wake(ended: asyncio.Future[None], _: asyncio.Future[Any]) -> None:
    if not ended.done():
        ended.set_result(None)
