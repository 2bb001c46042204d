"""Objects in PostgreSQL: one row for each, and rows of its bytes beside it.

An object becomes visible by one commit. The tables are described in `database`.
"""

from __future__ import annotations

import logging
import time
import uuid
from dataclasses import replace as replaced
from typing import Any

from sluiceway.errors import Exists, NotFound, PreconditionFailed, StoreFailed, Unavailable
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
from sluiceway.stores.monitored import skew_of_time
from sluiceway.stores.postgres.database import LARGEST_ROW, LEASE, SCHEMA, Database
from sluiceway.stores.postgres.draft import PostgresDraft
from sluiceway.stores.postgres.errors import ReadOnlyDatabase
from sluiceway.stores.postgres.lasting_draft import LastingPostgresDraft
from sluiceway.stores.rows.chunk_reader import ChunkReader
from sluiceway.stores.rows.object_rows import end_of_prefix, entry_from_row
from sluiceway.stores.unpublished import COPY_DRAFT, COPY_KEPT, ResumableDraft, SavedDraft

__all__ = ["PostgresStore"]

log: logging.Logger = logging.getLogger("sluiceway")

LEASE_RETRY = 60.0  # seconds after a lease was refused before the next one is tried
OPEN_ATTEMPTS = 20  # times a key may be replaced between two looks while it is opened

SELECT = "SELECT {columns} FROM {t} WHERE key = %s"
LIST = """SELECT {columns} FROM {t} WHERE key > %s AND key >= %s
    AND (%s::text IS NULL OR key < %s) ORDER BY key LIMIT %s"""
DELETE = "DELETE FROM {t} WHERE key = %s AND (%s::text IS NULL OR etag = %s) RETURNING id"
RENAME = """UPDATE {t} SET key = %s, filename = %s
    WHERE key = %s AND (%s::text IS NULL OR etag = %s)
        AND NOT EXISTS (SELECT 1 FROM {t} o WHERE o.key = %s) RETURNING {columns}"""
BEGIN_LEASE = """INSERT INTO {t_readers} (lease, id)
    SELECT %s, id FROM {t} WHERE key = %s RETURNING id"""
MAY_WRITE = """SELECT has_table_privilege(%s, 'INSERT') AND NOT pg_is_in_recovery()
    AND current_setting('transaction_read_only') = 'off'"""
CLOCK = "SELECT extract(epoch FROM clock_timestamp())::float8"
LASTING = """SELECT DISTINCT upload COLLATE "C" AS name FROM {t_drafts}
    WHERE epoch IS NOT NULL AND upload COLLATE "C" > %s AND NOT starts_with(upload, %s)
        AND seen < now() - make_interval(secs => %s) ORDER BY name LIMIT %s"""
COPIES_LEFT = """DELETE FROM {t_drafts} WHERE epoch IS NOT NULL AND starts_with(upload, %s)
    AND seen < now() - make_interval(secs => %s) RETURNING id"""
# Jumps from id to id in the index, so that it does not read a table of terabytes.
ORPHANS = """
    WITH RECURSIVE ids AS (
        (SELECT id FROM {t_chunks} ORDER BY id LIMIT 1)
        UNION ALL
        SELECT (SELECT c.id FROM {t_chunks} c WHERE c.id > ids.id ORDER BY c.id LIMIT 1)
            FROM ids WHERE ids.id IS NOT NULL
    )
    SELECT id FROM ids WHERE id IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM {t} o WHERE o.id = ids.id)
        AND NOT EXISTS (SELECT 1 FROM {t_drafts} d WHERE d.id = ids.id)
        AND NOT EXISTS (SELECT 1 FROM {t_readers} r WHERE r.id = ids.id)"""


class PostgresStore:
    """`postgresql://USER:PASSWORD@HOST/DATABASE?table=NAME`. `init` makes the tables.

    Nothing is connected by the constructor. Raises BadRequest for a table without a plain name.
    """

    def __init__(self, url: str, budget: Budget) -> None:
        self.traits: Traits = Traits(
            name="postgresql",
            durable=True,
            atomic_publish=True,
            create_only=True,
            resumable=True,
            renames=True,
            tells_replaced=True,
            readable_drafts=True,
        )
        self.database: Database = Database(url, budget)
        self._sweep = BackgroundSweep(self.sweep)
        self._no_lease_until = -LEASE_RETRY  # until then readers ask for none: it was refused

    async def init(self) -> None:
        """Make the tables that are missing."""
        async with self.database.connection() as connection, connection.transaction():
            for text in SCHEMA:
                await connection.execute(self.database.query(text))

    async def clock_skew(self) -> float | None:
        async with self.database.connection() as connection:
            asked = time.time()
            row = await (await connection.execute(CLOCK)).fetchone()
        return None if row is None else skew_of_time(float(row[0]), asked)

    async def check(self) -> None:
        """Raises Unavailable without an answer, StoreFailed without the tables.

        Logs a warning where the tables can only be read.
        """
        database = self.database
        async with database.connect_once() as connection:
            await connection.execute(database.query("SELECT {t}.more FROM {t}, {t_chunks} LIMIT 0"))
            row = await (await connection.execute(MAY_WRITE, (database.table,))).fetchone()
            if row is not None and not row[0]:
                log.warning(
                    "This role may only read the database: nothing can be stored in %r",
                    database.table,
                )
                return
            await connection.execute(
                database.query("SELECT {t_drafts}.epoch FROM {t_drafts}, {t_readers} LIMIT 0")
            )

    async def draft(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> Draft:
        draft = PostgresDraft(self.database, upload)
        await draft.begin()
        self._sweep.start_if_due()
        return draft

    async def begin(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> ResumableDraft:
        draft = LastingPostgresDraft(self.database, upload)
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
        draft = LastingPostgresDraft(self.database, upload, saved.state, epoch)
        await draft.resume(offset)
        return draft

    async def find_published(self, upload: str, saved: SavedDraft, key: str) -> Entry | None:
        if not saved.state:
            return None
        rows = await self.database.rows(
            "SELECT {columns} FROM {t} WHERE id = %s", uuid.UUID(saved.state)
        )
        return entry_from_row(rows[0]) if rows else None

    def draft_name(self, upload: str) -> str:
        return upload

    async def has_draft(self, upload: str) -> bool:
        text = "SELECT 1 FROM {t_drafts} WHERE upload = %s AND epoch IS NOT NULL"
        return bool(await self.database.rows(text, upload))

    async def draft_names(self, after: str, most: int, older: float) -> list[str]:
        rows = await self.database.rows(LASTING, after, COPY_DRAFT, older, most)
        return [upload for (upload,) in rows]

    async def remove_draft(self, name: str) -> None:
        text = "DELETE FROM {t_drafts} WHERE upload = %s AND epoch IS NOT NULL RETURNING id"
        for row in await self.database.rows(text, name):
            await self.database.free_chunks(row[0])

    async def stat(self, key: str) -> Entry:
        return (await self._find(key))[1]

    async def open(self, key: str) -> ObjectReader:
        if time.monotonic() < self._no_lease_until:
            return self._reader(*await self._find(key))
        lease = uuid.uuid4()
        for _ in range(OPEN_ATTEMPTS):
            try:
                leased = await self.database.rows(BEGIN_LEASE, lease, key)
            except ReadOnlyDatabase:
                return await self._open_without_lease(key)
            try:
                chunks, entry = await self._find(key)
            except BaseException:
                await self.database.end_lease(lease)
                raise
            # The object was there after its lease: a process that deletes it from now on sees it.
            if leased and leased[0][0] == chunks:
                return self._reader(chunks, entry, lease)
            await self.database.end_lease(lease)
        raise Unavailable(f"{key!r} is being replaced again and again; try later")

    async def _open_without_lease(self, key: str) -> ObjectReader:
        """Where this role may only read. Bytes are read by their id: this version's, or none."""
        if self._no_lease_until == -LEASE_RETRY:
            log.warning(
                "This role may only read the database: "
                "a download breaks off when its object is replaced or deleted meanwhile"
            )
        self._no_lease_until = time.monotonic() + LEASE_RETRY
        self.traits = replaced(self.traits, stable_reads=False)
        return self._reader(*await self._find(key))

    def _reader(
        self, chunks: uuid.UUID, entry: Entry, lease: uuid.UUID | None = None
    ) -> ObjectReader:
        return ChunkReader(self.database, chunks, entry, lease, LARGEST_ROW)

    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Page:
        end = end_of_prefix(prefix)
        rows = await self.database.rows(LIST, after, prefix, end, end, limit + 1)
        entries = [entry_from_row(row) for row in rows[:limit]]
        more = len(rows) > limit
        return Page(entries, entries[-1].key if more else None, complete=not more)

    async def delete(self, key: str, replace: Replace = Replace(allowed=True)) -> None:
        rows = await self.database.rows(DELETE, key, replace.etag, replace.etag)
        if not rows:
            await self._find(key)  # raises NotFound where there is none
            raise PreconditionFailed(f"{key!r} is not the version you named; read it again")
        await self.database.free_chunks(rows[0][0])

    async def rename(self, key: str, new_key: str, etag: str | None = None) -> Entry:
        filename = new_key.rpartition("/")[2]
        rows: list[Any] = []
        try:
            rows = await self.database.rows(RENAME, new_key, filename, key, etag, etag, new_key)
        except StoreFailed:
            # Another client may have taken the key in this moment: then it is there now.
            if not await self.database.rows(SELECT, new_key):
                raise
        if rows:
            return entry_from_row(rows[0])
        if etag not in (None, (await self._find(key))[1].etag):
            raise PreconditionFailed(f"{key!r} is not the version you named; read it again")
        raise Exists(f"There is already an object {new_key!r}; it was not touched")

    async def sweep(self, older: float | None = None) -> int:
        """Delete what crashed processes left behind. Safe beside uploads under way.

        `older` is in seconds, None for an hour. Returns the number of drafts and objects whose
        bytes were freed.
        """
        rows = self.database.rows
        age = LEASE if older is None else f"{older} seconds"
        expired = """DELETE FROM {t_drafts}
            WHERE seen < now() - %s::interval AND epoch IS NULL RETURNING id"""
        drafts = {row[0] for row in await rows(expired, age)}
        drafts |= {row[0] for row in await rows(COPIES_LEFT, COPY_DRAFT, COPY_KEPT)}
        await rows("DELETE FROM {t_readers} WHERE seen < now() - %s::interval", LEASE)
        orphans = {row[0] for row in await rows(ORPHANS)}
        for chunks in orphans:
            await rows("DELETE FROM {t_chunks} WHERE id = %s", chunks)
        return len(drafts | orphans)

    async def aclose(self) -> None:
        await self._sweep.aclose()
        for draft in list(self.database.drafts):
            if isinstance(draft, LastingPostgresDraft):
                await draft.suspend()
            else:
                await draft.discard()
        await self.database.aclose()

    async def _find(self, key: str) -> tuple[uuid.UUID, Entry]:
        """The id of the object's bytes, and the object. Raises NotFound."""
        rows = await self.database.rows(SELECT, key)
        if not rows:
            raise NotFound(f"There is no object {key!r}")
        return rows[0][1], entry_from_row(rows[0])
