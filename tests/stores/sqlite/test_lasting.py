"""Drafts that outlive their process: what an earlier holder still writes changes nothing."""

from __future__ import annotations

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
