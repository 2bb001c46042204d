"""Uploads that never end well: a short or failing source, a wrong digest, a killed writer.

A part of `StoreSuite`, through the real copy loop. No object becomes visible, and nothing remains.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sluiceway.errors import BodyCut, DigestMismatch, SourceFailed
from sluiceway.pipe.digests import Digests
from sluiceway.pipe.pump import pump
from sluiceway.pipe.source import PassingSource
from sluiceway.stores.contract import Metadata, Store
from sluiceway.testing.store_suite.hooks import MIB, Hooks, begin, feed, pattern, read, start, write
from sluiceway.uploads.rules import check_digests

__all__ = ["CutSuite"]

DEADLINE = 60.0  # seconds for a program to start and take some MiB on a busy machine


class CutSuite(Hooks):
    """Uploads that break off."""

    @pytest.mark.parametrize("come", [0, 1, 70_000, 3 * MIB + 5])
    async def test_a_source_that_ends_early_leaves_nothing(
        self, store: Store, there: Store, come: int
    ) -> None:
        """The copy loop raises BodyCut; there is no object and no draft, and the key is free."""
        draft = await begin(store, "short", 4 * MIB)
        with pytest.raises(BodyCut):
            await pump(PassingSource(_pieces(come), 4 * MIB), draft)
        await draft.discard()

        assert await self.left(store) == []
        assert (await there.list()).entries == []

    @pytest.mark.parametrize("come", [0, 1, 70_000, 3 * MIB + 5])
    @pytest.mark.parametrize("known", [True, False], ids=["length-known", "length-unknown"])
    async def test_a_source_that_fails_leaves_nothing(
        self, store: Store, there: Store, come: int, known: bool
    ) -> None:
        """The source's own error is raised, with a known length or without; no object, no draft."""
        length = 4 * MIB if known else None
        draft = await begin(store, "failing", length)
        with pytest.raises(SourceFailed, match="half way"):
            await pump(
                PassingSource(_pieces(come, SourceFailed("it broke half way")), length), draft
            )
        await draft.discard()

        assert await self.left(store) == []
        assert (await there.list()).entries == []

    @pytest.mark.parametrize("size", [0, 5, 3 * MIB + 5])
    async def test_bytes_with_a_wrong_digest_leave_nothing(
        self, store: Store, there: Store, size: int
    ) -> None:
        """They are never visible, and the right bytes get the key."""
        promised = {"sha-256": hashlib.sha256(pattern(size) + b"!").digest()}
        draft, digests = await begin(store, "digest", size), Digests()
        await pump(PassingSource(_pieces(size), size), draft, taps=[digests])
        with pytest.raises(DigestMismatch):
            check_digests(await digests.finish(), promised)
        await draft.discard()

        assert await self.left(store) == []
        assert (await there.list()).entries == []
        right = await begin(store, "digest", size)
        await write(right, pattern(size))
        await right.publish("digest", Metadata(filename=""))
        assert await read(there, "digest") == pattern(size)

    async def test_a_forgotten_draft_never_becomes_visible(self, tmp_path: Path) -> None:
        """There is no object, and closing the store deletes the draft."""
        store = await self.make_store(tmp_path)
        there = await self.read_back(store)
        draft = await begin(store, "forgotten", 4 * MIB)
        await write(draft, pattern(3 * MIB))
        del draft
        gc.collect()

        assert (await there.list()).entries == []
        if there is not store:
            await there.aclose()
        await store.aclose()
        assert await self.left(store) == []
        self.at_end(store)

    async def test_a_killed_writer_leaves_nothing_once_swept(self, tmp_path: Path) -> None:
        """SIGKILL in the middle of a file: nothing is visible, and sweeping deletes the
        leftovers."""
        command = self.command(tmp_path)
        if command is None:
            pytest.skip("the suite does not know how another process writes to this store")
        await (await self.make_store(tmp_path)).aclose()  # what must exist exists
        await _kill_midway(command)
        store = await self.make_store(tmp_path)
        there = await self.read_back(store)
        await self.sweep(store)

        assert (await there.list()).entries == []
        assert await self.left(store) == []
        if there is not store:
            await there.aclose()
        await store.aclose()
        self.at_end(store)


async def _pieces(size: int, error: Exception | None = None) -> AsyncIterator[bytes]:
    for at in range(0, size, 300_000):
        yield pattern(min(300_000, size - at), at)
        await asyncio.sleep(0)
    if error is not None:
        raise error


async def _kill_midway(command: list[str]) -> None:
    """Kill it when it has taken 4 MiB: no pipe holds so many, so it has begun to write them."""
    with start(command) as process:
        try:
            assert process.stdin is not None
            async with asyncio.timeout(DEADLINE):
                taken = await asyncio.to_thread(feed, process.stdin, pattern(4 * MIB))
            assert taken, "the program ended by itself"
        finally:
            process.kill()
