"""What the tests of `StoreSuite` share: the hooks a store's author fills in, and how they write, read and look around.

Needs pytest and anyio's plugin for it; knows no store but through its contract.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import itertools
import os
import random
import time
from collections.abc import AsyncIterator, Collection
from pathlib import Path

import pytest

from sluiceway.errors import SluiceError
from sluiceway.pipe.budget import BLOCK, DEPTH
from sluiceway.stores.contract import (
    Draft,
    Entry,
    Maintained,
    Metadata,
    Replace,
    Store,
    UploadRequest,
)

__all__ = [
    "LONG",
    "MIB",
    "Hooks",
    "begin",
    "fresh",
    "listed",
    "pattern",
    "publish",
    "read",
    "sha256_of",
    "store_bytes",
    "write",
]

MIB = 1 << 20
LONG = "SLUICEWAY_TORTURE" in os.environ  # whether the long proofs run in full
SOON = 10.0  # seconds another machine gets to put away what was broken off
_DATA = random.Random(20).randbytes(DEPTH * BLOCK + 1)  # noqa: S311  # repeatable on purpose; nothing here is a secret
_numbers = itertools.count()


class Hooks:
    """Derive, implement `make_store`, and say of the rest what is not so."""

    pytestmark: pytest.MarkDecorator = pytest.mark.anyio

    part: int = 0  # bytes of a part, where the store sends parts: sizes around one and two of them are tried
    large: int = (
        1 << 30
    )  # bytes of the large object; slow stores take less, and all of it in the long proofs
    many: int = 1_010  # objects in the long listing: more than a page of anybody's
    flat: int | None = (
        16 << 20
    )  # bytes more that the large object may cost than one of 16 MiB; None: the store is memory

    async def make_store(self, tmp_path: Path) -> Store:
        """A store; called again with the same folder, a durable one finds its objects again."""
        raise NotImplementedError("a suite for a store says how to make it")

    def leftovers(self, store: Store) -> Collection[str]:
        """Names of drafts that still rest somewhere. Stores that cannot be looked into keep this."""
        return ()

    def at_end(self, store: Store) -> None:
        """After every test, when the store is closed: what it lent must be settled."""

    async def read_back(self, store: Store) -> Store:
        """Where what the store published can be read: the store itself, unless it only passes on. Closed after the test."""
        return store

    def named(self, key: str) -> str:
        """The key under which `read_back` finds what was published as `key`: another server may have rules of its own."""
        return key

    def command(self, tmp_path: Path) -> list[str] | None:
        """A program that stores its standard input as "crashed" in the store of `make_store`; it is killed on its way."""
        return None

    async def sweep(self, store: Store) -> None:
        """Free what the killed program left, as if the time that the store leaves to the living had passed."""
        if isinstance(store, Maintained):
            await store.sweep()

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    async def store(self, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Store]:
        store = await self.make_store(tmp_path)
        yield store
        await store.aclose()
        self.at_end(store)

    @pytest.fixture
    async def there(self, store: Store) -> AsyncIterator[Store]:
        """Where one looks for what was published."""
        there = await self.read_back(store)
        yield there
        if there is not store:
            await there.aclose()

    @pytest.fixture
    def own(self, store: Store) -> Store:
        """The store, for tests of what it reads, lists and deletes itself."""
        if not store.traits.readable:
            pytest.skip(f"{store.traits.name} passes on and keeps nothing to read")
        return store

    async def left(self, store: Store) -> list[str]:
        """The leftovers; another machine gets a moment to put them away."""
        until = time.monotonic() + (SOON if store.traits.remote else 0)
        while (found := sorted(self.leftovers(store))) and time.monotonic() < until:  # noqa: ASYNC110  # a folder tells nobody
            await asyncio.sleep(0.05)
        return found


def pattern(size: int, at: int = 0) -> bytes:
    """Bytes without a period, so that a block in the wrong place shows. At most 8 MiB."""
    return _DATA[at : at + size]


def fresh() -> str:
    """An upload's id nobody has used."""
    return f"suite-{os.getpid()}-{next(_numbers)}.0"


async def begin(store: Store, key: str, size: int | None, replace: Replace = Replace()) -> Draft:
    """A draft that says where it goes, for stores that pass on."""
    name = key.rpartition("/")[2]
    return await store.draft(
        fresh(), size, UploadRequest(key=key, filename=name, method="PUT", replace=replace)
    )


async def write(draft: Draft, data: bytes, chunk: int = MIB) -> None:
    for at in range(0, len(data), chunk):
        await draft.write(data[at : at + chunk])


async def publish(draft: Draft, key: str, replace: Replace = Replace()) -> Entry | SluiceError:
    """Its outcome, whichever it is."""
    try:
        return await draft.publish(key, Metadata(filename=""), replace)
    except SluiceError as error:
        return error


def sha256_of(data: bytes) -> str:
    """As `Metadata` has it: stores may check it."""
    return hashlib.sha256(data).hexdigest()


async def read(store: Store, key: str, start: int = 0, stop: int | None = None) -> bytes:
    """The bytes of an object."""
    opened = await store.open(key)
    try:
        return b"".join([bytes(chunk) async for chunk in opened.open(start, stop)])
    finally:
        await opened.aclose()


async def store_bytes(
    store: Store,
    key: str,
    data: bytes,
    metadata: Metadata | None = None,
    replace: Replace = Replace(),
) -> Entry:
    """Put an object there; whatever happens, no draft is left behind."""
    draft = await begin(store, key, len(data), replace)
    try:
        await write(draft, data)
        return await draft.publish(
            key, metadata or Metadata(filename=key.rpartition("/")[2]), replace
        )
    finally:
        await draft.discard()


def listed(store: Store, entry: Entry) -> Entry:
    """What a listing says of an object that `stat` describes so."""
    return (
        entry
        if store.traits.lists_metadata
        else dataclasses.replace(entry, metadata=Metadata(filename=""))
    )
