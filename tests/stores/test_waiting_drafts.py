"""Complete drafts that wait for other files of their form hold hardly any memory, at remote stores
too.
"""

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
from sluiceway.stores.fsspec.draft import FsspecDraft
from sluiceway.stores.fsspec.store import FsspecStore
from sluiceway.stores.postgres.draft import PostgresDraft
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


async def test_waiting_drafts_hold_hardly_any_memory(store: Store) -> None:
    """Each is complete, waits, and is published with its own bytes."""
    drafts = []
    for number in range(FILES):
        draft = await store.draft(f"d{number}", None)
        assert isinstance(draft, Pausable)
        await draft.write(pattern(SIZE, number))
        await draft.pause()
        assert isinstance(draft, FsspecDraft | PostgresDraft)
        drafts.append(draft)

    assert sum(draft.written - draft._sent for draft in drafts) <= FILES
    for number, draft in enumerate(drafts):
        await draft.publish(f"k{number:02}", Metadata(filename=""))
        assert await read(store, f"k{number:02}") == pattern(SIZE, number)


async def test_a_draft_that_waited_can_be_continued(store: Store) -> None:
    """Later bytes follow those that were there."""
    draft = await store.draft("d", None)
    assert isinstance(draft, Pausable)
    await draft.write(pattern(100_001))
    await draft.pause()
    await draft.pause()
    await draft.write(pattern(SIZE, 100_001))
    await draft.publish("k", Metadata(filename=""))

    assert await read(store, "k") == pattern(100_001 + SIZE)


async def test_the_number_of_drafts_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more than the limit is refused with Unavailable until another one has ended."""
    monkeypatch.setattr(filesystem, "MOST_DRAFTS", 3)
    async with aclosing(FsspecStore(f"fsspec+file://{tmp_path}", Budget(64 << 20))) as store:
        drafts = [await store.draft(f"d{number}", None) for number in range(3)]
        with pytest.raises(Unavailable):
            await store.draft("one-more", None)
        await drafts[0].discard()
        await store.draft("in-its-place", None)
