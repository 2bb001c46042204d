"""A database that is away: calls wait a little for it, and find it when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from fix_postgres import Database
from sluiceway.errors import Unavailable
from sluiceway.stores.postgres import pool as pool_module
from sluiceway.stores.postgres.pool import PostgresPool


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[tuple[PostgresPool, str]]:
    """As a role that may not log in while the database is "away"."""
    role = database.fresh()
    database.rows(f"CREATE ROLE {role} NOLOGIN")
    opened = PostgresPool(database.url.replace("postgres:", f"{role}:"), "files", (), ())
    yield opened, role
    await opened.aclose()
    database.rows(f"DROP ROLE {role}")


async def test_nobody_waits_long_for_a_database_that_is_away(
    pool: tuple[PostgresPool, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither who came before that was known, nor who comes then."""
    monkeypatch.setattr(pool_module, "POOL_TIMEOUT", 600.0)
    monkeypatch.setattr(pool_module, "AWAY_TIMEOUT", 0.5)
    async with asyncio.timeout(60):
        for _ in range(2):
            with pytest.raises(Unavailable):
                await pool[0].rows("SELECT 1")


async def test_who_waits_goes_on_when_the_database_is_back(
    pool: tuple[PostgresPool, str], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the pool gave up meanwhile, and nobody else came."""
    monkeypatch.setattr(pool_module, "RECONNECT_TIMEOUT", 0.2)
    monkeypatch.setattr(pool_module, "AWAY_TIMEOUT", 60.0)
    waiting = asyncio.create_task(pool[0].rows("SELECT 1"))
    await asyncio.sleep(1.5)
    database.rows(f"ALTER ROLE {pool[1]} LOGIN")
    assert await waiting == [(1,)]
