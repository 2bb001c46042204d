"""The ledger of several servers: tables in a PostgreSQL database.

What a client will learn is committed before it does. A holder changes an upload only while it has
its epoch; a process that was taken for dead changes nothing any more. Works behind PgBouncer.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import LiteralString

from sluiceway.errors import Exists, SluiceError, StoreFailed, Superseded
from sluiceway.pipe.cancellation import finish_or_undo, finish_then_cancel
from sluiceway.uploads.ledger.contract import EventQueue, OutboxEvent
from sluiceway.uploads.ledger.postgres_database import LedgerDatabase
from sluiceway.uploads.ledger.postgres_events import PostgresEvents
from sluiceway.uploads.ledger.postgres_saves import GroupedSaves
from sluiceway.uploads.ledger.postgres_tables import (
    ALIVE_FOR,
    ASK,
    BEGIN_SWEEP,
    CLAIM,
    CREATE,
    DROP_PARTS,
    EXPIRED,
    FIND,
    LEASE,
    MAY_WRITE,
    RELEASE,
)
from sluiceway.uploads.ledger.record import UploadRecord, from_row, to_row

__all__ = ["PostgresLedger"]


class PostgresLedger:
    """The uploads in a database. See `Ledger`."""

    def __init__(self, database: LedgerDatabase) -> None:
        self.database: LedgerDatabase = database
        self._place, self._lease, self._rows = database.place, database.lease, database.rows
        self._saves = GroupedSaves(database.pool, database.within_deadline)
        self._events = PostgresEvents(self._rows, database.prepare, self._lease, self._place)

    @property
    def process(self) -> str:
        return self._lease.name

    @property
    def events(self) -> EventQueue:
        return self._events

    def now(self) -> float:
        return time.time() + (self._lease.skew or 0.0)

    async def may_be_shared(self) -> bool:
        return True  # a process that holds nothing is not seen

    async def check(self) -> None:
        """Makes the tables that are missing."""
        database = self.database
        async with database.within_deadline(), database.pool.connect_once() as connection:
            await database.make_tables(connection)
            found = await connection.execute(MAY_WRITE, (database.pool.table,))
            if await found.fetchone() != (True,):
                raise StoreFailed(
                    "Uploads cannot be written down: this role may only read the database, or it "
                    "is a standby"
                )
            await self._lease.compare_clocks(connection)

    async def clock_skew(self) -> float | None:
        """By the last `check`, or since then."""
        return self._lease.skew

    async def create(self, record: UploadRecord) -> None:
        if not await self._rows(CREATE, self._place, *to_row(record)):
            raise Exists(f"The upload id {record.id!r} is taken; choose a fresh one")

    async def find(self, upload: str) -> UploadRecord | None:
        rows = await self._rows(FIND, self._place, upload)
        return from_row(rows[0]) if rows else None

    async def claim(self, upload: str) -> UploadRecord | None:
        await self.database.prepare()
        await self._lease.be_seen()
        claimed = await finish_or_undo(self._claim(upload), self._give_back)
        return claimed or await self.find(upload)

    async def ask(self, record: UploadRecord) -> None:
        await self._rows(ASK, self._place, record.id, record.epoch, self._lease.channels)

    def on_asked(self, let_go: Callable[[str, int], None]) -> None:
        self._lease.let_go = let_go

    async def release(self, upload: str, epoch: int) -> None:
        work = self._drop(upload, RELEASE, self._place, upload, epoch, self.process)
        await finish_then_cancel(work)

    async def save(
        self,
        record: UploadRecord,
        parts: Sequence[str] = (),
        events: Sequence[OutboxEvent] = (),
    ) -> None:
        await self.database.prepare()
        _, *row = to_row(record)
        fields = [dataclasses.astuple(event) for event in events]
        columns = [[event[at] for event in fields] for at in range(4)]
        fence = (self._place, record.id, record.epoch, self.process)
        is_ours = await self._saves.save((record.id, (*row, *fence, list(parts), *columns)))
        if record.holder != self.process or not is_ours:
            self._lease.drop(record.id)
        if not is_ours:
            raise Superseded

    async def parts(self, upload: str) -> list[str]:
        rows = await self._rows(
            "SELECT note FROM {t_parts} WHERE place = %s AND upload = %s ORDER BY number",
            self._place,
            upload,
        )
        return [note for (note,) in rows]

    async def drop_parts(self, record: UploadRecord, count: int) -> None:
        fence = (self._place, record.id, record.epoch, self.process)
        if not await self._rows(DROP_PARTS, *fence, count):
            raise Superseded

    async def expired(self, now: float, most: int) -> list[UploadRecord]:
        return [from_row(row) for row in await self._rows(EXPIRED, self._place, now, most)]

    async def remove(self, upload: str) -> None:
        work = self._drop(
            upload,
            "WITH gone AS (DELETE FROM {t_parts} WHERE place = %s AND upload = %s) "
            "DELETE FROM {t} WHERE place = %s AND id = %s",
            *(self._place, upload) * 2,
        )
        await finish_then_cancel(work)

    async def ids(self, after: str, most: int) -> list[str]:
        rows = await self._rows(
            "SELECT id FROM {t} WHERE place = %s AND id > %s ORDER BY id LIMIT %s",
            self._place,
            after,
            most,
        )
        return [upload for (upload,) in rows]

    async def begin_sweep(self, every: float) -> bool:
        if not await self._rows(BEGIN_SWEEP, f"sweep of {self._place}", every):
            return False
        await self._rows("DELETE FROM {t_processes} WHERE seen < now() - interval '1 day'")
        return True

    async def finishing(self, after: str, most: int) -> list[str]:
        rows = await self._rows(
            "SELECT id FROM {t} WHERE place = %s AND state = 'finishing' AND id > %s"
            " ORDER BY id LIMIT %s",
            self._place,
            after,
            most,
        )
        return [upload for (upload,) in rows]

    async def _claim(self, upload: str) -> UploadRecord | None:
        """None where another process has it, or it does not exist."""
        me = self.process
        rows = await self._rows(CLAIM, me, self._place, upload, me, ALIVE_FOR, LEASE)
        if not rows:
            return None
        self._lease.hold(upload)
        return from_row(rows[0])

    async def _give_back(self, claimed: UploadRecord | None) -> None:
        if claimed is not None:
            await self.release(claimed.id, claimed.epoch)

    async def _drop(self, upload: str, text: LiteralString, *values: object) -> None:
        """Not held any more once that is written."""
        await self._rows(text, *values)
        self._lease.drop(upload)

    async def aclose(self) -> None:
        await self._saves.aclose()
        if self.database.is_ready:
            try:
                await self._rows("UPDATE {t} SET holder = '' WHERE holder = %s", self.process)
            except SluiceError:
                pass  # the process ends: others see that
        await self.database.aclose()
