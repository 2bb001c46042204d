"""An object in a bucket held open: ranged, conditional reads with one piece read ahead.

Every request names the version, so bytes of two are never mixed; a connection that breaks is taken up at the next byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

from sluiceway.errors import (
    NotFound,
    PeerFailed,
    PreconditionFailed,
    SluiceError,
    StoreFailed,
    Unavailable,
)
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Entry
from sluiceway.stores.objects.bucket import BucketReads, BucketResponse

__all__ = ["BucketReader"]

PIECE = 1 << 20  # bytes read at once; one is with the reader, one is coming
ATTEMPTS = 4  # at one offset; what came in between begins the count anew
PAUSE = 0.2  # seconds before the second one, doubled each time; obstore has waited longer already


class BucketReader:
    """Bytes of one version. StoreFailed when the key was replaced or deleted meanwhile: the cloud keeps the old one no more."""

    reopenable = True

    def __init__(
        self, reads: BucketReads, entry: Entry, first: BucketResponse | None = None
    ) -> None:
        self._reads = reads
        self._first = first  # an answer with all of it, whose bytes nobody has read
        self.entry: Entry = entry
        self.length: int | None = entry.size

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        at, end, tried = start, self.entry.size if stop is None else min(stop, self.entry.size), 0
        while at < end:
            try:
                async for piece in self._stream(at, end):
                    at, tried = at + len(piece), 0
                    yield piece
                if at < end:
                    raise PeerFailed(f"{self.entry.key!r} ended {end - at} bytes early")
            except (PeerFailed, Unavailable):
                tried += 1
                if tried == ATTEMPTS:
                    raise
                await asyncio.sleep(PAUSE * 2**tried)

    async def aclose(self) -> None:
        """Nothing is held between reads, but an answer nobody read: letting go of it ends its connection."""
        first, self._first = self._first, None
        if first is not None:
            first.close()

    async def _stream(self, at: int, end: int) -> AsyncIterator[Buffer]:
        answer = await self._get(at, end)
        ahead = self._more(answer.pieces)
        try:
            while (piece := await ahead) is not None:
                at += len(piece)
                ahead = self._more(answer.pieces) if at < end else _nothing()
                for cut in range(0, len(piece), PIECE):  # a store may give more than was asked for
                    yield memoryview(piece)[cut : cut + PIECE]
        finally:
            ahead.cancel()
            with suppress(asyncio.CancelledError, SluiceError):
                await ahead
            answer.close()

    def _more(self, stream: Iterator[bytes]) -> asyncio.Task[bytes | None]:
        return asyncio.ensure_future(self._reads.run(next, stream, None))

    async def _get(self, at: int, end: int) -> BucketResponse:
        first, self._first = self._first, None
        if first is not None:
            if (at, end) == (0, self.entry.size):
                return first
            first.close()
        try:
            return await self._reads.get(self.entry.key, (at, end), self.entry.etag)
        except (NotFound, PreconditionFailed) as error:
            raise StoreFailed(
                f"{self.entry.key!r} was replaced or deleted while it was read"
            ) from error


def _nothing() -> asyncio.Task[None]:
    return asyncio.ensure_future(asyncio.sleep(0))
