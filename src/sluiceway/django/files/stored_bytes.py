"""Objects of a store as binary files of Python: read from any place, or written and then published.

Wrapped by io.BufferedReader and io.BufferedWriter, which make lines and exact reads. Knows no
Django.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from typing import Any

from sluiceway.django.blocking_draft import BlockingDraft
from sluiceway.django.open_stores import OpenStore
from sluiceway.errors import NotFound
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import ObjectReader, Replace, UploadRequest
from sluiceway.wire.headers.media_types import guess_type

__all__ = ["DraftBytes", "StoredBytes", "WrittenBytes"]

READ_BLOCK = 1 << 20  # bytes of a draft read at once: a bucket answers each read by a request


class _Seekable(io.RawIOBase):
    """A position in a number of bytes."""

    name: str  # File asks for it
    mode: str = "rb"

    def __init__(self, name: str, size: int) -> None:
        self.name, self._size, self._at = name, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise io.UnsupportedOperation("This is before the beginning of the file")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self._next(min(len(view), max(0, self._size - self._at)))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _next(self, size: int) -> Buffer:
        """At most `size` bytes from the position."""
        raise NotImplementedError


class DraftBytes(_Seekable):
    """The bytes of a draft; `read` gives at most so many bytes from a place on."""

    def __init__(self, name: str, size: int, read: Callable[[int, int], bytes]) -> None:
        super().__init__(name, size)
        self._read = read
        self._block, self._block_at = b"", 0  # what was read last

    def _next(self, size: int) -> Buffer:
        if not size:
            return b""
        start = self._at - self._block_at
        if not 0 <= start < len(self._block):
            self._block, self._block_at, start = self._read(self._at, READ_BLOCK), self._at, 0
        return self._block[start : start + size]


class StoredBytes(_Seekable):
    """An object. It is read in one go as long as nobody seeks.

    Raises FileNotFoundError.
    """

    def __init__(self, opened: OpenStore, key: str, name: str) -> None:
        self._opened = opened
        self._reader: ObjectReader | None = None
        try:
            self._reader = opened.run(opened.store.open(key))
        except NotFound:
            raise FileNotFoundError(f"There is no file {name!r}") from None
        super().__init__(name, self._reader.entry.size)
        self._pieces: AsyncIterator[Buffer] | None = None
        self._held: memoryview = memoryview(b"")  # what was read ahead of the position
        self._next_at = 0  # where `_held` begins

    def close(self) -> None:
        reader, self._reader = self._reader, None
        if not self.closed and reader is not None:
            # Without waiting: the garbage collector closes files as well, in any thread.
            self._opened.start(self._end(reader))
        super().close()

    def _next(self, size: int) -> Buffer:
        if not size:
            return b""
        if self._at != self._next_at or not self._held:
            self._held = self._opened.run(self._advance())
        piece, self._held = self._held[:size], self._held[size:]
        self._next_at = self._at + len(piece)
        return piece

    async def _advance(self) -> memoryview:
        """The next piece; of a new response after a seek."""
        if self._reader is None:
            return memoryview(b"")
        if self._pieces is None or self._at != self._next_at:
            await self._stop()
            self._pieces = aiter(self._reader.open(self._at))
        return memoryview(await anext(self._pieces, b""))

    async def _stop(self) -> None:
        pieces, self._pieces = self._pieces, None
        if pieces is not None and hasattr(pieces, "aclose"):
            await pieces.aclose()

    async def _end(self, reader: ObjectReader) -> None:
        await self._stop()
        await reader.aclose()


class WrittenBytes(io.RawIOBase):
    """A file that is written: closing it publishes, and replaces what is there."""

    name: str
    mode: str = "wb"

    def __init__(self, opened: OpenStore, key: str, name: str) -> None:
        self.name = name
        request = UploadRequest(key=key, filename=key.rpartition("/")[2], type=guess_type(key))
        self._draft, self._key = BlockingDraft(opened, request), key

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        taken = bytes(data)
        self._draft.write(taken)
        return len(taken)

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        try:
            self._draft.finish()
            self._draft.publish(self._key, Replace(allowed=True))
        finally:
            self._draft.discard()
