"""The database that a store, its drafts and its readers share: connections, tables, statements.

    TABLE           key, size, etag, name, type, digest: the finished objects
    TABLE_chunks    their bytes, and those of drafts, in rows of up to 512 KiB
    TABLE_drafts    which bytes belong to uploads under way, and when each was last seen
    TABLE_readers   which bytes some process reads, and when each lease was last renewed

Knows no draft's or reader's class.
"""

from __future__ import annotations

import logging
import uuid
from typing import LiteralString

from sluiceway.errors import SluiceError
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Draft
from sluiceway.stores.postgres.pool import PostgresPool
from sluiceway.stores.rows.object_rows import COLUMNS

__all__ = [
    "LARGEST_ROW",
    "LEASE",
    "SCHEMA",
    "Database",
]

log: logging.Logger = logging.getLogger("sluiceway")

LARGEST_ROW = 512 << 10  # bytes of one row of an object; larger rows gained nothing
# A draft or reader not seen for so long is dead: a silent client is dropped after a minute.
LEASE = "1 hour"
# What is there already is looked at first: to alter it anyhow, or to name it again, would wait for
# all that use the tables, let them wait, and could meet one of them in a deadlock.
SCHEMA: tuple[LiteralString, ...] = (
    """CREATE TABLE IF NOT EXISTS {t} (
        key text COLLATE "C" PRIMARY KEY,
        id uuid NOT NULL UNIQUE,
        size bigint NOT NULL,
        etag text NOT NULL,
        modified double precision NOT NULL,
        filename text NOT NULL,
        type text NOT NULL,
        sha256 text)""",
    # HTTP headers and the user's metadata as JSON, "" for none. Older tables get the column here.
    """DO $$ BEGIN
        IF NOT EXISTS (SELECT FROM pg_attribute
                WHERE attrelid = '{t}'::regclass AND attname = 'more') THEN
            ALTER TABLE {t} ADD COLUMN IF NOT EXISTS more text NOT NULL DEFAULT '';
        END IF;
    END $$""",
    """CREATE TABLE IF NOT EXISTS {t_chunks} (
        id uuid, start bigint, data bytea NOT NULL, PRIMARY KEY (id, start))""",
    # Not compressed: files rarely gain by it, and a part of a row can be read without the rest.
    """DO $$ BEGIN
        IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = '{t_chunks}'::regclass
                AND attname = 'data' AND attstorage <> 'e') THEN
            ALTER TABLE {t_chunks} ALTER COLUMN data SET STORAGE EXTERNAL;
        END IF;
    END $$""",
    """CREATE TABLE IF NOT EXISTS {t_drafts} (
        id uuid PRIMARY KEY, upload text NOT NULL, seen timestamptz NOT NULL DEFAULT now())""",
    # Of a draft that may outlive its process; NULL for others, which a sweep deletes.
    """DO $$ BEGIN
        IF NOT EXISTS (SELECT FROM pg_attribute
                WHERE attrelid = '{t_drafts}'::regclass AND attname = 'epoch') THEN
            ALTER TABLE {t_drafts} ADD COLUMN IF NOT EXISTS epoch bigint;
        END IF;
        IF to_regclass('{t_lasting}') IS NULL THEN
            CREATE INDEX IF NOT EXISTS {t_lasting} ON {t_drafts} (upload) WHERE epoch IS NOT NULL;
        END IF;
    END $$""",
    # Unlogged: no download waits for the disk, and a crash of the server ends all readers anyway.
    """CREATE UNLOGGED TABLE IF NOT EXISTS {t_readers} (
        lease uuid PRIMARY KEY,
        id uuid NOT NULL,
        seen timestamptz NOT NULL DEFAULT now())""",
)

FREE_CHUNKS = """DELETE FROM {t_chunks} WHERE id = %s
    AND NOT EXISTS (SELECT 1 FROM {t} o WHERE o.id = %s)
    AND NOT EXISTS (SELECT 1 FROM {t_readers} r
        WHERE r.id = %s AND r.seen > now() - %s::interval)"""
READ_ROW = """SELECT substring(data FROM (%s::bigint - start + 1)::int
        FOR least(%s::bigint, octet_length(data))::int)
    FROM {t_chunks} WHERE id = %s AND start <= %s ORDER BY start DESC LIMIT 1"""
RENEW_LEASE = "UPDATE {t_readers} SET seen = now() WHERE lease = %s"
END_LEASE = "DELETE FROM {t_readers} WHERE lease = %s RETURNING id"


class Database(PostgresPool):
    """One database and one table in it. Raises BadRequest for a table without a plain name."""

    def __init__(self, url: str, budget: Budget) -> None:
        super().__init__(url, "files", ("_chunks", "_drafts", "_readers", "_lasting"), COLUMNS)
        self.budget: Budget = budget
        self.drafts: set[Draft] = set()  # under way in this process

    async def read_chunk(self, chunks: uuid.UUID, at: int, size: int) -> bytes:
        """The bytes from `at` to the end of their row, at most `size`; none where no row is."""
        rows = await self.rows(READ_ROW, at, size, chunks, at, binary=True)
        return rows[0][0] if rows and rows[0][0] else b""

    async def free_chunks(self, chunks: uuid.UUID) -> None:
        """Delete the bytes that no key names any more. The last reader deletes those in use."""
        try:
            await self.rows(FREE_CHUNKS, chunks, chunks, chunks, LEASE)
        except SluiceError as error:  # the deletion of the key is committed and stands
            log.warning("A deleted object's bytes stay until they are swept: %s", error.detail)

    async def renew_lease(self, lease: uuid.UUID) -> None:
        await self.rows(RENEW_LEASE, lease)

    async def end_lease(self, lease: uuid.UUID) -> None:
        """A reader is closed. Free its bytes when their key was deleted meanwhile.

        Another process that deletes the key now either sees the lease and leaves the bytes to this
        one, or no longer sees it and frees them.
        """
        try:
            for row in await self.rows(END_LEASE, lease):
                await self.free_chunks(row[0])
        except SluiceError as error:
            log.warning("A reader's lease stays until it is swept: %s", error.detail)
