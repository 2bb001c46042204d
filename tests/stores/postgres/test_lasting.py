"""Drafts that outlive their process: what an earlier holder still sends changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from fix_postgres import Database
from sluiceway.errors import NotFound, Superseded
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Metadata
from sluiceway.stores.postgres.store import PostgresStore
from sluiceway.stores.unpublished import ResumableDraft
from sluiceway.testing.store_suite import pattern, read

MIB = 1 << 20


@pytest.fixture
async def stores(database: Database) -> AsyncIterator[list[PostgresStore]]:
    """Two servers."""
    table = database.fresh()
    found = [PostgresStore(f"{database.url}&table={table}", Budget(64 << 20)) for _ in range(2)]
    await found[0].init()
    yield found
    for store in found:
        await store.aclose()
    assert database.leftovers(table) == []
    database.drop(table)


async def sync(draft: ResumableDraft, data: bytes) -> None:
    await draft.write(data)
    await draft.sync()


async def test_a_late_write_of_an_earlier_holder_changes_nothing(
    stores: list[PostgresStore],
) -> None:
    """It writes, cuts, publishes and discards in vain, also while the later one writes."""
    early = await stores[0].begin("u", None)
    await sync(early, pattern(MIB))
    saved = early.save()
    await early.write(pattern(100_000, MIB))
    late = await stores[1].resume("u", saved, MIB, None, epoch=1)
    await late.write(pattern(5, MIB))
    with pytest.raises(Superseded):
        await asyncio.gather(early.sync(), late.sync())
    again = await stores[0].resume("u", saved, MIB + 5, None, epoch=2)
    for attempt in (late.truncate(0), sync(late, b"x"), late.publish("k", Metadata("k"))):
        with pytest.raises(Superseded):
            await attempt
    await early.discard()
    await late.discard()
    await again.publish("k", Metadata("k"))
    assert await read(stores[1], "k") == pattern(MIB) + pattern(5, MIB)


async def test_an_earlier_epoch_takes_nothing_up(stores: list[PostgresStore]) -> None:
    draft = await stores[0].begin("u", None)
    await sync(draft, b"abc")
    later = await stores[1].resume("u", draft.save(), 3, None, epoch=7)
    with pytest.raises(Superseded):
        await stores[0].resume("u", draft.save(), 3, None, epoch=6)
    await later.discard()
    with pytest.raises(NotFound):
        await stores[0].resume("u", draft.save(), 3, None, epoch=8)


async def test_a_sweep_leaves_drafts_that_a_ledger_knows(stores: list[PostgresStore]) -> None:
    """However long they rest."""
    draft = await stores[0].begin("u", None)
    await sync(draft, pattern(MIB))
    await draft.suspend()
    assert await stores[1].sweep(0) == 0
    again = await stores[1].resume("u", draft.save(), MIB, None, epoch=1)
    await again.publish("k", Metadata("k"))
    assert await read(stores[0], "k") == pattern(MIB)


async def test_a_draft_that_is_begun_again_is_empty(stores: list[PostgresStore]) -> None:
    """The process that began it died before any client learned of its bytes."""
    first = await stores[0].begin("u", None)
    await sync(first, b"first")
    second = await stores[1].begin("u", None)
    await sync(second, b"second")
    with pytest.raises(Superseded):
        await sync(first, b"more")
    await first.suspend()
    await second.publish("k", Metadata("k"))
    assert await read(stores[0], "k") == b"second"
