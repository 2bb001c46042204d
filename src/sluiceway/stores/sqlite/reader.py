"""A SQLite object held open for reading: the rows of a range, read one after the other.

Its lease keeps the bytes, in any process, whatever happens to the key. Knows nothing of drafts.
"""

from __future__ import annotations

import sqlite3
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

FIND_ROW = """SELECT rowid, start FROM {t_chunks} WHERE id = ? AND start <= ?
    ORDER BY start DESC LIMIT 1"""
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
        find = self._database.query(FIND_ROW)
        table = f"{self._database.file.table}_chunks"

        def work(db: sqlite3.Connection) -> bytes:
            row = db.execute(find, (self._chunks, at)).fetchone()
            if row is None:
                return b""
            # Incremental I/O reads the pages of the range; substr() reads the whole row first.
            with db.blobopen(table, "data", row[0], readonly=True) as blob:
                blob.seek(min(at - row[1], len(blob)))
                return blob.read(size)

        data = await self._database.readers.read(work)
        if not data:
            raise StoreFailed(f"{self.entry.key!r} was deleted while it was read")
        return data
