"""Buckets pass the suite on a real S3 server. Another client looks for what drafts leave there."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from fix_s3 import Objects
from killed_writer import keeper, writer
from sluiceway.errors import Exists
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Metadata, Replace, Store, UploadRequest
from sluiceway.stores.objects.part_sizes import default_part_size
from sluiceway.stores.objects.store import ObjectStore
from sluiceway.testing.store_suite import StoreSuite, pattern, read, store_bytes

BUDGET = 32 << 20  # bytes: parts of 8 MiB
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def bucket(s3: Objects) -> str:
    """One for all tests, each with a prefix of its own: making one takes the server long."""
    return s3.fresh()


class TestS3(StoreSuite):
    part = default_part_size(BUDGET, 1)
    flat = (16 << 20) + BUDGET  # the parts in flight, and the one that gathers
    large, many = 80 << 20, 40  # the server is slow; more in the long proofs
    budget: Budget

    @pytest.fixture(autouse=True)
    def _fresh_prefix(self, s3: Objects, bucket: str) -> Iterator[None]:
        self.s3, self.prefix, self.budget = s3, f"pre/fix{next(NUMBERS)}", Budget(BUDGET)
        self.url, self.bucket = s3.url(bucket, self.prefix), bucket
        yield
        assert s3.unfinished(bucket) == []

    async def make_store(self, tmp_path: Path) -> Store:
        return ObjectStore(self.url, self.budget, self.s3.options)

    def leftovers(self, store: Store) -> Collection[str]:
        keys = self.s3.keys(self.bucket, f"{self.prefix}/")
        return [key for key in keys if "/drafts/" in key or "/lasting/" in key]

    def command(self, tmp_path: Path) -> list[str]:
        return writer("objects", self.place)

    def keeper(self, tmp_path: Path, upload: str) -> list[str]:
        return keeper("objects", self.place, upload)

    @property
    def place(self) -> str:
        query = "&".join(
            f"{name}={quote(value, safe='')}" for name, value in self.s3.options.items()
        )
        return f"{self.url}?{query}"

    async def sweep(self, store: Store) -> None:
        assert isinstance(store, ObjectStore)
        await store.sweep(0)

    def at_end(self, store: Store) -> None:
        assert self.budget.used == 0

    @pytest.mark.parametrize("size", [0, 1000, default_part_size(BUDGET, 1) + 7])
    async def test_a_refused_draft_can_still_replace(self, tmp_path: Path, size: int) -> None:
        """Create-only raises Exists. The same draft, published again to replace, has all bytes."""
        store = await self.make_store(tmp_path)
        await store_bytes(store, "key", b"first")
        draft = await store.draft("one", size, UploadRequest(key="key", filename="key"))
        await draft.write(pattern(size))
        metadata = Metadata("key")
        with pytest.raises(Exists):
            await draft.publish("key", metadata)
        await draft.publish("key", metadata, Replace(allowed=True))

        assert await read(store, "key") == pattern(size)
        await store.aclose()
        self.at_end(store)
