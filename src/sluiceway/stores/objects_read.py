"""An object in a bucket held open: ranged, conditional reads with one piece read ahead.

Every request names the version, so bytes of two are never mixed; a connection that breaks is taken up at the next byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import obstore

from sluiceway.errors import NotFound, PeerFailed, PreconditionFailed, SluiceError, StoreFailed, Unavailable
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Entry

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult
    from obstore.store import ObjectStore as Bucket

    from sluiceway.stores.objects import ObjectStore

__all__ = ["ObjectOpened"]

PIECE = 1 << 20  # bytes read at once; one is with the reader, one is coming
ATTEMPTS = 4  # at one offset; what came in between begins the count anew
PAUSE = 0.2  # seconds before the second one, doubled each time; obstore has waited longer already


class ObjectOpened:
    """Bytes of one version. StoreFailed when the key was replaced or deleted meanwhile: the cloud keeps the old one no more."""

    reopenable = True

    def __init__(self, store: ObjectStore, bucket: Bucket, key: str, entry: Entry, first: GetResult | None = None) -> None:
        self._store, self._bucket, self._key = store, bucket, key
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
        self._first = None

    async def _stream(self, at: int, end: int) -> AsyncIterator[Buffer]:
        answer = await self._get(at, end)
        stream = iter(answer.stream(min_chunk_size=min(PIECE, end - at)))
        ahead = self._more(stream)
        try:
            while (piece := await ahead) is not None:
                at += len(piece)
                ahead = self._more(stream) if at < end else _nothing()
                for cut in range(0, len(piece), PIECE):  # a store may give more than was asked for
                    yield memoryview(piece)[cut : cut + PIECE]
        finally:
            ahead.cancel()
            with suppress(asyncio.CancelledError, SluiceError):
                await ahead

    def _more(self, stream: Iterator[bytes]) -> asyncio.Task[bytes | None]:
        return asyncio.ensure_future(self._store.run(next, stream, None))

    async def _get(self, at: int, end: int) -> GetResult:
        first, self._first = self._first, None
        if first is not None and (at, end) == (0, self.entry.size):
            return first
        exactly: GetOptions = {"range": (at, end), "if_match": f'"{self.entry.etag}"'}
        try:
            return await self._store.run(obstore.get, self._bucket, self._key, options=exactly)
        except (NotFound, PreconditionFailed) as error:
            raise StoreFailed(f"{self.entry.key!r} was replaced or deleted while it was read") from error


def _nothing() -> asyncio.Task[None]:
    return asyncio.ensure_future(asyncio.sleep(0))
