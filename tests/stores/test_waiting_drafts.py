"""Files of a form that came whole and wait for the others hold next to nothing, at destinations on other machines as well."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from fix_postgres import Database
from sluiceway.errors import Unavailable
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Metadata, Pausable, Store
from sluiceway.stores.fsspec import store as filesystem
from sluiceway.stores.fsspec.store import FsspecStore
from sluiceway.stores.postgres.store import PostgresStore
from sluiceway.testing.store_suite import pattern, read

FILES = 40
SIZE = 30_000  # bytes: what a slow upload may hold


@pytest.fixture(params=["filesystem", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "filesystem":
        made: FsspecStore | PostgresStore = FsspecStore(
            f"fsspec+file://{tmp_path}", Budget(64 << 20)
        )
    else:
        database: Database = request.getfixturevalue("database")
        made = PostgresStore(f"{database.url}&table={database.fresh()}", Budget(64 << 20))
        await made.init()
    async with aclosing(made) as store:
        yield store


async def test_files_that_wait_hold_next_to_nothing(store: Store) -> None:
    """One after the other they come whole and wait; each is published with its own bytes."""
    drafts = []
    for number in range(FILES):
        draft = await store.draft(f"d{number}", None)
        assert isinstance(draft, Pausable)
        await draft.write(pattern(SIZE, number))
        await draft.pause()
        assert hasattr(draft, "_held")
        drafts.append(draft)
    held = sum(len(piece) for draft in drafts for piece in getattr(draft, "_held", ()))

    assert held <= FILES
    for number, draft in enumerate(drafts):
        await draft.publish(f"k{number:02}", Metadata(filename=""))
        assert await read(store, f"k{number:02}") == pattern(SIZE, number)


async def test_what_waited_can_go_on(store: Store) -> None:
    """More bytes after all: they follow those that were there."""
    draft = await store.draft("d", None)
    assert isinstance(draft, Pausable)
    await draft.write(pattern(100_001))
    await draft.pause()
    await draft.pause()
    await draft.write(pattern(SIZE, 100_001))
    await draft.publish("k", Metadata(filename=""))

    assert await read(store, "k") == pattern(100_001 + SIZE)


async def test_files_on_their_way_have_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more than there may be is told to come again, and has its place when another one ended."""
    monkeypatch.setattr(filesystem, "MOST_DRAFTS", 3)
    async with aclosing(FsspecStore(f"fsspec+file://{tmp_path}", Budget(64 << 20))) as store:
        drafts = [await store.draft(f"d{number}", None) for number in range(3)]
        with pytest.raises(Unavailable):
            await store.draft("one-more", None)
        await drafts[0].discard()
        await store.draft("in-its-place", None)
