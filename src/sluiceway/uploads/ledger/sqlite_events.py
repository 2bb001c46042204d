"""The events of a ledger in SQLite: expected, waiting, in the hands of one process, forgotten.

`holder` is the process that still publishes the event's file, '' from then on; `due` is when it may
be sent. Knows no upload.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence

from sluiceway.pipe.file_lock import ProcessName
from sluiceway.stores.sqlite.connections import MissingTable, SqliteFile
from sluiceway.stores.sqlite.readers import ReaderThreads
from sluiceway.stores.sqlite.writer import WriterThread
from sluiceway.uploads.ledger.contract import OutboxEvent

__all__ = ["SqliteEvents", "add_events"]

Find = Callable[[sqlite3.Connection], list[OutboxEvent]]

_ADD = "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?, ?)"
_FIELDS = "id, upload, body, tries, created"
_DUE = f"SELECT {_FIELDS} FROM events WHERE holder = '' AND due <= ? ORDER BY due LIMIT ?"  # noqa: S608  # our names
_EXPECTED = f"SELECT {_FIELDS}, holder FROM events WHERE holder <> ''"  # noqa: S608  # as above


def add_events(db: sqlite3.Connection, events: Sequence[OutboxEvent], holder: str = "") -> None:
    """Write new events down, in the transaction of the caller."""
    now = time.time()
    rows = [(one.id, one.upload, one.body, one.tries, now, now, holder) for one in events]
    db.executemany(_ADD, rows)


class SqliteEvents:
    """See `EventQueue`."""

    def __init__(
        self, file: SqliteFile, writer: WriterThread, readers: ReaderThreads, name: ProcessName
    ) -> None:
        self._file, self._writer, self._readers, self._name = file, writer, readers, name

    async def expect(self, events: Sequence[OutboxEvent]) -> None:
        await self._writer.commit(lambda db: add_events(db, events, self._name.name))

    async def confirm(self, events: Sequence[OutboxEvent]) -> None:
        """After a power cut the events are expected again, and their files are looked for."""

        def work(db: sqlite3.Connection) -> None:
            add_events(db, events)  # those that another process took for abandoned, and dropped
            ids = [(time.time(), event.id) for event in events]
            db.executemany(
                "UPDATE events SET holder = '', due = ? WHERE id = ? AND holder <> ''", ids
            )

        await self._writer.write(work)

    async def drop(self, events: Sequence[OutboxEvent]) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.executemany("DELETE FROM events WHERE id = ?", [(event.id,) for event in events])

        await self._writer.write(work)

    async def abandoned(self, most: int) -> list[OutboxEvent]:
        def find(db: sqlite3.Connection) -> list[OutboxEvent]:
            alive = {self._name.name: True}
            found = list[OutboxEvent]()
            for *fields, holder in db.execute(_EXPECTED):
                if holder not in alive:
                    alive[holder] = self._name.is_alive(holder)
                if not alive[holder] and len(found) < most:
                    found.append(OutboxEvent(*fields))
            return found

        def work(db: sqlite3.Connection) -> list[OutboxEvent]:
            found = find(db)
            ids = [(self._name.name, event.id) for event in found]
            db.executemany("UPDATE events SET holder = ? WHERE id = ?", ids)
            return found

        return await self._writer.write(work) if await self._read(find) else []

    async def take(self, most: int, lease: float) -> list[OutboxEvent]:
        def find(db: sqlite3.Connection) -> list[OutboxEvent]:
            return [OutboxEvent(*row) for row in db.execute(_DUE, (time.time(), most))]

        def work(db: sqlite3.Connection) -> list[OutboxEvent]:
            found = find(db)
            until = time.time() + lease
            ids = [(until, event.id) for event in found]
            db.executemany("UPDATE events SET due = ? WHERE id = ?", ids)
            return found

        # Most looks find nothing, and a look does not wait for those that write.
        return await self._writer.write(work) if await self._read(find) else []

    async def postpone(self, event: OutboxEvent, wait: float, tries: int) -> None:
        due = time.time() + wait

        def work(db: sqlite3.Connection) -> None:
            db.execute("UPDATE events SET tries = ?, due = ? WHERE id = ?", (tries, due, event.id))

        await self._writer.write(work)

    async def _read(self, find: Find) -> list[OutboxEvent]:
        if self._file.number() is None:
            return []
        try:
            return await self._readers.read(find)
        except MissingTable:  # the file has just been made, and nothing is in it yet
            return []
