"""Creators, replacers and deleters of a key, odd keys, and the metadata of an object.

A part of `StoreSuite`. Tests ask a store only for what its traits promise.
"""

from __future__ import annotations

import asyncio
import time
from typing import cast
from urllib.parse import unquote

import pytest

from sluiceway.errors import (
    BadForm,
    BadName,
    Exists,
    NotFound,
    PreconditionFailed,
    Refused,
    SluiceError,
)
from sluiceway.stores.contract import (
    Entry,
    Metadata,
    Replace,
    Store,
    UploadRequest,
)
from sluiceway.stores.unpublished import TellsReplaced
from sluiceway.stores.values import OWNER
from sluiceway.testing.store_suite.hooks import (
    LONG,
    Hooks,
    begin,
    digests_of,
    fresh,
    listed,
    pattern,
    publish,
    read,
    store_bytes,
    write,
)
from sluiceway.wire.names import MOST_SEGMENTS

__all__ = ["HARD_KEYS", "ODD_KEYS", "KeysSuite"]

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
    "e\u0301",  # decomposed: a store compares bytes; the code that makes keys normalises
    "long/" + "x" * 200,
    "/".join("d" for _ in range(MOST_SEGMENTS)),
]


# Keys that a store refuses or returns unchanged. Nothing between: a key that is cut or trimmed is
# another object's.
HARD_KEYS = [
    "t\tab",
    "l\nf",
    "c\rr",
    "\x01",
    "a/\x0bb",
    "\x7f",
    "\ufffe",
    "odd//x",
    "/x",
    "d/",
    "./a",
    "a/../b",
    " a",
    "a ",
]

KNOWN_HEADERS = (
    ("cache-control", "max-age=60"),
    ("content-disposition", 'attachment; filename="page.html"'),
    ("content-encoding", "gzip"),
    ("content-language", "de, en"),
)
KNOWN_USER = (("filename", "their own"), ("mtime", "1700000000.5"), ("owner", "somebody"))


class KeysSuite(Hooks):
    """Keys that are taken, deleted or odd; and metadata."""

    async def test_exactly_one_of_many_creators_wins(self, store: Store, there: Store) -> None:
        """Sixteen publish one free key at once: one entry, fifteen Exists, and the winner's
        bytes."""
        if not store.traits.create_only:
            pytest.skip(f"{store.traits.name} does not promise it")
        drafts = [await begin(store, "deep/er/one", None) for _ in range(16)]
        for number, draft in enumerate(drafts):
            await draft.write(b"%d" % number * 1000)
        outcomes = await asyncio.gather(*(publish(draft, "deep/er/one") for draft in drafts))

        won = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Entry)]
        assert len(won) == 1
        assert {type(outcome) for outcome in outcomes} == {Entry, Exists}
        assert await read(there, "deep/er/one") == b"%d" % won[0] * 1000
        for draft in drafts:
            await draft.discard()
        assert await self.left(store) == []

    async def test_a_taken_key_keeps_its_object(self, store: Store, there: Store) -> None:
        """Create-only raises Exists; neither bytes nor metadata change."""
        first = await store_bytes(
            store, "taken", b"first", Metadata("first.txt", "text/plain", digests_of(b"first"))
        )
        with pytest.raises((Exists, Refused)) as refused:
            await store_bytes(store, "taken", b"second and longer", Metadata("second.bin"))

        assert refused.type is Exists or (
            not store.traits.readable and refused.value.status in (409, 412)
        )
        assert store.traits.readable is False or await there.stat("taken") == first
        assert await read(there, "taken") == b"first"

    async def test_replace_gives_the_key_new_bytes(self, store: Store, there: Store) -> None:
        """Publish may replace: it takes a free key and a taken one; the tag changes with the
        bytes."""
        allowed = Replace(allowed=True)
        first = await store_bytes(
            store,
            "r",
            pattern(200_000),
            Metadata("a", "text/plain", digests_of(pattern(200_000))),
            allowed,
        )
        second = await store_bytes(
            store, "r", b"new", Metadata("b", "image/png", digests_of(b"new")), allowed
        )

        assert await read(there, "r") == b"new"
        assert not store.traits.readable or await there.stat("r") == second
        assert first.etag != second.etag

    async def test_of_many_that_create_one_key_all_but_one_say_that_they_replaced(
        self, store: Store, there: Store
    ) -> None:
        """Eight that may replace publish one free key at once, and then one more."""
        if not store.traits.tells_replaced:
            pytest.skip(f"{store.traits.name} does not promise it")
        drafts = [await begin(store, "contested", None) for _ in range(9)]
        allowed, meta = Replace(allowed=True), Metadata(filename="")
        await asyncio.gather(*(draft.publish("contested", meta, allowed) for draft in drafts[:8]))
        await drafts[8].publish("contested", meta, allowed)

        replaced = [cast(TellsReplaced, draft).replaced for draft in drafts]
        assert sorted(replaced[:8]) == [False] + 7 * [True]
        assert replaced[8]

    async def test_an_owner_replaces_no_file_of_another(self, store: Store, there: Store) -> None:
        """Two publish one free key at once and two replace it: its first owner keeps it."""
        if not store.traits.compares_owner:
            pytest.skip(f"{store.traits.name} does not promise it")
        named = {one: Metadata("m", user=((OWNER, one),)) for one in ("ann", "bob")}

        async def send(owner: str, data: bytes) -> Entry | SluiceError:
            try:
                replace = Replace(allowed=True, owner=owner)
                return await store_bytes(store, "whose", data, named[owner], replace)
            except SluiceError as error:
                return error

        outcomes = await asyncio.gather(*(send(one, one.encode()) for one in ("ann", "bob")))
        first = (await there.stat("whose")).metadata.owner
        assert {type(outcome) for outcome in outcomes} == {Entry, Exists}
        assert await read(there, "whose") == first.encode()

        for owner in ("ann", "bob"):
            assert isinstance(await send(owner, b"again"), Entry) is (owner == first)
        assert await read(there, "whose") == b"again"
        await there.delete("whose")
        assert isinstance(await send("bob", b"free"), Entry)

    async def test_of_many_that_replace_one_key_one_stands_whole(
        self, store: Store, there: Store
    ) -> None:
        """Eight contents of different lengths replace each other at once: the key has one of them
        whole."""
        contents = [pattern(100_000 + number * 70_001, number * 5000) for number in range(8)]
        allowed = Replace(allowed=True)
        for _ in range(3):
            await asyncio.gather(
                *(store_bytes(store, "fought/for", data, replace=allowed) for data in contents)
            )

            assert await read(there, "fought/for") in contents
            assert [entry.key for entry in (await there.list()).entries] == ["fought/for"]
        assert await self.left(store) == []

    async def test_replace_by_tag_wants_that_very_object(self, own: Store) -> None:
        """A wrong tag, or a key without an object, is refused, and nothing changes."""
        first = await store_bytes(own, "t", b"first")
        for key, etag in (("t", "another"), ("nothing", first.etag)):
            with pytest.raises(PreconditionFailed):
                await store_bytes(own, key, b"second", replace=Replace(allowed=True, etag=etag))

        assert [entry.key for entry in (await own.list()).entries] == ["t"]
        assert await read(own, "t") == b"first"
        await store_bytes(own, "t", b"second", replace=Replace(allowed=True, etag=first.etag))
        assert await read(own, "t") == b"second"

    async def test_exactly_one_of_many_replacers_by_tag_wins(self, own: Store) -> None:
        """No update is lost: eight name the same version, one replaces it, seven are refused."""
        if not own.traits.compare_and_swap:
            pytest.skip(f"{own.traits.name} does not promise it")
        first = await store_bytes(own, "cas", b"first")
        drafts = [await begin(own, "cas", None) for _ in range(8)]
        for number, draft in enumerate(drafts):
            await draft.write(b"%d" % number * 50)
        by_tag = Replace(allowed=True, etag=first.etag)
        outcomes = await asyncio.gather(*(publish(draft, "cas", by_tag) for draft in drafts))

        won = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Entry)]
        assert len(won) == 1
        assert {type(outcome) for outcome in outcomes} == {Entry, PreconditionFailed}
        assert await read(own, "cas") == b"%d" % won[0] * 50
        for draft in drafts:
            await draft.discard()

    async def test_an_object_is_never_damaged_by_one_below_or_above_its_key(
        self, own: Store
    ) -> None:
        """Beside "a", "a/b" is refused (Exists) or stored; and the other way round."""
        for first, second in (("a", "a/b"), ("c/d", "c"), ("e/f/g", "e/f"), ("h", "h/i/j")):
            for replace in (Replace(), Replace(allowed=True)):
                await store_bytes(own, first, b"first", replace=Replace(allowed=True))
                try:
                    await store_bytes(own, second, b"second", replace=replace)
                except Exists:
                    with pytest.raises(NotFound):
                        await own.stat(second)
                else:
                    assert await read(own, second) == b"second"
                    await own.delete(second)
                assert await read(own, first) == b"first"
        assert await self.left(own) == []

    # Delete

    async def test_delete_takes_away_once(self, own: Store) -> None:
        """A deleted object is not read or listed; a second delete raises NotFound; the key is
        free."""
        await store_bytes(own, "x/gone", b"1")
        await own.delete("x/gone")

        for act in (own.stat("x/gone"), own.open("x/gone"), own.delete("x/gone")):
            with pytest.raises(NotFound):
                await act
        assert (await own.list()).entries == []
        await store_bytes(own, "x/gone", b"2")
        assert await read(own, "x/gone") == b"2"

    async def test_delete_by_tag_wants_that_very_object(self, own: Store) -> None:
        """Another tag is refused and the object stays; its own tag deletes it."""
        entry = await store_bytes(own, "d", b"1")
        with pytest.raises(PreconditionFailed):
            await own.delete("d", Replace(allowed=True, etag="another"))
        assert await read(own, "d") == b"1"
        await own.delete("d", Replace(allowed=True, etag=entry.etag))
        with pytest.raises(NotFound):
            await own.stat("d")

    async def test_publishing_and_deleting_neighbours_at_once_never_fails(self, own: Store) -> None:
        """A folder that becomes empty and is needed again at the same moment causes no error."""

        async def come_and_go(number: int) -> None:
            for _ in range(25 if LONG else max(3, self.many // 40)):
                await store_bytes(own, f"p/q/r/{number}", b"x")
                await own.delete(f"p/q/r/{number}")

        await asyncio.gather(*(come_and_go(number) for number in range(6)))

        assert (await own.list()).entries == []

    async def test_nothing_is_found_where_nothing_is(self, own: Store) -> None:
        """stat, open and delete of a free key raise NotFound: at the top, deep, below an object."""
        await store_bytes(own, "file", b"1")
        for key in ("nothing", "no/folder/here", "file/below", "fil"):
            for act in (own.stat(key), own.open(key), own.delete(key)):
                with pytest.raises(NotFound):
                    await act

    # Metadata

    async def test_odd_keys_are_kept_as_they_are(self, store: Store, there: Store) -> None:
        """Unicode, spaces, percent signs, shell and URL characters, long and deep keys.

        Each is stored, listed, read and deleted. A relay may refuse keys that the next server could
        decode twice.
        """
        for key in ODD_KEYS:
            try:
                entry = await store_bytes(store, key, b"odd")
            except BadForm:
                assert not store.traits.readable, key
                assert ".." in unquote(unquote(key))
                continue

            assert entry.key == key
            key = self.named(key)
            assert [found.key for found in (await there.list()).entries] == [key]
            assert [found.key for found in (await there.list(prefix=key)).entries] == [key]
            assert await read(there, key) == b"odd", key
            await there.delete(key)
            assert (await there.list()).entries == [], key

    async def test_a_hard_key_is_refused_or_comes_back(self, own: Store) -> None:
        """Control characters, empty segments, dots.

        Either BadName and nothing is stored, or the object is listed, read and deleted by this key.
        """
        for key in HARD_KEYS:
            try:
                await store_bytes(own, key, b"hard")
            except BadName:
                page = await own.list()
                assert (page.entries, page.omitted) == ([], ()), key
                assert await self.left(own) == [], key
                continue
            assert [entry.key for entry in (await own.list()).entries] == [key]
            assert await read(own, key) == b"hard", key
            await own.delete(key)
            assert (await own.list()).entries == [], key

    async def test_what_is_known_before_the_first_byte_lives_with_a_large_object(
        self, own: Store
    ) -> None:
        """Headers and user metadata of an object that is sent in parts, where the store does
        that."""
        data = pattern(2 * self.part + 70_000)
        metadata = Metadata("page.html", "text/html", digests_of(data), KNOWN_HEADERS, KNOWN_USER)
        upload_request = UploadRequest(
            "known", metadata.filename, metadata.type, headers=metadata.headers, user=metadata.user
        )
        draft = await own.draft(fresh(), len(data), upload_request)
        await write(draft, data)
        await draft.publish("known", metadata)

        assert (await own.stat("known")).metadata == metadata
        assert await read(own, "known") == data

    @pytest.mark.parametrize(
        "metadata",
        [
            Metadata(filename=""),
            Metadata("naïve café – 日本語 🦆.txt", "text/plain", digests_of(pattern(5000))),
            Metadata("%20'\"\\;,=\t", "application/vnd.oasis.opendocument.text", ()),
            Metadata("n" * 200, "image/png", digests_of(pattern(5000))),
            Metadata(
                "page.html", "text/html", digests_of(pattern(5000)), KNOWN_HEADERS, KNOWN_USER
            ),
        ],
        ids=["nothing", "unicode", "hostile", "long", "all of it"],
    )
    async def test_what_is_known_of_an_object_lives_with_it(
        self, own: Store, metadata: Metadata
    ) -> None:
        """publish, stat, open and list return the same name, type, sha-256, headers and user
        metadata."""
        began = time.time()
        entry = await store_bytes(own, "known", pattern(5000), metadata)
        reader = await own.open("known")
        await reader.aclose()

        assert (entry.key, entry.size, entry.metadata) == ("known", 5000, metadata)
        assert (
            began - 3 <= entry.modified <= time.time() + 1
        )  # some file systems count in steps of two seconds
        assert [await own.stat("known"), reader.entry] == [entry] * 2
        assert (await own.list()).entries == [listed(own, entry)]
        assert reader.length == 5000
