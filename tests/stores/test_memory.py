"""The reference store passes the store suite."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from sluiceway.stores.contract import Store
from sluiceway.stores.memory import MemoryStore
from sluiceway.testing.store_suite import StoreSuite


class TestMemoryStore(StoreSuite):
    flat = None

    async def make_store(self, tmp_path: Path) -> Store:
        return MemoryStore()

    def leftovers(self, store: Store) -> Collection[str]:
        return list(store.drafts) if isinstance(store, MemoryStore) else ()
