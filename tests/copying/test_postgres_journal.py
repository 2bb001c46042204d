"""The journal in PostgreSQL: one run of one job has it, and the next one knows its rows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from fix_postgres import Database
from sluiceway.client.retry import RetryPolicy
from sluiceway.copying.contract import CopyItem
from sluiceway.copying.journals import postgres as journal_module
from sluiceway.copying.journals.journal import once_key
from sluiceway.copying.journals.postgres import PostgresJournal
from sluiceway.errors import BadRequest
from sluiceway.pipe.receipt import Receipt

ITEMS = [CopyItem(f"k{n}", n, f"v{n}") for n in range(50)]
DIGESTS = (("crc64nvme", "1" * 16), ("sha-256", "0" * 64))


@pytest.fixture
def url(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    table = database.fresh()
    monkeypatch.setattr(journal_module, "RENEW_EVERY", 0.05)
    monkeypatch.setattr(journal_module, "LOOK_EVERY", 0.2)
    monkeypatch.setattr(journal_module, "LEASE", 1.0)
    yield f"{database.url}&table={table}"
    database.rows(f"DROP TABLE IF EXISTS {table}, {table}_objects")


async def opened(url: str, target: str = "b") -> PostgresJournal:
    return await PostgresJournal.opened(url, "a", target, RetryPolicy(1))


async def test_the_next_run_knows_finished_objects_and_people_can_query_them(
    url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By key and version, in the documented columns, whatever characters a key has."""
    monkeypatch.setattr(journal_module, "PAGE", 7)
    assert not await PostgresJournal.exists(url)
    first = await opened(url)
    odd = CopyItem("a\udcff\0" + "ü" * 3000, 7)
    twice = [*ITEMS, ITEMS[0], odd]
    await asyncio.gather(
        *(first.done(item, Receipt(item.size or 0, DIGESTS, "x")) for item in twice)
    )
    await first.aclose()
    second = await opened(url)

    assert second.id == first.id
    assert len(second) == len(ITEMS) + 1
    assert all(second.has(item) for item in ITEMS)
    assert not second.has(CopyItem("k1", 1, "v2"))
    assert once_key(second.id, odd) == once_key(first.id, odd)
    await second.aclose()
    assert await PostgresJournal.exists(url)
    table = url.rpartition("=")[2]
    columns = "version, size, digest, location, extract(epoch from finished)::float"
    ((*row, finished),) = database.rows(f"SELECT {columns} FROM {table}_objects WHERE key = 'k1'")
    assert row == ["v1", 1, f"crc64nvme:{'1' * 16} sha-256:{'0' * 64}", "x"]
    assert isinstance(finished, float)
    assert abs(time.time() - finished) < 600


async def test_one_run_of_one_job_has_it(url: str) -> None:
    """Another one is told so at once; the run of other sides as well."""
    first = await opened(url)
    with pytest.raises(BadRequest, match="Another copy uses the journal"):
        await opened(url)
    with pytest.raises(BadRequest, match="of another source or destination") as refused:
        await opened(url, "c")
    await first.aclose()

    assert "postgres:@" not in refused.value.detail  # user and password
    await (await opened(url)).aclose()


async def test_a_run_that_lost_its_lease_keeps_no_row_any_more(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after kill -9, or in a machine that slept: the next run waits for the end of the lease."""
    monkeypatch.setattr(journal_module, "RENEW_EVERY", 3600.0)
    dead = await opened(url)
    await dead.done(ITEMS[0], Receipt(0, (), "x"))
    taken = await opened(url)

    assert taken.has(ITEMS[0])
    with pytest.raises(BadRequest, match="Another copy took the journal"):
        await dead.done(ITEMS[1], Receipt(1, (), "x"))
    await taken.done(ITEMS[1], Receipt(1, (), "x"))
    await dead.aclose()
    await taken.done(ITEMS[2], Receipt(2, (), "x"))
    await taken.aclose()
