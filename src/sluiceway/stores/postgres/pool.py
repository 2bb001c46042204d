"""Connections to a PostgreSQL database and the names of some tables in it: for stores and ledgers.

No connection is held between two statements and no session state is relied on, so all works behind
PgBouncer in transaction mode. Knows no table's columns.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, LiteralString
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg import sql
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from sluiceway.errors import BadRequest
from sluiceway.stores.postgres.errors import map_error
from sluiceway.wire.urls import join_url

__all__ = ["CONNECTIONS", "PostgresPool"]

# At once. Each statement takes one for milliseconds, so more would only queue in the server.
CONNECTIONS = 8
POOL_TIMEOUT = 30.0  # seconds to wait for one of them
# Seconds until the pool forgets how long it failed. It doubles its waits: after a minute without a
# database, all would wait a minute more than it does.
RECONNECT_TIMEOUT = 1.0
# Seconds to wait for a connection while the database is away. A request asks for several, one after
# the other, and its client would wait for the sum.
AWAY_TIMEOUT = 5.0
CONNECT_TIMEOUT = 10  # seconds the server may take to accept a connection
# Needs no quotes, and leaves room for a suffix such as _chunks below PostgreSQL's 63 bytes.
TABLE_NAME = re.compile(r"[a-z_][a-z0-9_]{0,40}")


class PostgresPool:
    """One database, and a table in it with others of its name. Raises BadRequest for a table
    without a plain name."""

    def __init__(
        self, url: str, default_table: str, suffixes: tuple[str, ...], columns: tuple[str, ...]
    ) -> None:
        """`suffixes` are those of the other tables; `columns` those of the first one."""
        self.url: str
        self.table: str
        self.url, self.table = _split_table(url, default_table)
        self._names: Mapping[str, sql.Composable] = {
            **{f"t{suffix}": sql.Identifier(self.table + suffix) for suffix in ("", *suffixes)},
            "columns": sql.SQL(", ").join(map(sql.Identifier, columns)),
        }
        self._queries: dict[str, bytes] = {}
        self._pool: AsyncConnectionPool[Any] | None = None
        self._waiting: set[asyncio.Timeout] = set()  # those who wait for a connection
        self._is_away = False  # the database, since the pool gave up
        self._reconnecting: asyncio.Task[None] | None = None

    def query(self, text: LiteralString) -> bytes:
        """A statement: {t}, {t_SUFFIX} … stand for the tables, {columns} for those of the first."""
        if (known := self._queries.get(text)) is None:
            known = self._queries[text] = sql.SQL(text).format(**self._names).as_bytes()
        return known

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """Lend a connection for a few statements. Raises Unavailable, NoSpace, StoreFailed."""
        if self._pool is None:
            self._pool = AsyncConnectionPool(
                self.url,
                min_size=0,
                max_size=CONNECTIONS,
                timeout=2 * POOL_TIMEOUT,  # ours ends first
                open=False,
                reconnect_timeout=RECONNECT_TIMEOUT,
                reconnect_failed=self._reconnect,
                # The server may have closed an idle connection.
                check=AsyncConnectionPool.check_connection,
                # No prepared statements: PgBouncer gives each transaction another session.
                kwargs={"autocommit": True, "prepare_threshold": None},
            )
            await self._pool.open()
        try:
            async with AsyncExitStack() as lent:
                async with self._within_deadline():
                    connection = await lent.enter_async_context(self._pool.connection())
                yield connection
        except (psycopg.Error, PoolTimeout) as error:
            raise map_error(error, self.table) from error

    @asynccontextmanager
    async def connect_once(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """A connection outside the pool, which would belong to this event loop for good."""
        try:
            async with await psycopg.AsyncConnection.connect(
                self.url, connect_timeout=CONNECT_TIMEOUT, autocommit=True
            ) as connection:
                yield connection
        except psycopg.Error as error:
            raise map_error(error, self.table) from error

    async def rows(self, text: LiteralString, *values: object, binary: bool = False) -> list[Any]:
        """Run one statement in a transaction of its own. Returns its rows, [] for none."""
        async with self.connection() as connection:
            result = await connection.execute(self.query(text), values, binary=binary)
            return await result.fetchall() if result.description else []

    async def together(self, text: LiteralString, **values: object) -> list[Any]:
        """Run statements in one transaction and one round trip. Returns the rows of the last one.

        Each sees what was committed before it began, as in a transaction of single statements.
        """
        async with self.connection() as connection:
            # By the simple protocol, the only one that takes several: with literals in the text.
            cursor = psycopg.AsyncClientCursor(connection)
            await cursor.execute(self.query(text), values)
            while cursor.nextset():
                pass
            return await cursor.fetchall() if cursor.description else []

    @asynccontextmanager
    async def _within_deadline(self) -> AsyncIterator[None]:
        """Raises PoolTimeout."""
        try:
            async with asyncio.timeout(AWAY_TIMEOUT if self._is_away else POOL_TIMEOUT) as deadline:
                self._waiting.add(deadline)
                try:
                    yield
                finally:
                    self._waiting.discard(deadline)
        except TimeoutError:
            raise PoolTimeout from None
        self._is_away = False

    async def _reconnect(self, pool: AsyncConnectionPool[Any]) -> None:
        """The pool gave up. It begins again when a connection is asked for, and some may wait."""

        async def ask() -> None:
            with suppress(psycopg.Error, PoolTimeout, PoolClosed):
                async with pool.connection(timeout=RECONNECT_TIMEOUT / 20):
                    pass

        if not self._is_away:
            self._is_away, until = True, asyncio.get_running_loop().time() + AWAY_TIMEOUT
            for deadline in self._waiting:
                deadline.reschedule(min(until, deadline.when() or until))
        if pool.get_stats().get("requests_waiting"):
            self._reconnecting = asyncio.get_running_loop().create_task(ask())

    async def aclose(self) -> None:
        if self._reconnecting is not None:
            self._reconnecting.cancel()
            await asyncio.wait([self._reconnecting])
        if self._pool is not None:
            await self._pool.close()
            self._pool = None


def _split_table(url: str, default: str) -> tuple[str, str]:
    """The URL for the driver, and the table it names. Raises BadRequest."""
    parts = urlsplit(url)
    options = [pair.partition("=") for pair in parts.query.split("&") if pair]
    table = next((unquote(value) for name, _, value in options if name == "table"), default)
    if not TABLE_NAME.fullmatch(table):
        raise BadRequest(
            f"{table!r} cannot be the table's name: use lower-case letters, digits and _, "
            "at most 41 of them"
        )
    # The rest stays as it came: the driver reads + as a plus.
    query = "&".join("".join(pair) for pair in options if pair[0] != "table")
    return join_url(parts._replace(query=query)), table
