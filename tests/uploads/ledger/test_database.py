"""A ledger in PostgreSQL when something is wrong: broken connections, silence, a frozen process."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest

from fix_postgres import Database
from sluiceway.errors import Superseded, Unavailable
from sluiceway.stores.contract import UploadRequest
from sluiceway.uploads.ledger.deadline import within_deadline
from sluiceway.uploads.ledger.postgres import PostgresLedger
from sluiceway.uploads.ledger.postgres_tables import LEASE
from sluiceway.uploads.ledger.record import UploadRecord

RECORD = UploadRecord("u", "tus", UploadRequest(), created=1.5)


@pytest.fixture
async def table(database: Database) -> AsyncIterator[str]:
    table = database.fresh()
    yield table
    suffixes = ("", "_parts", "_events", "_processes")
    database.rows(f"DROP TABLE IF EXISTS {', '.join(table + suffix for suffix in suffixes)}")


@pytest.fixture
async def ledgers(database: Database, table: str) -> AsyncIterator[list[PostgresLedger]]:
    """Two processes, whose connections can be told from others."""
    url = f"{database.url}&table={table}&application_name={table}"
    opened = [PostgresLedger(url) for _ in range(2)]
    yield opened
    for ledger in opened:
        await ledger.aclose()


async def held(ledger: PostgresLedger) -> UploadRecord:
    await ledger.create(RECORD)
    claimed = await ledger.claim(RECORD.id)
    assert claimed is not None
    assert claimed.holder == ledger.process
    return claimed


async def test_a_ledger_goes_on_after_all_its_connections_broke(
    database: Database, table: str, ledgers: list[PostgresLedger]
) -> None:
    """As after a restart of the database: it saves, and hears what others ask for."""
    one, other = ledgers
    asked: list[str] = []
    one.on_asked(lambda upload, epoch: asked.append(upload))
    record = await held(one)
    await asyncio.sleep(0.2)
    database.rows(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{table}'"
    )
    await one.save(dataclasses.replace(record, offset=5))
    await other.ask(record)
    async with asyncio.timeout(20):
        while not asked:
            await asyncio.sleep(0.01)
    found = await other.find(RECORD.id)
    assert found is not None
    assert found.offset == 5


async def test_a_frozen_process_loses_its_uploads(
    database: Database, table: str, ledgers: list[PostgresLedger]
) -> None:
    """Although its session is there. What it saves afterwards is refused."""
    one, other = ledgers
    record = await held(one)
    await asyncio.sleep(0.2)
    claimed = await other.claim(RECORD.id)
    async with asyncio.timeout(20):
        while claimed is None or claimed.holder != other.process:
            database.rows(
                f"UPDATE {table}_processes SET seen = now() - interval '{LEASE} seconds' "
                f"WHERE name = '{one.process}'"
            )
            claimed = await other.claim(RECORD.id)
    with pytest.raises(Superseded):
        await one.save(dataclasses.replace(record, offset=5))


async def test_a_call_has_a_deadline() -> None:
    with pytest.raises(Unavailable):
        async with within_deadline(0.01):
            await asyncio.sleep(60)
