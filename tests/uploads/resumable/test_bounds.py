"""What a take-over, a sweep and a cut PUT may cost."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from held_process import respond
from sluiceway.errors import Locked, Superseded
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.cancellation import shield_until_done
from sluiceway.pipe.hashes import DEFAULT_CHOICE, DigestChoice
from sluiceway.pipe.source import BytesSource
from sluiceway.stores.contract import UploadRequest
from sluiceway.stores.disk.store import DiskStore
from sluiceway.testing.store_suite import pattern
from sluiceway.uploads.keys import KeyTemplate
from sluiceway.uploads.ledger.expiry import Expiry
from sluiceway.uploads.ledger.sqlite import SqliteLedger
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.resumable import holding, service, sweeps
from sluiceway.uploads.resumable.adopting import LEAST_ADOPTED, adopt
from sluiceway.uploads.resumable.drafts import wishes
from sluiceway.uploads.resumable.holding import Sender
from sluiceway.uploads.resumable.plain_puts import PlainPut, SeenKey
from sluiceway.uploads.resumable.service import ResumableUploads
from sluiceway.uploads.rules import UploadRules

REQUEST = UploadRequest(key="book", filename="book")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[DiskStore]:
    opened = DiskStore(str(tmp_path / "root"), Budget(16 << 20))
    yield opened
    await opened.aclose()


@pytest.fixture
async def uploads(store: DiskStore, tmp_path: Path) -> AsyncIterator[ResumableUploads]:
    """Those of one process; they expire after 100 seconds."""
    budget, ledger = Budget(16 << 20), SqliteLedger(str(tmp_path / "ledger"))
    rules = UploadRules(store, budget, KeyTemplate(), DEFAULT_CHOICE, None, False)
    opened = ResumableUploads(ledger, rules, budget, ProgressTable(), Expiry(100))
    yield opened
    await opened.aclose()
    await ledger.aclose()


@pytest.mark.parametrize("size", [0, 10, 11])
async def test_a_late_wish_for_a_digest_counts_where_few_bytes_are_read_again(
    uploads: ResumableUploads, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """`--digest auto` counts another one before. At the first byte it costs nothing."""
    monkeypatch.setattr(wishes, "MOST_READ_AGAIN", 10)
    digests = DigestChoice.parse("auto")
    monkeypatch.setattr(uploads, "rules", dataclasses.replace(uploads.rules, digests=digests))
    (upload,) = await create(uploads, 1)
    data = pattern(size or 11)
    async with uploads.hold(upload) as held:
        if not size:
            await held.want("sha-256")
        await held.append(BytesSource(data))
        if size:
            await held.want("sha-256")
        await held.set_length(len(data))
        await held.finish(respond)
    found = None if held.entry is None else held.entry.metadata.sha256
    assert found == (None if size == 11 else hashlib.sha256(data).hexdigest())


async def create(uploads: ResumableUploads, count: int) -> list[str]:
    return [
        (await uploads.create("tus", dataclasses.replace(REQUEST, key=f"k{number}"))).id
        for number in range(count)
    ]


async def test_a_request_waits_a_while_for_the_one_before_it(
    uploads: ResumableUploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that must not be interrupted, or whose destination hangs."""
    monkeypatch.setattr(service, "TAKE_OVER", 0.05)
    (upload,) = await create(uploads, 1)
    async with uploads.hold(upload, brief=True):
        with pytest.raises(Locked):
            async with uploads.hold(upload):
                pass
    async with uploads.hold(upload):
        pass


@pytest.mark.parametrize("known", [Sender.LEFT, Sender.SENDING])
async def test_a_request_whose_client_left_reads_on_for_a_moment(
    uploads: ResumableUploads, monkeypatch: pytest.MonkeyPatch, known: Sender
) -> None:
    """Or may have left, as its bytes still come. Then it is interrupted, as any other."""
    monkeypatch.setattr(holding, "LAST_BYTES", 0.05)
    monkeypatch.setattr(holding, "STILL_COMING", 0.05)
    looks: list[Sender] = []

    def sender() -> Sender:
        looks.append(known)
        return known

    (upload,) = await create(uploads, 1)
    is_held = asyncio.Event()

    async def read_on() -> None:
        async with uploads.hold(upload, sender=sender):
            is_held.set()
            await asyncio.sleep(60)

    reading = asyncio.create_task(read_on())
    await is_held.wait()
    async with uploads.hold(upload):
        pass
    with pytest.raises(Superseded):
        await reading
    assert (len(looks) > 1) is (known is Sender.SENDING)


async def test_a_request_that_commits_all_the_time_is_interrupted(
    uploads: ResumableUploads,
) -> None:
    """What it committed stands, which takes up the interruption: it comes again."""
    (upload,) = await create(uploads, 1)
    is_held = asyncio.Event()

    async def write() -> None:
        async with uploads.hold(upload):
            is_held.set()
            while True:
                await shield_until_done(asyncio.sleep(0.02))
                await asyncio.sleep(0)  # a byte is there at once

    writing = asyncio.create_task(write())
    await is_held.wait()
    async with uploads.hold(upload):
        pass
    with pytest.raises(Superseded):
        await writing


async def test_a_sweep_goes_on_until_nothing_expired_is_left(
    uploads: ResumableUploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "AT_ONCE", 2)
    await create(uploads, 5)
    assert await uploads.sweep(time.time() + 101) == 5


async def test_a_sweep_compares_all_drafts_some_at_a_time(
    uploads: ResumableUploads, store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "NAMES_AT_ONCE", 2)
    for number in range(5):
        draft = await store.begin(f"unknown{number}", None)
        await draft.write(b"left")
        await draft.sync()
        await draft.suspend()
    assert (await uploads.sweeps.remove_leftovers(0)).drafts == 5


async def test_sweeps_come_again(
    uploads: ResumableUploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "INTERVAL", 0.05)
    monkeypatch.setattr(sweeps, "SHORTEST", 0.01)
    uploads.start_sweeping()
    for upload in await create(uploads, 3):
        record = await uploads.find(upload)
        await uploads.ledger.save(dataclasses.replace(record, expires=time.time()))
        async with asyncio.timeout(30):
            while (await uploads.find(upload)).state is not LedgerState.GONE:
                await asyncio.sleep(0.01)


async def test_all_uploads_of_dead_processes_are_recovered(
    uploads: ResumableUploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many are read at a time. One that a request has is left to it, and holds up no other."""
    monkeypatch.setattr(service, "READ_TOGETHER", 2)
    for upload in await create(uploads, 7):
        record = await uploads.find(upload)
        await uploads.ledger.save(dataclasses.replace(record, state=LedgerState.FINISHING, key="k"))
    first, second = await uploads.ledger.finishing("", 2)
    async with uploads.hold_free(first), uploads.hold_free(second):
        for upload in (first, second):
            record = await uploads.find(upload)
            finishing = dataclasses.replace(record, state=LedgerState.FINISHING)
            await uploads.ledger.save(finishing)
        await uploads.recover_abandoned()
        assert await uploads.ledger.finishing("", 10) == [first, second]
    await uploads.recover_abandoned()
    assert await uploads.ledger.finishing("", 10) == []


async def test_a_cut_put_is_written_down_from_so_many_bytes_on(
    uploads: ResumableUploads, store: DiskStore
) -> None:
    for size in (LEAST_ADOPTED - 1, LEAST_ADOPTED):
        draft = await store.draft(f"cut{size}", None)
        await draft.write(b"x" * size)
        put = PlainPut(lambda: True, 0.0)
        put.seen = SeenKey(None, "")
        kept = await adopt(uploads, draft, REQUEST, None, put)
        assert kept == (size if size == LEAST_ADOPTED else 0)
