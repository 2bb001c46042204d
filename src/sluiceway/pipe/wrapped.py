"""Sources around a source: its waits timed, its bytes counted, its speed limited. Same bytes, same
length.

Know nothing of what the bytes are. A wrapper holds nothing back beyond the piece that its reader
has.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable

from sluiceway.errors import BadRequest
from sluiceway.pipe.lending import Lender, LentConnection
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Buffer, Source, all_at_hand
from sluiceway.pipe.stages import SOURCE, Stages

__all__ = [
    "CountedSource",
    "Throttle",
    "ThrottledSource",
    "TimedSource",
    "WrappedSource",
    "throttled",
    "unthrottled",
]

# Seconds of the rate that may go at once after a pause: a late wake-up must not cost speed.
BURST = 0.1
# Seconds of the rate in one piece: no peer waits long for the next byte, however low the rate is.
STEP = 0.25
SMALLEST_PIECE = 1 << 10  # bytes; smaller ones would cost more than they carry


class WrappedSource(ABC):
    """A source with the length of `source`, which may be opened again where `source` may.

    A subclass says in `_pass_on` what happens to the chunks. It closes them at its end.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def wrapped(self) -> Source:
        return self._source

    @property
    def length(self) -> int | None:
        return self._source.length

    @property
    def reopenable(self) -> bool:
        return self._source.reopenable

    def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        return self._pass_on(self._source.open(start, stop))

    @abstractmethod
    def _pass_on(self, chunks: AsyncIterator[Buffer]) -> AsyncIterator[Buffer]: ...


class TimedSource(WrappedSource):
    """`source`, with the time spent waiting for it added to a stage of the stopwatch.

    For sources that know nothing of stages: files, pipes, responses of other servers.
    """

    def __init__(self, source: Source, stages: Stages, stage: str = SOURCE) -> None:
        super().__init__(source)
        self._stages, self._stage = stages, stage

    def at_hand(self) -> Buffer | None:
        return all_at_hand(self._source)

    def lend(self) -> LentConnection | None:
        """What the source lends. Its waits are the pump's to count."""
        # Asked for now, and not for each small file: it takes longer than to hash one.
        return self._source.lend() if isinstance(self._source, Lender) else None

    async def _pass_on(self, chunks: AsyncIterator[Buffer]) -> AsyncIterator[Buffer]:
        try:
            while True:
                before = self._stages.enter(self._stage)
                try:
                    chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
                finally:
                    self._stages.enter(before)
                yield chunk
        finally:
            await close_stream(chunks)


class CountedSource(WrappedSource):
    """`source`, with the bytes that are under way reported to `moved`.

    A reading that begins anew takes back what the last one reported.
    """

    def __init__(self, source: Source, moved: Callable[[int], None]) -> None:
        super().__init__(source)
        self._moved, self._reported = moved, 0
        self._readings = 0  # several, where an object goes in parts
        self._lends = source if isinstance(source, Lender) else None

    def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        if not self._readings:
            self.take_back()
            self._count(start)  # the target has them already
        return super().open(start, stop)

    def take_back(self) -> None:
        """The bytes have arrived, or have not: in either case they are not under way any more."""
        self._moved(-self._reported)
        self._reported = 0

    def lend(self) -> LentConnection | None:
        """What the source lends, counted after each burst."""
        lent = None if self._lends is None else self._lends.lend()
        if lent is not None:
            lent.watch(self._count)
        return lent

    def _count(self, size: int) -> None:
        self._reported += size
        self._moved(size)

    async def _pass_on(self, chunks: AsyncIterator[Buffer]) -> AsyncIterator[Buffer]:
        self._readings += 1
        try:
            async for chunk in chunks:
                self._count(len(chunk))
                yield chunk
        finally:
            self._readings -= 1
            await close_stream(chunks)


class Throttle:
    """`rate` bytes a second for all that share it, in the order in which they ask."""

    rate: int
    piece: int

    def __init__(self, rate: int) -> None:
        if rate < 1:
            raise BadRequest("A rate is at least one byte a second")
        self.rate = rate
        self.piece = max(SMALLEST_PIECE, int(rate * STEP))  # bytes to ask for at most
        self._free = 0.0  # when everything that was granted has passed

    async def take(self, size: int) -> None:
        """Return when `size` bytes more may go."""
        now = time.monotonic()
        self._free = max(self._free, now - BURST) + size / self.rate
        if self._free > now:
            await asyncio.sleep(self._free - now)


class ThrottledSource(WrappedSource):
    """`source`, no faster than its throttle allows. Large chunks are cut into pieces."""

    def __init__(self, source: Source, throttle: Throttle) -> None:
        super().__init__(source)
        self._throttle = throttle

    async def _pass_on(self, chunks: AsyncIterator[Buffer]) -> AsyncIterator[Buffer]:
        step = self._throttle.piece
        try:
            async for chunk in chunks:
                view = memoryview(chunk)
                for at in range(0, len(view), step):
                    piece = view[at : at + step]
                    await self._throttle.take(len(piece))
                    yield piece
        finally:
            await close_stream(chunks)


def throttled(source: Source, rate: int | None) -> Source:
    """Return the source at `rate` bytes a second at most; with None, the source itself."""
    return source if rate is None else ThrottledSource(source, Throttle(rate))


def unthrottled(source: Source) -> Source:
    """The source within its wrappers: for bytes that are read and not sent."""
    while isinstance(source, WrappedSource):
        source = source.wrapped
    return source
