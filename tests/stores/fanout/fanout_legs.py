"""Real destinations for fan-out tests, and the check that nothing of them is left when a test is over."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from rude_peer import Peer
from sluiceway.client.http.transport import Deadlines
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Draft, Entry, Metadata, Replace, UploadRequest
from sluiceway.stores.disk.store import DiskStore
from sluiceway.stores.fanout.store import Destination, FanoutStore
from sluiceway.stores.memory import MemoryStore
from sluiceway.stores.relay.backend import Backend
from sluiceway.stores.relay.store import RelayStore
from sluiceway.stores.relay.url_template import RelayUrl

__all__ = [
    "CHUNK",
    "LIMIT",
    "disk",
    "fan_out",
    "memory",
    "pour",
    "put",
    "relay",
    "rests",
    "send",
    "whole",
]

LIMIT = 64 << 20  # bytes of budget
CHUNK = 65_000
SOON = Deadlines(connect=5, idle=10, answer=10)


def memory(required: bool = True) -> Destination:
    return Destination(MemoryStore(), required, "memory:")


def disk(folder: Path, budget: Budget, required: bool = True) -> Destination:
    return Destination(DiskStore(str(folder), budget), required, str(folder))


def relay(url: str, required: bool = True, headers: Mapping[str, str] | None = None) -> Destination:
    return Destination(
        RelayStore(Backend(RelayUrl(url), headers=headers or {}, deadlines=SOON)), required, url
    )


def rests(leg: Destination) -> list[str]:
    """Everything that can be seen at a place, drafts included."""
    if isinstance(leg.store, MemoryStore):
        return [*leg.store.objects, *leg.store.drafts]
    if isinstance(leg.store, DiskStore):
        return sorted(
            name
            for way, _, names in os.walk(leg.store.root)
            if not way.endswith("/servers")
            for name in names
        )
    return []


def whole(peer: Peer) -> list[str]:
    """The methods of requests that came to their end at a server; one that was broken off may not even have been met."""
    for exchange in peer.seen:
        assert exchange.done.wait(10)
    return [exchange.method for exchange in peer.seen if not exchange.cut]


@asynccontextmanager
async def fan_out(budget: Budget, *legs: Destination) -> AsyncIterator[FanoutStore]:
    """The legs as one store. At the end every byte is settled and no task goes on."""
    before = asyncio.all_tasks()
    store = FanoutStore(list(legs), budget)
    try:
        yield store
    finally:
        await store.aclose()
    assert budget.used == 0, "lent bytes were not settled"
    assert asyncio.all_tasks() - before == set(), "a task was left behind"


async def pour(draft: Draft, data: bytes) -> None:
    """As a pump writes: one chunk after the other, with the event loop's turns between."""
    for at in range(0, len(data), CHUNK):
        await draft.write(data[at : at + CHUNK])
        await asyncio.sleep(0)


def put(key: str, replace: Replace) -> UploadRequest:
    return UploadRequest(key=key, filename=key, method="PUT", replace=replace)


async def send(
    store: FanoutStore, key: str, data: bytes, replace: Replace = Replace(), *, told: bool = True
) -> Entry:
    """One upload, as the upload service does it: discarded whatever happens."""
    draft = await store.draft(f"up-{key}.0", len(data) if told else None, put(key, replace))
    try:
        await pour(draft, data)
        return await draft.publish(key, Metadata(filename=key), replace)
    finally:
        await draft.discard()
