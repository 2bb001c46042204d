"""A database that may only be read is read: a role with SELECT alone, a read-only session. Whole, or an error."""

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
    """A store that may read: by SELECT on all tables, on the two that hold objects, or in sessions that are read-only."""
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


async def test_objects_are_listed_and_read_where_nothing_may_be_written(
    reader: PostgresStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Whole, in ranges, again; what is not there is not found; what cannot be stored is an error that says why."""
    with caplog.at_level(logging.WARNING):
        await reader.check()
    assert "may only read the database" in caplog.text
    assert [entry.key for entry in (await reader.list()).entries] == ["a/b"]
    assert await read(reader, "a/b") == await read(reader, "a/b") == DATA
    opened = await reader.open("a/b")
    assert (
        b"".join([bytes(piece) async for piece in opened.open(1_000_000, 2_000_001)])
        == DATA[1_000_000:2_000_001]
    )
    await opened.aclose()
    with pytest.raises(NotFound):
        await reader.open("nothing")
    with pytest.raises(StoreFailed, match="lets this role read and not write"):
        await store_bytes(reader, "new", b"1")


@pytest.mark.parametrize("act", ["replace", "delete"])
async def test_what_is_replaced_while_it_is_read_without_a_note_is_an_error(
    reader: PostgresStore, writer: Store, act: str
) -> None:
    """Never a short file, never bytes of another version; and the store says that it is not steady."""
    opened = await reader.open("a/b")
    stream = opened.open()
    got: list[Buffer] = [await anext(stream)]

    async def go_on() -> None:
        async for piece in stream:
            got.append(piece)  # noqa: PERF401  # what came before the error counts, too

    if act == "replace":
        await store_bytes(writer, "a/b", pattern(3 << 20, 7), replace=Replace(allowed=True))
    else:
        await writer.delete("a/b")
    with pytest.raises(StoreFailed):
        await go_on()
    await opened.aclose()

    assert DATA.startswith(b"".join(bytes(piece) for piece in got))
    assert not reader.traits.stable_reads


async def test_a_writers_store_still_leaves_its_note(writer: PostgresStore) -> None:
    """What may be written is: the object keeps its bytes while it is read."""
    opened = await writer.open("a/b")
    await writer.delete("a/b")
    assert b"".join([bytes(piece) async for piece in opened.open()]) == DATA
    await opened.aclose()
    assert writer.traits.stable_reads


async def test_a_hot_standby_is_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A server of its own in recovery, which has no unlogged tables: listed and read, and nothing can be stored."""
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
