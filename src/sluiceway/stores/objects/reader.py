"""An object in a bucket held open for reading: ranged requests that name the version.

So bytes of two versions are never mixed. A connection that breaks is replaced at the next byte.
Knows nothing of drafts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from sluiceway.errors import (
    NotFound,
    PeerFailed,
    PreconditionFailed,
    StoreFailed,
    Unavailable,
)
from sluiceway.pipe.readahead import read_ahead
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Entry
from sluiceway.stores.objects.bucket import READ_BLOCK, Bucket, BucketResponse

__all__ = ["BucketReader"]

ATTEMPTS = 4  # at one offset; bytes that arrive in between begin the count anew
FIRST_PAUSE = 0.2  # seconds, doubled each time; the libraries have already waited longer


class BucketReader:
    """Raises StoreFailed when the object was replaced or deleted: the cloud has lost its bytes.

    `first` is a response with all of the object, of which no byte was read.
    """

    reopenable = True

    def __init__(self, bucket: Bucket, entry: Entry, first: BucketResponse | None = None) -> None:
        self._bucket = bucket
        self._first = first
        self.entry: Entry = entry
        self.length: int | None = entry.size
        self.content: bytes | None = None if first is None else first.content

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        end = self.entry.size if stop is None else min(stop, self.entry.size)
        at, failures = start, 0
        if self.content is not None:
            if start < end:
                yield self.content[start:end]
            return
        while at < end:
            try:
                async with aclosing(self._blocks(at, end)) as blocks:
                    async for block in blocks:
                        at, failures = at + len(block), 0
                        yield block
                        del block
                if at < end:
                    raise PeerFailed(f"{self.entry.key!r} ended {end - at} bytes early")
            except (PeerFailed, Unavailable):
                failures += 1
                if failures == ATTEMPTS:
                    raise
                await asyncio.sleep(FIRST_PAUSE * 2**failures)

    async def aclose(self) -> None:
        """Nothing is held between two calls of `open`, except a response that was not read."""
        first, self._first = self._first, None
        if first is not None:
            first.close()

    async def _blocks(self, at: int, end: int) -> AsyncGenerator[Buffer]:
        """The blocks of one response, with one of them read ahead."""
        response = await self._get(at, end)

        async def read(_: int, __: int) -> bytes:
            return await self._bucket.run(next, response.blocks, b"")

        budget = self._bucket.budget
        blocks = read_ahead(read, at, end, budget, first=READ_BLOCK, most=READ_BLOCK)
        try:
            async with aclosing(blocks):
                async for block in blocks:
                    # A library may give more at once than it was asked for.
                    for cut in range(0, len(block), READ_BLOCK):
                        yield memoryview(block)[cut : cut + READ_BLOCK]
                    del block
        finally:
            response.close()

    async def _get(self, at: int, end: int) -> BucketResponse:
        first, self._first = self._first, None
        if first is not None:
            if (at, end) == (0, self.entry.size):
                return first
            first.close()
        try:
            return await self._bucket.get(self.entry.key, (at, end), self.entry.etag)
        except (NotFound, PreconditionFailed) as error:
            raise StoreFailed(
                f"{self.entry.key!r} was replaced or deleted while it was read"
            ) from error
