"""The two endings of a draft, and drafts that reach neither: cancelled, or cut by a closing store.

A part of `StoreSuite`. Nothing half-done becomes visible, and nothing remains.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sluiceway.errors import NotFound, SluiceError
from sluiceway.pipe.budget import BLOCK
from sluiceway.stores.contract import Metadata, Store
from sluiceway.testing.store_suite.hooks import (
    MIB,
    Hooks,
    begin,
    digests_of,
    pattern,
    read,
    store_bytes,
    write,
)

__all__ = ["EndingsSuite"]


class EndingsSuite(Hooks):
    """Publish, discard, and the cases between."""

    async def test_a_draft_is_invisible_until_it_is_published(
        self, store: Store, there: Store
    ) -> None:
        """Written and synced, it is in no listing; published, it is."""
        draft = await begin(store, "now", 3 * MIB)
        await write(draft, pattern(3 * MIB), MIB)
        await draft.sync()

        assert (await there.list()).entries == []
        entry = await draft.publish("now", Metadata(filename=""))
        assert entry.size == 3 * MIB
        assert [(found.key, found.size) for found in (await there.list()).entries] == [
            ("now", 3 * MIB)
        ]

    @pytest.mark.parametrize("size", [0, 10, 100_000, 3 * BLOCK + 1])
    async def test_discard_leaves_nothing_and_may_be_called_twice(
        self, store: Store, there: Store, size: int
    ) -> None:
        """Nothing remains of a discarded draft, with blocks in flight or without."""
        draft = await begin(store, "none", size or None)
        if size:
            await draft.write(pattern(size))
        await draft.discard()
        await draft.discard()

        assert await self.left(store) == []
        assert (await there.list()).entries == []

    async def test_discard_after_publish_does_nothing(self, store: Store, there: Store) -> None:
        """The object stays."""
        draft = await begin(store, "stays", None)
        await draft.write(b"kept")
        await draft.publish("stays", Metadata(filename=""))
        await draft.discard()

        assert await read(there, "stays") == b"kept"

    async def test_a_draft_ends_once(self, store: Store, there: Store) -> None:
        """After either ending it takes no more bytes and no other ending."""
        for ending in ("publish", "discard"):
            draft = await begin(store, "once", None)
            await draft.write(b"x")
            await (
                draft.discard()
                if ending == "discard"
                else draft.publish("once", Metadata(filename=""))
            )
            with pytest.raises(SluiceError):
                await draft.write(b"more")
            with pytest.raises(SluiceError):
                await draft.publish("twice", Metadata(filename=""))
        with pytest.raises(NotFound):
            await there.stat("twice")

    @pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 20, 60])
    async def test_cancelled_while_writing_then_discarded_leaves_nothing(
        self, store: Store, there: Store, turns: int
    ) -> None:
        """A client that leaves at any moment leaves no object, no draft and no memory in use."""
        draft = await begin(store, "none", 6 * MIB)
        writing = asyncio.create_task(write(draft, pattern(6 * MIB), 700_000))
        for _ in range(turns):
            await asyncio.sleep(0)
        writing.cancel()
        await asyncio.wait([writing])
        await draft.discard()

        assert await self.left(store) == []
        assert (await there.list()).entries == []

    @pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 20])
    async def test_publish_that_is_cancelled_tells_the_truth(
        self, store: Store, there: Store, turns: int
    ) -> None:
        """Publish returns its entry and the object is there, or it raises and the object is not
        there."""
        if not store.traits.readable:
            pytest.skip(
                f"{store.traits.name} cannot know what another server did without its response"
            )
        draft = await begin(store, "perhaps", None)
        await draft.write(pattern(100_000))
        publishing = asyncio.create_task(draft.publish("perhaps", Metadata(filename="")))
        for _ in range(turns):
            await asyncio.sleep(0)
        publishing.cancel()
        await asyncio.wait([publishing])
        await draft.discard()

        published = not publishing.cancelled()
        assert [entry.key for entry in (await there.list()).entries] == (
            ["perhaps"] if published else []
        )
        assert await self.left(store) == []

    async def test_closing_the_store_discards_drafts(self, tmp_path: Path) -> None:
        """Uploads that are under way when the server stops leave nothing."""
        store = await self.make_store(tmp_path)
        draft = await begin(store, "none", None)
        await write(draft, pattern(3 * MIB), 500_000)
        await store.aclose()

        assert await self.left(store) == []
        self.at_end(store)

    async def test_a_durable_store_finds_its_objects_again(self, tmp_path: Path) -> None:
        """Closed and opened again: the entry and its bytes are the same."""
        store = await self.make_store(tmp_path)
        if not store.traits.durable:
            await store.aclose()
            pytest.skip(f"{store.traits.name} is not durable")
        entry = await store_bytes(
            store,
            "again/é.bin",
            pattern(70_000),
            Metadata("é.bin", "image/png", digests_of(pattern(70_000))),
        )
        await store.aclose()
        again = await self.make_store(tmp_path)

        assert await again.stat("again/é.bin") == entry
        assert await read(again, "again/é.bin") == pattern(70_000)
        await again.aclose()
