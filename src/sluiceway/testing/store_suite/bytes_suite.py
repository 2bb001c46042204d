"""Written bytes are read back: sizes around every edge, chunks of any size, offsets.

A part of `StoreSuite`. Each test knows the store only through its contract.
"""

from __future__ import annotations

import asyncio

import pytest

from sluiceway.pipe.budget import BLOCK, DEPTH
from sluiceway.stores.contract import Metadata, Store
from sluiceway.stores.unpublished import ReadableDraft
from sluiceway.testing.store_suite.hooks import LONG, MIB, Hooks, begin, pattern, read, write

__all__ = ["EDGES", "BytesSuite"]

EDGES = [  # bytes: around what stores align, gather and send in parts
    0,
    1,
    *(edge + step for edge in (4096, 64 << 10, BLOCK, DEPTH * BLOCK) for step in (-1, 0, 1)),
]


class BytesSuite(Hooks):
    """Bytes and offsets."""

    @pytest.mark.parametrize("size", EDGES)
    @pytest.mark.parametrize("known", [True, False], ids=["length-known", "length-unknown"])
    async def test_written_bytes_are_read_back_at_every_edge(
        self, store: Store, there: Store, size: int, known: bool
    ) -> None:
        """Sizes around the edges of blocks are stored byte for byte, with a known length or
        without."""
        draft = await begin(store, "edge", size if known else None)
        await write(draft, pattern(size), 300_000)
        entry = await draft.publish("edge", Metadata(filename="edge"))

        assert (entry.size, await read(there, "edge")) == (size, pattern(size))

    @pytest.mark.parametrize("chunk", [1, 7, 4095, 65_537, 3 * MIB])
    async def test_chunks_of_any_size_are_joined_in_order(
        self, store: Store, there: Store, chunk: int
    ) -> None:
        """The object does not show how its bytes were cut."""
        data = pattern(min(chunk * 2000, 4 * MIB) + 3)
        draft = await begin(store, "chunks", len(data))
        await write(draft, data, chunk)
        await draft.publish("chunks", Metadata(filename=""))

        assert await read(there, "chunks") == data

    async def test_a_sender_that_changes_its_speed_is_stored_correctly(
        self, store: Store, there: Store
    ) -> None:
        """Slow, fast, slow, fast: a store changes its way of writing at odd offsets and loses no
        byte."""
        data = pattern(7 * MIB)
        draft = await begin(store, "mixed", None)
        at = 0
        for chunk, count, pause in (
            (13, 40, 0.3),
            (200_001, 12, 0.0),
            (5, 30, 1.2),
            (MIB + 1, 2, 0.0),
            (3, 9, 0.0),
            (70_000, 20, 0),
        ):
            for _ in range(count):
                await draft.write(data[at : at + chunk])
                at += chunk
            await asyncio.sleep(pause)
        await draft.publish("mixed", Metadata(filename=""))

        assert await read(there, "mixed") == data[:at]

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    async def test_every_kind_of_buffer_is_taken(
        self, store: Store, there: Store, kind: type
    ) -> None:
        """bytes, bytearray and memoryview are all bytes."""
        draft = await begin(store, "kind", None)
        for at in (0, 100_000):
            await draft.write(kind(pattern(100_000, at)))
        await draft.publish("kind", Metadata(filename=""))

        assert await read(there, "kind") == pattern(200_000)

    async def test_fewer_bytes_than_announced_leave_no_tail(
        self, store: Store, there: Store
    ) -> None:
        """Reserved bytes that were not written are not part of the object."""
        if not store.traits.readable:
            pytest.skip(f"{store.traits.name} has sent the length already")
        draft = await begin(store, "short", MIB)
        await draft.write(pattern(1000))
        entry = await draft.publish("short", Metadata(filename=""))

        assert (entry.size, await read(there, "short")) == (1000, pattern(1000))

    async def test_many_drafts_at_once_do_not_mix(self, store: Store, there: Store) -> None:
        """Interleaved uploads, slow and fast, each get their own bytes."""
        count = 12 if LONG else 8

        async def one(number: int) -> None:
            draft = await begin(store, f"at-once/{number}", None)
            await write(draft, pattern(2_500_000, number * 1000), 4000 if number % 3 else 600_000)
            await draft.publish(f"at-once/{number}", Metadata(filename=""))

        await asyncio.gather(*(one(number) for number in range(count)))

        for number in range(count):
            assert await read(there, f"at-once/{number}") == pattern(2_500_000, number * 1000)

    # Offsets

    @pytest.mark.parametrize("chunk", [1000, 65_536, 700_001, 3 * MIB])
    async def test_sync_midway_keeps_everything_written_and_goes_on(
        self, store: Store, there: Store, chunk: int
    ) -> None:
        """The offset after sync is all that was written, or less where the store's traits say so.

        It never goes back and never runs ahead.
        """
        data = pattern(min(9 * chunk, 7 * MIB))
        draft = await begin(store, "synced", len(data))
        kept = 0
        for at in range(0, len(data), chunk):
            await draft.write(data[at : at + chunk])
            assert kept <= draft.kept <= draft.written
            kept = await draft.sync()
            # A remote store may acknowledge more at any moment.
            assert kept == draft.kept or store.traits.remote
            assert kept == min(at + chunk, len(data)) or store.traits.keeps != "bytes"
        await draft.publish("synced", Metadata(filename=""))

        assert await read(there, "synced") == data

    @pytest.mark.parametrize("offset", [0, 1, 4096, 100_000, BLOCK, BLOCK + 5, 2 * BLOCK + 4097])
    async def test_truncate_drops_the_rest_and_the_next_bytes_follow(
        self, store: Store, there: Store, offset: int
    ) -> None:
        """The next byte stands at the offset, in small and large chunks."""
        if store.traits.keeps != "bytes":
            pytest.skip(f"{store.traits.name} keeps {store.traits.keeps}")
        for name, chunk in (("small", 999), ("large", 2 * MIB)):
            draft = await begin(store, name, None)
            await write(draft, pattern(2 * BLOCK + 4097), 900_000)
            await draft.sync()
            await draft.truncate(offset)
            assert (draft.written, draft.kept) == (offset, offset)
            await write(draft, pattern(3_000_001, 11), chunk)
            await draft.publish(name, Metadata(filename=""))

            assert await read(there, name) == pattern(offset) + pattern(3_000_001, 11)

    async def test_a_draft_is_read_before_it_is_published(self, store: Store, there: Store) -> None:
        """From any place; then it is published or discarded as any other."""
        if not store.traits.readable_drafts:
            pytest.skip(f"{store.traits.name} gives no bytes of a draft")
        data = pattern(2 * BLOCK + 4097)
        for ending in ("published", "discarded"):
            draft = await begin(store, ending, None)
            await write(draft, data, 900_000)
            assert isinstance(draft, ReadableDraft)
            assert await draft.read(0, 10) == data[:10]
            assert await draft.read(len(data) - 5, 1000) == data[-5:]
            assert await draft.read(len(data), 10) == b""
            found = b""
            while piece := await draft.read(len(found), MIB):
                found += piece
            assert found == data
            if ending == "published":
                await draft.publish(ending, Metadata(filename=""))
            await draft.discard()

        assert await read(there, "published") == data
        assert [entry.key for entry in (await there.list("discarded")).entries] == []

    async def test_truncating_an_empty_draft_changes_nothing(
        self, store: Store, there: Store
    ) -> None:
        """Before the first byte, and back to the first byte."""
        if store.traits.keeps != "bytes":
            pytest.skip(f"{store.traits.name} keeps {store.traits.keeps}")
        draft = await begin(store, "empty", None)
        await draft.truncate(0)
        await draft.write(b"abc")
        await draft.truncate(0)
        await draft.write(b"de")
        await draft.publish("empty", Metadata(filename=""))

        assert await read(there, "empty") == b"de"
