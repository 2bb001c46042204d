"""A source that ends with an error behind so many bytes, which its reader gets first.

The limit of a pump forgets the chunk that passes it. Knows nothing of what the bytes are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from sluiceway.errors import SluiceError, TooLarge
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Buffer, Source

__all__ = ["UpTo"]


class UpTo:
    """The first `limit` bytes of a source of unknown length; then, if it has more, `error`, else
    TooLarge."""

    reopenable = False
    length: int | None = None

    def __init__(self, source: Source, limit: int, error: SluiceError | None = None) -> None:
        self._source, self._limit, self._error = source, limit, error

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        left, chunks = self._limit, self._source.open(start, stop)
        try:
            async for chunk in chunks:
                if left:
                    yield chunk if len(chunk) <= left else memoryview(chunk)[:left]
                if len(chunk) > left:
                    raise self._error or TooLarge(
                        f"More bytes arrived than were announced; {self._limit} were missing",
                        limit=self._limit,
                    )
                left -= len(chunk)
        finally:
            await close_stream(chunks)
