"""Several processes on one database: a reader keeps its bytes, and unread bytes are freed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from fix_postgres import Database
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Replace
from sluiceway.stores.postgres.store import PostgresStore
from sluiceway.testing.store_suite import pattern, read, store_bytes

MIB = 1 << 20
HOLDER = """# in a fork
import asyncio, sys
from sluiceway.pipe.budget import Budget
from sluiceway.stores.postgres.store import PostgresStore

async def hold():
    reader = await PostgresStore(sys.argv[1], Budget(64 << 20)).open("held")
    print("open", flush=True)
    await asyncio.sleep(600)

asyncio.run(hold())
"""


@pytest.fixture
def table(database: Database) -> Iterator[str]:
    table = database.fresh()
    yield table
    database.drop(table)


@pytest.fixture
def place(database: Database, table: str) -> str:
    return f"{database.url}&table={table}"


@pytest.fixture
async def stores(place: str) -> AsyncIterator[list[PostgresStore]]:
    """Two that do not know of each other, as in two processes."""
    stores = [PostgresStore(place, Budget(64 << 20)) for _ in range(2)]
    await stores[0].init()
    yield stores
    for store in stores:
        await store.aclose()


def rows_of_bytes(database: Database, table: str) -> int:
    return int(str(database.rows(f"SELECT count(*) FROM {table}_chunks")[0][0]))


async def test_tables_that_are_there_are_made_again_beside_their_users(
    stores: list[PostgresStore], database: Database, table: str
) -> None:
    """`sluiceway init` at each start: it neither waits for uploads and downloads nor meets them in
    a deadlock."""
    user = await psycopg.AsyncConnection.connect(database.url)
    async with user, user.transaction():
        for name in (table, f"{table}_chunks", f"{table}_drafts"):
            await user.execute(f"LOCK TABLE {name} IN ROW EXCLUSIVE MODE")
        await asyncio.wait_for(stores[1].init(), 20)


@pytest.mark.parametrize("act", ["delete", "replace"])
async def test_a_download_completes_when_another_process_deletes_its_object(
    stores: list[PostgresStore], database: Database, table: str, act: str
) -> None:
    """The reader gets all of the old bytes. Closing it frees their rows."""
    here, other = stores
    await store_bytes(here, "held", pattern(5 * MIB))
    held = await here.open("held")
    stream = held.open()
    got = bytes(await anext(stream))
    if act == "delete":
        await other.delete("held")
    else:
        await store_bytes(other, "held", b"new", replace=Replace(allowed=True))
    assert await other.sweep() == 0
    got += b"".join([bytes(chunk) async for chunk in stream])
    assert got == pattern(5 * MIB)
    assert rows_of_bytes(database, table) > 1
    await held.aclose()

    assert rows_of_bytes(database, table) == (0 if act == "delete" else 1)
    assert database.leftovers(table) == []


async def test_deleting_frees_unread_bytes_at_once(
    stores: list[PostgresStore], database: Database, table: str
) -> None:
    """The rows go with the object, also after it was read completely."""
    here, other = stores
    await store_bytes(here, "gone", pattern(3 * MIB))
    assert await read(other, "gone") == pattern(3 * MIB)
    await other.delete("gone")

    assert rows_of_bytes(database, table) == 0
    assert database.leftovers(table) == []


async def test_a_killed_reader_holds_its_bytes_until_they_are_swept(
    stores: list[PostgresStore], database: Database, table: str, place: str
) -> None:
    """It looks like a slow one at first; after an hour a sweep frees its bytes."""
    here = stores[0]
    await store_bytes(here, "held", pattern(3 * MIB))
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, place], stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "open\n"
        reader.kill()
    await here.delete("held")
    assert rows_of_bytes(database, table) > 0
    database.rows(f"UPDATE {table}_readers SET seen = seen - interval '2 hours'")

    assert await here.sweep() == 1
    assert rows_of_bytes(database, table) == 0
    assert database.leftovers(table) == []


async def test_readers_of_a_key_never_get_half_an_object(
    stores: list[PostgresStore], database: Database, table: str
) -> None:
    """The key is replaced again and again; each reader gets one version whole."""
    contents = [pattern(600_000 + number, number * 1000) for number in range(5)]
    await store_bytes(stores[0], "busy", contents[0])

    looks = 0

    async def replace() -> None:
        turn = 0
        while turn < 30 or looks <= 6:  # a busy machine may give the readers few turns
            data = contents[turn % len(contents)]
            await store_bytes(stores[0], "busy", data, replace=Replace(allowed=True))
            turn += 1

    async def look(writing: asyncio.Task[None]) -> None:
        nonlocal looks
        while not writing.done():
            assert await read(stores[1], "busy") in contents
            looks += 1

    writing = asyncio.create_task(replace())
    await asyncio.gather(*(look(writing) for _ in range(3)))
    await writing
    assert rows_of_bytes(database, table) < 20
    assert database.leftovers(table) == []
