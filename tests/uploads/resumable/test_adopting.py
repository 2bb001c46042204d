"""What cut PUTs of one key leave, in two processes that know of each other by the ledger only."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sluiceway.pipe.budget import Budget
from sluiceway.pipe.hashes import DEFAULT_CHOICE
from sluiceway.pipe.source import BytesSource, PassingSource
from sluiceway.stores.contract import Draft, UploadRequest
from sluiceway.stores.disk.store import DiskStore
from sluiceway.uploads.keys import KeyTemplate
from sluiceway.uploads.ledger.expiry import Expiry
from sluiceway.uploads.ledger.record import FinalResponse
from sluiceway.uploads.ledger.sqlite import SqliteLedger
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.resumable import adopting
from sluiceway.uploads.resumable.adopting import LEAST_ADOPTED, SmallPut, adopt, begin_plain
from sluiceway.uploads.resumable.by_key import upload_of
from sluiceway.uploads.resumable.plain_puts import PlainPut
from sluiceway.uploads.resumable.service import ResumableUploads
from sluiceway.uploads.rules import UploadRules

KEY = "book"
REQUEST = UploadRequest(key=KEY, filename=KEY)


class Process:
    """One of them: its own ledger and store, in folders that all share."""

    def __init__(self, folder: Path) -> None:
        budget = Budget(16 << 20)
        self.store = DiskStore(str(folder / "root"), budget)
        self.ledger = SqliteLedger(str(folder / "ledger"))
        rules = UploadRules(self.store, budget, KeyTemplate(), DEFAULT_CHOICE, None, False)
        self.uploads = ResumableUploads(self.ledger, rules, budget, ProgressTable(), Expiry(100))

    async def begin(self, name: str, began: float = 0.0) -> tuple[PlainPut, Draft]:
        put = PlainPut(lambda: True, began)
        await begin_plain(self.uploads, KEY, put)
        draft = await self.store.draft(name, None)
        await draft.write(name.encode() * LEAST_ADOPTED)
        return put, draft

    async def cut(self, begun: tuple[PlainPut, Draft]) -> int:
        put, draft = begun
        return await adopt(self.uploads, draft, REQUEST, None, put)

    async def aclose(self) -> None:
        await self.uploads.aclose()
        await self.ledger.aclose()
        await self.store.aclose()


@pytest.fixture
async def processes(tmp_path: Path) -> AsyncIterator[tuple[Process, Process]]:
    both = Process(tmp_path), Process(tmp_path)
    yield both
    for each in both:
        await each.aclose()


async def test_of_two_that_did_not_know_of_each_other_none_is_kept(
    processes: tuple[Process, Process],
) -> None:
    """Which one is younger nobody can tell where both began at once: a client that asks must not
    get the other's offset."""
    one, two = processes
    first, second = await one.begin("a", 7.0), await two.begin("b", 7.05)
    assert await one.cut(first) == LEAST_ADOPTED
    assert await two.cut(second) == 0
    record = await one.uploads.find(upload_of(KEY))
    assert (record.state, record.code) == (LedgerState.GONE, "superseded")


@pytest.mark.parametrize("is_cut_first", [True, False], ids=["older first", "younger first"])
async def test_of_two_that_did_not_know_of_each_other_the_younger_is_kept(
    processes: tuple[Process, Process], is_cut_first: bool
) -> None:
    one, two = processes
    first, second = await one.begin("a", 7.0), await two.begin("bb", 7.5)
    if is_cut_first:
        assert await one.cut(first) == LEAST_ADOPTED
        assert await two.cut(second) == 2 * LEAST_ADOPTED
    else:
        assert await two.cut(second) == 2 * LEAST_ADOPTED
        assert await one.cut(first) == 0
    record = await one.uploads.find(upload_of(KEY))
    assert (record.state, record.offset) == (LedgerState.OPEN, 2 * LEAST_ADOPTED)


async def test_one_that_saw_what_another_left_is_younger(
    processes: tuple[Process, Process],
) -> None:
    one, two = processes
    assert await one.cut(await one.begin("a")) == LEAST_ADOPTED
    second = await two.begin("bb")
    assert (await one.uploads.find(upload_of(KEY))).state is LedgerState.GONE
    assert await two.cut(second) == 2 * LEAST_ADOPTED


async def test_digests_of_an_upload_that_another_process_began_anew_are_not_continued(
    processes: tuple[Process, Process],
) -> None:
    """The first process has hashed the beginning of a file that is not there any more."""
    one, two = processes
    upload, pieces = upload_of(KEY), (b"a" * 1000, b"b" * 1000, b"c" * 500)
    await one.uploads.create("put", REQUEST, 1500, upload=upload)
    async with one.uploads.hold(upload) as held:
        await held.append(BytesSource(pieces[0]))
    async with two.uploads.hold(upload) as held:
        await held.restart(REQUEST, 1500, {})
        await held.append(BytesSource(pieces[1]))
    async with one.uploads.hold(upload) as held:
        await held.append(BytesSource(pieces[2]))
        await held.finish(lambda outcome: FinalResponse(201))
    entry = await one.store.stat(KEY)
    assert entry.metadata.sha256 == hashlib.sha256(b"".join(pieces[1:])).hexdigest()


async def test_a_small_put_in_parts_ends_the_older_upload_with_its_first_part(
    processes: tuple[Process, Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process may be killed before the next one; a question would be answered by the older."""
    one, _ = processes
    monkeypatch.setattr(adopting, "SOON", 3600.0)
    assert await one.cut(await one.begin("a", 7.0)) == LEAST_ADOPTED
    upload = upload_of(KEY)
    with SmallPut(one.uploads, KEY) as put:
        async for _ in put.watched(PassingSource(_chunks("whole"), 5)).open():
            assert (await one.uploads.find(upload)).state is LedgerState.OPEN
    with SmallPut(one.uploads, KEY) as put:
        async for _ in put.watched(PassingSource(_chunks("wh", "ole"), 5)).open():
            while (await one.uploads.find(upload)).state is LedgerState.OPEN:
                await asyncio.sleep(0.001)  # the time limit of tests ends this


async def _chunks(*parts: str) -> AsyncIterator[bytes]:
    for part in parts:
        yield part.encode()
