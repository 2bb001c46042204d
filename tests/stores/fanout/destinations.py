"""Real destinations for fan-out tests, and a check that a test leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from rude_peer import Peer
from sluiceway.client.http.exchange import Deadlines
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
    "complete_requests",
    "disk",
    "fan_out",
    "memory",
    "put",
    "relay",
    "send",
    "stored_names",
    "write_chunks",
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
        RelayStore(Backend(RelayUrl(url), headers=headers or {}, deadlines=SOON, show=True)),
        required,
        url,
    )


def stored_names(destination: Destination) -> list[str]:
    """The names of all objects and drafts at a destination."""
    if isinstance(destination.store, MemoryStore):
        return [*destination.store.objects, *destination.store.drafts]
    if isinstance(destination.store, DiskStore):
        return sorted(
            name
            for way, _, names in os.walk(destination.store.root)
            if not way.endswith("/servers")
            for name in names
        )
    return []


def complete_requests(peer: Peer) -> list[str]:
    """The methods of the requests that a server got to their end, without those that were cut."""
    for exchange in peer.seen:
        assert exchange.done.wait(10)
    return [exchange.method for exchange in peer.seen if not exchange.cut]


@asynccontextmanager
async def fan_out(budget: Budget, *destinations: Destination) -> AsyncIterator[FanoutStore]:
    """The destinations as one store. At the end no byte is held and no task is running."""
    before = asyncio.all_tasks()
    store = FanoutStore(list(destinations), budget)
    try:
        yield store
    finally:
        await store.aclose()
    assert budget.used == 0, "bytes of the budget were not released"
    assert asyncio.all_tasks() - before == set(), "a task was left behind"


async def write_chunks(draft: Draft, data: bytes) -> None:
    """As a pump writes: one chunk after the other, with turns of the event loop between."""
    for at in range(0, len(data), CHUNK):
        await draft.write(data[at : at + CHUNK])
        await asyncio.sleep(0)


def put(key: str, replace: Replace) -> UploadRequest:
    return UploadRequest(key=key, filename=key, method="PUT", replace=replace)


async def send(
    store: FanoutStore,
    key: str,
    data: bytes,
    replace: Replace = Replace(),
    *,
    length_known: bool = True,
) -> Entry:
    """One upload as the upload service does it: the draft is discarded in every case."""
    draft = await store.draft(f"up-{key}.0", len(data) if length_known else None, put(key, replace))
    try:
        await write_chunks(draft, data)
        return await draft.publish(key, Metadata(filename=key), replace)
    finally:
        await draft.discard()
