"""A speed limit over everything that shares it: one clock says when the next bytes may go, whoever asks.

What passes is delayed, never held: a piece waits in the hand of whoever read it. Knows nothing of what the bytes are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from sluiceway.errors import BadRequest
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Buffer, Source

__all__ = ["Throttle", "ThrottledSource", "paced"]

BURST = (
    0.1  # seconds of the rate that may go at once after a pause: a late wake-up must not cost speed
)
STEP = 0.25  # seconds of the rate in one piece: no peer waits long for the next byte, however low the rate
LEAST_PIECE = 1 << 10  # bytes; smaller ones would cost more than they carry


class Throttle:
    """`rate` bytes a second for all that share it, in the order in which they ask."""

    rate: int
    piece: int

    def __init__(self, rate: int) -> None:
        if rate < 1:
            raise BadRequest("A rate is at least one byte a second")
        self.rate = rate
        self.piece = max(LEAST_PIECE, int(rate * STEP))  # bytes to ask for at most
        self._free = 0.0  # when everything that was granted has passed

    async def take(self, size: int) -> None:
        """Returns when `size` bytes more may go."""
        now = time.monotonic()
        self._free = max(self._free, now - BURST) + size / self.rate
        if self._free > now:
            await asyncio.sleep(self._free - now)


class ThrottledSource:
    """`source`, no faster than its throttle allows."""

    def __init__(self, source: Source, throttle: Throttle) -> None:
        self._source, self._throttle = source, throttle

    @property
    def length(self) -> int | None:
        return self._source.length

    @property
    def reopenable(self) -> bool:
        return self._source.reopenable

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        chunks, step = self._source.open(start, stop), self._throttle.piece
        try:
            async for chunk in chunks:
                view = memoryview(chunk)
                for at in range(0, len(view), step):
                    piece = view[at : at + step]
                    await self._throttle.take(len(piece))
                    yield piece
        finally:
            await close_stream(chunks)


def paced(source: Source, rate: int | None) -> Source:
    """The source, at most at so many bytes a second; None is as fast as it goes."""
    return source if rate is None else ThrottledSource(source, Throttle(rate))
