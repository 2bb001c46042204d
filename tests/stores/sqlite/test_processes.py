"""Several processes on one file: they take turns, and a reader keeps its bytes."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Metadata, Replace
from sluiceway.stores.sqlite.connections import SqliteFile
from sluiceway.stores.sqlite.store import SqliteStore
from sluiceway.testing.store_suite import pattern, read, store_bytes

MIB = 1 << 20
WRITER = """# in a fork
import asyncio, sys
from sluiceway.pipe.budget import Budget
from sluiceway.stores.sqlite.store import SqliteStore
from sluiceway.testing.store_suite import pattern, store_bytes

async def work():
    store = SqliteStore(sys.argv[1], Budget(64 << 20))
    for number in range(15):
        await store_bytes(store, f"{sys.argv[2]}/{number}", pattern(70_000 * (number % 4), number))
    await store.aclose()

asyncio.run(work())
"""
HOLDER = """# in a fork
import asyncio, sys
from sluiceway.pipe.budget import Budget
from sluiceway.stores.sqlite.store import SqliteStore

async def hold():
    reader = await SqliteStore(sys.argv[1], Budget(64 << 20)).open("held")
    print("open", flush=True)
    await asyncio.sleep(600)

asyncio.run(hold())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "files.db"


@pytest.fixture
async def stores(path: Path) -> AsyncIterator[list[SqliteStore]]:
    """Two that do not know of each other, as in two processes."""
    stores = [SqliteStore(f"sqlite:///{path}", Budget(64 << 20)) for _ in range(2)]
    yield stores
    for store in stores:
        await store.aclose()


def rows(path: Path, text: str) -> list[tuple[object, ...]]:
    db = sqlite3.connect(path, timeout=30)
    try:
        with db:
            return db.execute(text).fetchall()
    finally:
        db.close()


def rows_of_bytes(path: Path) -> int:
    return int(str(rows(path, "SELECT count(*) FROM files_chunks")[0][0]))


async def test_processes_that_begin_with_no_file_all_store_their_objects(path: Path) -> None:
    """Four at once make the same file; none is refused and no object is missing."""
    command = [sys.executable, "-c", WRITER, f"sqlite:///{path}"]
    processes = [subprocess.Popen([*command, str(number)]) for number in range(4)]
    try:
        assert [one.wait(120) for one in processes] == [0] * 4
    finally:
        for one in processes:
            one.kill()
    store = SqliteStore(f"sqlite:///{path}", Budget(64 << 20))
    for process in range(4):
        for number in range(15):
            data = pattern(70_000 * (number % 4), number)
            assert await read(store, f"{process}/{number}") == data
    await store.aclose()
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("act", ["delete", "replace"])
async def test_a_download_completes_when_another_process_deletes_its_object(
    stores: list[SqliteStore], path: Path, act: str
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
    assert rows_of_bytes(path) > 1
    await held.aclose()

    assert rows_of_bytes(path) == (0 if act == "delete" else 1)


async def test_a_killed_reader_holds_its_bytes_until_they_are_swept(
    stores: list[SqliteStore], path: Path
) -> None:
    """It looks like a slow one at first; after an hour a sweep frees its bytes, and the file."""
    here = stores[0]
    await store_bytes(here, "held", pattern(6 * MIB))
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, f"sqlite:///{path}"], stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "open\n"
        reader.kill()
    await here.delete("held")
    assert rows_of_bytes(path) > 0
    rows(path, "UPDATE files_readers SET seen = seen - 7200")

    assert await here.sweep() == 1
    assert rows_of_bytes(path) == 0
    for store in stores:
        await store.aclose()
    assert path.stat().st_size < MIB


async def test_a_swept_draft_is_never_published(stores: list[SqliteStore], path: Path) -> None:
    """An upload that rested for an hour loses its rows, and says so instead of losing bytes."""
    here, other = stores
    draft = await here.draft("rests", None)
    await draft.write(pattern(2 * MIB))
    await draft.sync()
    rows(path, "UPDATE files_drafts SET seen = seen - 7200")
    assert await other.sweep() == 1
    await draft.write(b"more")
    with pytest.raises(Exception, match="sweep removed its bytes"):
        await draft.publish("rests", Metadata(""))
    await draft.discard()

    assert (await other.list()).entries == []


async def test_readers_of_a_key_never_get_half_an_object(stores: list[SqliteStore]) -> None:
    """The key is replaced again and again; each reader gets one version whole."""
    contents = [pattern(600_000 + number, number * 1000) for number in range(4)]
    await store_bytes(stores[0], "busy", contents[0])

    looks = 0

    async def replace() -> None:
        turn = 0
        while turn < 12 or looks <= 6:  # a busy machine may give the readers few turns
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


def test_two_processes_may_make_the_tables_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one finds them when its turn comes, although they were missing before."""
    path, tables, columns = str(tmp_path / "a.db"), ("CREATE TABLE a (x)",), {"a": ["x"]}
    has_tables, others = SqliteFile._has_tables, [SqliteFile(path, tables, columns)]

    def overtaken(file: SqliteFile, db: sqlite3.Connection) -> bool:
        found = has_tables(file, db)
        while others:
            others.pop().open_writer().close()
        return found

    monkeypatch.setattr(SqliteFile, "_has_tables", overtaken)
    SqliteFile(path, tables, columns).open_writer().close()
