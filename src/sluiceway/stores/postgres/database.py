"""The database that a store, its drafts and its readers share: connections, tables, statements.

    TABLE           key, size, etag, name, type, digest: the finished objects
    TABLE_chunks    their bytes, and those of drafts, in rows of up to 512 KiB
    TABLE_drafts    which bytes belong to uploads under way, and when each was last seen
    TABLE_readers   which bytes some process reads, and when each lease was last renewed

No connection is held between two statements and no session state is relied on, so all works behind
PgBouncer in transaction mode. Knows no draft's or reader's class.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, LiteralString
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg import sql
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from sluiceway.errors import BadRequest, SluiceError
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Draft
from sluiceway.stores.postgres.errors import map_error
from sluiceway.stores.rows.object_rows import COLUMNS
from sluiceway.wire.urls import join_url

__all__ = [
    "CONNECTIONS",
    "LARGEST_ROW",
    "LEASE",
    "SCHEMA",
    "Database",
]

log: logging.Logger = logging.getLogger("sluiceway")

# At once. Each statement takes one for milliseconds, so more would only queue in the server.
CONNECTIONS = 8
POOL_TIMEOUT = 30.0  # seconds to wait for one of them
LARGEST_ROW = 512 << 10  # bytes of one row of an object; larger rows gained nothing
CONNECT_TIMEOUT = 10  # seconds the server may take to accept a connection
# A draft or reader not seen for so long is dead: a silent client is dropped after a minute.
LEASE = "1 hour"
# Needs no quotes, and leaves room for _chunks below PostgreSQL's 63 bytes.
TABLE_NAME = re.compile(r"[a-z_][a-z0-9_]{0,40}")

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
    "ALTER TABLE {t} ADD COLUMN IF NOT EXISTS more text NOT NULL DEFAULT ''",
    """CREATE TABLE IF NOT EXISTS {t_chunks} (
        id uuid, start bigint, data bytea NOT NULL, PRIMARY KEY (id, start))""",
    # Not compressed: files rarely gain by it, and a part of a row can be read without the rest.
    "ALTER TABLE {t_chunks} ALTER COLUMN data SET STORAGE EXTERNAL",
    """CREATE TABLE IF NOT EXISTS {t_drafts} (
        id uuid PRIMARY KEY, upload text NOT NULL, seen timestamptz NOT NULL DEFAULT now())""",
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


class Database:
    """One database and one table in it. Raises BadRequest for a table without a plain name."""

    def __init__(self, url: str, budget: Budget) -> None:
        address, table = _split_table(url)
        self.url: str = address
        self.table: str = table
        self.budget: Budget = budget
        self.drafts: set[Draft] = set()  # under way in this process
        self._pool: AsyncConnectionPool[Any] | None = None

    def query(self, text: LiteralString) -> sql.Composed:
        """A statement: {t}, {t_chunks} … stand for the tables, {columns} for those of an object."""
        tables = ("", "_chunks", "_drafts", "_readers")
        names: dict[str, sql.Composable] = {
            f"t{suffix}": sql.Identifier(self.table + suffix) for suffix in tables
        }
        columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
        return sql.SQL(text).format(**names, columns=columns)

    async def read_chunk(self, chunks: uuid.UUID, at: int, size: int) -> bytes:
        """The bytes from `at` to the end of their row, at most `size`; none where no row is."""
        rows = await self.rows(READ_ROW, at, size, chunks, at, binary=True)
        return rows[0][0] if rows and rows[0][0] else b""

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """Lend a connection for a few statements. Raises Unavailable, NoSpace, StoreFailed."""
        if self._pool is None:
            self._pool = AsyncConnectionPool(
                self.url,
                min_size=0,
                max_size=CONNECTIONS,
                timeout=POOL_TIMEOUT,
                open=False,
                # The server may have closed an idle connection.
                check=AsyncConnectionPool.check_connection,
                # No prepared statements: PgBouncer gives each transaction another session.
                kwargs={"autocommit": True, "prepare_threshold": None},
            )
            await self._pool.open()
        try:
            async with self._pool.connection() as connection:
                yield connection
        except (psycopg.Error, PoolTimeout) as error:
            raise map_error(error, self.table) from error

    @asynccontextmanager
    async def connect_once(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """A connection outside the pool, which would belong to this event loop for good."""
        try:
            async with await psycopg.AsyncConnection.connect(
                self.url, connect_timeout=CONNECT_TIMEOUT
            ) as connection:
                yield connection
        except psycopg.Error as error:
            raise map_error(error, self.table) from error

    async def rows(self, text: LiteralString, *values: object, binary: bool = False) -> list[Any]:
        """Run one statement in a transaction of its own. Returns its rows, [] for none."""
        async with self.connection() as connection:
            result = await connection.execute(self.query(text), values, binary=binary)
            return await result.fetchall() if result.description else []

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

    async def aclose(self) -> None:
        if self._pool is not None:
            await self._pool.close()
            self._pool = None


def _split_table(url: str) -> tuple[str, str]:
    """The URL for the driver, and the table it names. Raises BadRequest."""
    parts = urlsplit(url)
    options = [pair.partition("=") for pair in parts.query.split("&") if pair]
    table = next((unquote(value) for name, _, value in options if name == "table"), "files")
    if not TABLE_NAME.fullmatch(table):
        raise BadRequest(
            f"{table!r} cannot be the table's name: use lower-case letters, digits and _, "
            "at most 41 of them"
        )
    # The rest stays as it came: the driver reads + as a plus.
    query = "&".join("".join(pair) for pair in options if pair[0] != "table")
    return join_url(parts._replace(query=query)), table
