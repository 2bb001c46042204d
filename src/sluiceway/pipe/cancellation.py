"""What must not be left half done by a caller that is cancelled: both wait for its end, one lets success stand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

__all__ = ["ended", "settled"]

T = TypeVar("T")


async def settled(work: Awaitable[T]) -> T:
    """The outcome of `work`. Where it failed and the caller was cancelled meanwhile, the cancelling is what is raised."""
    job = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        while not job.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([job])
        if not job.cancelled() and job.exception() is None:
            return job.result()
        raise


async def ended(work: Awaitable[T]) -> T:
    """The outcome of `work`. Where the caller was cancelled meanwhile it is cancelled, but after the end."""
    job = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        while not job.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([job])
        if not job.cancelled():
            job.exception()  # seen
        raise
