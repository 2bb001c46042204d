"""An upload to SQLite under way: its bytes go into rows while they arrive.

Rows of a draft are committed without waiting for the disk; the commit that publishes, or `sync`,
waits for all of them. A small object is one transaction. Knows nothing of readers.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
import uuid

from sluiceway.errors import Exists, PreconditionFailed, SluiceError, StoreFailed
from sluiceway.pipe.source import Buffer
from sluiceway.stores.block_buffer import BlockBuffer
from sluiceway.stores.contract import Entry, Metadata, Replace
from sluiceway.stores.object_rows import row_from_entry
from sluiceway.stores.sqlite.database import LARGEST_ROW, SqliteDatabase

__all__ = ["SqliteDraft"]

log: logging.Logger = logging.getLogger("sluiceway")

ROWS_IN_FLIGHT = 2  # one is written while the next one waits for the same transaction
RENEW_EVERY = 60.0  # seconds after which a draft says again that it is alive

BEGIN = "INSERT INTO {t_drafts} (id, upload, seen) VALUES (?, ?, ?)"
RENEW = "UPDATE {t_drafts} SET seen = ? WHERE id = ?"
END = "DELETE FROM {t_drafts} WHERE id = ?"
INSERT_ROW = "INSERT INTO {t_chunks} (id, start, data) VALUES (?, ?, ?)"
DELETE_ROWS_FROM = "DELETE FROM {t_chunks} WHERE id = ? AND start >= ?"
CUT_ROW = """UPDATE {t_chunks} SET data = substr(data, 1, ? - start)
    WHERE id = ? AND start = (SELECT max(start) FROM {t_chunks} WHERE id = ?)
    AND start + length(data) > ?"""
FIND = "SELECT id, etag FROM {t} WHERE key = ?"
PUT = """INSERT OR REPLACE INTO {t} ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""


class SqliteDraft:
    """Some rows wait for the writer while the next one gathers."""

    def __init__(self, database: SqliteDatabase, upload: str) -> None:
        self._database, self._upload = database, upload
        self._id = uuid.uuid4().hex
        self._row = BlockBuffer(database.budget, LARGEST_ROW, ROWS_IN_FLIGHT + 1)
        self._sent = 0  # bytes given to the writer
        self._kept = 0
        self._seen: float | None = None  # when the table of drafts last said that it is alive
        self._in_flight: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None  # of a row; every later call raises it
        self._ended = False
        database.drafts.add(self)

    @property
    def written(self) -> int:
        return self._sent + self._row.size

    @property
    def kept(self) -> int:
        return self._kept

    @property
    def failure(self) -> SluiceError | None:
        """Why the database did not take a row: a sender that pauses learns it too."""
        if self._ended or not isinstance(self._failure, SluiceError):
            return None
        return self._failure

    async def write(self, data: Buffer) -> None:
        self._check()
        self._row.append(data)
        if self._row.is_full:
            await self._flush()

    async def sync(self) -> int:
        await self._flush_all()
        await self._database.writer.commit(self._sign_of_life)
        self._seen = time.monotonic()
        self._kept = self._sent
        return self._kept

    async def truncate(self, offset: int) -> None:
        await self._flush_all()

        def work(db: sqlite3.Connection) -> None:
            query = self._database.query
            db.execute(query(DELETE_ROWS_FROM), (self._id, offset))
            db.execute(query(CUT_ROW), (offset, self._id, self._id, offset))

        await self._database.writer.write(work)
        self._sent = offset
        self._kept = min(self._kept, offset)

    async def read(self, start: int, size: int) -> bytes:
        await self._flush_all()
        most = min(size, max(0, self._sent - start))
        return await self._database.read_chunk(self._id, start, most) if most else b""

    async def pause(self) -> None:
        """Send what is held and give back the memory, while other files of the form arrive."""
        await self._flush_all()
        self._row.release()

    async def publish(self, key: str, metadata: Metadata, replace: Replace = Replace()) -> Entry:
        self._check()
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
            if registered and db.execute(query(END), (self._id,)).rowcount != 1:
                raise StoreFailed("The upload rested for so long that a sweep removed its bytes")
            self._insert(db, at, last)
            db.execute(query(PUT), values)
            return None if old is None else str(old[0])

        try:
            old = await self._database.writer.commit(work)
        except BaseException:
            self._row.append(last)  # the draft is as before
            raise
        self._sent += len(last)
        self._end()
        if old is not None:
            await self._database.free_chunks(old)
        return entry

    async def discard(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._in_flight:
            await asyncio.wait(self._in_flight)
        self._end()
        if self._seen is None:
            return  # no row was written
        await self._database.free_chunks(self._id, is_needed=False)
        try:
            await self._database.write(END, self._id)
        except SluiceError as error:
            log.warning("A draft stays in the database until it is swept: %s", error.detail)

    async def _flush_all(self) -> None:
        """Wait until the database has everything that was written."""
        self._check()
        await self._flush()
        await self._wait_for_rows()

    async def _flush(self) -> None:
        """Send what has gathered as one row, as soon as few enough are in flight."""
        if not self._row.size:
            return
        await self._wait_for_rows(ROWS_IN_FLIGHT - 1)
        data, at = self._row.take(), self._sent
        self._sent += len(data)
        self._in_flight.add(asyncio.get_running_loop().create_task(self._send(at, data)))

    async def _send(self, at: int, data: memoryview) -> None:
        now = time.monotonic()
        is_due = self._seen is None or now - self._seen > RENEW_EVERY

        def work(db: sqlite3.Connection) -> None:
            self._database.file.check_room(len(data), db)
            if is_due:
                self._sign_of_life(db)
            self._insert(db, at, data)

        try:
            await self._database.writer.write(work)
            self._seen = now if is_due else self._seen
        except Exception as error:
            self._failure = self._failure or error

    def _sign_of_life(self, db: sqlite3.Connection) -> None:
        """In the writer's thread: no sweep deletes the rows of a draft that was seen lately."""
        query, now = self._database.query, time.time()
        if not db.execute(query(RENEW), (now, self._id)).rowcount:
            if self._seen is not None:
                raise StoreFailed("The upload rested for so long that a sweep removed its bytes")
            db.execute(query(BEGIN), (self._id, self._upload, now))

    def _insert(self, db: sqlite3.Connection, at: int, data: memoryview) -> None:
        """In the writer's thread."""
        insert = self._database.query(INSERT_ROW)
        for cut in range(0, len(data), LARGEST_ROW):
            db.execute(insert, (self._id, at + cut, data[cut : cut + LARGEST_ROW]))

    async def _wait_for_rows(self, still_in_flight: int = 0) -> None:
        """Wait until at most so many rows are in flight. Raises the failure of a row."""
        while len(self._in_flight) > still_in_flight:
            _, self._in_flight = await asyncio.wait(
                self._in_flight, return_when=asyncio.FIRST_COMPLETED
            )
        self._check()

    def _end(self) -> None:
        self._ended = True
        self._row.clear()
        self._database.drafts.discard(self)

    def _check(self) -> None:
        if self._ended:
            raise StoreFailed("This draft has ended already")
        if self._failure is not None:
            raise self._failure
