"""A draft in PostgreSQL that may outlive its process: another one takes it up at what was kept.

Its row names the epoch of its holder. Each statement that changes it locks that row, so that what
an earlier holder still sends either comes before the next one begins, or is refused.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from sluiceway.errors import NotFound, StoreFailed, Superseded
from sluiceway.pipe.cancellation import finish_then_cancel
from sluiceway.stores.postgres.database import LARGEST_ROW, Database
from sluiceway.stores.postgres.draft import CUT_ROW, DELETE_ROWS_FROM, PostgresDraft
from sluiceway.stores.unpublished import SavedDraft

__all__ = ["LastingPostgresDraft"]

FORGET = "DELETE FROM {t_drafts} WHERE upload = %s AND epoch IS NOT NULL RETURNING id"
BEGIN = "INSERT INTO {t_drafts} (id, upload, epoch) VALUES (%s, %s, 0)"
TAKE_UP = "UPDATE {t_drafts} SET epoch = %s, seen = now() WHERE id = %s AND epoch <= %s"
IS_THERE = "SELECT 1 FROM {t_drafts} WHERE id = %s"
HOLD = "SELECT 1 FROM {t_drafts} WHERE id = %s AND epoch = %s FOR SHARE"
SEEN = "UPDATE {t_drafts} SET seen = now() WHERE id = %s AND epoch = %s RETURNING id"
END = "DELETE FROM {t_drafts} WHERE id = %s AND epoch = %s RETURNING id"
INSERT_ROW = """INSERT INTO {t_chunks} (id, start, data)
    SELECT id, %s::bigint, %b::bytea FROM {t_drafts} WHERE id = %s AND epoch = %s FOR SHARE"""
DELETE_ROWS = "DELETE FROM {t_chunks} WHERE id = ANY(%s)"
SIZE = """SELECT start + octet_length(data) FROM {t_chunks} WHERE id = %s
    ORDER BY start DESC LIMIT 1"""


class LastingPostgresDraft(PostgresDraft):
    """Rows of a draft that a ledger knows. `begin` or `resume` it first."""

    def __init__(self, database: Database, upload: str, saved: str = "", epoch: int = 0) -> None:
        """`saved` is the state that `save` returned, for a draft to resume."""
        super().__init__(database, upload)
        self._epoch = epoch
        if saved:
            self._id = uuid.UUID(saved)

    async def begin(self) -> None:
        """An earlier draft of this upload, of which no client knows, is forgotten."""
        database = self._database
        async with database.connection() as connection, connection.transaction():
            found = await connection.execute(database.query(FORGET), (self._upload,))
            earlier = [row[0] for row in await found.fetchall()]
            if earlier:
                await connection.execute(database.query(DELETE_ROWS), (earlier,))
            await connection.execute(database.query(BEGIN), (self._id, self._upload))
        database.drafts.add(self)

    async def resume(self, offset: int) -> None:
        """Take it up. Raises NotFound, Superseded, StoreFailed."""
        database, query = self._database, self._database.query
        async with database.connection() as connection, connection.transaction():
            taken = await connection.execute(query(TAKE_UP), (self._epoch, self._id, self._epoch))
            if not taken.rowcount:
                if await (await connection.execute(query(IS_THERE), (self._id,))).fetchone():
                    raise Superseded
                raise NotFound("The bytes of this upload are not there any more")
            await self._cut(connection, offset)
            row = await (await connection.execute(query(SIZE), (self._id,))).fetchone()
            if (row[0] if row else 0) != offset:
                raise StoreFailed("The kept bytes of an upload are fewer than they were")
        self._sent = self._kept = offset
        database.drafts.add(self)

    def save(self) -> SavedDraft:
        return SavedDraft(self._id.hex)

    def saved(self) -> None: ...

    async def suspend(self) -> None:
        await self._stop()

    async def sync(self) -> int:
        await self._flush_all()
        if not await self._database.rows(SEEN, self._id, self._epoch):
            raise Superseded
        self._kept = self._sent
        return self._kept

    async def truncate(self, offset: int) -> None:
        await self._flush_all()
        await finish_then_cancel(self._truncate(offset))
        self._sent = self._kept = offset

    async def _truncate(self, offset: int) -> None:
        async with self._held() as connection:
            await self._cut(connection, offset)

    async def _cut(self, connection: psycopg.AsyncConnection[Any], offset: int) -> None:
        query = self._database.query
        await connection.execute(query(DELETE_ROWS_FROM), (self._id, offset))
        await connection.execute(query(CUT_ROW), (offset, self._id, offset))

    async def _end_draft(self, connection: psycopg.AsyncConnection[Any]) -> None:
        ended = await connection.execute(self._database.query(END), (self._id, self._epoch))
        if not ended.rowcount:
            raise Superseded

    async def _send_row(self, at: int, data: memoryview) -> None:
        insert = self._database.query(INSERT_ROW)
        results = []
        async with (
            self._database.connection() as connection,
            connection.pipeline() as pipeline,
            connection.transaction(),
        ):
            await connection.execute("SET LOCAL synchronous_commit TO off")
            for cut in range(0, len(data), LARGEST_ROW):
                row = data[cut : cut + LARGEST_ROW]
                values = (at + cut, row, self._id, self._epoch)
                results.append(await connection.execute(insert, values))
                # Else the driver would hold copies of all rows, which no budget counts.
                await pipeline.sync()
        if not all(result.rowcount for result in results):
            raise Superseded

    async def _delete(self) -> None:
        if await self._database.rows(END, self._id, self._epoch):
            await self._database.rows("DELETE FROM {t_chunks} WHERE id = %s", self._id)

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """A transaction that no later holder can begin in. Raises Superseded."""
        async with self._database.connection() as connection, connection.transaction():
            held = await connection.execute(self._database.query(HOLD), (self._id, self._epoch))
            if not await held.fetchone():
                raise Superseded
            yield connection
