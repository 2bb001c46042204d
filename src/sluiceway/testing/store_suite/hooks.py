"""What the tests of `StoreSuite` share: hooks for a store's author, and functions to write and
read.

Needs pytest and anyio's plugin for it. Knows a store only through its contract.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import random
import subprocess
import time
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest

from sluiceway.errors import SluiceError
from sluiceway.pipe.budget import BLOCK, DEPTH
from sluiceway.pipe.hashes import CHOICES, digest_of, digest_pairs, is_available
from sluiceway.stores.contract import (
    Draft,
    Entry,
    Maintained,
    Metadata,
    Pairs,
    Replace,
    Store,
    UploadRequest,
)

__all__ = [
    "LONG",
    "MIB",
    "Hooks",
    "begin",
    "digests_of",
    "feed",
    "fresh",
    "listed",
    "pattern",
    "publish",
    "read",
    "start",
    "store_bytes",
    "write",
]

MIB = 1 << 20
LONG = "SLUICEWAY_TORTURE" in os.environ  # whether the long proofs run in full
CLEANUP_TIMEOUT = 10.0  # seconds for another machine to delete what was broken off
_DATA = random.Random(20).randbytes(DEPTH * BLOCK + 1)  # noqa: S311  # repeatable on purpose; nothing here is a secret
_numbers = itertools.count()


class Hooks:
    """Derive, implement `make_store`, and override what differs for the store."""

    pytestmark: pytest.MarkDecorator = pytest.mark.anyio

    # Bytes of a part, where the store sends parts: sizes around one and two of them are tried.
    part: int = 0
    # Bytes of the large object; slow stores take less, and in the long proofs all take 1 GiB.
    large: int = 256 << 20
    many: int = 1_010  # objects in the long listing: more than any store's page
    resumes: bool = True  # False: its drafts are never taken up again, and no test is collected
    # Bytes that the large object may cost beyond one of 16 MiB; None for a store in memory.
    flat: int | None = 16 << 20

    async def make_store(self, tmp_path: Path) -> Store:
        """Return a store. With the same folder again, a durable one finds its objects."""
        raise NotImplementedError("define make_store")

    def leftovers(self, store: Store) -> Collection[str]:
        """Return the names of drafts that remain, where the store can be looked into."""
        return ()

    def at_end(self, store: Store) -> None:
        """Called after every test, when the store is closed: its memory must be released."""

    async def read_back(self, store: Store) -> Store:
        """Return the store where published objects can be read; another one for a relay.

        It is closed after the test.
        """
        return store

    def named(self, key: str) -> str:
        """Return the key under which `read_back` finds what was published as `key`."""
        return key

    def command(self, tmp_path: Path) -> list[str] | None:
        """Return a program that stores its standard input as "crashed" in the store.

        The test kills it midway.
        """
        return None

    def keeper(self, tmp_path: Path, upload: str) -> list[str] | None:
        """Return a program that writes its standard input to a draft which may be taken up again.

        After each `sync` it prints a line of JSON: kept, state and parts. The test kills it midway.
        """
        return None

    async def sweep(self, store: Store) -> None:
        """Delete what the killed program left, as if the store's grace period had passed."""
        if isinstance(store, Maintained):
            await store.sweep()

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    async def store(self, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Store]:
        store = await self.make_store(tmp_path)
        assert self.resumes or not store.traits.resumable, "its drafts can be taken up again"
        yield store
        await store.aclose()
        self.at_end(store)

    @pytest.fixture
    async def there(self, store: Store) -> AsyncIterator[Store]:
        """The store where published objects can be read."""
        there = await self.read_back(store)
        yield there
        if there is not store:
            await there.aclose()

    @pytest.fixture
    def own(self, store: Store) -> Store:
        """The store, for tests of what it reads, lists and deletes."""
        if not store.traits.readable:
            pytest.skip(f"{store.traits.name} relays and keeps nothing to read")
        return store

    async def left(self, store: Store) -> list[str]:
        """Return the leftovers; another machine gets a moment to delete them."""
        until = time.monotonic() + (CLEANUP_TIMEOUT if store.traits.remote else 0)
        while (found := sorted(self.leftovers(store))) and time.monotonic() < until:  # noqa: ASYNC110  # a folder has no events
            await asyncio.sleep(0.05)
        return found


def pattern(size: int, at: int = 0) -> bytes:
    """Return bytes without a period, so that a block in the wrong place shows. At most 8 MiB."""
    return _DATA[at : at + size]


def start(command: list[str], stdout: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """Start a program that reads what it is given."""
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stdout)  # noqa: S603  # the author's own


def feed(pipe: IO[bytes], data: bytes) -> bool:
    """Write all of it to a program, and return whether it lived until then."""
    with suppress(BrokenPipeError):
        while data:
            data = data[os.write(pipe.fileno(), data) :]
    return not data


def fresh() -> str:
    """Return an upload's id that was never used."""
    return f"suite-{os.getpid()}-{next(_numbers)}.0"


async def begin(store: Store, key: str, size: int | None, replace: Replace = Replace()) -> Draft:
    """Return a draft with its key, for stores that relay."""
    name = key.rpartition("/")[2]
    return await store.draft(
        fresh(), size, UploadRequest(key=key, filename=name, method="PUT", replace=replace)
    )


async def write(draft: Draft, data: bytes, chunk: int = MIB) -> None:
    for at in range(0, len(data), chunk):
        await draft.write(data[at : at + chunk])


async def publish(draft: Draft, key: str, replace: Replace = Replace()) -> Entry | SluiceError:
    """Return the entry or the error."""
    try:
        return await draft.publish(key, Metadata(filename=""), replace)
    except SluiceError as error:
        return error


def digests_of(data: bytes) -> Pairs:
    """Return them as `Metadata` has them, by every algorithm of this machine: stores may check
    them."""
    return digest_pairs({name: digest_of(name, data) for name in filter(is_available, CHOICES)})


async def read(store: Store, key: str, start: int = 0, stop: int | None = None) -> bytes:
    """Return the bytes of an object."""
    reader = await store.open(key)
    try:
        return b"".join([bytes(chunk) async for chunk in reader.open(start, stop)])
    finally:
        await reader.aclose()


async def store_bytes(
    store: Store,
    key: str,
    data: bytes,
    metadata: Metadata | None = None,
    replace: Replace = Replace(),
) -> Entry:
    """Store an object; no draft is left behind, whatever happens."""
    draft = await begin(store, key, len(data), replace)
    try:
        await write(draft, data)
        return await draft.publish(
            key, metadata or Metadata(filename=key.rpartition("/")[2]), replace
        )
    finally:
        await draft.discard()


def listed(store: Store, entry: Entry) -> Entry:
    """Return the entry that a listing has for an object with this `stat`."""
    return (
        entry
        if store.traits.lists_metadata
        else dataclasses.replace(entry, metadata=Metadata(filename=""))
    )
