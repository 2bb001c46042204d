"""Large objects and many objects: flat memory, parts of any size, long listings.

A part of `StoreSuite`. Memory is that of this process, measured on Linux.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from contextlib import suppress

import pytest

from sluiceway.errors import NotFound
from sluiceway.stores.contract import Metadata, Replace, Store
from sluiceway.testing.memory_meter import MemoryMeter
from sluiceway.testing.store_suite.hooks import LONG, MIB, Hooks, begin, pattern, store_bytes

__all__ = ["SizeSuite"]

SMALL = 16 * MIB
WHOLE = 1 << 30  # bytes of the large object in the long proofs
AT_ONCE = 16  # writers of the long listing


class SizeSuite(Hooks):
    """Sizes and numbers."""

    async def test_sizes_around_parts_come_back(self, store: Store, there: Store) -> None:
        """One part or two, a byte less, a byte more: the same bytes, with a known length or
        without."""
        if not self.part:
            pytest.skip("this store sends no parts")
        sizes = [self.part * parts + step for parts in (1, 2) for step in (-1, 0, 1)]
        every = [(size, announced) for size in sizes for announced in (size, None)]
        # each size once, half with a length; every combination in the long proofs
        for size, announced in every if LONG else [*every[0::4], *every[3::4]]:
            digest = await _store_large(store, "part", size, announced)
            assert await _digest(there, "part") == (size, digest)

    @pytest.mark.timeout(1200)
    async def test_a_gigabyte_takes_the_memory_of_sixteen_megabytes(
        self, store: Store, there: Store
    ) -> None:
        """1 GiB, written and read in chunks, costs no more memory than 16 MiB, up to `flat`."""
        if self.flat is None:
            pytest.skip(f"{store.traits.name} holds whole objects")
        if sys.platform != "linux":
            pytest.skip("the memory meter needs Linux")
        meter, peaks = MemoryMeter(), [0, 0]
        large = WHOLE if LONG else self.large
        try:
            for size in (SMALL, SMALL, large):  # the first warms up
                meter.reset()
                digest = await _store_large(store, "large", size, size)
                assert await _digest(there, "large") == (size, digest)
                peaks = [peaks[1], meter.peak()]
        finally:
            with suppress(NotFound):  # pytest keeps folders for a while, and this one is large
                await there.delete("large")

        assert peaks[1] - peaks[0] <= self.flat, (
            f"{(peaks[1] - peaks[0]) >> 10} KiB more for {large >> 20} MiB than for 16"
        )

    @pytest.mark.timeout(600)
    async def test_a_listing_of_many_objects_is_whole(self, own: Store) -> None:
        """The first page says where to continue, and the pages have every key once, in order."""
        many = 1_010 if LONG else self.many
        keys = [f"many/{number:05}" for number in range(many)]
        waiting = iter(keys)

        async def fill() -> None:
            for key in waiting:
                await store_bytes(own, key, b"")

        await asyncio.gather(*(fill() for _ in range(AT_ONCE)))
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            page = await own.list("many/", after)
            found += [entry.key for entry in page.entries]
            after = page.next

        assert found == keys


async def _store_large(store: Store, key: str, size: int, length: int | None) -> bytes:
    """Store an object of that size, perhaps over another one. Returns its sha-256."""
    replace, hashed = Replace(allowed=True), hashlib.sha256()
    draft = await begin(store, key, length, replace)
    try:
        for number, at in enumerate(range(0, size, MIB)):
            piece = pattern(min(MIB, size - at), number * 4099 % (7 * MIB))
            hashed.update(piece)
            await draft.write(piece)
        await draft.publish(key, Metadata(filename=key), replace)
    finally:
        await draft.discard()
    return hashed.digest()


async def _digest(store: Store, key: str) -> tuple[int, bytes]:
    """Return size and sha-256 of an object, read chunk by chunk."""
    reader, size, hashed = await store.open(key), 0, hashlib.sha256()
    try:
        async for chunk in reader.open():
            hashed.update(chunk)
            size += len(chunk)
    finally:
        await reader.aclose()
    return size, hashed.digest()
