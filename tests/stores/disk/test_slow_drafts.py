"""Drafts of slow senders: what many of them hold is written together, and none loses a byte."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Metadata
from sluiceway.stores.disk.drafts import live_drafts
from sluiceway.stores.disk.drafts.draft import IDLE_BYTES, DiskDraft
from sluiceway.stores.disk.drafts.live_drafts import LiveDrafts
from sluiceway.stores.disk.store import DiskStore
from sluiceway.testing.store_suite import pattern, read

MANY = 50
PIECE = IDLE_BYTES // 2


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DiskStore]:
    monkeypatch.setattr(live_drafts, "LOOK_EVERY", 0.02)
    store = DiskStore(str(tmp_path), Budget(64 << 20))
    yield store
    await store.aclose()


async def test_what_many_slow_drafts_hold_is_written_and_nothing_is_lost(store: DiskStore) -> None:
    drafts = [await store.draft(f"upload-{number}.0", 1 << 20) for number in range(MANY)]
    for at in range(7):
        for number, draft in enumerate(drafts):
            await draft.write(pattern(PIECE, 100 * number + at))
        await asyncio.sleep(0.05)
    for draft in drafts:
        assert isinstance(draft, DiskDraft)
        for _ in range(500):
            if not draft.holds_much:
                break
            await asyncio.sleep(0.02)
        assert not draft.holds_much
    for number, draft in enumerate(drafts):
        await draft.publish(f"slow-{number}", Metadata("x"))
        wanted = b"".join(pattern(PIECE, 100 * number + at) for at in range(7))
        assert await read(store, f"slow-{number}") == wanted


def open_files(folder: Path) -> int:
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one that read the list
            link = os.readlink(f"/proc/self/fd/{fd}")
            found += link.startswith(str(folder)) and os.path.isfile(link)
    return found


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
async def test_a_large_draft_that_pauses_holds_one_descriptor_and_goes_on_fast(
    store: DiskStore, tmp_path: Path
) -> None:
    before = open_files(tmp_path)
    draft = await store.draft("upload-0.0", 64 << 20)
    assert isinstance(draft, DiskDraft)
    whole = b"".join(pattern(1 << 20, number) for number in range(6))
    for at in range(0, len(whole), 1 << 20):
        if at == len(whole) // 2:
            assert open_files(tmp_path) == before + 2
            await draft.become_idle()
            assert open_files(tmp_path) == before + 1
        await draft.write(whole[at : at + (1 << 20)])
    await draft.publish("paused", Metadata("x"))
    assert await read(store, "paused") == whole


async def test_work_that_fails_fails_alone() -> None:
    with ThreadPoolExecutor(2) as threads:
        live, done = LiveDrafts(threads), list[int]()

        def work(number: int) -> None:
            if number == 3:
                raise OSError(28, os.strerror(28))
            done.append(number)

        outcomes = await asyncio.gather(
            *(live.write_together(lambda number=number: work(number)) for number in range(8)),  # type: ignore[misc]
            return_exceptions=True,
        )
    assert sorted(done) == [0, 1, 2, 4, 5, 6, 7]
    assert [number for number, outcome in enumerate(outcomes) if outcome is not None] == [3]
    assert isinstance(outcomes[3], OSError)


async def test_a_caller_that_is_cancelled_waits_for_its_work_and_is_cancelled() -> None:
    with ThreadPoolExecutor(2) as threads:
        live, written = LiveDrafts(threads), list[str]()
        job = asyncio.create_task(live.write_together(lambda: written.append("all")))
        await asyncio.sleep(0)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert written == ["all"]
