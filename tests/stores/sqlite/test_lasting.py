"""Drafts that outlive their process: what an earlier holder still writes changes nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sluiceway.errors import Superseded
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Metadata
from sluiceway.stores.sqlite.store import SqliteStore
from sluiceway.stores.unpublished import COPY_DRAFT
from sluiceway.testing.store_suite import pattern, read


async def test_a_late_write_of_an_earlier_holder_changes_nothing(tmp_path: Path) -> None:
    """It writes, cuts, publishes and discards in vain. A sweep leaves the draft, a ledger's own;
    that of a copy as well, for a month."""
    stores = [SqliteStore(f"sqlite:///{tmp_path}/x.db", Budget(16 << 20)) for _ in range(2)]
    early = await stores[0].begin("u", None)
    await early.write(pattern(1000))
    assert await early.sync() == 1000
    await early.write(pattern(100, 1000))
    late = await stores[1].resume("u", early.save(), 1000, None, epoch=1)
    for attempt in (early.sync(), early.truncate(0), early.publish("k", Metadata("k"))):
        with pytest.raises(Superseded):
            await attempt
    await early.discard()
    copied = await stores[0].begin(f"{COPY_DRAFT}1", None)
    assert await stores[0].sweep(0) == 0
    assert await stores[0].draft_names("", 10, -1) == ["u"]
    await copied.discard()
    await late.write(pattern(5, 1000))
    await late.publish("k", Metadata("k"))
    assert await read(stores[0], "k") == pattern(1000) + pattern(5, 1000)
    assert not await stores[0].has_draft("u")
    for store in stores:
        await store.aclose()


async def test_a_draft_of_one_request_may_last(tmp_path: Path) -> None:
    """What a cut request brought goes on in another process; a sweep leaves it alone."""
    stores = [SqliteStore(f"sqlite:///{tmp_path}/x.db", Budget(16 << 20)) for _ in range(2)]
    size = 700_001
    for upload in ("u", "v"):
        cut = await stores[0].draft(upload, None)
        await cut.write(pattern(size))
        kept = await stores[0].adopt(cut, "put")  # the newer one replaces the older
        assert await kept.sync() == size
        await kept.suspend()
    await cut.discard()
    assert await stores[0].sweep(0) == 0
    assert await stores[1].draft_names("", 10, -1) == ["put"]
    late = await stores[1].resume("put", kept.save(), size, None, epoch=3)
    await late.write(pattern(1000, size))
    await late.publish("k", Metadata("k"))
    assert await read(stores[1], "k") == pattern(size) + pattern(1000, size)
    for store in stores:
        await store.aclose()
    with closing(sqlite3.connect(tmp_path / "x.db")) as db:
        assert db.execute("SELECT count(DISTINCT id) FROM files_chunks").fetchone() == (1,)


async def test_a_file_of_an_earlier_version_gets_what_it_lacks(tmp_path: Path) -> None:
    """Its first use adds the column of drafts that last; uploads and sweeps work."""
    store = SqliteStore(f"sqlite:///{tmp_path}/x.db?table=kept", Budget(16 << 20))
    await store.init()
    await store.aclose()
    with closing(sqlite3.connect(tmp_path / "x.db")) as db:
        db.execute("ALTER TABLE kept_drafts DROP COLUMN epoch")
    await store.check()
    assert await store.draft_names("", 10, -1) == []
    draft = await store.begin("u", None)
    await draft.write(pattern(1000))
    await draft.publish("k", Metadata("k"))
    assert await store.sweep(0) == 0
    assert await read(store, "k") == pattern(1000)
    await store.aclose()
