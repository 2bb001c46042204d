"""How many database connections a server may use, and how long it waits for one."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from fix_postgres import Database
from sluiceway.errors import Unavailable
from sluiceway.pipe.budget import Budget
from sluiceway.stores.postgres import pool as pool_module
from sluiceway.stores.postgres.pool import CONNECTIONS
from sluiceway.stores.postgres.store import PostgresStore


async def test_a_server_uses_few_database_connections(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When all are busy, a statement raises Unavailable after POOL_TIMEOUT, which is short here."""
    monkeypatch.setattr(pool_module, "POOL_TIMEOUT", 0.5)
    store = PostgresStore(database.url, Budget(64 << 20))
    try:
        async with AsyncExitStack() as busy:
            for _ in range(CONNECTIONS):
                await busy.enter_async_context(store.database.connection())
            with pytest.raises(Unavailable):
                await store.database.rows("SELECT 1")
        assert await store.database.rows("SELECT 1") == [(1,)]
    finally:
        await store.aclose()
