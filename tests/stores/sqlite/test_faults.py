"""A file that is locked, full, damaged, read-only, replaced or missing: the right error each."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fix_filesystems import Mount
from fix_filesystems import fill as fill_disk
from ordinary_rights import ordinary_rights
from sluiceway.errors import NoSpace, NotFound, StoreFailed, Unavailable
from sluiceway.pipe.budget import Budget
from sluiceway.stores.sqlite import connections
from sluiceway.stores.sqlite.store import SqliteStore
from sluiceway.testing.store_suite import pattern, read, store_bytes

MIB = 1 << 20
DATA = pattern(3 * MIB)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "files.db"


def store_at(path: Path, table: str = "files") -> SqliteStore:
    return SqliteStore(f"sqlite:///{path}?table={table}", Budget(64 << 20))


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    made = store_at(path)
    yield made
    await made.aclose()
    assert made.database.budget.used == 0


async def test_reading_makes_no_file(store: SqliteStore, path: Path) -> None:
    """A mistyped path is empty for readers, and stays missing."""
    assert (await store.list()).entries == []
    for look in (store.stat("a"), store.open("a"), store.delete("a")):
        with pytest.raises(NotFound):
            await look
    assert await store.sweep() == 0
    assert not path.exists()


async def test_a_missing_folder_is_named_to_the_operator_only(tmp_path: Path) -> None:
    store = store_at(tmp_path / "none" / "files.db")
    for work in (store.check(), store.draft("a", 5), store_bytes(store, "a", b"")):
        with pytest.raises(StoreFailed) as caught:
            await work
        assert str(tmp_path) in caught.value.detail
        assert caught.value.public is not None
        assert str(tmp_path) not in caught.value.public
    await store.aclose()


async def test_a_locked_file_is_unavailable(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 after BUSY_TIMEOUT, which is short here; readers go on; then all works again."""
    monkeypatch.setattr(connections.SqliteFile.open_writer, "__defaults__", (0.2,))
    await store_bytes(store, "a", DATA)
    await store.aclose()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(Unavailable, match="locked"):
            await store_bytes(store, "b", DATA)
        with pytest.raises(Unavailable, match="locked"):
            await store.probe()
        assert (await store.stat("a")).size == len(DATA)
    finally:
        other.execute("ROLLBACK")
        other.close()
    await store.probe()
    await store_bytes(store, "b", DATA)
    assert await read(store, "b") == DATA


@pytest.mark.root
async def test_a_full_disk_is_no_space(tmp_path: Path, mount: Mount) -> None:
    """Before the first byte where the length is known; what was stored stays; deleting helps."""
    disk = mount("tmpfs", tmp_path / "disk", "size=64m")
    store = store_at(disk / "files.db")
    for key in ("a", "b"):
        await store_bytes(store, key, DATA)
    with pytest.raises(NoSpace):
        await store.draft("known", 64 * MIB)
    draft = await store.draft("unknown", None)

    async def fill() -> None:
        for _ in range(64):
            await draft.write(pattern(MIB))
        await draft.sync()

    with pytest.raises(NoSpace):
        await fill()
    await draft.discard()
    assert await read(store, "a") == DATA
    fill_disk(disk)
    await store.delete("a")
    await store_bytes(store, "c", DATA)
    assert await read(store, "b") == await read(store, "c") == DATA
    with pytest.raises(NoSpace):
        await store_bytes(store, "d", pattern(8 * MIB) * 3)
    await store.aclose()


@pytest.mark.parametrize("how", ["text", "cut", "scribbled"])
async def test_a_damaged_file_is_an_error_and_is_not_touched(path: Path, how: str) -> None:
    """No SQLite file at all, one that is too short, one with foreign bytes inside."""
    store = store_at(path)
    await store_bytes(store, "a", DATA)
    await store.aclose()
    whole = path.read_bytes()
    damaged = {
        "text": b"This is no database. " * 1000,
        "cut": whole[:40_000],
        "scribbled": whole[:16_384] + os.urandom(100_000) + whole[116_384:],
    }[how]
    path.write_bytes(damaged)
    with pytest.raises(StoreFailed, match="damaged") as caught:
        await read(store, "a")
    assert str(path) not in str(caught.value.public)
    await store.aclose()


async def test_a_table_of_another_program_is_left_alone(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE files (name TEXT)")
    db.close()
    store = store_at(path)
    for work in (store.check(), store_bytes(store, "a", DATA)):
        with pytest.raises(StoreFailed, match=r"another program's.*\?table="):
            await work
    await store.aclose()
    other = store_at(path, "uploads")
    await store_bytes(other, "a", DATA)
    assert await read(other, "a") == DATA
    await other.aclose()


async def test_a_database_of_an_app_keeps_its_own_tables(path: Path) -> None:
    """Files stand beside the app's rows, in a file with pages of another size."""
    db = sqlite3.connect(path)
    with db:
        db.execute("CREATE TABLE books (title TEXT)")
        db.execute("INSERT INTO books VALUES ('one')")
    store = store_at(path)
    await store_bytes(store, "a", DATA)
    assert await read(store, "a") == DATA
    with db:
        db.execute("INSERT INTO books VALUES ('two')")
    assert db.execute("SELECT title FROM books").fetchall() == [("one",), ("two",)]
    db.close()
    await store.aclose()


async def test_a_file_that_is_replaced_while_it_is_served_loses_no_upload(
    store: SqliteStore, path: Path
) -> None:
    """A backup is moved back: later uploads go into the file that is there now."""
    await store_bytes(store, "a", DATA)
    await store.aclose()
    shutil.copy(path, path.with_name("backup"))
    await store_bytes(store, "b", DATA)
    assert await read(store, "b") == DATA
    for name in ("files.db", "files.db-wal", "files.db-shm"):
        path.with_name(name).unlink(missing_ok=True)
    os.replace(path.with_name("backup"), path)
    await store_bytes(store, "c", DATA)

    fresh = store_at(path)
    assert [entry.key for entry in (await fresh.list()).entries] == ["a", "c"]
    assert [entry.key for entry in (await store.list()).entries] == ["a", "c"]
    await fresh.aclose()


@pytest.fixture(params=["file", "folder"])
def read_only(path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file without the right to write, also in such a folder. In a loop of its own: its threads
    keep their rights."""

    async def make() -> None:
        store = store_at(path)
        await store_bytes(store, "a/b", DATA)
        await store.aclose()

    asyncio.run(make())
    path.chmod(0o444)
    path.parent.chmod(0o555 if request.param == "folder" else 0o755)
    yield path
    path.parent.chmod(0o755)
    path.chmod(0o644)


async def test_a_file_that_can_only_be_read_is_read(
    read_only: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Listed and read whole; a write names the reason."""
    with ordinary_rights(), caplog.at_level(logging.WARNING):
        store = store_at(read_only)
        await store.check()
        assert "nothing can be stored" in caplog.text
        assert [entry.key for entry in (await store.list()).entries] == ["a/b"]
        assert await read(store, "a/b") == DATA
        assert await read(store, "a/b", 1_000_000, 2_000_001) == DATA[1_000_000:2_000_001]
        assert not store.traits.stable_reads
        with pytest.raises(StoreFailed, match="can be read and not written"):
            await store_bytes(store, "new", b"1")
        await store.aclose()
