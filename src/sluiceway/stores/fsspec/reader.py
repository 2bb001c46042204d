"""A file behind fsspec held open for reading: the blocks of a range, read one after the other.

After each block the reader checks that the file is still the version it opened; then bytes of two
versions are never mixed. Knows nothing of drafts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from fsspec.caching import BaseCache
from fsspec.spec import AbstractBufferedFile

from sluiceway.errors import NotFound, PeerTimeout, SluiceError, StoreFailed
from sluiceway.pipe.cancellation import finish_then_cancel
from sluiceway.pipe.readahead import read_ahead
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Entry
from sluiceway.stores.fsspec.connections import PooledConnection
from sluiceway.stores.fsspec.place import FsspecPlace

__all__ = ["FsspecReader"]

SMALLEST_BLOCK = 32 << 10  # bytes that a slow download holds


class FsspecReader:
    """Raises StoreFailed when the file was replaced or deleted while it was read."""

    reopenable = True

    def __init__(self, place: FsspecPlace, entry: Entry) -> None:
        self._place = place
        self.entry: Entry = entry
        self.length: int | None = entry.size

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        end = self.entry.size if stop is None else min(stop, self.entry.size)
        file = _OpenFile(self._place, self.entry)
        blocks = read_ahead(file.read, start, end, self._place.budget, first=SMALLEST_BLOCK)
        try:
            async with aclosing(blocks):
                async for block in blocks:
                    yield block
                    del block
        finally:
            file.close()

    async def aclose(self) -> None:
        """Nothing is held between two calls of `open`."""


class _OpenFile:
    """The file open on one connection; on another one when that breaks."""

    def __init__(self, place: FsspecPlace, entry: Entry) -> None:
        self._place, self._entry = place, entry
        self._path = place.tree.path(entry.key)
        self._connection: PooledConnection | None = None
        self._file: Any = None  # used in the connection's thread only
        self._checked_folders = False  # whether links were looked for on the way to the file

    async def read(self, at: int, size: int) -> bytes:
        return await finish_then_cancel(self._read_or_reconnect(at, size))

    async def _read_or_reconnect(self, at: int, size: int) -> bytes:
        try:
            return await self._read(at, size)
        except PeerTimeout:
            raise
        except SluiceError:
            if self._connection is None or not self._connection.went_stale:
                raise
        self.close()  # it broke, perhaps between two reads: once more, from the same byte
        return await self._read(at, size, fresh=True)

    async def _read(self, at: int, size: int, fresh: bool = False) -> bytes:
        if self._connection is None:
            self._connection = self._place.connections.pick(fresh)
            self._connection.acquire()
        try:
            return await self._connection.call(lambda fs: self._read_block(fs, at, size))
        except NotFound:
            raise StoreFailed(f"{self._entry.key!r} was deleted while it was read") from None

    def close(self) -> None:
        """Close the file after the calls before it, without waiting for that."""
        connection, self._connection = self._connection, None
        if connection is not None:
            if not connection.broken:
                connection.submit(self._close_file)
            connection.release()

    def _read_block(self, fs: Any, at: int, size: int) -> bytes:
        tree = self._place.tree
        if not self._checked_folders:
            tree.refuse_links(fs, self._entry.key)
            self._checked_folders = True
        if self._place.reads_ranges:
            data: bytes = fs.cat_file(self._path, start=at, end=at + size)
        else:
            if self._file is None:
                self._file = _open(fs, self._path)
            data = _read_at(self._file, at, size)
        version = tree.version_at(fs, self._path)
        if version is None or version.etag != self._entry.etag or len(data) != size:
            raise StoreFailed(f"{self._entry.key!r} was replaced or deleted while it was read")
        return data

    def _close_file(self, _: Any) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _open(fs: Any, path: str) -> Any:
    file = fs.open(path, "rb", block_size=None)
    if isinstance(file, AbstractBufferedFile):
        # Without a cache it reads what it is asked for and no more.
        file.cache = BaseCache(file.blocksize, file._fetch_range, file.size)
    return file


def _read_at(file: Any, at: int, size: int) -> bytes:
    """Fewer bytes than asked for only at the end of the file."""
    read_ranges = getattr(file, "readv", None)
    if read_ranges is not None:  # SFTP: all requests of the block at once
        data = b"".join(read_ranges([(at, size)]))
        # paramiko takes a block for complete when an answer overtakes the next request, and reads
        # on by itself. It would keep what comes late: 20 KiB of each MiB.
        getattr(file, "_prefetch_data", {}).clear()
        return data
    file.seek(at)
    found: list[bytes] = []
    while size:
        data = file.read(size)
        if not data:
            break
        found.append(data)
        size -= len(data)
    return b"".join(found)
