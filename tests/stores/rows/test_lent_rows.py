"""Rows of PostgreSQL and SQLite that threads fill from a sender's connection."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fix_postgres import Database
from lent_sender import LentSender
from lent_ways import OFF, ON, RANDOM, WAYS
from sluiceway.errors import BodyCut, NoSpace, StoreFailed
from sluiceway.pipe import lending
from sluiceway.pipe.budget import BLOCK, MINIMUM, Budget
from sluiceway.pipe.digests import Digests
from sluiceway.pipe.pump import pump
from sluiceway.stores.contract import Draft, Metadata
from sluiceway.stores.postgres.store import PostgresStore
from sluiceway.stores.rows.draft import RowsDraft
from sluiceway.stores.sqlite import connections
from sluiceway.stores.sqlite.store import SqliteStore
from sluiceway.testing.store_suite import pattern, read

DATA = pattern(3 * BLOCK + 70_001)
META = Metadata("f")
Store = PostgresStore | SqliteStore


@pytest.fixture(params=["postgres", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """A store whose budget is all given back at the end."""
    made: Store
    table = ""
    if request.param == "sqlite":
        made = SqliteStore(f"sqlite:///{tmp_path}/files.db?table=files", Budget(64 << 20))
    else:
        database: Database = request.getfixturevalue("database")
        table = database.fresh()
        made = PostgresStore(f"{database.url}&table={table}", Budget(64 << 20))
    await made.init()
    yield made
    await made.aclose()
    assert made.database.budget.used == 0
    assert made.database.budget.share == lending_share(made.database.budget)
    if table:
        database.drop(table)


def lending_share(budget: Budget) -> int:
    """Blocks of a transfer in a budget that no other one uses."""
    return Budget(budget.limit).share


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection is lent after each chunk."""
    monkeypatch.setattr(lending, "FAST_CHUNK", 1)
    monkeypatch.setattr(lending, "APART", 0)


async def filled(store: Store, sender: LentSender, key: str) -> tuple[Draft, str]:
    """A draft with all that the sender brings, and its digest in hexadecimal digits."""
    draft = await store.draft(key, sender.length)
    digests = Digests(budget=store.database.budget)
    try:
        await pump(sender, draft, taps=[digests])
        return draft, (await digests.finish())["sha-256"].hex()
    except BaseException:
        await draft.discard()
        raise
    finally:
        await digests.aclose()
        sender.close()


@pytest.mark.parametrize("way", WAYS)
async def test_threads_fill_the_rows(store: Store, way: str) -> None:
    """Never, always, and handed back at random bytes: the same object, and the same digest."""
    sender = LentSender(DATA, way)
    draft, digest = await filled(store, sender, "a")
    assert digest == hashlib.sha256(DATA).hexdigest()
    assert draft.written == len(DATA)
    entry = await draft.publish("a", META)
    assert entry.size == len(DATA)
    assert await read(store, "a") == DATA
    assert (sender.lent > BLOCK) == (way != OFF)


async def test_what_was_drawn_can_be_kept_read_and_cut(store: Store) -> None:
    """A block that is not full becomes rows when it is asked for, and what follows joins it."""
    draft, _ = await filled(store, LentSender(DATA[: BLOCK + 5], RANDOM), "a")
    assert await draft.sync() == BLOCK + 5 == draft.kept
    assert isinstance(draft, RowsDraft)
    assert await draft.read(BLOCK - 3, 3) == DATA[BLOCK - 3 : BLOCK]
    await draft.truncate(BLOCK - 1)
    sender = LentSender(DATA[BLOCK - 1 :], RANDOM)
    await pump(sender, draft)
    sender.close()
    await draft.publish("a", META)
    assert await read(store, "a") == DATA


async def test_many_share_a_budget_of_two_blocks(store: Store) -> None:
    """Who gets no block goes on through the event loop, and all arrive."""
    store.database.budget.limit = MINIMUM
    senders = [LentSender(DATA, ON) for _ in range(4)]
    drafts = await asyncio.gather(
        *(filled(store, sender, str(number)) for number, sender in enumerate(senders))
    )
    assert {digest for _, digest in drafts} == {hashlib.sha256(DATA).hexdigest()}
    for number, (draft, _) in enumerate(drafts):
        await draft.publish(str(number), META)
        assert await read(store, str(number)) == DATA
    store.database.budget.limit = 64 << 20


async def test_a_sender_that_leaves_within_a_burst_leaves_no_rows(store: Store) -> None:
    with pytest.raises(BodyCut):
        await filled(store, LentSender(DATA, ON, size=BLOCK + BLOCK // 2), "a")
    rows = await store_rows(store)
    assert rows == 0
    assert (await store.list()).entries == []


async def test_rows_that_the_database_refuses_end_the_burst(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its table of rows is gone, or its disk is full: the upload fails with that error."""
    draft = await store.draft("a", len(DATA))
    if isinstance(store, PostgresStore):
        await store.database.rows("DROP TABLE {t_chunks}")
    else:
        monkeypatch.setattr(connections, "RESERVE", 1 << 60)  # bytes that no disk has left
    sender = LentSender(DATA, ON)
    with pytest.raises(StoreFailed if isinstance(store, PostgresStore) else NoSpace):
        await pump(sender, draft)
    await draft.discard()
    sender.close()


async def store_rows(store: Store) -> int:
    """Rows of bytes in the database."""
    if isinstance(store, PostgresStore):
        found = await store.database.rows("SELECT count(*) FROM {t_chunks}")
        return int(found[0][0])
    return await store.database.writer.write(
        lambda db: int(db.execute("SELECT count(*) FROM files_chunks").fetchone()[0])
    )
