"""Google's and Azure's stores pass the suite in obstore's memory, and on Azurite if installed."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from fix_clouds import KEY, Cloud
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Store
from sluiceway.stores.objects.cloud_bucket import CloudBucket
from sluiceway.stores.objects.part_sizes import default_part_size
from sluiceway.stores.objects.store import ObjectStore
from sluiceway.testing.store_suite import StoreSuite

BUDGET = 32 << 20  # bytes: parts of 8 MiB


class _Staged(StoreSuite):
    resumes = False
    part = default_part_size(BUDGET, 1)
    budget: Budget

    async def sweep(self, store: Store) -> None:
        assert isinstance(store, ObjectStore)
        await store.sweep(0)

    def leftovers(self, store: Store) -> Collection[str]:
        return ()

    def at_end(self, store: Store) -> None:
        assert self.budget.used == 0


class TestInMemory(_Staged):
    """Drafts, copies and notes are the same for every cloud.

    Google has no emulator that takes the requests of obstore.
    """

    variant, many = True, 120
    flat = None

    @pytest.fixture(autouse=True)
    def _bucket(self) -> None:
        self.budget, self.memory = Budget(BUDGET), MemoryStore()

    async def make_store(self, tmp_path: Path) -> Store:
        store = ObjectStore(
            "az://container", self.budget, {"account-name": "nobody", "account-key": KEY}
        )
        store.bucket = CloudBucket(self.memory, "azure", "memory", "", self.budget)
        return store


class TestAzure(_Staged):
    flat = (16 << 20) + BUDGET  # parts in flight, one that gathers, and the blocks of a download
    large = 256 << 20  # the emulator is slow

    @pytest.fixture(autouse=True)
    def _bucket(self, azure: Cloud) -> None:
        self.cloud, self.url, self.budget = azure, azure.fresh(), Budget(BUDGET)

    async def make_store(self, tmp_path: Path) -> Store:
        return ObjectStore(f"{self.url}/pre/fix", self.budget, self.cloud.options)


del _Staged
