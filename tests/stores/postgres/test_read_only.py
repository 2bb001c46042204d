"""Objects are read from a database that cannot be written: whole, or with an error.

A role with SELECT alone, a read-only session, a hot standby.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from fix_postgres import PROGRAM, Database
from sluiceway.errors import NotFound, StoreFailed
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Replace, Store
from sluiceway.stores.postgres.store import PostgresStore
from sluiceway.testing.store_suite import pattern, read, store_bytes

DATA = pattern(3 << 20)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def table(database: Database) -> str:
    return database.fresh()


@pytest.fixture
async def writer(database: Database, table: str, anyio_backend: str) -> AsyncIterator[Store]:
    store = PostgresStore(f"{database.url}&table={table}", Budget(64 << 20))
    await store.init()
    await store_bytes(store, "a/b", DATA)
    yield store
    await store.aclose()
    database.drop(table)


@pytest.fixture(params=["role", "few rights", "session"])
async def reader(
    request: pytest.FixtureRequest, database: Database, table: str, writer: Store
) -> AsyncIterator[PostgresStore]:
    """A store with SELECT on all tables, with SELECT on two of them, or in read-only sessions."""
    role = f"reader_{table}"
    if request.param == "session":
        url = f"{database.url}&options={quote('-c default_transaction_read_only=on')}"
    else:
        names = [table, f"{table}_chunks"] + (
            [f"{table}_drafts", f"{table}_readers"] if request.param == "role" else []
        )
        database.rows(f"CREATE ROLE {role} LOGIN")
        database.rows(f"GRANT SELECT ON {', '.join(names)} TO {role}")
        url = database.url.replace("postgres:", f"{role}:", 1)
        assert role in url
    store = PostgresStore(f"{url}&table={table}", Budget(64 << 20))
    yield store
    await store.aclose()
    if request.param != "session":
        database.rows(f"DROP OWNED BY {role}")
        database.rows(f"DROP ROLE {role}")


async def test_objects_are_listed_and_read(
    reader: PostgresStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Whole, in ranges, again. A missing key is not found, and a write names the reason."""
    with caplog.at_level(logging.WARNING):
        await reader.check()
    assert "may only read the database" in caplog.text
    assert [entry.key for entry in (await reader.list()).entries] == ["a/b"]
    assert await read(reader, "a/b") == await read(reader, "a/b") == DATA
    held = await reader.open("a/b")
    assert (
        b"".join([bytes(block) async for block in held.open(1_000_000, 2_000_001)])
        == DATA[1_000_000:2_000_001]
    )
    await held.aclose()
    with pytest.raises(NotFound):
        await reader.open("nothing")
    with pytest.raises(StoreFailed, match="lets this role read and not write"):
        await store_bytes(reader, "new", b"1")


@pytest.mark.parametrize("act", ["replace", "delete"])
async def test_an_object_replaced_while_it_is_read_without_a_lease_is_an_error(
    reader: PostgresStore, writer: Store, act: str
) -> None:
    """Never a short file or bytes of another version; the traits say that reads are not stable."""
    held = await reader.open("a/b")
    stream = held.open()
    got: list[Buffer] = [await anext(stream)]

    async def go_on() -> None:
        async for block in stream:
            got.append(block)  # noqa: PERF401  # the blocks before the error count

    if act == "replace":
        await store_bytes(writer, "a/b", pattern(3 << 20, 7), replace=Replace(allowed=True))
    else:
        await writer.delete("a/b")
    with pytest.raises(StoreFailed):
        await go_on()
    await held.aclose()

    assert DATA.startswith(b"".join(bytes(block) for block in got))
    assert not reader.traits.stable_reads


async def test_a_store_that_may_write_gets_a_lease(writer: PostgresStore) -> None:
    """The object keeps its bytes while it is read."""
    held = await writer.open("a/b")
    await writer.delete("a/b")
    assert b"".join([bytes(block) async for block in held.open()]) == DATA
    await held.aclose()
    assert writer.traits.stable_reads


async def test_a_hot_standby_is_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A server in recovery, which has no unlogged tables, is listed and read; nothing is stored."""
    folder = tmp_path_factory.mktemp("standby")
    with _server(folder) as url:
        store = PostgresStore(f"{url}&table=files", Budget(64 << 20))
        await store.init()
        await store_bytes(store, "a/b", DATA)
        await store.aclose()
    signal = folder / "data" / "standby.signal"
    signal.touch()
    os.chown(signal, signal.parent.stat().st_uid, signal.parent.stat().st_gid)
    with _server(folder) as url:
        store = PostgresStore(f"{url}&table=files", Budget(64 << 20))
        try:
            await store.check()
            assert [entry.key for entry in (await store.list()).entries] == ["a/b"]
            assert await read(store, "a/b") == DATA
            with pytest.raises(StoreFailed, match="lets this role read and not write"):
                await store_bytes(store, "new", b"1")
        finally:
            await store.aclose()


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    command = [sys.executable, str(PROGRAM), str(folder / "data")]
    env = {**os.environ, "XDG_RUNTIME_DIR": str(folder)}
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=env,
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        assert url, "PostgreSQL did not start"
        yield url
