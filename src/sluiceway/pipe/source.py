"""The word Source: something that can be read and, where its kind allows, read again from an offset.

What can be re-opened can be retried and resumed; what cannot says so once, with `SourceSpent`. A source knows nothing of
where its bytes go. Chunks are never empty and stay valid after the next one was asked for.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator
from typing import BinaryIO, Protocol

from sluiceway.errors import SluiceError, SourceFailed

__all__ = ["Buffer", "BytesSource", "FileSource", "PassingSource", "Source", "SourceSpent"]

Buffer = bytes | bytearray | memoryview

READ_SIZE = 1 << 20  # one thread hop per MiB: below 256 KiB the hop costs more than the read


class SourceSpent(SluiceError, code="source-spent", title="The source cannot be read again"):
    """A source that flows past only once was asked for its bytes a second time."""


class Source(Protocol):
    """Something readable. `length` is the number of bytes `open(0)` will yield, or None while nobody knows."""

    @property
    def length(self) -> int | None: ...

    @property
    def reopenable(self) -> bool:
        """Whether `open` may be called again, also at an offset: the condition for retry and resume."""
        ...

    def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        """Yield the bytes from `start` up to `stop` (exclusive; None is the end). Raises SourceSpent."""
        ...


class BytesSource:
    """Bytes already in memory, for small things: fields, tests."""

    reopenable = True

    def __init__(self, data: Buffer) -> None:
        self._data = memoryview(data)
        self.length: int | None = len(self._data)

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        data = self._data[start:stop]
        for at in range(0, len(data), READ_SIZE):
            yield data[at : at + READ_SIZE]


class FileSource:
    """A file on disk by path. Its length is fixed when the source is made: a file that shrinks meanwhile is an error."""

    reopenable = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self.length: int | None = os.stat(self._path).st_size

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        loop = asyncio.get_running_loop()
        file: BinaryIO = await loop.run_in_executor(
            None,
            lambda: open(self._path, "rb", buffering=0),  # noqa: SIM115 - closed below
        )
        reading: asyncio.Future[bytes] | None = None
        try:
            end = self.length or 0
            left = (end if stop is None else min(stop, end)) - start
            file.seek(start)
            while left > 0:
                reading = loop.run_in_executor(None, file.read, min(READ_SIZE, left))
                chunk = await asyncio.shield(reading)
                if not chunk:
                    raise SourceFailed(
                        f"{self._path} became shorter while it was read; nothing more can be sent"
                    )
                left -= len(chunk)
                yield chunk
        finally:
            if reading is not None and not reading.done():
                await asyncio.wait([reading])  # cancelled: the thread still reads from our file
            file.close()


class PassingSource:
    """A stream that flows past once: a request body, standard input, an answer under way."""

    reopenable = False

    def __init__(self, chunks: AsyncIterable[Buffer], length: int | None = None) -> None:
        self._chunks: AsyncIterable[Buffer] | None = chunks
        self.length = length

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        chunks, self._chunks = self._chunks, None
        if chunks is None or start or stop is not None:
            raise SourceSpent(
                "This stream flows past once and cannot be read again or from the middle"
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
