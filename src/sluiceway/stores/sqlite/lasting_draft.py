"""A draft in a SQLite file that may outlive its process: another one takes it up at what was kept.

Its row names the epoch of its holder. Each transaction that changes it looks there first, so what
an earlier holder still writes comes before the next one begins, or is refused.
"""

from __future__ import annotations

import sqlite3
import time

from sluiceway.errors import NotFound, StoreFailed, Superseded
from sluiceway.stores.sqlite.database import SqliteDatabase
from sluiceway.stores.sqlite.draft import SqliteDraft
from sluiceway.stores.unpublished import SavedDraft

__all__ = ["LastingSqliteDraft", "forget_drafts"]

FIND = "SELECT id FROM {t_drafts} WHERE upload = ? AND epoch IS NOT NULL"
FORGET = "DELETE FROM {t_drafts} WHERE upload = ? AND epoch IS NOT NULL"
BEGIN = "INSERT INTO {t_drafts} (id, upload, seen, epoch) VALUES (?, ?, ?, 0)"
TAKE_UP = "UPDATE {t_drafts} SET epoch = ?, seen = ? WHERE id = ? AND epoch <= ?"
IS_THERE = "SELECT 1 FROM {t_drafts} WHERE id = ?"
SEEN = "UPDATE {t_drafts} SET seen = ? WHERE id = ? AND epoch = ?"
END = "DELETE FROM {t_drafts} WHERE id = ? AND epoch = ?"
SIZE = """SELECT start + length(data) FROM {t_chunks} WHERE id = ?
    ORDER BY start DESC LIMIT 1"""


class LastingSqliteDraft(SqliteDraft):
    """Rows of a draft that a ledger knows. `begin` or `resume` it first."""

    always_signs = True

    def __init__(
        self, database: SqliteDatabase, upload: str, saved: str = "", epoch: int = 0
    ) -> None:
        """`saved` is the state that `save` returned, for a draft to resume."""
        super().__init__(database, upload)
        self._epoch = epoch
        self._id = saved or self._id

    async def begin(self) -> None:
        """An earlier draft of this upload, of which no client knows, is forgotten."""
        await forget_drafts(self._database, self._upload)
        await self._database.write(BEGIN, self._id, self._upload, time.time())
        self._seen = time.monotonic()

    async def resume(self, offset: int) -> None:
        """Take it up. Raises NotFound, Superseded, StoreFailed."""
        query = self._database.query

        def work(db: sqlite3.Connection) -> None:
            values = (self._epoch, time.time(), self._id, self._epoch)
            if not db.execute(query(TAKE_UP), values).rowcount:
                if db.execute(query(IS_THERE), (self._id,)).fetchone():
                    raise Superseded
                raise NotFound("The bytes of this upload are not there any more")
            self._cut(db, offset)

        await self._database.writer.write(work)
        row = await self._database.readers.read(
            lambda db: db.execute(query(SIZE), (self._id,)).fetchone()
        )
        if (row[0] if row else 0) != offset:
            raise StoreFailed("The kept bytes of an upload are fewer than they were")
        self._sent = self._kept = offset
        self._seen = time.monotonic()

    def save(self) -> SavedDraft:
        return SavedDraft(self._id)

    def saved(self) -> None: ...

    async def suspend(self) -> None:
        await self._stop()

    def _sign_of_life(self, db: sqlite3.Connection) -> None:
        query = self._database.query(SEEN)
        if not db.execute(query, (time.time(), self._id, self._epoch)).rowcount:
            raise Superseded

    def _end_row(self, db: sqlite3.Connection) -> None:
        if not db.execute(self._database.query(END), (self._id, self._epoch)).rowcount:
            raise Superseded

    async def _delete(self) -> None:
        await self._database.writer.write(self._end_row)
        await self._database.free_chunks(self._id, is_needed=False)


async def forget_drafts(database: SqliteDatabase, upload: str) -> None:
    """Delete what is left of an upload that no ledger knows, or knows as ended."""

    def work(db: sqlite3.Connection) -> list[str]:
        found = [str(row[0]) for row in db.execute(database.query(FIND), (upload,))]
        if found:
            db.execute(database.query(FORGET), (upload,))
        return found

    for chunks in await database.writer.write(work):
        await database.free_chunks(chunks, is_needed=False)
