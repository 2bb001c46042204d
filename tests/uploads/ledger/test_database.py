"""A ledger in PostgreSQL when something is wrong: broken connections, silence, a frozen process."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest

from fix_postgres import Database
from sluiceway.errors import StoreFailed, Superseded, Unavailable
from sluiceway.stores.contract import UploadRequest
from sluiceway.uploads.elsewhere.postgres_channel import PostgresChannel
from sluiceway.uploads.ledger import deadline, postgres_lease
from sluiceway.uploads.ledger.deadline import CallDeadline
from sluiceway.uploads.ledger.postgres import PostgresLedger
from sluiceway.uploads.ledger.postgres_database import LedgerDatabase
from sluiceway.uploads.ledger.postgres_tables import ALIVE_FOR, LEASE
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
    opened = [PostgresLedger(LedgerDatabase(url)) for _ in range(2)]
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


async def test_a_process_is_seen_as_long_as_it_holds_an_upload(
    monkeypatch: pytest.MonkeyPatch, database: Database, ledgers: list[PostgresLedger]
) -> None:
    """Also when a slow client brings nothing for longer than names are kept; then no more."""
    monkeypatch.setattr(postgres_lease, "STAYS_FOR", 0.1)
    one, other = ledgers
    record = await held(one)
    await asyncio.sleep(2 * ALIVE_FOR)
    found = await other.claim(RECORD.id)
    assert found is not None
    assert found.holder == one.process
    await one.save(dataclasses.replace(record, offset=5, holder=""))
    sessions = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    async with asyncio.timeout(20):
        while database.rows(sessions) != [(1,)]:  # that of the other one, which claims
            await other.claim(RECORD.id)
            await asyncio.sleep(0.05)


async def test_a_role_that_may_only_read_is_refused_in_words(
    database: Database, table: str, ledgers: list[PostgresLedger]
) -> None:
    await ledgers[0].check()
    database.rows(f"CREATE ROLE {table} LOGIN")
    try:
        tables = ", ".join(table + suffix for suffix in ("", "_parts", "_events", "_processes"))
        database.rows(f"GRANT SELECT ON {tables} TO {table}")
        url = database.url.replace("postgres:", f"{table}:") + f"&table={table}"
        reading = PostgresLedger(LedgerDatabase(url))
        with pytest.raises(StoreFailed, match="may only read"):
            await reading.check()
        await reading.aclose()
    finally:
        database.rows(f"DROP OWNED BY {table}; DROP ROLE {table}")


async def test_behind_a_pooler_processes_hear_and_outlive_each_other(
    bouncer: str, database: Database, table: str
) -> None:
    """No session is theirs there: they look what is asked, and their row alone says they live.
    What one says to all is heard by none."""
    for url, heard in ((bouncer, False), (database.url, True)):
        said = LedgerDatabase(f"{url}&table={table}")
        assert await PostgresChannel(said).is_heard() is heard
        await said.aclose()
    one, other = (PostgresLedger(LedgerDatabase(f"{bouncer}&table={table}")) for _ in range(2))
    try:
        await one.check()
        asked: list[tuple[str, int]] = []
        one.on_asked(lambda upload, epoch: asked.append((upload, epoch)))
        record = await held(one)
        await other.ask(record)
        async with asyncio.timeout(20):
            while not asked:
                await asyncio.sleep(0.01)
        assert asked[0] == (RECORD.id, record.epoch)
        await one.save(dataclasses.replace(record, offset=5, holder=""))
        claimed = await other.claim(RECORD.id)
        assert claimed is not None
        assert (claimed.holder, claimed.offset) == (other.process, 5)
        with pytest.raises(Superseded):
            await one.save(dataclasses.replace(record, offset=6))
        database.rows(f"UPDATE {table}_processes SET seen = now() WHERE name = '{one.process}'")
        assert database.rows(f"SELECT count(lock) FROM {table}_processes") == [(0,)]
    finally:
        for ledger in (one, other):
            await ledger.aclose()


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


async def test_a_call_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shorter one after it waited in vain: a request makes several calls."""
    monkeypatch.setattr(deadline, "CALL_TIMEOUT", 0.05)
    within_deadline, loop = CallDeadline(), asyncio.get_running_loop()
    with pytest.raises(Unavailable):
        async with within_deadline():
            await asyncio.sleep(60)
    for waits in (True, False):
        monkeypatch.setattr(deadline, "CALL_TIMEOUT" if waits else "AWAY_TIMEOUT", 60.0)
        monkeypatch.setattr(deadline, "AWAY_TIMEOUT" if waits else "CALL_TIMEOUT", 0.05)
        began = loop.time()
        with pytest.raises(Unavailable):
            async with within_deadline():
                await asyncio.sleep(60)
        assert loop.time() - began < 50
        monkeypatch.setattr(deadline, "AWAY_TIMEOUT", 60.0)
        async with within_deadline():
            pass
