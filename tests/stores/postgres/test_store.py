"""PostgreSQL passes the suite on a real server. The tests look into its tables for leftovers."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from fix_postgres import Database
from killed_writer import keeper, writer
from sluiceway.errors import NotFound, StoreFailed
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Metadata, Store
from sluiceway.stores.postgres.store import PostgresStore
from sluiceway.testing.store_suite import StoreSuite, pattern


class TestPostgresStore(StoreSuite):
    """Directly to the server."""

    large, many = 36 << 20, 60  # more in the long proofs
    place: str
    budget: Budget

    @pytest.fixture(autouse=True)
    def _fresh_tables(self, database: Database) -> Iterator[None]:
        self.database, self.budget = database, Budget(64 << 20)
        self.table = database.fresh()
        self.place = f"{database.url}&table={self.table}"
        yield
        database.drop(self.table)

    async def make_store(self, tmp_path: Path) -> Store:
        store = PostgresStore(self.place, self.budget)
        await store.init()
        return store

    def leftovers(self, store: Store) -> Collection[str]:
        return self.database.leftovers(self.table)

    def command(self, tmp_path: Path) -> list[str]:
        return writer("postgres", self.place)

    def keeper(self, tmp_path: Path, upload: str) -> list[str]:
        return keeper("postgres", self.place, upload)

    async def sweep(self, store: Store) -> None:
        self.database.rows(f"UPDATE {self.table}_drafts SET seen = seen - interval '2 hours'")
        await super().sweep(store)

    def at_end(self, store: Store) -> None:
        assert self.budget.used == 0
        assert self.database.leftovers(self.table) == []

    @pytest.mark.parametrize("refused", [0, 1 << 20])
    async def test_every_call_after_a_refused_row_fails(self, tmp_path: Path, refused: int) -> None:
        """Other rows arrive beside it and after it, but nothing is stored."""
        store = await self.make_store(tmp_path)
        self.database.rows(
            f"ALTER TABLE {self.table}_chunks ADD CHECK "
            f"(NOT int8range(start, start + length(data)) @> {refused}::int8)"
        )
        draft = await store.draft("one", None)

        async def fill() -> None:
            for _ in range(16):
                await draft.write(pattern(256 << 10))
            await draft.sync()

        with pytest.raises(StoreFailed):
            await fill()
        for again in (draft.sync(), draft.write(b"x"), draft.publish("key", Metadata("key"))):
            with pytest.raises(StoreFailed):
                await again
        await draft.discard()

        with pytest.raises(NotFound):
            await store.stat("key")
        self.at_end(store)
        await store.aclose()


class TestPostgresThroughPgBouncer(TestPostgresStore):
    """In transaction mode: two statements may belong to different sessions."""

    variant = True

    @pytest.fixture(autouse=True)
    def _through(self, _fresh_tables: None, bouncer: str) -> None:
        self.place = f"{bouncer}&table={self.table}"
