"""What every store must do, as tests. A store passes when a class of five lines below `StoreSuite` is green.

    class TestMyStore(StoreSuite):
        async def make_store(self, tmp_path: Path) -> Store:
            return MyStore(tmp_path)

Needs pytest and anyio's plugin for it; knows no store but through its contract.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random
import time
from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path

import pytest

from sluiceway.errors import Exists, NotFound, PreconditionFailed, SluiceError, StoreFailed
from sluiceway.pipe.budget import BLOCK, DEPTH
from sluiceway.pipe.pump import close_stream
from sluiceway.stores.contract import About, Draft, Entry, Replace, Store

__all__ = ["EDGES", "ODD_KEYS", "StoreSuite", "pattern", "read", "store_bytes"]

MIB = 1 << 20
EDGES = [  # bytes: around what stores align, gather and send in parts
    0,
    1,
    *(edge + step for edge in (4096, 64 << 10, BLOCK, DEPTH * BLOCK) for step in (-1, 0, 1)),
]
ODD_KEYS = [
    "plain.txt",
    "with space/and more.txt",
    "Grüße/日本語/файл.txt",
    "emoji-🦆/🌊",
    "100%/%2F%2e%2e",
    "a&b=c?d#e+f",
    "'single' \"double\" `back` $(x) ;",
    "-dash/--option",
    ".hidden/.dots..inside",
    "UPPER/lower",
    "e\u0301",  # decomposed: a store compares bytes, whoever names keys normalises
    "long/" + "x" * 200,
    "/".join("d" for _ in range(100)),
]
_DATA = random.Random(20).randbytes(DEPTH * BLOCK + 1)  # noqa: S311  # repeatable on purpose; nothing here is a secret


def pattern(size: int, at: int = 0) -> bytes:
    """Bytes without a period, so that a block in the wrong place shows. At most 8 MiB."""
    return _DATA[at : at + size]


async def read(store: Store, key: str, start: int = 0, stop: int | None = None) -> bytes:
    """The bytes of an object."""
    opened = await store.open(key)
    try:
        return b"".join([bytes(chunk) async for chunk in opened.open(start, stop)])
    finally:
        await opened.aclose()


async def store_bytes(store: Store, key: str, data: bytes, about: About | None = None, replace: Replace = Replace()) -> Entry:
    """Put an object there; whatever happens, no draft is left behind."""
    draft = await store.draft(_fresh(), len(data))
    try:
        for at in range(0, len(data), MIB):
            await draft.write(data[at : at + MIB])
        return await draft.publish(key, about or About(filename=key.rpartition("/")[2]), replace)
    finally:
        await draft.discard()


_numbers = iter(range(10**9))


def _fresh() -> str:
    return f"suite-{os.getpid()}-{next(_numbers)}"


class StoreSuite:
    """Derive, implement `make_store`, and say in `leftovers` what drafts can still be seen from outside."""

    pytestmark: pytest.MarkDecorator = pytest.mark.anyio

    async def make_store(self, tmp_path: Path) -> Store:
        """A store; called again with the same folder, a durable one finds its objects again."""
        raise NotImplementedError("a suite for a store says how to make it")

    def leftovers(self, store: Store) -> Collection[str]:
        """Names of drafts that still rest somewhere. Stores that cannot be looked into keep this."""
        return ()

    def at_end(self, store: Store) -> None:
        """After every test, when the store is closed: what it lent must be settled."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    async def store(self, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Store]:
        store = await self.make_store(tmp_path)
        yield store
        await store.aclose()
        self.at_end(store)

    # Bytes

    @pytest.mark.parametrize("size", EDGES)
    @pytest.mark.parametrize("told", [True, False], ids=["length-known", "length-unknown"])
    async def test_what_was_written_comes_back_at_every_edge(self, store: Store, size: int, told: bool) -> None:
        """Any size around the edges of blocks is stored byte for byte, whether or not its length was known before."""
        draft = await store.draft(_fresh(), size if told else None)
        await _write(draft, pattern(size), 300_000)
        entry = await draft.publish("edge", About(filename="edge"))

        assert (entry.size, await read(store, "edge")) == (size, pattern(size))

    @pytest.mark.parametrize("chunk", [1, 7, 4095, 65_537, 3 * MIB])
    async def test_chunks_of_any_size_are_joined_in_order(self, store: Store, chunk: int) -> None:
        """How the bytes were cut on their way does not show in the object."""
        data = pattern(min(chunk * 2000, 4 * MIB) + 3)
        draft = await store.draft(_fresh(), len(data))
        await _write(draft, data, chunk)
        await draft.publish("chunks", About(filename=""))

        assert await read(store, "chunks") == data

    async def test_a_sender_that_changes_its_speed_is_stored_right(self, store: Store) -> None:
        """Trickle, flood, trickle, flood: the ways a store writes meet at odd offsets and no byte is lost or moved."""
        data = pattern(7 * MIB)
        draft = await store.draft(_fresh(), None)
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
        await draft.publish("mixed", About(filename=""))

        assert await read(store, "mixed") == data[:at]

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    async def test_every_kind_of_buffer_is_taken(self, store: Store, kind: type) -> None:
        """bytes, bytearray and memoryview are all bytes."""
        draft = await store.draft(_fresh(), None)
        for at in (0, 100_000):
            await draft.write(kind(pattern(100_000, at)))
        await draft.publish("kind", About(filename=""))

        assert await read(store, "kind") == pattern(200_000)

    async def test_less_than_announced_leaves_no_tail(self, store: Store) -> None:
        """What was reserved and not written is not part of the object."""
        draft = await store.draft(_fresh(), MIB)
        await draft.write(pattern(1000))
        entry = await draft.publish("short", About(filename=""))

        assert (entry.size, await read(store, "short")) == (1000, pattern(1000))

    async def test_many_drafts_at_once_do_not_mix(self, store: Store) -> None:
        """Twelve interleaved uploads, slow and fast, each get their own bytes."""

        async def one(number: int) -> None:
            draft = await store.draft(_fresh(), None)
            await _write(draft, pattern(2_500_000, number * 1000), 4000 if number % 3 else 600_000)
            await draft.publish(f"at-once/{number}", About(filename=""))

        await asyncio.gather(*(one(number) for number in range(12)))

        for number in range(12):
            assert await read(store, f"at-once/{number}") == pattern(2_500_000, number * 1000)

    # Offsets

    @pytest.mark.parametrize("chunk", [1000, 65_536, 700_001, 3 * MIB])
    async def test_sync_midway_keeps_everything_written_and_goes_on(self, store: Store, chunk: int) -> None:
        """After sync the offset is what was written, or less where the store says so; it never goes back, never runs ahead."""
        data = pattern(min(9 * chunk, 7 * MIB))
        draft = await store.draft(_fresh(), len(data))
        kept = 0
        for at in range(0, len(data), chunk):
            await draft.write(data[at : at + chunk])
            assert kept <= draft.kept <= draft.written
            kept = await draft.sync()
            assert kept == draft.kept
            assert kept == min(at + chunk, len(data)) or store.traits.keeps != "bytes"
        await draft.publish("synced", About(filename=""))

        assert await read(store, "synced") == data

    @pytest.mark.parametrize("offset", [0, 1, 4096, 100_000, BLOCK, BLOCK + 5, 2 * BLOCK + 4097])
    async def test_truncate_forgets_and_what_follows_stands_there(self, store: Store, offset: int) -> None:
        """Everything from the offset on is forgotten; the next byte stands at the offset, in small and large chunks."""
        if store.traits.keeps != "bytes":
            pytest.skip(f"{store.traits.name} keeps {store.traits.keeps}")
        for name, chunk in (("small", 999), ("large", 2 * MIB)):
            draft = await store.draft(_fresh(), None)
            await _write(draft, pattern(2 * BLOCK + 4097), 900_000)
            await draft.sync()
            await draft.truncate(offset)
            assert (draft.written, draft.kept) == (offset, offset)
            await _write(draft, pattern(3_000_001, 11), chunk)
            await draft.publish(name, About(filename=""))

            assert await read(store, name) == pattern(offset) + pattern(3_000_001, 11)

    async def test_truncating_an_empty_draft_is_nothing(self, store: Store) -> None:
        """Before the first byte, and back to the first byte."""
        if store.traits.keeps != "bytes":
            pytest.skip(f"{store.traits.name} keeps {store.traits.keeps}")
        draft = await store.draft(_fresh(), None)
        await draft.truncate(0)
        await draft.write(b"abc")
        await draft.truncate(0)
        await draft.write(b"de")
        await draft.publish("empty", About(filename=""))

        assert await read(store, "empty") == b"de"

    async def test_a_draft_left_behind_is_taken_up_at_its_offset(self, store: Store) -> None:
        """A store that calls itself resumable gives the draft of the same upload back, with what it kept."""
        if not store.traits.resumable:
            pytest.skip(f"{store.traits.name} does not claim it")
        upload = _fresh()
        draft = await store.draft(upload, None)
        await draft.write(pattern(70_000))
        await draft.sync()
        again = await store.draft(upload, None)

        assert again.kept == 70_000
        await again.write(pattern(70_000, 70_000))
        await again.publish("resumed", About(filename=""))
        assert await read(store, "resumed") == pattern(140_000)

    # The two endings

    async def test_a_draft_is_invisible_until_it_is_published(self, store: Store) -> None:
        """Written, even synced, it is in no listing; published, it is."""
        draft = await store.draft(_fresh(), 3 * MIB)
        await _write(draft, pattern(3 * MIB), MIB)
        await draft.sync()

        assert (await store.list()).entries == []
        entry = await draft.publish("now", About(filename=""))
        assert (await store.list()).entries == [_listed(store, entry)]

    @pytest.mark.parametrize("size", [0, 10, 100_000, 3 * BLOCK + 1])
    async def test_discard_leaves_nothing_and_may_come_twice(self, store: Store, size: int) -> None:
        """Nothing remains of a discarded draft, with blocks in flight or without."""
        draft = await store.draft(_fresh(), size or None)
        if size:
            await draft.write(pattern(size))
        await draft.discard()
        await draft.discard()

        assert list(self.leftovers(store)) == []
        assert (await store.list()).entries == []

    async def test_discard_after_publish_does_nothing(self, store: Store) -> None:
        """The good ending stands."""
        draft = await store.draft(_fresh(), None)
        await draft.write(b"kept")
        await draft.publish("stays", About(filename=""))
        await draft.discard()

        assert await read(store, "stays") == b"kept"

    async def test_a_draft_ends_once(self, store: Store) -> None:
        """After either ending it takes no more bytes and no other ending."""
        for ending in ("publish", "discard"):
            draft = await store.draft(_fresh(), None)
            await draft.write(b"x")
            await (draft.discard() if ending == "discard" else draft.publish("once", About(filename="")))
            with pytest.raises(SluiceError):
                await draft.write(b"more")
            with pytest.raises(SluiceError):
                await draft.publish("twice", About(filename=""))
        with pytest.raises(NotFound):
            await store.stat("twice")

    @pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 20, 60])
    async def test_cancelled_while_writing_then_discarded_leaves_nothing(self, store: Store, turns: int) -> None:
        """A client that goes away at any moment leaves neither object nor draft nor lent memory behind."""
        draft = await store.draft(_fresh(), 6 * MIB)
        writing = asyncio.create_task(_write(draft, pattern(6 * MIB), 700_000))
        for _ in range(turns):
            await asyncio.sleep(0)
        writing.cancel()
        await asyncio.wait([writing])
        await draft.discard()

        assert list(self.leftovers(store)) == []
        assert (await store.list()).entries == []

    @pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 20])
    async def test_cancelled_while_publishing_tells_the_truth(self, store: Store, turns: int) -> None:
        """Publish either returns its entry, and the object is there, or raises, and after discard it is not."""
        draft = await store.draft(_fresh(), None)
        await draft.write(pattern(100_000))
        publishing = asyncio.create_task(draft.publish("perhaps", About(filename="")))
        for _ in range(turns):
            await asyncio.sleep(0)
        publishing.cancel()
        await asyncio.wait([publishing])
        await draft.discard()

        said = not publishing.cancelled()
        assert [entry.key for entry in (await store.list()).entries] == (["perhaps"] if said else [])
        assert list(self.leftovers(store)) == []

    async def test_closing_the_store_discards_drafts(self, tmp_path: Path) -> None:
        """Uploads under way at the end of the server leave nothing."""
        store = await self.make_store(tmp_path)
        draft = await store.draft(_fresh(), None)
        await _write(draft, pattern(3 * MIB), 500_000)
        await store.aclose()

        assert list(self.leftovers(store)) == []
        self.at_end(store)

    async def test_a_durable_store_finds_its_objects_again(self, tmp_path: Path) -> None:
        """Closed and opened anew: the entry and its bytes are what they were."""
        store = await self.make_store(tmp_path)
        if not store.traits.durable:
            await store.aclose()
            pytest.skip(f"{store.traits.name} does not claim it")
        entry = await store_bytes(store, "again/é.bin", pattern(70_000), About("é.bin", "image/png", "ab" * 32))
        await store.aclose()
        again = await self.make_store(tmp_path)

        assert await again.stat("again/é.bin") == entry
        assert await read(again, "again/é.bin") == pattern(70_000)
        await again.aclose()

    # Keys that are taken

    async def test_exactly_one_of_many_creators_wins(self, store: Store) -> None:
        """Sixteen publish one free key at once: one entry, fifteen Exists, and the bytes are the winner's."""
        drafts = [await store.draft(_fresh(), None) for _ in range(16)]
        for number, draft in enumerate(drafts):
            await draft.write(b"%d" % number * 1000)
        outcomes = await asyncio.gather(*(_publish(draft, "deep/er/one") for draft in drafts))

        won = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Entry)]
        assert len(won) == 1
        assert {type(outcome) for outcome in outcomes} == {Entry, Exists}
        assert await read(store, "deep/er/one") == b"%d" % won[0] * 1000
        for draft in drafts:
            await draft.discard()
        assert list(self.leftovers(store)) == []

    async def test_a_taken_key_keeps_its_object(self, store: Store) -> None:
        """Create-only says Exists, and neither the bytes nor what is known of them change."""
        first = await store_bytes(store, "taken", b"first", About("first.txt", "text/plain", "11" * 32))
        with pytest.raises(Exists):
            await store_bytes(store, "taken", b"second and longer", About("second.bin"))

        assert await store.stat("taken") == first
        assert await read(store, "taken") == b"first"

    async def test_replace_gives_the_key_new_bytes(self, store: Store) -> None:
        """Allowed to replace, publish takes a free key and a taken one; the tag changes with the bytes."""
        allowed = Replace(allowed=True)
        first = await store_bytes(store, "r", pattern(200_000), About("a", "text/plain", "11" * 32), allowed)
        second = await store_bytes(store, "r", b"new", About("b", "image/png", "22" * 32), allowed)

        assert (await store.stat("r"), await read(store, "r")) == (second, b"new")
        assert first.etag != second.etag

    async def test_replace_by_tag_wants_that_very_object(self, store: Store) -> None:
        """A tag nobody carries, or a key with nothing under it, is refused and nothing is touched."""
        first = await store_bytes(store, "t", b"first")
        for key, etag in (("t", "another"), ("nothing", first.etag)):
            with pytest.raises(PreconditionFailed):
                await store_bytes(store, key, b"second", replace=Replace(allowed=True, etag=etag))

        assert [entry.key for entry in (await store.list()).entries] == ["t"]
        assert await read(store, "t") == b"first"
        await store_bytes(store, "t", b"second", replace=Replace(allowed=True, etag=first.etag))
        assert await read(store, "t") == b"second"

    async def test_exactly_one_of_many_replacers_by_tag_wins(self, store: Store) -> None:
        """Lost updates cannot happen: eight name the same version, one replaces it, seven are told."""
        first = await store_bytes(store, "cas", b"first")
        drafts = [await store.draft(_fresh(), None) for _ in range(8)]
        for number, draft in enumerate(drafts):
            await draft.write(b"%d" % number * 50)
        by_tag = Replace(allowed=True, etag=first.etag)
        outcomes = await asyncio.gather(*(_publish(draft, "cas", by_tag) for draft in drafts))

        won = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Entry)]
        assert len(won) == 1
        assert {type(outcome) for outcome in outcomes} == {Entry, PreconditionFailed}
        assert await read(store, "cas") == b"%d" % won[0] * 50
        for draft in drafts:
            await draft.discard()

    async def test_an_object_is_never_damaged_by_one_below_or_above_its_key(self, store: Store) -> None:
        """With "a" there, "a/b" is refused (Exists) or stands beside it; the same the other way round."""
        for first, second in (("a", "a/b"), ("c/d", "c"), ("e/f/g", "e/f"), ("h", "h/i/j")):
            for replace in (Replace(), Replace(allowed=True)):
                await store_bytes(store, first, b"first", replace=Replace(allowed=True))
                try:
                    await store_bytes(store, second, b"second", replace=replace)
                except Exists:
                    with pytest.raises(NotFound):
                        await store.stat(second)
                else:
                    assert await read(store, second) == b"second"
                    await store.delete(second)
                assert await read(store, first) == b"first"
        assert list(self.leftovers(store)) == []

    # Delete

    async def test_delete_takes_away_once(self, store: Store) -> None:
        """Deleted, the object is neither read nor listed; a second delete says NotFound, and the key is free again."""
        await store_bytes(store, "x/gone", b"1")
        await store.delete("x/gone")

        for act in (store.stat("x/gone"), store.open("x/gone"), store.delete("x/gone")):
            with pytest.raises(NotFound):
                await act
        assert (await store.list()).entries == []
        await store_bytes(store, "x/gone", b"2")
        assert await read(store, "x/gone") == b"2"

    async def test_delete_by_tag_wants_that_very_object(self, store: Store) -> None:
        """Another tag: refused, the object stays. Its own: gone."""
        entry = await store_bytes(store, "d", b"1")
        with pytest.raises(PreconditionFailed):
            await store.delete("d", Replace(allowed=True, etag="another"))
        assert await read(store, "d") == b"1"
        await store.delete("d", Replace(allowed=True, etag=entry.etag))
        with pytest.raises(NotFound):
            await store.stat("d")

    async def test_publishing_and_deleting_neighbours_at_once_never_fails(self, store: Store) -> None:
        """A folder that becomes empty and is needed again in the same moment is nobody's error."""

        async def come_and_go(number: int) -> None:
            for _ in range(25):
                await store_bytes(store, f"p/q/r/{number}", b"x")
                await store.delete(f"p/q/r/{number}")

        await asyncio.gather(*(come_and_go(number) for number in range(6)))

        assert (await store.list()).entries == []

    async def test_nothing_is_found_where_nothing_is(self, store: Store) -> None:
        """stat, open and delete of a free key, at the top, deep down and below another object, say NotFound."""
        await store_bytes(store, "file", b"1")
        for key in ("nothing", "no/folder/here", "file/below", "fil"):
            for act in (store.stat(key), store.open(key), store.delete(key)):
                with pytest.raises(NotFound):
                    await act

    # Keys and what is known of an object

    @pytest.mark.parametrize("key", ODD_KEYS, ids=lambda key: ascii(key)[:30])
    async def test_odd_keys_are_kept_as_they_are(self, store: Store, key: str) -> None:
        """Unicode, spaces, percent signs, shell and URL characters, long and deep keys: stored, listed, read, deleted."""
        entry = await store_bytes(store, key, b"odd")

        assert entry.key == key
        assert [found.key for found in (await store.list()).entries] == [key]
        assert [found.key for found in (await store.list(prefix=key)).entries] == [key]
        assert await read(store, key) == b"odd"
        await store.delete(key)
        assert (await store.list()).entries == []

    @pytest.mark.parametrize(
        "about",
        [
            About(filename=""),
            About("naïve café – 日本語 🦆.txt", "text/plain", "0123456789abcdef" * 4),
            About("%20'\"\\;,=\t", "application/vnd.oasis.opendocument.text", None),
            About("n" * 200, "image/png", "f" * 64),
        ],
        ids=["nothing", "unicode", "hostile", "long"],
    )
    async def test_what_is_known_of_an_object_lives_with_it(self, store: Store, about: About) -> None:
        """Name, type and sha-256 come back from publish, stat, open and list alike; size and time are true."""
        began = time.time()
        entry = await store_bytes(store, "known", pattern(5000), about)
        opened = await store.open("known")
        await opened.aclose()

        assert (entry.key, entry.size, entry.about) == ("known", 5000, about)
        assert began - 3 <= entry.modified <= time.time() + 1  # some file systems count in steps of two seconds
        assert [await store.stat("known"), opened.entry] == [entry] * 2
        assert (await store.list()).entries == [_listed(store, entry)]
        assert opened.length == 5000

    # Reading

    @pytest.mark.parametrize("size", [0, 1, 70_000, 3 * MIB + 1])
    async def test_any_range_can_be_read_again_and_again(self, store: Store, size: int) -> None:
        """open(start, stop) yields exactly those bytes, clipped to the object, as often as asked, never an empty chunk."""
        data = pattern(size)
        await store_bytes(store, "ranges", data)
        edges = sorted({0, 1, size // 2, max(size - 1, 0), size, size + 10})
        opened = await store.open("ranges")

        assert opened.reopenable
        for start in edges:
            for stop in [None, *(edge for edge in edges if edge >= start)]:
                chunks = [bytes(chunk) async for chunk in opened.open(start, stop)]
                assert b"".join(chunks) == data[start:stop]
                assert all(chunks)
        await opened.aclose()

    async def test_an_open_object_keeps_its_bytes(self, store: Store) -> None:
        """Replaced and deleted while it is read: the reader gets the old bytes to their end, also opened once more.

        A store that is not steady may say instead that it cannot; never does it give bytes of another object.
        """
        for act in ("replace", "delete"):
            old = pattern(3 * MIB)
            entry = await store_bytes(store, "held", old, replace=Replace(allowed=True))
            opened = await store.open("held")
            stream = opened.open()
            got = bytes(await anext(stream))
            if act == "replace":
                await store_bytes(store, "held", b"new", replace=Replace(allowed=True))
            else:
                await store.delete("held")
            try:
                got += b"".join([bytes(chunk) async for chunk in stream])
                assert got == old
                assert b"".join([bytes(chunk) async for chunk in opened.open(MIB, MIB + 9)]) == old[MIB : MIB + 9]
            except StoreFailed:
                assert not store.traits.steady
            assert opened.entry == entry
            await opened.aclose()

    async def test_a_reader_may_leave_at_any_chunk(self, store: Store) -> None:
        """Reading that ends early, twice closed, gives everything back."""
        await store_bytes(store, "left", pattern(8 * MIB))
        for chunks in range(6):
            opened = await store.open("left")
            stream = opened.open()
            for _ in range(chunks):
                await anext(stream)
            await close_stream(stream)
            await opened.aclose()
            await opened.aclose()

    # Listing

    async def test_a_listing_is_in_key_order_and_pages_join_to_it(self, store: Store) -> None:
        """Files and folders mixed come out sorted by key; pages of any size, walked by their cursor, make the whole."""
        keys = ["a-b", "a.txt", "a/b", "a/b.c", "a/c/d", "a0", "b", "B", "z/y/x", "z/y.x", "é", "0", "a b/c", "a/b-"]
        await self._fill(store, keys)
        whole = await store.list()

        assert [entry.key for entry in whole.entries] == sorted(keys)
        assert whole.next is None
        for limit in (1, 2, 3, len(keys) - 1, len(keys)):
            assert await self._walk(store, "", limit) == sorted(keys)

    @pytest.mark.parametrize("prefix", ["a", "a/", "a/b", "a/bb", "a/b/", "A", "", "z/y", "nothing", "a/b/c/d/e", "\U0010ffff"])
    async def test_a_prefix_selects_by_characters_not_by_folders(self, store: Store, prefix: str) -> None:
        """Every key that begins with the prefix and no other, in pages too."""
        keys = ["a", "ab", "a.b", "A/x", "b/a", "z/y", "z/yy/z"]
        if prefix.startswith("a/"):
            keys = ["a/b", "a/bb", "a/bb/", "a/c", "ab/b"]
        keys = [key.rstrip("/") + ("/deep" if key.endswith("/") else "") for key in keys if key not in ("a/bb",)]
        await self._fill(store, keys)
        expected = sorted(key for key in keys if key.startswith(prefix))

        assert [entry.key for entry in (await store.list(prefix)).entries] == expected
        assert await self._walk(store, prefix, 2) == expected

    async def test_after_need_not_be_a_key(self, store: Store) -> None:
        """A cursor whose object was deleted, or that never was one, goes on at its place in the order."""
        keys = ["a", "b/c", "b/d", "b0", "c"]
        await self._fill(store, keys)

        for after in ["", "a", "a0", "b", "b/", "b/c", "b/c/x", "b/cc", "b/z", "b0", "bz", "c", "d"]:
            found = [entry.key for entry in (await store.list("", after)).entries]
            assert found == sorted(key for key in keys if key > after), after

    @staticmethod
    async def _fill(store: Store, keys: Sequence[str]) -> None:
        for key in keys:
            await store_bytes(store, key, key.encode())

    @staticmethod
    async def _walk(store: Store, prefix: str, limit: int) -> list[str]:
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            page = await store.list(prefix, after, limit)
            assert len(page.entries) <= limit
            found += [entry.key for entry in page.entries]
            after = page.next
        return found


def _listed(store: Store, entry: Entry) -> Entry:
    """What a listing says of an object that `stat` describes so."""
    return entry if store.traits.lists_about else dataclasses.replace(entry, about=About(filename=""))


async def _write(draft: Draft, data: bytes, chunk: int) -> None:
    for at in range(0, len(data), chunk):
        await draft.write(data[at : at + chunk])


async def _publish(draft: Draft, key: str, replace: Replace = Replace()) -> Entry | SluiceError:
    try:
        return await draft.publish(key, About(filename=""), replace)
    except SluiceError as error:
        return error
