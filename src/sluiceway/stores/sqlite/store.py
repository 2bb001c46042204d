"""Objects in a SQLite file: one row for each, and rows of its bytes beside it.

An object becomes visible by one commit. The tables are described in `connections`; they are made
at the first use.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
import uuid
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace as replaced
from typing import Any, cast

from sluiceway.errors import Exists, NoSpace, NotFound, PreconditionFailed, StoreFailed
from sluiceway.pipe.budget import Budget
from sluiceway.stores.background_sweep import BackgroundSweep
from sluiceway.stores.contract import (
    Draft,
    Entry,
    ObjectReader,
    Page,
    Replace,
    Traits,
    UploadRequest,
)
from sluiceway.stores.rows.chunk_reader import ChunkReader
from sluiceway.stores.rows.object_rows import end_of_prefix, entry_from_row
from sluiceway.stores.sqlite.database import END_LEASE, LARGEST_ROW, LEASE, SqliteDatabase
from sluiceway.stores.sqlite.draft import END, SqliteDraft
from sluiceway.stores.sqlite.errors import MissingTable, ReadOnlyFile, map_error
from sluiceway.stores.sqlite.lasting_draft import LastingSqliteDraft, forget_drafts
from sluiceway.stores.sqlite.place import SqlitePlace
from sluiceway.stores.unpublished import COPY_DRAFT, COPY_KEPT, ResumableDraft, SavedDraft

__all__ = ["SqliteStore"]

log: logging.Logger = logging.getLogger("sluiceway")

PROBE_TIMEOUT = 2.0  # seconds that a probe of readiness waits for another writer
FREED_AT_ONCE = 256  # pages that one step of a sweep gives back to the file system

SELECT = "SELECT {columns} FROM {t} WHERE key = ?"
LIST = """SELECT {columns} FROM {t} WHERE key > ? AND key >= ? AND (? IS NULL OR key < ?)
    ORDER BY key LIMIT ?"""
DELETE = "DELETE FROM {t} WHERE key = ?"
RENAME = "UPDATE {t} SET key = ?, filename = ? WHERE key = ?"
FIND_ID = "SELECT {columns} FROM {t} WHERE id = ?"
HAS_DRAFT = "SELECT 1 FROM {t_drafts} WHERE upload = ? AND epoch IS NOT NULL"
LASTING = """SELECT DISTINCT upload FROM {t_drafts} WHERE epoch IS NOT NULL AND upload > ?
    AND upload NOT GLOB ? AND seen < ? ORDER BY upload LIMIT ?"""
# What a ledger may know is its own to end; drafts of copies are in none.
DEAD = """SELECT id FROM {t_drafts} WHERE (epoch IS NULL AND seen < ?)
    OR (epoch IS NOT NULL AND upload GLOB ? AND seen < ?)"""
BEGIN_LEASE = "INSERT INTO {t_readers} (lease, id, seen) VALUES (?, ?, ?)"
# Jumps from id to id in the index, so that it does not read a table of terabytes.
ORPHANS = """
    WITH RECURSIVE ids (id) AS (
        SELECT min(id) FROM {t_chunks}
        UNION ALL
        SELECT (SELECT min(c.id) FROM {t_chunks} c WHERE c.id > ids.id)
            FROM ids WHERE ids.id IS NOT NULL
    )
    SELECT id FROM ids WHERE id IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM {t} o WHERE o.id = ids.id)
        AND NOT EXISTS (SELECT 1 FROM {t_drafts} d WHERE d.id = ids.id)
        AND NOT EXISTS (SELECT 1 FROM {t_readers} r WHERE r.id = ids.id)"""


class SqliteStore:
    """`sqlite:///FILE.db?table=NAME`. The constructor opens nothing. Raises BadRequest.

    Args:
        url: The place, without a key.
        budget: Where the bytes of rows in memory are counted.

    Example:
        store = SqliteStore("sqlite:///files.db?table=files", Budget(64 << 20))
    """

    def __init__(self, url: str, budget: Budget) -> None:
        self.traits: Traits = Traits(
            name="sqlite",
            durable=True,
            atomic_publish=True,
            create_only=True,
            resumable=True,
            readable_drafts=True,
            renames=True,
            tells_replaced=True,
        )
        self.database: SqliteDatabase = SqliteDatabase(SqlitePlace.parse(url), budget)
        self._sweep = BackgroundSweep(self.sweep)

    async def init(self) -> None:
        """Make the file and the tables."""
        await self.database.writer.commit(lambda _: None)

    async def check(self) -> None:
        """Make file and tables where they are missing, and keep nothing open.

        Logs a warning where the file can only be read. Raises StoreFailed, Unavailable.
        """
        try:
            await asyncio.to_thread(self._try_writing)
        except ReadOnlyFile as error:
            try:
                await self.list(limit=1)
            finally:
                await self.database.readers.aclose()
            log.warning("%s: nothing can be stored", error.detail)

    async def probe(self) -> None:
        """Raises Unavailable while another program holds the file for longer than two seconds."""
        await asyncio.to_thread(self._try_writing, PROBE_TIMEOUT)

    async def draft(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> Draft:
        if size:
            await asyncio.to_thread(self._check_room, size)
        draft = SqliteDraft(self.database, upload)
        self._sweep.start_if_due()
        return draft

    async def begin(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> ResumableDraft:
        if size:
            await asyncio.to_thread(self._check_room, size)
        draft = LastingSqliteDraft(self.database, upload)
        await draft.begin()
        self._sweep.start_if_due()
        return draft

    async def resume(
        self,
        upload: str,
        saved: SavedDraft,
        offset: int,
        size: int | None,
        upload_request: UploadRequest = UploadRequest(),
        epoch: int = 0,
    ) -> ResumableDraft:
        draft = LastingSqliteDraft(self.database, upload, saved.state, epoch)
        await draft.resume(offset)
        return draft

    async def adopt(self, draft: Draft, upload: str) -> ResumableDraft:
        ours = cast("SqliteDraft", draft)
        await forget_drafts(self.database, upload)
        lasting = LastingSqliteDraft(self.database, upload, await ours.hand_over(upload))
        await lasting.resume(ours.written)
        return lasting

    async def find_published(self, upload: str, saved: SavedDraft, key: str) -> Entry | None:
        rows = await self._rows(FIND_ID, saved.state) if saved.state else []
        return entry_from_row(rows[0]) if rows else None

    def draft_name(self, upload: str) -> str:
        return upload

    async def has_draft(self, upload: str) -> bool:
        return bool(await self._rows(HAS_DRAFT, upload))

    async def draft_names(self, after: str, most: int, older: float) -> list[str]:
        rows = await self._rows(LASTING, after, f"{COPY_DRAFT}*", time.time() - older, most)
        return [str(upload) for (upload,) in rows]

    async def remove_draft(self, name: str) -> None:
        await forget_drafts(self.database, name)

    async def stat(self, key: str) -> Entry:
        return (await self._find(key))[1]

    async def open(self, key: str) -> ObjectReader:
        database, lease = self.database, uuid.uuid4().hex
        if not self.traits.stable_reads:
            return self._reader(*await self._find(key))

        def work(db: sqlite3.Connection) -> Any:
            row = db.execute(database.query(SELECT), (key,)).fetchone()
            if row is not None:
                db.execute(database.query(BEGIN_LEASE), (lease, row[1], time.time()))
            return row

        await self._find(key)  # a database that does not exist is not made by a reader
        try:
            row = await database.writer.write(work)
        except ReadOnlyFile:
            return await self._open_without_lease(key)
        except asyncio.CancelledError:
            await database.end_lease(lease)
            raise
        if row is None:
            raise NotFound(f"There is no object {key!r}")
        return self._reader(row[1], entry_from_row(row), lease)

    async def _open_without_lease(self, key: str) -> ObjectReader:
        """Where the file cannot be written. Bytes are read by their id: this version's, or none."""
        log.warning(
            "%s can only be read: a download breaks off when its object is replaced or deleted "
            "by another program meanwhile",
            self.database.file.path,
        )
        self.traits = replaced(self.traits, stable_reads=False)
        return self._reader(*await self._find(key))

    def _reader(self, chunks: str, entry: Entry, lease: str | None = None) -> ObjectReader:
        return ChunkReader(self.database, chunks, entry, lease, LARGEST_ROW)

    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Page:
        end = end_of_prefix(prefix)
        rows = await self._rows(LIST, after, prefix, end, end, limit + 1)
        entries = [entry_from_row(row) for row in rows[:limit]]
        more = len(rows) > limit
        return Page(entries, entries[-1].key if more else None, complete=not more)

    async def delete(self, key: str, replace: Replace = Replace(allowed=True)) -> None:
        query = self.database.query

        def work(db: sqlite3.Connection) -> str:
            row = db.execute(query(SELECT), (key,)).fetchone()
            if row is None:
                raise NotFound(f"There is no object {key!r}")
            chunks, entry = str(row[1]), entry_from_row(row)
            if replace.etag is not None and entry.etag != replace.etag:
                raise PreconditionFailed(f"{key!r} is not the version you named; read it again")
            db.execute(query(DELETE), (key,))
            return chunks

        await self._find(key)
        await self.database.free_chunks(await self.database.writer.commit(work))

    async def rename(self, key: str, new_key: str, etag: str | None = None) -> Entry:
        query = self.database.query

        def work(db: sqlite3.Connection) -> Entry:
            row = db.execute(query(SELECT), (key,)).fetchone()
            if row is None:
                raise NotFound(f"There is no object {key!r}")
            if etag not in (None, entry_from_row(row).etag):
                raise PreconditionFailed(f"{key!r} is not the version you named; read it again")
            if db.execute(query(SELECT), (new_key,)).fetchone() is not None:
                raise Exists(f"There is already an object {new_key!r}; it was not touched")
            db.execute(query(RENAME), (new_key, new_key.rpartition("/")[2], key))
            return entry_from_row(db.execute(query(SELECT), (new_key,)).fetchone())

        await self._find(key)
        return await self.database.writer.commit(work)

    async def sweep(self, older: float | None = None) -> int:
        """Delete what crashed processes left behind, and shrink the file by what is free in it.

        `older` is in seconds, None for an hour. Returns the number of drafts and objects whose
        bytes were freed.
        """
        query, now = self.database.query, time.time()

        def expire(db: sqlite3.Connection) -> tuple[set[str], set[str]]:
            old = now - (LEASE if older is None else older)
            values = (old, f"{COPY_DRAFT}*", now - COPY_KEPT)
            dead = {str(row[0]) for row in db.execute(query(DEAD), values)}
            db.executemany(query(END), [(chunks,) for chunks in dead])
            db.execute(query("DELETE FROM {t_readers} WHERE seen < ?"), (now - LEASE,))
            return dead, {str(row[0]) for row in db.execute(query(ORPHANS))}

        if self.database.file.number() is None:
            return 0
        drafts, orphans = await self.database.writer.write(expire)
        for chunks in orphans:
            await self.database.free_chunks(chunks)
        while await self.database.writer.write(_shrink):
            pass
        return len(drafts | orphans)

    async def aclose(self) -> None:
        await self._sweep.aclose()
        for draft in list(self.database.drafts):
            await (draft.suspend() if isinstance(draft, LastingSqliteDraft) else draft.discard())
        await self.database.aclose()

    async def _find(self, key: str) -> tuple[str, Entry]:
        """The id of the object's bytes, and the object. Raises NotFound."""
        rows = await self._rows(SELECT, key)
        if not rows:
            raise NotFound(f"There is no object {key!r}")
        return str(rows[0][1]), entry_from_row(rows[0])

    async def _rows(self, text: str, *values: object) -> Sequence[Any]:
        """What a statement finds; nothing where no table is yet."""
        query = self.database.query(text)
        try:
            return await self.database.readers.read(lambda db: db.execute(query, values).fetchall())
        except MissingTable:
            return []

    def _try_writing(self, timeout: float | None = None) -> None:
        """Blocking. Takes the lock for a moment, by a connection of its own."""
        file = self.database.file
        try:
            db = file.open_writer() if timeout is None else file.open_writer(timeout)
            try:
                db.execute("BEGIN IMMEDIATE")
                # Only a change shows that the file can be written.
                db.execute(self.database.query(END_LEASE), ("",))
                db.execute("ROLLBACK")
            finally:
                db.close()
        except sqlite3.Error as error:
            raise map_error(error, file.path) from error

    def _check_room(self, size: int) -> None:
        """Blocking. Raises NoSpace, and StoreFailed where the folder is missing."""
        file = self.database.file
        try:
            with closing(sqlite3.connect(":memory:")) as empty:
                file.check_room(size, empty)
        except NoSpace:
            with closing(file.open_reader()) as db:  # deleted objects may have left room in it
                file.check_room(size, db)
        except OSError:
            raise StoreFailed(
                f"The folder of {file.path} does not exist; make it"
            ).for_operator() from None


def _shrink(db: sqlite3.Connection) -> bool:
    """Give back some free pages; whether there are more. A file made elsewhere gives back none."""
    before = int(db.execute("PRAGMA freelist_count").fetchone()[0])
    db.execute(f"PRAGMA incremental_vacuum({FREED_AT_ONCE})").fetchall()
    after = int(db.execute("PRAGMA freelist_count").fetchone()[0])
    return 0 < after < before
