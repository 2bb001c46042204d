"""The bytes of PostgreSQL objects: rows written while they arrive, and the rows of a range read one by one.

A row is as large as the client is quick. Rows of an upload under way are committed without waiting for the disk; the commit
that publishes, or `sync`, waits for all of them.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING

from sluiceway.errors import SluiceError, StoreFailed
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.cancellation import settled
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Entry, Metadata, Replace

if TYPE_CHECKING:
    from sluiceway.stores.postgres.store import PostgresStore

__all__ = ["PostgresDraft", "PostgresReader"]

log: logging.Logger = logging.getLogger("sluiceway")

FLIGHT = 2  # rows on their way at once: the server works on one while the other one travels (1.2x a bare loop; 0.8x with one)
LARGEST = 512 << 10  # bytes of a row; larger ones gained nothing
SMALLEST = 32 << 10  # bytes: what a slow upload holds
QUICK = 0.5  # seconds between two rows, below which the next one may be larger
SEEN_EVERY = 60.0  # seconds after which a draft says that it lives

PIECE = """SELECT substring(data FROM (%s::bigint - start + 1)::int FOR least(%s::bigint - %s::bigint, octet_length(data))::int)
    FROM {t_chunks} WHERE id = %s AND start <= %s ORDER BY start DESC LIMIT 1"""
CUT = """UPDATE {t_chunks} SET data = substring(data FROM 1 FOR (%s - start)::int)
    WHERE id = %s AND start + octet_length(data) > %s"""


class PostgresDraft:
    """An upload under way. Rows are on their way to the database while the next one gathers."""

    def __init__(self, store: PostgresStore, upload: str, budget: Budget) -> None:
        self._store, self._upload, self._budget = store, upload, budget
        self.id: uuid.UUID = uuid.uuid4()
        self._held: list[Buffer] = []
        self._size = 0  # bytes of them
        self._row, self._lent = (
            SMALLEST,
            0,
        )  # bytes a row shall have; of the budget, for those under way and the one that gathers
        self._sent = 0  # bytes given to the database
        self._kept = 0
        self._began = time.monotonic()  # this row
        self._seen = self._began
        self._flying: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None  # of a row; each call says it
        self._ended = False

    @property
    def written(self) -> int:
        return self._sent + self._size

    @property
    def kept(self) -> int:
        return self._kept

    async def begin(self) -> None:
        """Say that it lives. Before the first byte, so that no sweep takes them for an orphan's."""
        await self._store.rows(
            "INSERT INTO {t_drafts} (id, upload) VALUES (%s, %s)", self.id, self._upload
        )

    async def write(self, data: Buffer) -> None:
        self._check()
        self._held.append(data)
        self._size += len(data)
        if self._size >= self._row:
            await self._flush()

    async def sync(self) -> int:
        self._check()
        await self._flush()
        await self._land()
        await self._store.rows(
            "UPDATE {t_drafts} SET seen = now() WHERE id = %s", self.id
        )  # its commit waits for the disk
        self._kept = self._sent
        return self._kept

    async def truncate(self, offset: int) -> None:
        self._check()
        await self._flush()
        await self._land()
        await self._store.rows(
            "DELETE FROM {t_chunks} WHERE id = %s AND start >= %s", self.id, offset
        )
        await self._store.rows(CUT, offset, self.id, offset)
        self._sent = self._kept = offset

    async def pause(self) -> None:
        """It waits for the other files of its form: what it held is in the database, what it was lent is given back."""
        self._check()
        await self._flush()
        await self._land()
        self._settle()
        self._row = SMALLEST

    async def publish(self, key: str, metadata: Metadata, replace: Replace = Replace()) -> Entry:
        self._check()
        await self._flush()
        await self._land()
        entry = Entry(key, self._sent, self.id.hex, time.time(), metadata)
        await settled(self._store.publish(self.id, entry, replace))
        self._ended = True
        self._store.ended(self)
        self._settle()
        return entry

    async def discard(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._flying:
            await asyncio.wait(self._flying)
        self._held.clear()
        self._settle()
        self._store.ended(self)
        try:
            await self._store.rows("DELETE FROM {t_chunks} WHERE id = %s", self.id)
            await self._store.rows("DELETE FROM {t_drafts} WHERE id = %s", self.id)
        except SluiceError as error:
            log.warning("A draft stays in the database until it is swept: %s", error.detail)

    async def _flush(self) -> None:
        """Send what is held as one row, when few enough are on their way."""
        if not self._size:
            return
        await self._land(FLIGHT - 1)
        data, at = b"".join(self._held), self._sent
        self._sent += len(data)
        self._held, self._size = [], 0
        self._flying.add(asyncio.get_running_loop().create_task(self._send(at, data)))
        self._keep_pace()

    def _keep_pace(self) -> None:
        now = time.monotonic()
        quick, self._began = now - self._began < QUICK, now
        self._row = min(LARGEST, self._row * 2) if quick else max(SMALLEST, self._row // 4)
        self._settle()
        held = (FLIGHT + 1) * self._row
        if self._row > SMALLEST and self._budget.lend(held):
            self._lent = held
        else:
            self._row = SMALLEST

    async def _send(self, at: int, data: bytes) -> None:
        try:
            async with (
                self._store.connection() as connection,
                connection.pipeline(),
                connection.transaction(),
            ):
                await connection.execute("SET LOCAL synchronous_commit TO off")
                insert = self._store.query(
                    "INSERT INTO {t_chunks} (id, start, data) VALUES (%s, %s, %b)"
                )
                for part in range(0, len(data), LARGEST):
                    await connection.execute(
                        insert, (self.id, at + part, data[part : part + LARGEST])
                    )
                if time.monotonic() - self._seen > SEEN_EVERY:
                    self._seen = time.monotonic()
                    await connection.execute(
                        self._store.query("UPDATE {t_drafts} SET seen = now() WHERE id = %s"),
                        (self.id,),
                    )
        except Exception as error:
            self._failure = self._failure or error

    async def _land(self, most: int = 0) -> None:
        """Wait until at most so many rows are on their way."""
        while len(self._flying) > most:
            _, self._flying = await asyncio.wait(self._flying, return_when=asyncio.FIRST_COMPLETED)
        self._check()

    def _settle(self) -> None:
        self._budget.settle(self._lent)
        self._lent = 0

    def _check(self) -> None:
        if self._ended:
            raise StoreFailed("This draft has ended already")
        if self._failure is not None:
            raise self._failure


class PostgresReader:
    """An object held open: its bytes stay while its lease does, whatever happens to its key, in any process.

    Without a lease they may be freed; reading raises StoreFailed then.
    """

    reopenable = True

    def __init__(
        self, store: PostgresStore, found: uuid.UUID, entry: Entry, lease: uuid.UUID | None
    ) -> None:
        self._store, self._id, self._lease = store, found, lease
        self._seen = time.monotonic()
        self.entry: Entry = entry
        self.length: int | None = entry.size
        self._open = True

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        end = self.entry.size if stop is None else min(stop, self.entry.size)
        at, ahead = start, None
        try:
            while at < end:
                data = await (ahead or self._read(at, end))
                at += len(data)
                ahead = asyncio.ensure_future(self._read(at, end)) if at < end else None
                yield data
        finally:
            if ahead is not None:
                ahead.cancel()
                with suppress(asyncio.CancelledError, SluiceError):
                    await ahead

    async def aclose(self) -> None:
        if self._open:
            self._open = False
            if self._lease is not None:
                await self._store.left(self._lease)

    async def _read(self, at: int, end: int) -> bytes:
        """What the row that holds byte `at` has from there on, at most to `end`: rows are not of one size."""
        if self._lease is not None and time.monotonic() - self._seen > SEEN_EVERY:
            self._seen = time.monotonic()
            await self._store.rows(
                "UPDATE {t_readers} SET seen = now() WHERE lease = %s", self._lease
            )
        rows = await self._store.rows(PIECE, at, end, at, self._id, at, binary=True)
        if not rows or not rows[0][0]:
            raise StoreFailed(f"{self.entry.key!r} was deleted while it was read")
        data: bytes = rows[0][0]
        return data
