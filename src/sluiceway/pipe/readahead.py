"""The read-ahead of all readers: one block is read while the last one is on its way.

Blocks grow while their reader keeps up, and start small again where it does not and memory is
short: a fast download has large ones, a thousand slow ones stay small. Knows nothing of where bytes
come from.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

from sluiceway.pipe.budget import Budget
from sluiceway.pipe.cancellation import finish_all

__all__ = ["FIRST_BLOCK", "LARGEST_BLOCK", "Read", "read_ahead"]

FIRST_BLOCK = 64 << 10  # bytes; the first block, and every block of a slow reader
LARGEST_BLOCK = 1 << 20  # bytes; larger blocks gained nothing
SLOW_READER = 0.05  # seconds for one block, above which the next one is small again
READERS_SHARE = 0.5  # of the budget: many readers may stall with a large block each

# (offset, bytes wanted) -> the bytes there: at least one, unless the source has ended
Read = Callable[[int, int], Coroutine[Any, Any, bytes]]


async def read_ahead(
    read: Read,
    start: int,
    stop: int | None,
    budget: Budget | None = None,
    *,
    first: int = FIRST_BLOCK,
    most: int = LARGEST_BLOCK,
) -> AsyncGenerator[bytes]:
    """Yield the bytes from `start` to `stop` in blocks of `first` to `most` bytes.

    With None as `stop`, or where the source is shorter, it ends at the first empty block. Equal
    sizes are kept for every reader, and each block is read ahead. `budget` counts the block that
    the caller has and the one that is read; without room there, blocks are `first` bytes and none
    is read ahead.

    `read` may be cancelled when the caller leaves, and is waited for: what uses a descriptor
    finishes first (`worker_thread.in_thread`). Drop each block before asking for the next one
    (`del`).
    """
    loop = asyncio.get_running_loop()
    size, at = first, start
    ahead: asyncio.Task[bytes] | None = None
    # bytes of the budget: for the block the caller has, and the one that is read
    in_hand = coming = 0
    try:
        while stop is None or at < stop:
            if ahead is None:
                wanted = _most(size, at, stop)
                coming = _acquire(budget, wanted)
                ahead = loop.create_task(read(at, wanted if coming else min(first, wanted)))
            data = await ahead
            ahead, in_hand, coming = None, coming, 0
            if not data:
                return
            at += len(data)
            # A slow reader holds one small block: nothing is read ahead for it.
            if (size > first or first == most) and (wanted := _most(size, at, stop)) > 0:
                coming = _acquire(budget, wanted)
                if coming:
                    ahead = loop.create_task(read(at, wanted))
            asked = loop.time()
            yield data
            del data
            _release(budget, in_hand)
            in_hand = 0
            if loop.time() - asked < SLOW_READER:
                size = min(size * 2, most)
            elif ahead is None:
                size = first
    finally:
        try:
            if ahead is not None:
                ahead.cancel()
                await finish_all([ahead])
                if not ahead.cancelled():
                    ahead.exception()  # retrieved: its bytes are not wanted any more
        finally:
            _release(budget, in_hand + coming)


def _most(size: int, at: int, stop: int | None) -> int:
    return size if stop is None else min(size, stop - at)


def _acquire(budget: Budget | None, size: int) -> int:
    """`size` where it may be held, else 0. Half of the budget stays for uploads."""
    return size if budget is None or budget.acquire(size, within=READERS_SHARE) else 0


def _release(budget: Budget | None, size: int) -> None:
    if budget is not None:
        budget.release(size)
