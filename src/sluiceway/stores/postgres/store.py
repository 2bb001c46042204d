"""Objects in PostgreSQL: a row for each, and rows of its bytes beside it. An object becomes visible by one commit.

    TABLE           key, size, etag, name, type, digest: finished objects
    TABLE_chunks    their bytes, and those of drafts, in rows of up to 512 KiB
    TABLE_drafts    which bytes belong to uploads under way, and when they were last heard of
    TABLE_readers   which bytes somebody reads, in any process, and when that was last heard of

No connection is held between two statements, no session is relied on: it works behind PgBouncer in transaction mode.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace as replaced
from typing import Any, LiteralString
from urllib.parse import unquote, urlsplit, urlunsplit

import psycopg
from psycopg import sql
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from sluiceway.errors import (
    BadRequest,
    Exists,
    NoSpace,
    NotFound,
    PreconditionFailed,
    SluiceError,
    StoreFailed,
    Unavailable,
)
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.descriptors import out_of_descriptors
from sluiceway.stores.contract import (
    Draft,
    Entry,
    Metadata,
    ObjectReader,
    Page,
    Pairs,
    Replace,
    Traits,
    UploadRequest,
)
from sluiceway.stores.metadata_json import extras_json, read_extras
from sluiceway.stores.postgres.draft import PostgresDraft, PostgresReader

__all__ = ["PostgresStore"]

log: logging.Logger = logging.getLogger("sluiceway")

CONNECTIONS = (
    8  # at once; each statement takes one for milliseconds, so more only queue in the server
)
WAIT = 30.0  # seconds for one of them
CONNECT = 10  # seconds the server may take at start
SWEEP_EVERY = 3600.0  # seconds
ASK_AGAIN = 60.0  # seconds after a reader's note was refused, until which no other one is tried
LEASE = "1 hour"  # a draft or reader not heard of for so long is dead: a silent client is given up after a minute
TRIES = 20  # times somebody else may take or free a key in the moment we look at it
COLUMNS = ("key", "id", "size", "etag", "modified", "filename", "type", "sha256", "more")
TABLE = re.compile(
    r"[a-z_][a-z0-9_]{0,40}"
)  # what needs no quotes and leaves room for _chunks below PostgreSQL's 63 bytes


class PostgresStore:
    """`postgresql://USER:PASSWORD@HOST/DATABASE?table=NAME`. The tables are made by `init`."""

    def __init__(self, url: str, budget: Budget) -> None:
        """Nothing is connected yet. Raises BadRequest for a table that has no plain name."""
        self.traits: Traits = Traits(
            name="postgresql", durable=True, atomic_publish=True, create_only=True, resumable=False
        )
        self._url, self._table = _split_table(url)
        self._budget = budget
        self._pool: AsyncConnectionPool[Any] | None = None
        self._live: set[PostgresDraft] = set()
        self._swept = -SWEEP_EVERY
        self._unnoted_until = -ASK_AGAIN  # until then readers leave no note, because it was refused
        self._sweeping: asyncio.Task[None] | None = None

    def query(self, text: LiteralString) -> sql.Composed:
        """A statement of this package: {t}, {t_chunks} … are the tables, {columns} those of an object."""
        tables = ("", "_chunks", "_drafts", "_readers")
        names: dict[str, sql.Composable] = {
            f"t{more}": sql.Identifier(self._table + more) for more in tables
        }
        columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
        return sql.SQL(text).format(**names, columns=columns)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """For a few statements. Raises Unavailable, NoSpace, StoreFailed for what the database says."""
        if self._pool is None:
            self._pool = AsyncConnectionPool(
                self._url, min_size=0, max_size=CONNECTIONS, timeout=WAIT, open=False,
                check=AsyncConnectionPool.check_connection,  # the server may have ended it while nobody used it
                kwargs={"autocommit": True, "prepare_threshold": None},  # None: PgBouncer gives each transaction another session
            )  # fmt: skip
            await self._pool.open()
        try:
            async with self._pool.connection() as connection:
                yield connection
        except (psycopg.Error, PoolTimeout) as error:
            raise _word(error, self._table) from error

    async def rows(self, text: LiteralString, *told: object, binary: bool = False) -> list[Any]:
        """Of one statement, in a transaction of its own; none of one that gives none."""
        async with self.connection() as connection:
            answer = await connection.execute(self.query(text), told, binary=binary)
            return await answer.fetchall() if answer.description else []

    async def init(self) -> None:
        """Make the tables where they are missing."""
        async with self.connection() as connection, connection.transaction():
            for text in SCHEMA:
                await connection.execute(self.query(text))

    async def check(self) -> None:
        """Raises Unavailable where nobody answers, StoreFailed where tables are missing. Warns where they can only be read."""
        try:
            async with await psycopg.AsyncConnection.connect(
                self._url, connect_timeout=CONNECT
            ) as connection:
                await connection.execute(self.query("SELECT {t}.more FROM {t}, {t_chunks} LIMIT 0"))
                told = await connection.execute(MAY_WRITE, (self._table,))
                row = await told.fetchone()
                if row is not None and not row[0]:
                    log.warning(
                        "The database may only be read by this role: nothing can be stored in %r",
                        self._table,
                    )
                    return
                await connection.execute(
                    self.query("SELECT 1 FROM {t_drafts}, {t_readers} LIMIT 0")
                )
        except psycopg.Error as error:
            raise _word(error, self._table) from error

    async def draft(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> Draft:
        draft = PostgresDraft(self, upload, self._budget)
        await draft.begin()
        self._live.add(draft)
        if time.monotonic() - self._swept > SWEEP_EVERY:
            self._swept = time.monotonic()
            self._sweeping = asyncio.get_running_loop().create_task(self._sweep_quietly())
        return draft

    async def _sweep_quietly(self) -> None:
        try:
            await self.sweep()
        except SluiceError as error:
            log.warning("What crashed uploads left was not freed: %s", error.detail)

    async def stat(self, key: str) -> Entry:
        return (await self._find(key))[1]

    async def open(self, key: str) -> ObjectReader:
        if time.monotonic() < self._unnoted_until:
            return PostgresReader(self, *await self._find(key), None)
        lease = uuid.uuid4()
        for _ in range(TRIES):
            try:
                said = await self.rows(HOLD, lease, key)
            except _ReadOnly:
                return await self._open_unnoted(key)
            try:
                found, entry = await self._find(key)
            except BaseException:
                await self.left(lease)
                raise
            if (
                said and said[0][0] == found
            ):  # it was there after the lease was: whoever frees it now sees that
                return PostgresReader(self, found, entry, lease)
            await self.left(lease)
        raise Unavailable(f"{key!r} is being replaced again and again; try later")

    async def _open_unnoted(self, key: str) -> ObjectReader:
        """Where nothing may be written: bytes are read by their id, so they are this version's or an error says they are gone."""
        if self._unnoted_until == -ASK_AGAIN:
            log.warning(
                "The database may only be read: a download breaks off when its object is replaced or deleted meanwhile"
            )
        self._unnoted_until = time.monotonic() + ASK_AGAIN
        self.traits = replaced(self.traits, steady=False)
        return PostgresReader(self, *await self._find(key), None)

    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Page:
        text = """SELECT {columns} FROM {t} WHERE key > %s AND key >= %s AND (%s::text IS NULL OR key < %s)
            ORDER BY key LIMIT %s"""
        end = _above(prefix)
        rows = await self.rows(text, after, prefix, end, end, limit + 1)
        entries = [_entry(row) for row in rows[:limit]]
        more = len(rows) > limit
        return Page(entries, entries[-1].key if more else None, complete=not more)

    async def delete(self, key: str, replace: Replace = Replace(allowed=True)) -> None:
        text = "DELETE FROM {t} WHERE key = %s AND (%s::text IS NULL OR etag = %s) RETURNING id"
        rows = await self.rows(text, key, replace.etag, replace.etag)
        if not rows:
            await self._find(key)  # NotFound where there is none
            raise PreconditionFailed(f"{key!r} is not the version you named; read it again")
        await self.free(rows[0][0])

    async def publish(self, draft: uuid.UUID, entry: Entry, replace: Replace) -> None:
        """Make a draft's bytes the object of its key, in one commit. Raises Exists, PreconditionFailed."""
        metadata = entry.metadata
        told = (
            entry.key,
            draft,
            entry.size,
            entry.etag,
            entry.modified,
            metadata.filename,
            metadata.type,
            metadata.sha256,
            _more(metadata),
        )
        async with self.connection() as connection, connection.transaction():
            for _ in range(TRIES if replace.allowed else 1):
                old = None
                if replace.allowed:
                    there = await connection.execute(self.query(LOCK), (entry.key,))
                    old = await there.fetchone()
                    if replace.etag is not None and (old is None or old[1] != replace.etag):
                        raise PreconditionFailed(
                            f"{entry.key!r} is not the version you named; read it again"
                        )
                # What was free a moment ago is created, or looked at again: the bytes of what is replaced must be known.
                made = await connection.execute(
                    self.query(PUT + (CREATE if old is None else REPLACE)), told
                )
                if made.rowcount == 1:
                    break
            else:
                raise Exists(f"There is already an object {entry.key!r}; it was not touched")
            await connection.execute(self.query("DELETE FROM {t_drafts} WHERE id = %s"), (draft,))
        if old is not None:
            await self.free(old[0])

    async def free(self, found: uuid.UUID) -> None:
        """Give back the bytes that no key leads to any more; those that somebody reads, the last reader gives back."""
        try:
            await self.rows(FREE, found, found, found, LEASE)
        except SluiceError as error:  # what led to it is committed and stands
            log.warning("A deleted object's bytes stay until they are swept: %s", error.detail)

    async def left(self, lease: uuid.UUID) -> None:
        """A reader has closed what it read; who deletes it meanwhile frees it, or sees this lease and leaves that to us."""
        try:
            for row in await self.rows(
                "DELETE FROM {t_readers} WHERE lease = %s RETURNING id", lease
            ):
                await self.free(row[0])
        except SluiceError as error:
            log.warning("A reader's lease stays until it is swept: %s", error.detail)

    async def sweep(self, older: float | None = None) -> int:
        """Free what crashed processes left behind: how many drafts' and objects' bytes it was. Safe beside uploads under way."""
        gone = "DELETE FROM {t_drafts} WHERE seen < now() - %s::interval RETURNING id"
        drafts = {
            row[0] for row in await self.rows(gone, LEASE if older is None else f"{older} seconds")
        }
        await self.rows("DELETE FROM {t_readers} WHERE seen < now() - %s::interval", LEASE)
        orphans = {row[0] for row in await self.rows(ORPHANS)}
        for one in orphans:
            await self.rows("DELETE FROM {t_chunks} WHERE id = %s", one)
        return len(drafts | orphans)

    def ended(self, draft: PostgresDraft) -> None:
        self._live.discard(draft)

    async def aclose(self) -> None:
        if self._sweeping is not None:
            await asyncio.wait([self._sweeping])
        for draft in list(self._live):
            await draft.discard()
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    async def _find(self, key: str) -> tuple[uuid.UUID, Entry]:
        rows = await self.rows("SELECT {columns} FROM {t} WHERE key = %s", key)
        if not rows:
            raise NotFound(f"There is no object {key!r}")
        return rows[0][1], _entry(rows[0])


SCHEMA = (
    """CREATE TABLE IF NOT EXISTS {t} (
        key text COLLATE "C" PRIMARY KEY,
        id uuid NOT NULL UNIQUE,
        size bigint NOT NULL,
        etag text NOT NULL,
        modified double precision NOT NULL,
        filename text NOT NULL,
        type text NOT NULL,
        sha256 text)""",
    # HTTP headers and the user's metadata, as JSON; "" where there are none. Tables made before have it added.
    "ALTER TABLE {t} ADD COLUMN IF NOT EXISTS more text NOT NULL DEFAULT ''",
    "CREATE TABLE IF NOT EXISTS {t_chunks} (id uuid, start bigint, data bytea NOT NULL, PRIMARY KEY (id, start))",
    # Not compressed: files rarely gain by it, and a part of a row can be read without the rest.
    "ALTER TABLE {t_chunks} ALTER COLUMN data SET STORAGE EXTERNAL",
    "CREATE TABLE IF NOT EXISTS {t_drafts} (id uuid PRIMARY KEY, upload text NOT NULL, seen timestamptz NOT NULL DEFAULT now())",
    # Unlogged: no download waits for the disk, and after a crash of the server nobody reads any more.
    """CREATE UNLOGGED TABLE IF NOT EXISTS {t_readers} (
        lease uuid PRIMARY KEY,
        id uuid NOT NULL,
        seen timestamptz NOT NULL DEFAULT now())""",
)

MAY_WRITE = """SELECT has_table_privilege(%s, 'INSERT') AND NOT pg_is_in_recovery()
    AND current_setting('transaction_read_only') = 'off'"""
FREE = """DELETE FROM {t_chunks} WHERE id = %s AND NOT EXISTS (SELECT 1 FROM {t} o WHERE o.id = %s)
    AND NOT EXISTS (SELECT 1 FROM {t_readers} r WHERE r.id = %s AND r.seen > now() - %s::interval)"""


HOLD = "INSERT INTO {t_readers} (lease, id) SELECT %s, id FROM {t} WHERE key = %s RETURNING id"
LOCK = "SELECT id, etag FROM {t} WHERE key = %s FOR UPDATE"
PUT = "INSERT INTO {t} ({columns}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (key) "
CREATE = "DO NOTHING"
REPLACE = """DO UPDATE SET id = EXCLUDED.id, size = EXCLUDED.size, etag = EXCLUDED.etag, modified = EXCLUDED.modified,
    filename = EXCLUDED.filename, type = EXCLUDED.type, sha256 = EXCLUDED.sha256, more = EXCLUDED.more"""

# One id after the other by the index, so that a table of terabytes is not read for it.
ORPHANS = """
    WITH RECURSIVE ids AS (
        (SELECT id FROM {t_chunks} ORDER BY id LIMIT 1)
        UNION ALL
        SELECT (SELECT c.id FROM {t_chunks} c WHERE c.id > ids.id ORDER BY c.id LIMIT 1) FROM ids WHERE ids.id IS NOT NULL
    )
    SELECT id FROM ids WHERE id IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM {t} o WHERE o.id = ids.id)
        AND NOT EXISTS (SELECT 1 FROM {t_drafts} d WHERE d.id = ids.id)
        AND NOT EXISTS (SELECT 1 FROM {t_readers} r WHERE r.id = ids.id)"""


def _split_table(url: str) -> tuple[str, str]:
    """The URL for the driver, and the table it names. Raises BadRequest."""
    parts = urlsplit(url)
    told = [pair.partition("=") for pair in parts.query.split("&") if pair]
    table = next((unquote(value) for name, _, value in told if name == "table"), "files")
    if not TABLE.fullmatch(table):
        raise BadRequest(
            f"The table {table!r} is no plain name: lower-case letters, digits and _, at most 41 of them"
        )
    rest = "&".join(
        "".join(pair) for pair in told if pair[0] != "table"
    )  # as it came: the driver reads + as a plus
    return urlunsplit(parts._replace(query=rest)), table


def _above(prefix: str) -> str | None:
    """The least text that is greater than all that begin so; None where there is none."""
    for at in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[at]) + 1
        if code <= 0x10FFFF:
            return prefix[:at] + chr(
                0xE000 if 0xD800 <= code <= 0xDFFF else code
            )  # no half of a surrogate pair is text
    return None


def _entry(row: Any) -> Entry:
    key, _, size, etag, modified, filename, kind, sha256, more = row
    return Entry(key, size, etag, modified, Metadata(filename, kind, sha256, *_extras(more)))


def _more(metadata: Metadata) -> str:
    return json.dumps(extras) if (extras := extras_json(metadata)) else ""


def _extras(more: str) -> tuple[Pairs, Pairs]:
    try:
        return (read_extras(json.loads(more)) if more else None) or ((), ())
    except (ValueError, RecursionError):
        return (), ()  # written by somebody else


# A role without the right, a read-only transaction, and a standby, which has no unlogged tables.
READ_ONLY = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.FeatureNotSupported,
)


class _ReadOnly(StoreFailed): ...


def _word(error: Exception, table: str) -> SluiceError:
    """What the database says, as one of ours, without its address."""
    if isinstance(error, psycopg.errors.DiskFull):
        return NoSpace("The database's disk is full; nothing was stored")
    if isinstance(error, psycopg.errors.UndefinedTable):
        return StoreFailed(f"The table {table!r} is not there; make it with: sluiceway init URL")
    if isinstance(error, psycopg.errors.UndefinedColumn):
        return StoreFailed(
            f"The table {table!r} was made by an earlier version; run: sluiceway init URL"
        )
    if isinstance(error, READ_ONLY):
        return _ReadOnly(
            "The database lets this role read and not write; use another role, or the primary server"
        )
    if (busy := out_of_descriptors(error)) is not None:
        return busy
    if isinstance(error, PoolTimeout | psycopg.OperationalError):
        return Unavailable(
            "The database cannot be reached, or has no connection free; try again later"
        )
    return StoreFailed(f"The database refused: {str(error).partition(chr(10))[0]}")
