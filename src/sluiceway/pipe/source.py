"""Sources: something that can be read and, where its kind allows, read again from an offset.

A source that can be opened again can be retried and resumed; another one raises `SourceSpent`.
Chunks are never empty, and stay valid after the next one was asked for. Knows nothing of where the
bytes go.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Protocol

from sluiceway.errors import SluiceError

__all__ = ["Buffer", "BytesSource", "PassingSource", "Source", "SourceSpent", "all_at_hand"]

Buffer = bytes | bytearray | memoryview

CHUNK = 1 << 20  # bytes of one chunk of a source in memory


class SourceSpent(SluiceError, code="source-spent", title="The source cannot be read again"):
    """A source that can be read only once was asked for its bytes a second time."""


class Source(Protocol):
    """Something readable. `length` is the number of bytes that `open(0)` yields, None if
    unknown."""

    @property
    def length(self) -> int | None: ...

    @property
    def reopenable(self) -> bool:
        """Whether `open` may be called again, also at an offset: the condition for retry and
        resume."""
        ...

    def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        """Yield the bytes from `start` up to `stop`, exclusive; None is the end. Raises
        SourceSpent."""
        ...


def all_at_hand(source: Source) -> Buffer | None:
    """All bytes of a source that has them in memory: they need no stream. None for another one."""
    at_hand = getattr(source, "at_hand", None)
    found: Buffer | None = None if at_hand is None else at_hand()
    return found


class BytesSource:
    """Bytes already in memory, for small things: fields, tests."""

    reopenable = True

    def __init__(self, data: Buffer) -> None:
        self._data = memoryview(data)
        self.length: int | None = len(self._data)

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        data = self._data[start:stop]
        for at in range(0, len(data), CHUNK):
            yield data[at : at + CHUNK]


class PassingSource:
    """A stream that can be read once: a request body, standard input, a response under way."""

    reopenable = False

    def __init__(self, chunks: AsyncIterable[Buffer], length: int | None = None) -> None:
        self._chunks: AsyncIterable[Buffer] | None = chunks
        self.length = length

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        chunks, self._chunks = self._chunks, None
        if chunks is None or start or stop is not None:
            raise SourceSpent(
                "This stream can be read once, from its beginning; it cannot be read again"
            )
        try:
            async for chunk in chunks:
                if len(chunk):
                    yield chunk
                del chunk  # before the next one is made
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:  # leaving early ends the stream now, not when it is collected
                await close()
