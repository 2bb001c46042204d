"""The disk store passes the store suite and releases every byte of its budget."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from killed_writer import keeper, writer
from sluiceway.pipe.budget import MINIMUM, Budget
from sluiceway.stores.contract import Store
from sluiceway.stores.disk.store import DiskStore
from sluiceway.testing.store_suite import StoreSuite


class TestDiskStore(StoreSuite):
    """As `sluiceway serve` uses it."""

    limit = 64 << 20
    budget: Budget

    async def make_store(self, tmp_path: Path) -> Store:
        self.budget = Budget(self.limit)
        return DiskStore(str(tmp_path), self.budget)

    def leftovers(self, store: Store) -> Collection[str]:
        return (
            os.listdir(os.path.join(store.root, ".sluiceway", "drafts"))
            if isinstance(store, DiskStore)
            else ()
        )

    def command(self, tmp_path: Path) -> list[str]:
        return writer("disk", str(tmp_path))

    def keeper(self, tmp_path: Path, upload: str) -> list[str]:
        return keeper("disk", str(tmp_path), upload)

    def at_end(self, store: Store) -> None:
        assert self.budget.used == 0, "bytes of the budget were not released"
        assert self.budget.share == min(4, self.limit // (2 << 20)), (
            "a draft is still counted as direct"
        )


class TestDiskStoreWithHardlyAnyMemory(TestDiskStore):
    """The smallest budget: blocks run out all the time, and small writes replace them."""

    variant, many = True, 120
    limit = MINIMUM
