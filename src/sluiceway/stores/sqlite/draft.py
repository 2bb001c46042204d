"""An upload to SQLite under way: its bytes go into rows while they arrive.

Rows of a draft are committed without waiting for the disk; the commit that publishes, or `sync`,
waits for all of them. A small object is one transaction. Knows nothing of readers.
"""

from __future__ import annotations

import sqlite3
import time
import uuid

from sluiceway.errors import Exists, PreconditionFailed, StoreFailed
from sluiceway.stores.contract import Entry, Metadata, Replace
from sluiceway.stores.rows.draft import RENEW_EVERY, RowsDraft
from sluiceway.stores.rows.object_rows import row_from_entry
from sluiceway.stores.sqlite.database import LARGEST_ROW, SqliteDatabase

__all__ = ["END", "SqliteDraft"]

ROWS_IN_FLIGHT = 2  # one is written while the next one waits for the same transaction

BEGIN = "INSERT INTO {t_drafts} (id, upload, seen) VALUES (?, ?, ?)"
RENEW = "UPDATE {t_drafts} SET seen = ? WHERE id = ?"
LAST = "UPDATE {t_drafts} SET upload = ?, epoch = 0 WHERE id = ?"
END = "DELETE FROM {t_drafts} WHERE id = ?"
INSERT_ROW = "INSERT INTO {t_chunks} (id, start, data) VALUES (?, ?, ?)"
DELETE_ROWS_FROM = "DELETE FROM {t_chunks} WHERE id = ? AND start >= ?"
CUT_ROW = """UPDATE {t_chunks} SET data = substr(data, 1, ? - start)
    WHERE id = ? AND start = (SELECT max(start) FROM {t_chunks} WHERE id = ?)
    AND start + length(data) > ?"""
FIND = "SELECT id, etag FROM {t} WHERE key = ?"
PUT = """INSERT OR REPLACE INTO {t} ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""


class SqliteDraft(RowsDraft):
    """Some rows wait for the writer while the next one gathers."""

    always_signs: bool = False  # whether each row shows that the draft is still this one's

    def __init__(self, database: SqliteDatabase, upload: str) -> None:
        super().__init__(database.budget, database.drafts, LARGEST_ROW, ROWS_IN_FLIGHT)
        self._database, self._upload = database, upload
        self._id = uuid.uuid4().hex
        self._seen: float | None = None  # when the table of drafts last said that it is alive
        database.drafts.add(self)

    async def sync(self) -> int:
        await self._flush_all()
        await self._database.writer.commit(self._sign_of_life)
        self._seen = time.monotonic()
        self._kept = self._sent
        return self._kept

    async def truncate(self, offset: int) -> None:
        await self._flush_all()

        def work(db: sqlite3.Connection) -> None:
            if self.always_signs:
                self._sign_of_life(db)
            self._cut(db, offset)

        await self._database.writer.write(work)
        self._sent = offset
        self._kept = min(self._kept, offset)

    async def publish(self, key: str, metadata: Metadata, replace: Replace = Replace()) -> Entry:
        self._check()
        await self._flush_drawn()
        await self._wait_for_rows()
        last, at = self._row.take(), self._sent
        entry = Entry(key, at + len(last), self._id, time.time(), metadata)
        values, registered = row_from_entry(entry, self._id), self._seen is not None

        def work(db: sqlite3.Connection) -> str | None:
            """The id of the old object's bytes. Errors come before the first change."""
            query = self._database.query
            old = db.execute(query(FIND), (key,)).fetchone()
            if replace.etag is not None and (old is None or old[1] != replace.etag):
                raise PreconditionFailed(f"{key!r} is not the version you named; read it again")
            if old is not None and not replace.allowed:
                raise Exists(f"There is already an object {key!r}; it was not touched")
            if last:
                self._database.file.check_room(len(last), db)
            if registered:
                self._end_row(db)
            self._insert(db, at, last)
            db.execute(query(PUT), values)
            return None if old is None else str(old[0])

        try:
            old = await self._database.writer.commit(work)
        except BaseException:
            self._row.append(last)  # the draft is as before
            raise
        self._sent += len(last)
        self.replaced: bool = old is not None
        self._end()
        if old is not None:
            await self._database.free_chunks(old)
        return entry

    async def hand_over(self, upload: str) -> str:
        """End it here. Its rows become a draft of `upload` that lasts; returns their id."""
        await self._flush_all()

        def work(db: sqlite3.Connection) -> None:
            self._sign_of_life(db)
            db.execute(self._database.query(LAST), (upload, self._id))

        await self._database.writer.write(work)
        await self._stop()
        return self._id

    async def _send_row(self, at: int, data: memoryview) -> None:
        now = time.monotonic()
        is_due = self.always_signs or self._seen is None or now - self._seen > RENEW_EVERY

        def work(db: sqlite3.Connection) -> None:
            self._database.file.check_room(len(data), db)
            if is_due:
                self._sign_of_life(db)
            self._insert(db, at, data)

        await self._database.writer.write(work, len(data))
        self._seen = now if is_due else self._seen

    async def _read_chunk(self, start: int, size: int) -> bytes:
        return await self._database.read_chunk(self._id, start, size)

    async def _delete(self) -> None:
        if self._seen is None:
            return  # no row was written
        await self._database.free_chunks(self._id, is_needed=False)
        await self._database.write(END, self._id)

    def _sign_of_life(self, db: sqlite3.Connection) -> None:
        """In the writer's thread: no sweep deletes the rows of a draft that was seen lately."""
        query, now = self._database.query, time.time()
        if not db.execute(query(RENEW), (now, self._id)).rowcount:
            if self._seen is not None:
                raise StoreFailed("The upload rested for so long that a sweep removed its bytes")
            db.execute(query(BEGIN), (self._id, self._upload, now))

    def _end_row(self, db: sqlite3.Connection) -> None:
        """In the writer's thread: it is not a draft any more."""
        if db.execute(self._database.query(END), (self._id,)).rowcount != 1:
            raise StoreFailed("The upload rested for so long that a sweep removed its bytes")

    def _cut(self, db: sqlite3.Connection, offset: int) -> None:
        """In the writer's thread: forget the bytes from there on."""
        query = self._database.query
        db.execute(query(DELETE_ROWS_FROM), (self._id, offset))
        db.execute(query(CUT_ROW), (offset, self._id, self._id, offset))

    def _insert(self, db: sqlite3.Connection, at: int, data: memoryview) -> None:
        """In the writer's thread."""
        insert = self._database.query(INSERT_ROW)
        for cut in range(0, len(data), LARGEST_ROW):
            db.execute(insert, (self._id, at + cut, data[cut : cut + LARGEST_ROW]))
