"""An upload to PostgreSQL under way: its bytes go into rows while they arrive.

A faster client gets larger rows. Rows of a draft are committed without waiting for the disk; the
commit that publishes, or `sync`, waits for all of them. Knows nothing of readers.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import Any, LiteralString

import psycopg

from sluiceway.errors import Exists, PreconditionFailed, SluiceError, StoreFailed
from sluiceway.pipe.cancellation import shield_until_done
from sluiceway.pipe.source import Buffer
from sluiceway.stores.block_buffer import BlockBuffer
from sluiceway.stores.contract import Entry, Metadata, Replace
from sluiceway.stores.object_rows import row_from_entry
from sluiceway.stores.postgres.database import LARGEST_ROW, Database

__all__ = ["PostgresDraft"]

log: logging.Logger = logging.getLogger("sluiceway")

# The server works on one row while the next one travels: 1.2 times the speed of a bare loop, 0.8
# with one row.
ROWS_IN_FLIGHT = 2
RENEW_EVERY = 60.0  # seconds after which a draft says again that it is alive
PUBLISH_ATTEMPTS = 20  # times others may take or free the key between a look and a write

BEGIN = "INSERT INTO {t_drafts} (id, upload) VALUES (%s, %s)"
RENEW = "UPDATE {t_drafts} SET seen = now() WHERE id = %s"
INSERT_ROW = "INSERT INTO {t_chunks} (id, start, data) VALUES (%s, %s, %b)"
DELETE_ROWS_FROM = "DELETE FROM {t_chunks} WHERE id = %s AND start >= %s"
CUT_ROW = """UPDATE {t_chunks} SET data = substring(data FROM 1 FOR (%s - start)::int)
    WHERE id = %s AND start + octet_length(data) > %s"""
LOCK_OBJECT = "SELECT id, etag FROM {t} WHERE key = %s FOR UPDATE"
PUT: LiteralString = """INSERT INTO {t} ({columns}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (key) """
CREATE: LiteralString = PUT + "DO NOTHING"
REPLACE: LiteralString = (
    PUT
    + """DO UPDATE SET id = EXCLUDED.id, size = EXCLUDED.size, etag = EXCLUDED.etag,
    modified = EXCLUDED.modified, filename = EXCLUDED.filename, type = EXCLUDED.type,
    sha256 = EXCLUDED.sha256, more = EXCLUDED.more"""
)


class PostgresDraft:
    """Some rows travel to the database while the next one gathers."""

    def __init__(self, database: Database, upload: str) -> None:
        self._database, self._upload = database, upload
        self._id: uuid.UUID = uuid.uuid4()
        self._row = BlockBuffer(database.budget, LARGEST_ROW, ROWS_IN_FLIGHT + 1)
        self._sent = 0  # bytes given to the database
        self._kept = 0
        self._renewed = time.monotonic()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None  # of a row; every later call raises it
        self._ended = False

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

    async def begin(self) -> None:
        """Register the draft before its first byte, so that no sweep deletes its rows."""
        await self._database.rows(BEGIN, self._id, self._upload)
        self._database.drafts.add(self)

    async def write(self, data: Buffer) -> None:
        self._check()
        self._row.append(data)
        if self._row.is_full:
            await self._flush()

    async def sync(self) -> int:
        await self._flush_all()
        await self._database.rows(RENEW, self._id)  # its commit waits for the disk
        self._kept = self._sent
        return self._kept

    async def truncate(self, offset: int) -> None:
        await self._flush_all()
        await self._database.rows(DELETE_ROWS_FROM, self._id, offset)
        await self._database.rows(CUT_ROW, offset, self._id, offset)
        self._sent = self._kept = offset

    async def read(self, start: int, size: int) -> bytes:
        await self._flush_all()
        most = min(size, max(0, self._sent - start))
        return await self._database.read_chunk(self._id, start, most) if most else b""

    async def pause(self) -> None:
        """Send what is held and give back the memory, while other files of the form arrive."""
        await self._flush_all()
        self._row.release()

    async def publish(self, key: str, metadata: Metadata, replace: Replace = Replace()) -> Entry:
        await self._flush_all()
        entry = Entry(key, self._sent, self._id.hex, time.time(), metadata)
        await shield_until_done(self._publish(entry, replace))
        self._end()
        return entry

    async def discard(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._in_flight:
            await asyncio.wait(self._in_flight)
        self._end()
        try:
            await self._database.rows("DELETE FROM {t_chunks} WHERE id = %s", self._id)
            await self._database.rows("DELETE FROM {t_drafts} WHERE id = %s", self._id)
        except SluiceError as error:
            log.warning("A draft stays in the database until it is swept: %s", error.detail)

    async def _publish(self, entry: Entry, replace: Replace) -> None:
        """Make the rows the object of the key in one commit, then free those of the old object."""
        async with self._database.connection() as connection, connection.transaction():
            for _ in range(PUBLISH_ATTEMPTS if replace.allowed else 1):
                # A key that was free a moment ago is created, or looked at again: the rows of an
                # object that is replaced must be known.
                old = await self._lock_old(connection, entry.key, replace)
                if await self._put(connection, entry, CREATE if old is None else REPLACE):
                    break
            else:
                raise Exists(f"There is already an object {entry.key!r}; it was not touched")
            delete = self._database.query("DELETE FROM {t_drafts} WHERE id = %s")
            await connection.execute(delete, (self._id,))
        if old is not None:
            await self._database.free_chunks(old)

    async def _lock_old(
        self, connection: psycopg.AsyncConnection[Any], key: str, replace: Replace
    ) -> uuid.UUID | None:
        """The rows' id of the object to replace, locked. None when there is none."""
        if not replace.allowed:
            return None
        found = await connection.execute(self._database.query(LOCK_OBJECT), (key,))
        old = await found.fetchone()
        if replace.etag is not None and (old is None or old[1] != replace.etag):
            raise PreconditionFailed(f"{key!r} is not the version you named; read it again")
        return None if old is None else old[0]

    async def _put(
        self, connection: psycopg.AsyncConnection[Any], entry: Entry, statement: LiteralString
    ) -> bool:
        """Whether the object's row was written."""
        values = row_from_entry(entry, self._id)
        result = await connection.execute(self._database.query(statement), values)
        return result.rowcount == 1

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
        try:
            async with (
                self._database.connection() as connection,
                connection.pipeline(),
                connection.transaction(),
            ):
                await connection.execute("SET LOCAL synchronous_commit TO off")
                insert = self._database.query(INSERT_ROW)
                for cut in range(0, len(data), LARGEST_ROW):
                    row = data[cut : cut + LARGEST_ROW]
                    await connection.execute(insert, (self._id, at + cut, row))
                if time.monotonic() - self._renewed > RENEW_EVERY:
                    self._renewed = time.monotonic()
                    await connection.execute(self._database.query(RENEW), (self._id,))
        except Exception as error:
            self._failure = self._failure or error

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
