"""A program that stores its standard input as "crashed" in a store, for tests that kill it.

With an upload's id it writes to a draft that may be taken up again, and prints what it kept.

disk FOLDER, fanout FOLDER|FOLDER, filesystem URL, objects URL, postgres URL, sqlite URL or relay
URL, where it goes.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys

from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Metadata, Store, UploadRequest
from sluiceway.stores.disk.store import DiskStore
from sluiceway.stores.postgres.store import PostgresStore
from sluiceway.stores.relay.backend import Backend
from sluiceway.stores.relay.store import RelayStore
from sluiceway.stores.relay.url_template import RelayUrl
from sluiceway.stores.unpublished import ResumableStore

__all__ = ["keeper", "writer"]

STEP = 300_000  # bytes from an offset to the next one: a bucket stores the rest each time


def writer(kind: str, place: str) -> list[str]:
    """The command that starts it."""
    return [sys.executable, __file__, kind, place]


def keeper(kind: str, place: str, upload: str) -> list[str]:
    """The command that keeps a draft."""
    return [*writer(kind, place), upload]


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
    if kind == "fanout":
        from sluiceway.stores.fanout.store import Destination, FanoutStore

        folders = [DiskStore(folder, budget) for folder in place.split("|")]
        return FanoutStore([Destination(each, True, each.root) for each in folders], budget)
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


async def _keep(store: Store, upload: str) -> None:
    assert isinstance(store, ResumableStore)
    request = UploadRequest(key="killed", filename="killed", method="PUT")
    draft, kept = await store.begin(upload, None, request), 0
    while data := await asyncio.to_thread(os.read, 0, 1 << 16):
        await draft.write(data)
        if draft.written < kept + STEP:
            continue
        kept = await draft.sync()
        print(json.dumps({"kept": kept, **dataclasses.asdict(draft.save())}), flush=True)
        draft.saved()


if __name__ == "__main__":
    opened = _store(sys.argv[1], sys.argv[2])
    asyncio.run(_keep(opened, sys.argv[3]) if sys.argv[3:] else _write(opened))
