"""A SQLite object held open for reading: the rows of a range, read one after the other.

Its lease keeps the bytes, in any process, whatever happens to the key. Knows nothing of drafts.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing

from sluiceway.errors import StoreFailed
from sluiceway.pipe.readahead import read_ahead
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Entry
from sluiceway.stores.sqlite.database import LARGEST_ROW, SqliteDatabase

__all__ = ["SqliteReader"]

RENEW_EVERY = 60.0  # seconds after which a reader renews its lease

RENEW_LEASE = "UPDATE {t_readers} SET seen = ? WHERE lease = ?"


class SqliteReader:
    """The bytes `chunks` of one object.

    Without a lease another process may free them; reading then raises StoreFailed.
    """

    reopenable = True

    def __init__(
        self, database: SqliteDatabase, chunks: str, entry: Entry, lease: str | None
    ) -> None:
        self._database, self._chunks, self._lease = database, chunks, lease
        self._renewed = time.monotonic()
        self.entry: Entry = entry
        self.length: int | None = entry.size
        self._open = True

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        end = self.entry.size if stop is None else min(stop, self.entry.size)
        blocks = read_ahead(self._read, start, end, self._database.budget, most=LARGEST_ROW)
        async with aclosing(blocks):
            async for block in blocks:
                yield block
                del block

    async def aclose(self) -> None:
        if self._open:
            self._open = False
            if self._lease is not None:
                await self._database.end_lease(self._lease)

    async def _read(self, at: int, size: int) -> bytes:
        """The bytes from `at` to the end of their row, at most `size` of them."""
        if self._lease is not None and time.monotonic() - self._renewed > RENEW_EVERY:
            self._renewed = time.monotonic()
            await self._database.write(RENEW_LEASE, time.time(), self._lease)
        data = await self._database.read_chunk(self._chunks, at, size)
        if not data:
            raise StoreFailed(f"{self.entry.key!r} was deleted while it was read")
        return data
