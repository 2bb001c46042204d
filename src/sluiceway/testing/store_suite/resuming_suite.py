"""Drafts that are taken up again: by a request, by another process, after a kill, at any offset.

A part of `StoreSuite`, for stores with the trait `resumable`.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import cast

import pytest

from sluiceway.errors import NotFound
from sluiceway.stores.contract import Metadata, Store, UploadRequest
from sluiceway.stores.unpublished import ResumableDraft, ResumableStore, SavedDraft
from sluiceway.testing.store_suite.bytes_suite import EDGES
from sluiceway.testing.store_suite.hooks import MIB, Hooks, feed, fresh, pattern, read, start, write

__all__ = ["ResumingSuite"]

DEADLINE = 60.0  # seconds for a program to start and keep some MiB on a busy machine
OFFSETS = sorted({*EDGES, 100, 70_000, MIB, 3 * MIB + 5, 5 * MIB, 6 * MIB + 1})  # bytes
BEHIND = 90_000  # bytes that were written and not kept
REST = 123_457  # bytes that come afterwards


class ResumingSuite(Hooks):
    """Offsets that were kept."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not cls.resumes:
            for name in vars(ResumingSuite):
                if name.startswith("test_"):
                    setattr(cls, name, None)

    @pytest.fixture
    def resumable(self, store: Store) -> ResumableStore:
        if not store.traits.resumable:
            pytest.skip(f"{store.traits.name} is not resumable")
        assert isinstance(store, ResumableStore)
        return store

    @pytest.mark.parametrize("offset", OFFSETS)
    async def test_a_draft_is_taken_up_at_its_offset_by_another_process(
        self, resumable: ResumableStore, tmp_path: Path, offset: int
    ) -> None:
        """What was written behind the offset, and not saved, is not in the object."""
        upload, total = fresh(), offset + REST
        draft = await resumable.begin(upload, total, _request("again"))
        saved = await _keep(draft, pattern(offset))
        await draft.write(bytes(BEHIND))
        # A process that ended writes no more: neither a thread, nor a draft that becomes idle.
        await draft.sync()
        await draft.suspend()
        later = cast(ResumableStore, await self.make_later(resumable, tmp_path))
        again = await later.resume(upload, saved, offset, total, _request("again"), 1)
        assert (again.written, again.kept) == (offset, offset)
        await write(again, pattern(REST, offset), 50_000)
        await again.publish("again", Metadata(filename="again"))

        there = await self.read_back(later)
        assert await read(there, "again") == pattern(offset + REST)
        await self.close(later, resumable)

    async def test_a_draft_is_taken_up_many_times(self, resumable: ResumableStore) -> None:
        """Each time a few bytes are added, with the parts of all times saved."""
        upload, data, at = fresh(), pattern(7 * MIB), 0
        parts: tuple[str, ...] = ()
        draft = await resumable.begin(upload, None, _request("often"))
        for epoch, size in enumerate((1, 5 * MIB, 70_000, 4095, 1, MIB), 1):
            saved = await _keep(draft, data[at : at + size])
            at, parts = at + size, parts + saved.parts
            await draft.suspend()
            known = SavedDraft(saved.state, parts)
            draft = await resumable.resume(upload, known, at, None, _request("often"), epoch)
        await draft.publish("often", Metadata(filename="often"))
        assert await read(await self.read_back(resumable), "often") == data[:at]

    async def test_a_suspended_draft_takes_nothing_and_can_be_ended_again(
        self, resumable: ResumableStore
    ) -> None:
        """To suspend or to discard it afterwards changes nothing."""
        upload = fresh()
        draft = await resumable.begin(upload, None, _request("idle"))
        saved = await _keep(draft, pattern(10))
        await draft.suspend()
        await draft.suspend()
        await draft.discard()
        again = await resumable.resume(upload, saved, 10, None, _request("idle"), 1)
        assert again.kept == 10
        await again.discard()

    @pytest.mark.parametrize("offset", [0, 1, 4096, 70_000, 2 * MIB])
    async def test_what_is_behind_an_offset_can_be_forgotten(
        self, resumable: ResumableStore, offset: int
    ) -> None:
        """A chunk had the wrong digest: other bytes take its place, also in a later process."""
        upload = fresh()
        draft = await resumable.begin(upload, None, _request("cut"))
        saved = await _keep(draft, pattern(offset))
        await draft.write(bytes(BEHIND))
        await draft.sync()
        await draft.truncate(offset)
        assert (draft.written, draft.kept) == (offset, offset)
        more = await _keep(draft, pattern(7, offset))
        await draft.suspend()
        known = SavedDraft(more.state, saved.parts + more.parts)
        again = await resumable.resume(upload, known, offset + 7, None, _request("cut"), 1)
        await again.publish("cut", Metadata(filename="cut"))
        assert await read(await self.read_back(resumable), "cut") == pattern(offset + 7)

    async def test_a_discarded_draft_is_gone(self, resumable: ResumableStore) -> None:
        upload = fresh()
        draft = await resumable.begin(upload, None, _request("dead"))
        saved = await _keep(draft, pattern(100))
        await draft.discard()
        with pytest.raises(NotFound):
            await resumable.resume(upload, saved, 100, None, _request("dead"), 1)
        assert await resumable.find_published(upload, saved, "dead") is None

    async def test_a_published_draft_is_found_as_its_object(
        self, resumable: ResumableStore, tmp_path: Path
    ) -> None:
        """By a process that does not know whether the one before it came so far."""
        upload = fresh()
        draft = await resumable.begin(upload, None, _request("found"))
        saved = await _keep(draft, pattern(100))
        assert await resumable.find_published(upload, saved, "found") is None
        entry = await draft.publish("found", Metadata(filename="found"))
        later = cast(ResumableStore, await self.make_later(resumable, tmp_path))
        found = await later.find_published(upload, saved, "found")
        assert found is not None
        assert (found.key, found.size, found.etag) == ("found", 100, entry.etag)
        with pytest.raises(NotFound):
            await later.resume(upload, saved, 100, None, _request("found"), 1)
        await self.close(later, resumable)

    async def test_a_closed_store_leaves_its_drafts(
        self, resumable: ResumableStore, tmp_path: Path
    ) -> None:
        """A server that stops ends no upload."""
        if not resumable.traits.durable:
            pytest.skip(f"{resumable.traits.name} keeps nothing for another process")
        store = cast(ResumableStore, await self.make_store(tmp_path))
        upload = fresh()
        draft = await store.begin(upload, None, _request("left"))
        saved = await _keep(draft, pattern(5000))
        await store.aclose()
        again = await resumable.resume(upload, saved, 5000, None, _request("left"), 1)
        assert again.kept == 5000
        await again.discard()

    async def test_a_killed_process_loses_nothing_that_it_kept(
        self, resumable: ResumableStore, tmp_path: Path
    ) -> None:
        """SIGKILL while it writes: the offset that it printed last is there, byte for byte."""
        upload = fresh()
        command = self.keeper(tmp_path, upload)
        if command is None:
            pytest.skip("the suite does not know how another process keeps drafts of this store")
        offset, saved = await _kill_keeper(command)
        await self.sweep(resumable)
        draft = await resumable.resume(upload, saved, offset, None, _request("killed"), 1)
        await draft.write(b"end")
        await draft.publish("killed", Metadata(filename="killed"))
        assert await read(await self.read_back(resumable), "killed") == pattern(offset) + b"end"

    async def make_later(self, store: Store, tmp_path: Path) -> Store:
        """The store as a later process opens it."""
        return await self.make_store(tmp_path) if store.traits.durable else store

    async def close(self, later: Store, store: Store) -> None:
        if later is not store:
            await later.aclose()


def _request(key: str) -> UploadRequest:
    return UploadRequest(key=key, filename=key, method="PUT")


async def _keep(draft: ResumableDraft, data: bytes) -> SavedDraft:
    before = draft.written
    await write(draft, data, 300_000)
    assert await draft.sync() == draft.kept == before + len(data)
    saved = draft.save()
    draft.saved()
    return saved


async def _kill_keeper(command: list[str]) -> tuple[int, SavedDraft]:
    """Kill it when it has kept something and gets more. Returns what it said last."""
    offset, state, parts = 0, "", list[str]()
    with start(command, subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        feeding = asyncio.create_task(asyncio.to_thread(feed, process.stdin, pattern(7 * MIB)))
        try:
            async with asyncio.timeout(DEADLINE):
                while line := await asyncio.to_thread(process.stdout.readline):
                    if line.endswith(b"\n"):
                        said = json.loads(line)
                        offset, state = said["kept"], said["state"]
                        parts += said["parts"]
                    if offset >= 3 * MIB:
                        process.kill()  # which ends what it prints
        finally:
            process.kill()
            await feeding
    assert offset >= 3 * MIB, "the program ended by itself"
    return offset, SavedDraft(state, tuple(parts))
