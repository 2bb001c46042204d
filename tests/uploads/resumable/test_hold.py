"""Uploads that may outlive a request: one holder at a time, and nothing kept is lost.

Two services over one ledger and one store are two processes to each other.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from held_process import MIB, REQUEST, Process, Start, append, hang, respond, start_process
from sluiceway.errors import (
    BodyCut,
    DigestMismatch,
    Exists,
    NoSpace,
    NotFound,
    OffsetMismatch,
    Superseded,
    TooLarge,
)
from sluiceway.pipe.source import BytesSource, PassingSource
from sluiceway.stores.contract import Entry, Metadata, Replace, UploadRequest
from sluiceway.stores.disk.drafts.draft import DiskDraft
from sluiceway.testing.store_suite import pattern, read, store_bytes
from sluiceway.uploads.keys import KeyTemplate
from sluiceway.uploads.ledger.expiry import Expiry
from sluiceway.uploads.ledger.record import UploadRecord
from sluiceway.uploads.ledger.sqlite import SqliteLedger
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.resumable.resting import resting_snapshot
from sluiceway.uploads.states import State


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    started: list[Process] = []

    def build(**settings: Any) -> Process:
        started.append(start_process(tmp_path, **settings))
        return started[-1]

    yield build
    for process in started:
        if not process.closed:
            await process.aclose()


async def test_an_upload_comes_in_pieces_and_is_published(start: Start) -> None:
    """Its digest goes on from piece to piece; its record says done, with the response."""
    process = start()
    upload = (await process.uploads.create("tus", REQUEST, length=5 * MIB)).id
    at = 0
    for size in (1, 3 * MIB, 70_000, 2 * MIB - 70_001):
        at += size
        assert await append(process, upload, pattern(size, at - size)) == at
        assert process.table.find(upload) is None
        resting = resting_snapshot(await process.uploads.find(upload), process.uploads.store)
        assert (resting["kept"], resting["state"]) == (at, "waiting")
    async with process.uploads.hold(upload) as held:
        assert held.is_whole
        response = await held.finish(respond)
    assert response.body == hashlib.sha256(pattern(5 * MIB)).hexdigest()
    assert await read(process.store, "book") == pattern(5 * MIB)
    found = await process.uploads.find(upload)
    assert (found.state, found.response, found.holder) == (LedgerState.DONE, response, "")
    [event] = await process.uploads.ledger.events.take(10, 60.0)
    assert json.loads(event.body)["data"]["key"] == "book"
    record = process.table.find(upload)
    assert record is not None
    assert record.state is State.COMPLETE


@pytest.mark.parametrize("same", [True, False], ids=["same-process", "other-process"])
async def test_a_new_request_interrupts_the_one_that_runs(start: Start, same: bool) -> None:
    """It goes on where the other one was: what that took is kept, and nothing later counts."""
    one = start()
    other = one if same else start()
    upload = (await one.uploads.create("tus", REQUEST)).id
    sent = [0]
    running = asyncio.create_task(hang(one, upload, sent))
    async with asyncio.timeout(30):
        while sent[0] < MIB:
            await asyncio.sleep(0.01)
    async with other.uploads.hold(upload) as held:
        offset = held.record.offset
        assert MIB <= offset <= sent[0] + 100_000
        with pytest.raises(Superseded):
            await running
        await held.append(BytesSource(b"end"))
        await held.finish(respond)
    stored = await read(other.store, "book")
    assert len(stored) == offset + 3
    assert (
        stored[:MIB]
        == b"".join(pattern(100_000, at) for at in range(0, 11 * 100_000, 100_000))[:MIB]
    )
    assert stored.endswith(b"end")


async def test_one_that_waited_in_vain_learns_the_offset(start: Start) -> None:
    """A newer one interrupted it before it had the upload."""
    process = start()
    upload = (await process.uploads.create("tus", REQUEST)).id

    async def wait() -> None:
        async with process.uploads.hold(upload):
            pass

    async with process.uploads.hold(upload, brief=True) as held:
        await held.append(BytesSource(b"ten bytes."))
        waiting = [asyncio.create_task(wait()) for _ in range(3)]
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    errors = [error for error in outcomes if error is not None]
    assert errors
    assert all(isinstance(error, Superseded) for error in errors)
    assert [error.members for error in errors if isinstance(error, Superseded)] == [
        {"offset": 10}
    ] * len(errors)


async def test_of_many_requests_at_once_each_offset_is_true(start: Start) -> None:
    """Each adds ten bytes at the offset it finds; the object has all of them."""
    processes = [start(), start()]
    upload = (await processes[0].uploads.create("tus", REQUEST)).id

    async def add(process: Process, turn: int) -> int:
        try:
            async with process.uploads.hold(upload) as held:
                return await held.append(BytesSource(bytes([turn]) * 10))
        except Superseded:
            return -1

    found = await asyncio.gather(*(add(processes[n % 2], n) for n in range(12)))
    ends = [end for end in found if end >= 0]
    assert sorted(ends) == sorted(set(ends))
    async with processes[0].uploads.hold(upload) as held:
        assert held.record.offset % 10 == 0
        assert held.record.offset >= max(ends)
        await held.finish(respond)
    stored = await read(processes[0].store, "book")
    assert all(len(set(stored[at : at + 10])) == 1 for at in range(0, len(stored), 10))


async def test_after_a_restart_the_digest_is_that_of_all_bytes(start: Start) -> None:
    """The kept bytes are read again."""
    process = start()
    upload = (await process.uploads.create("tus", REQUEST)).id
    await append(process, upload, pattern(3 * MIB))
    await process.aclose()
    process.closed = True
    later = start()
    await append(later, upload, pattern(MIB, 3 * MIB))
    async with later.uploads.hold(upload) as held:
        assert (await held.finish(respond)).body == hashlib.sha256(pattern(4 * MIB)).hexdigest()


async def test_a_cut_request_keeps_what_arrived(start: Start) -> None:
    process = start()
    upload = (await process.uploads.create("tus", REQUEST, length=MIB)).id

    async def cut() -> AsyncIterator[bytes]:
        yield pattern(400_000)

    with pytest.raises(BodyCut):
        async with process.uploads.hold(upload) as held:
            await held.append(PassingSource(cut(), MIB))
    assert (await process.uploads.find(upload)).offset == 400_000


async def test_an_offset_that_cannot_be_written_down_is_not_spoken(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written down when the upload is let go of, before its client gets a response."""
    process = start()
    upload = (await process.uploads.create("tus", REQUEST, length=2 * MIB)).id
    assert await append(process, upload, pattern(1000)) == 1000
    save, steps = SqliteLedger.save, list[LedgerState]()

    async def counted(ledger: SqliteLedger, record: UploadRecord, *more: Any) -> None:
        steps.append(record.state)
        await save(ledger, record, *more)

    async def full(ledger: SqliteLedger, record: UploadRecord, *more: Any) -> None:
        raise NoSpace("The disk is full")

    monkeypatch.setattr(SqliteLedger, "save", full)
    with pytest.raises(NoSpace):
        await append(process, upload, pattern(1000, 1000))
    monkeypatch.setattr(SqliteLedger, "save", counted)
    assert (await process.uploads.find(upload)).offset == 1000
    assert await append(process, upload, pattern(5000, 1000)) == 6000
    async with process.uploads.hold(upload) as held:
        await held.append(BytesSource(pattern(2 * MIB - 6000, 6000)))
        await held.finish(respond)
    # One wait for the disk where a piece ends, and two for the last one.
    assert steps == [LedgerState.OPEN, LedgerState.FINISHING, LedgerState.DONE]
    assert await read(process.store, "book") == pattern(2 * MIB)


async def test_an_object_of_others_is_not_taken_for_ones_own(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process dies before it published, and another upload has the name: the bytes are there."""
    process, publish = start(), DiskDraft.publish

    async def die(*_: Any) -> Entry:
        raise asyncio.CancelledError

    for offset in (0, 10):
        request = dataclasses.replace(REQUEST, replace=Replace(allowed=True))
        upload = (await process.uploads.create("tus", request, length=1000)).id
        if offset:
            await append(process, upload, pattern(offset))
        monkeypatch.setattr(DiskDraft, "publish", die)
        # Not let go of, as by a process that is killed.
        record = await process.uploads.ledger.claim(upload)
        assert record is not None
        held = process.uploads._held(record)
        await held.append(BytesSource(pattern(1000 - offset, offset)))
        with pytest.raises(asyncio.CancelledError):
            await held.finish(respond)
        monkeypatch.setattr(DiskDraft, "publish", publish)
        await store_bytes(process.store, "book", b"of others", replace=Replace(allowed=True))
        await process.uploads.ledger.release(upload, record.epoch)
        async with process.uploads.hold(upload) as again:
            assert again.record.state is LedgerState.OPEN
            assert again.record.offset >= offset
            await again.cancel("cancelled")
        assert await read(process.store, "book") == b"of others"


async def test_a_request_that_only_looks_waits_for_no_disk(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does one that reads the upload as a part of another one. Nobody holds it afterwards."""
    process = start()
    upload = (await process.uploads.create("tus", REQUEST, length=1000)).id
    whole = (await process.uploads.create("tus", REQUEST)).id
    assert await append(process, upload, pattern(1000)) == 1000
    sync, save, waits = DiskDraft.sync, SqliteLedger.save, list[str]()

    async def synced(draft: DiskDraft) -> int:
        waits.append("sync")
        return await sync(draft)

    async def saved(ledger: SqliteLedger, record: UploadRecord, *more: Any) -> None:
        waits.append(record.id)
        await save(ledger, record, *more)

    async with process.uploads.hold(whole) as joined:
        monkeypatch.setattr(DiskDraft, "sync", synced)
        monkeypatch.setattr(SqliteLedger, "save", saved)
        async with process.uploads.hold(upload) as held:
            assert held.is_whole
            await joined.append_upload(held, 0, 1000)
        assert (waits, (await process.uploads.find(upload)).holder) == ([], "")
        await joined.keep()
    assert waits == ["sync", whole]
    async with process.uploads.hold(upload) as held:
        await held.finish(respond)
    assert await read(process.store, "book") == pattern(1000)


async def test_a_chunk_with_the_wrong_digest_is_forgotten(start: Start) -> None:
    """So is one that is cut; other bytes take its place."""
    process = start()
    upload = (await process.uploads.create("tus", REQUEST)).id
    await append(process, upload, pattern(100))
    right = {"sha-256": hashlib.sha256(pattern(3 * MIB, 100)).digest()}
    async with process.uploads.hold(upload) as held:
        with pytest.raises(DigestMismatch):
            await held.append(BytesSource(bytes(3 * MIB)), right)
        assert held.record.offset == 100

    async def cut() -> AsyncIterator[bytes]:
        yield pattern(400_000, 100)

    with pytest.raises(BodyCut):
        async with process.uploads.hold(upload) as held:
            await held.append(PassingSource(cut(), 3 * MIB), right)
    assert (await process.uploads.find(upload)).offset == 100
    async with process.uploads.hold(upload) as held:
        assert await held.append(BytesSource(pattern(3 * MIB, 100)), right) == 100 + 3 * MIB
        response = await held.finish(respond)
    assert response.body == hashlib.sha256(pattern(3 * MIB + 100)).hexdigest()


async def test_an_upload_has_limits(start: Start) -> None:
    """Its own length and that of the server, before a byte and while they come."""
    process = start(max_size=MIB)
    with pytest.raises(TooLarge):
        await process.uploads.create("tus", REQUEST, length=MIB + 1)
    upload = (await process.uploads.create("tus", REQUEST)).id
    async with process.uploads.hold(upload) as held:
        with pytest.raises(TooLarge):
            await held.set_length(MIB + 1)
        await held.set_length(500)
        with pytest.raises(OffsetMismatch) as found:
            held.check_offset(7)
        assert found.value.members == {"offset": 0}
        with pytest.raises(TooLarge):
            await held.append(BytesSource(bytes(501)))
    assert (await process.uploads.find(upload)).offset <= 500


async def test_a_refused_upload_is_done_with_that_response(start: Start) -> None:
    """The key is taken: to send the last request again changes nothing."""
    process = start()
    await store_bytes(process.store, "book", b"old")
    upload = (await process.uploads.create("tus", REQUEST)).id
    await append(process, upload, b"new")
    async with process.uploads.hold(upload) as held:
        assert (await held.finish(respond)).status == 409
    found = await process.uploads.find(upload)
    assert (found.state, found.code) == (LedgerState.DONE, "exists")
    assert await read(process.store, "book") == b"old"
    assert not list((Path(process.store.root) / ".sluiceway" / "lasting").iterdir())


async def test_a_cancelled_upload_is_gone(start: Start) -> None:
    """Its bytes too; its id is remembered, and forgotten by a later sweep."""
    process = start()
    upload = (await process.uploads.create("tus", REQUEST)).id
    await append(process, upload, pattern(MIB))
    async with process.uploads.hold(upload) as held:
        await held.cancel("cancelled")
    assert not list((Path(process.store.root) / ".sluiceway" / "lasting").iterdir())
    async with process.uploads.hold(upload) as held:
        assert held.record.state is LedgerState.GONE
    assert await process.uploads.sweep() == 0
    assert await process.uploads.sweep(time.time() + 100_000) == 1
    with pytest.raises(NotFound):
        await process.uploads.find(upload)


async def test_a_sweep_ends_exactly_what_has_expired(start: Start) -> None:
    """An upload that a request holds lives on, whatever the clock says."""
    process = start(expiry=Expiry(100))
    old, held_one, fresh = [
        (await process.uploads.create("tus", dataclasses.replace(REQUEST, key=key))).id
        for key in ("old", "held", "fresh")
    ]
    await append(process, old, pattern(1000))
    later = time.time() + 101
    record = await process.uploads.find(fresh)
    await process.uploads.ledger.save(dataclasses.replace(record, expires=later + 50))
    async with process.uploads.hold(held_one):
        assert await process.uploads.sweep(later) == 1
    assert (await process.uploads.find(old)).state is LedgerState.GONE
    assert (await process.uploads.find(held_one)).state is LedgerState.OPEN
    assert (await process.uploads.find(fresh)).state is LedgerState.OPEN
    assert not list((Path(process.store.root) / ".sluiceway" / "lasting").iterdir())


@pytest.mark.parametrize("published", [True, False])
async def test_a_process_that_dies_while_it_publishes_leaves_no_doubt(
    start: Start, published: bool
) -> None:
    """The next request finds the object, or publishes it."""
    process = start()
    upload = (await process.uploads.create("tus", REQUEST)).id
    await append(process, upload, pattern(1000))
    record = dataclasses.replace(
        await process.uploads.find(upload), state=LedgerState.FINISHING, key="book"
    )
    await process.uploads.ledger.save(record)
    if published:
        draft = await process.store.begin(upload, None)
        await draft.write(pattern(1000))
        await draft.publish("book", Metadata("book"))
    async with start().uploads.hold(upload) as held:
        if published:
            assert held.record.state is LedgerState.DONE
        else:
            assert held.record.state is LedgerState.OPEN
            assert (await held.finish(respond)).status == 201
    assert await read(process.store, "book") == pattern(1000)


async def test_a_taken_name_is_refused_before_the_first_byte_or_gets_a_number(start: Start) -> None:
    """Where keys are names. A name that is taken only meanwhile is refused at the end."""
    process = start(template=KeyTemplate("{path}"))
    by_name = UploadRequest(filename="book")
    both = dataclasses.replace(by_name, keeps_both=True)
    replacing = dataclasses.replace(by_name, replace=Replace(allowed=True))
    late = await process.uploads.create("tus", by_name, 3)
    for request in (by_name, both, replacing):
        record = await process.uploads.create("tus", request, 3)
        async with process.uploads.hold(record.id) as held:
            await held.append(BytesSource(b"abc"))
            await held.finish(respond)
    with pytest.raises(Exists):
        await process.uploads.create("tus", by_name, 3)
    async with process.uploads.hold(late.id) as held:
        await held.append(BytesSource(b"xyz"))
        await held.finish(respond)
        assert (held.record.state, held.record.code) == (LedgerState.DONE, "exists")
    assert [entry.key for entry in (await process.store.list()).entries] == ["book", "book (2)"]
