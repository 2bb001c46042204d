"""Published objects are read in any range, again and again, and listed in key order, in pages.

A part of `StoreSuite`; skipped for a relay.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sluiceway.errors import StoreFailed
from sluiceway.pipe.pump import close_stream
from sluiceway.stores.contract import Replace, Store
from sluiceway.testing.store_suite.hooks import MIB, Hooks, pattern, store_bytes

__all__ = ["ReadingSuite"]


FLAT_KEYS = ["a", "ab", "a.b", "A/x", "b/a", "z/y", "z/yy/z"]
DEEP_KEYS = ["a/b", "a/bb/deep", "a/c", "ab/b"]
PREFIXES = ["a", "a/", "a/b", "a/bb", "a/b/", "A", "", "z/y", "nothing", "a/b/c/d/e", "\U0010ffff"]


class ReadingSuite(Hooks):
    """Ranges, readers and listings."""

    @pytest.mark.parametrize("size", [0, 1, 70_000, 3 * MIB + 1])
    async def test_any_range_can_be_read_again_and_again(self, own: Store, size: int) -> None:
        """open(start, stop) yields exactly those bytes, clipped to the object, and no empty
        chunk."""
        data = pattern(size)
        await store_bytes(own, "ranges", data)
        edges = sorted({0, 1, size // 2, max(size - 1, 0), size, size + 10})
        reader = await own.open("ranges")

        assert reader.reopenable
        for start in edges:
            for stop in [None, *(edge for edge in edges if edge >= start)]:
                chunks = [bytes(chunk) async for chunk in reader.open(start, stop)]
                assert b"".join(chunks) == data[start:stop]
                assert all(chunks)
        await reader.aclose()

    async def test_an_open_object_keeps_its_bytes(self, own: Store) -> None:
        """A reader of an object that is replaced and deleted gets the old bytes, also when opened
        again.

        A store without stable reads may raise an error; it never returns bytes of another object.
        """
        for act in ("replace", "delete"):
            old = pattern(3 * MIB)
            entry = await store_bytes(own, "held", old, replace=Replace(allowed=True))
            reader = await own.open("held")
            stream = reader.open()
            got = bytes(await anext(stream))
            if act == "replace":
                await store_bytes(own, "held", b"new", replace=Replace(allowed=True))
            else:
                await own.delete("held")
            try:
                got += b"".join([bytes(chunk) async for chunk in stream])
                assert got == old
                assert (
                    b"".join([bytes(chunk) async for chunk in reader.open(MIB, MIB + 9)])
                    == old[MIB : MIB + 9]
                )
            except StoreFailed:
                assert not own.traits.stable_reads
            assert reader.entry == entry
            await reader.aclose()

    async def test_a_reader_may_leave_at_any_chunk(self, own: Store) -> None:
        """A reader that leaves early and is closed twice releases everything."""
        await store_bytes(own, "left", pattern(8 * MIB))
        for chunks in range(6):
            reader = await own.open("left")
            stream = reader.open()
            for _ in range(chunks):
                await anext(stream)
            await close_stream(stream)
            await reader.aclose()
            await reader.aclose()

    # Listing

    async def test_a_listing_is_in_key_order_and_pages_join_to_it(self, own: Store) -> None:
        """Files and folders are listed in key order; pages of any size, by their cursor, are
        complete."""
        keys = [
            "a-b",
            "a.txt",
            "a/b",
            "a/b.c",
            "a/c/d",
            "a0",
            "b",
            "B",
            "z/y/x",
            "z/y.x",
            "é",
            "0",
            "a b/c",
            "a/b-",
        ]
        await _fill(own, keys)
        whole = await own.list()

        assert [entry.key for entry in whole.entries] == sorted(keys)
        assert whole.next is None
        for limit in (1, 2, 3, len(keys) - 1, len(keys)):
            assert await _walk(own, "", limit) == sorted(keys)

    @pytest.mark.parametrize("keys", [FLAT_KEYS, DEEP_KEYS], ids=["flat", "deep"])
    async def test_a_prefix_selects_by_characters_not_by_folders(
        self, own: Store, keys: list[str]
    ) -> None:
        """Every key that begins with the prefix and no other, also in pages."""
        await _fill(own, keys)
        for prefix in PREFIXES:
            expected = sorted(key for key in keys if key.startswith(prefix))

            assert [entry.key for entry in (await own.list(prefix)).entries] == expected, prefix
            assert await _walk(own, prefix, 2) == expected, prefix

    async def test_after_need_not_be_a_key(self, own: Store) -> None:
        """A cursor without an object continues at its place in the order."""
        keys = ["a", "b/c", "b/d", "b0", "c"]
        await _fill(own, keys)

        for after in [
            "",
            "a",
            "a0",
            "b",
            "b/",
            "b/c",
            "b/c/x",
            "b/cc",
            "b/z",
            "b0",
            "bz",
            "c",
            "d",
        ]:
            found = [entry.key for entry in (await own.list("", after)).entries]
            assert found == sorted(key for key in keys if key > after), after


async def _fill(store: Store, keys: Sequence[str]) -> None:
    for key in keys:
        await store_bytes(store, key, key.encode())


async def _walk(store: Store, prefix: str, limit: int) -> list[str]:
    """Return the keys of a listing, page by page."""
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = await store.list(prefix, after, limit)
        assert len(page.entries) <= limit
        found += [entry.key for entry in page.entries]
        after = page.next
    return found
