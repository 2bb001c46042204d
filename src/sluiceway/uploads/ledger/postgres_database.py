"""The database that a ledger and the counts of its servers share: connections, tables, the lease.

Tables are made when they are first needed. Knows no statement of a ledger or count.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, LiteralString

from sluiceway.stores.postgres.pool import PostgresPool
from sluiceway.uploads.ledger.deadline import CallDeadline
from sluiceway.uploads.ledger.postgres_lease import ProcessLease
from sluiceway.uploads.ledger.postgres_tables import ASKED, LIVING, NEWEST, SCHEMA, SUFFIXES
from sluiceway.uploads.ledger.record import COLUMNS

__all__ = ["LedgerDatabase"]

MAKING_TABLES = 0x736C756963657761  # an advisory lock: servers that start together make them once


class LedgerDatabase:
    """`postgresql://USER:PASSWORD@HOST/DATABASE?table=NAME`, for one event loop."""

    def __init__(self, url: str, place: str = "") -> None:
        """Nothing is connected. `place` tells destinations apart that share the tables.

        Raises BadRequest for a table without a plain name.
        """
        self.pool: PostgresPool = PostgresPool(url, "uploads", SUFFIXES, COLUMNS)
        self.place: str = place
        self.within_deadline: CallDeadline = CallDeadline()
        self.lease: ProcessLease = ProcessLease(self.pool, self._asked, self.within_deadline)
        self.is_ready: bool = False

    @property
    def process(self) -> str:
        """The name of this process among the holders."""
        return self.lease.name

    async def rows(self, text: LiteralString, *values: object) -> list[Any]:
        """Run one statement in a transaction of its own. Returns its rows.

        Raises Unavailable, NoSpace, StoreFailed.
        """
        await self.prepare()
        async with self.within_deadline():
            return await self.pool.rows(text.replace("{living}", LIVING), *values)

    async def together(self, text: LiteralString, **values: object) -> list[Any]:
        """Run statements in one transaction and one round trip. Returns the rows of the last one.

        Raises as `rows`.
        """
        await self.prepare()
        async with self.within_deadline():
            return await self.pool.together(text.replace("{living}", LIVING), **values)

    def query(self, text: LiteralString) -> Any:
        """A statement for `transaction`, as that of a pool; {living} stands for the processes that
        live."""
        return self.pool.query(text.replace("{living}", LIVING))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """Lend a connection for the statements of one transaction. Raises as `rows`."""
        await self.prepare()
        async with (
            self.within_deadline(),
            self.pool.connection() as connection,
            connection.transaction(),
        ):
            yield connection

    async def prepare(self) -> None:
        """Make the tables that are missing, once."""
        if not self.is_ready:
            async with self.within_deadline(), self.pool.connection() as connection:
                await self.make_tables(connection)
                await self.lease.compare_clocks(connection)
            self.is_ready = True

    async def make_tables(self, connection: Any) -> None:
        """A role that may not make tables can use those that are there."""
        found = await connection.execute("SELECT to_regclass(%s)", (self.pool.table + NEWEST,))
        if (await found.fetchone())[0] is None:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock(%s)", (MAKING_TABLES,))
                for text in SCHEMA:
                    await connection.execute(self.pool.query(text))

    async def aclose(self) -> None:
        await self.lease.aclose()
        await self.pool.aclose()

    async def _asked(self) -> list[tuple[str, int]]:
        return await self.pool.rows(ASKED, self.place, self.process)
