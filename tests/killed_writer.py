"""A program that stores its standard input as "crashed" in a store, for tests that kill it.

disk FOLDER, filesystem URL, objects URL, postgres URL, sqlite URL or relay URL, where it goes.
"""

from __future__ import annotations

import asyncio
import os
import sys

from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Metadata, Store, UploadRequest
from sluiceway.stores.disk.store import DiskStore
from sluiceway.stores.postgres.store import PostgresStore
from sluiceway.stores.relay.backend import Backend
from sluiceway.stores.relay.store import RelayStore
from sluiceway.stores.relay.url_template import RelayUrl

__all__ = ["writer"]


def writer(kind: str, place: str) -> list[str]:
    """The command that starts it."""
    return [sys.executable, __file__, kind, place]


def _store(kind: str, place: str) -> Store:
    if kind == "relay":
        return RelayStore(Backend(RelayUrl(place)))
    budget = Budget(64 << 20)
    if kind == "filesystem":
        from sluiceway.stores.fsspec.store import FsspecStore

        return FsspecStore(place, budget)
    if kind == "objects":
        from sluiceway.stores.objects.store import ObjectStore

        return ObjectStore(place, budget)
    if kind == "sqlite":
        from sluiceway.stores.sqlite.store import SqliteStore

        return SqliteStore(place, budget)
    return DiskStore(place, budget) if kind == "disk" else PostgresStore(place, budget)


async def _write(store: Store) -> None:
    draft = await store.draft(
        "crashed.0", None, UploadRequest(key="crashed", filename="crashed", method="PUT")
    )
    while data := await asyncio.to_thread(os.read, 0, 1 << 16):
        await draft.write(data)
    await draft.publish("crashed", Metadata(filename="crashed"))


if __name__ == "__main__":
    asyncio.run(_write(_store(sys.argv[1], sys.argv[2])))
