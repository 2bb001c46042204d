"""What a server may hold of a database: connections, and time for one of them."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from fix_postgres import Database
from sluiceway.errors import Unavailable
from sluiceway.pipe.budget import Budget
from sluiceway.stores.postgres import store as postgres
from sluiceway.stores.postgres.store import CONNECTIONS, PostgresStore


async def test_a_database_has_few_connections(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them busy: the next one waits for WAIT seconds, and is told to come again. WAIT is short here."""
    monkeypatch.setattr(postgres, "WAIT", 0.5)
    store = PostgresStore(database.url, Budget(64 << 20))
    try:
        async with AsyncExitStack() as busy:
            for _ in range(CONNECTIONS):
                await busy.enter_async_context(store.connection())
            with pytest.raises(Unavailable):
                await store.rows("SELECT 1")
        assert await store.rows("SELECT 1") == [(1,)]
    finally:
        await store.aclose()
