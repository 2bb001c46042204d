"""An object gets another key: its bytes, what is known of it, and whom it must not replace.

A part of `StoreSuite`, for stores with the trait `renames`.
"""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from sluiceway.errors import BadName, Exists, NotFound, PreconditionFailed, SluiceError
from sluiceway.stores.contract import Entry, Metadata, Renames, Store
from sluiceway.testing.store_suite.hooks import Hooks, digests_of, read, store_bytes

__all__ = ["RenamingSuite"]


class RenamingSuite(Hooks):
    """What `Renames` promises."""

    @pytest.fixture
    def renames(self, own: Store) -> Renames:
        """The store, if it can rename here."""
        assert isinstance(own, Renames) or not own.traits.renames
        if not isinstance(own, Renames) or not own.traits.renames:
            pytest.skip(f"{own.traits.name} does not rename")
        return own

    async def test_a_renamed_object_is_the_same_under_its_new_key(
        self, own: Store, renames: Renames
    ) -> None:
        """Bytes, type, digest and tag stay; its file name is the last segment of the new key."""
        before = await store_bytes(
            own,
            "old/a b.txt",
            b"words",
            Metadata("a b.txt", "text/plain", digests_of(b"words"), user=(("owner", "ü"),)),
        )
        renamed = await renames.rename("old/a b.txt", "new/Grüße/c.md")

        known = dataclasses.replace(before.metadata, filename="c.md")
        assert (renamed.key, renamed.size) == ("new/Grüße/c.md", 5)
        assert await own.stat("new/Grüße/c.md") == renamed
        assert renamed.metadata == known
        assert await read(own, "new/Grüße/c.md") == b"words"
        with pytest.raises(NotFound):
            await own.stat("old/a b.txt")
        assert [entry.key for entry in (await own.list()).entries] == ["new/Grüße/c.md"]
        assert await self.left(own) == []

    async def test_a_taken_key_is_not_replaced(self, own: Store, renames: Renames) -> None:
        """Exists; both objects stay as they are, with all that is known of them."""
        one = await store_bytes(own, "d/one.txt", b"one")
        two = await store_bytes(own, "d/two.txt", b"two")
        for taken in ("d/two.txt", "d/one.txt", "d"):
            with pytest.raises((Exists, BadName)):
                await self._rename(own, renames, "d/one.txt", taken)

        assert (await own.stat("d/one.txt"), await own.stat("d/two.txt")) == (one, two)
        assert await read(own, "d/one.txt") == b"one"
        assert await read(own, "d/two.txt") == b"two"

    async def _rename(self, own: Store, renames: Renames, key: str, new_key: str) -> None:
        """Stores without folders may have `d` beside `d/one.txt`; there it is renamed back."""
        await renames.rename(key, new_key)
        await renames.rename(new_key, key)
        raise Exists("the store has no folders")

    async def test_only_the_version_that_is_meant_is_renamed(
        self, own: Store, renames: Renames
    ) -> None:
        """With the tag of another version PreconditionFailed, of no object NotFound."""
        entry = await store_bytes(own, "a.txt", b"1")
        with pytest.raises(PreconditionFailed):
            await renames.rename("a.txt", "b.txt", "0123")
        with pytest.raises(NotFound):
            await renames.rename("missing.txt", "b.txt")
        assert (await own.stat("a.txt")) == entry

        assert (await renames.rename("a.txt", "b.txt", entry.etag)).key == "b.txt"

    async def test_of_many_renames_to_one_key_exactly_one_succeeds(
        self, own: Store, renames: Renames
    ) -> None:
        """Eight objects, one free key: one Entry, seven Exists, and no object is lost."""
        names = [f"from/{number}.txt" for number in range(8)]
        for name in names:
            await store_bytes(own, name, name.encode())

        async def rename(name: str) -> Entry | SluiceError:
            try:
                return await renames.rename(name, "to/the/one.txt")
            except SluiceError as error:
                return error

        outcomes = await asyncio.gather(*map(rename, names))
        won = [name for name, one in zip(names, outcomes, strict=True) if isinstance(one, Entry)]

        assert {type(one) for one in outcomes} == {Entry, Exists}
        assert len(won) == 1
        assert await read(own, "to/the/one.txt") == won[0].encode()
        left = sorted(entry.key for entry in (await own.list("from/")).entries)
        assert left == sorted(set(names) - set(won))
