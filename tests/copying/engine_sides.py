"""The sides of the engine's tests: stores in memory, and a source that fails as a test wants."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import sluiceway
from sluiceway.client.retry import RetryPolicy
from sluiceway.copying.contract import CopyItem, CopySource, CopyTarget, Reading
from sluiceway.copying.endpoints.store import StoreSource
from sluiceway.copying.endpoints.store_target import StoreTarget
from sluiceway.copying.engine import CopyEngine
from sluiceway.copying.object_copier import CopyRules
from sluiceway.copying.report import ObjectResult
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.source import PassingSource
from sluiceway.stores.contract import Entry, Metadata
from sluiceway.stores.memory import MemoryStore

__all__ = ["ONCE", "UnreliableSource", "bytes_of", "ran", "stocked", "target_of"]
ONCE = RetryPolicy(1)


def stocked(objects: dict[str, bytes], known: bool = True) -> MemoryStore:
    """`known`: whether the store knows their sha-256."""
    store = MemoryStore()
    for key, data in objects.items():
        sha256 = hashlib.sha256(data).hexdigest()
        known_digests = (("sha-256", sha256),) if known else ()
        store.objects[key] = (
            Entry(key, len(data), sha256[:8], 0.0, Metadata("", "text/x", known_digests)),
            data,
        )
    return store


def bytes_of(store: MemoryStore) -> dict[str, bytes]:
    return {key: data for key, (_, data) in store.objects.items()}


class UnreliableSource(StoreSource):
    """A source over a real store, with errors while objects are opened and read."""

    def __init__(self, store: MemoryStore, **trouble: list[Exception]) -> None:
        super().__init__(store, "", "source", ONCE)
        self.trouble = trouble
        self.opened: list[str] = []

    @asynccontextmanager
    async def open(self, item: CopyItem) -> AsyncIterator[Reading]:
        self.opened.append(item.key)
        coming = self.trouble.get(item.key.replace(".", "_"), [])
        async with super().open(item) as reading:
            if coming and (error := coming.pop(0)) is not None:

                async def broken() -> AsyncIterator[bytes]:
                    yield b"half"
                    raise error

                reading = dataclasses.replace(
                    reading, source=PassingSource(broken(), reading.source.length)
                )
            yield reading


def target_of(store: MemoryStore, prefix: str = "") -> StoreTarget:
    return StoreTarget(store, prefix, "target/", Budget(16 << 20))


async def ran(
    source: CopySource,
    target: CopyTarget,
    retries: int = 3,
    force: bool = False,
    dry_run: bool = False,
) -> tuple[sluiceway.Report, dict[str, ObjectResult]]:
    ended: dict[str, ObjectResult] = {}

    def look(now: sluiceway.Overall) -> None:
        if now.result is not None:
            assert now.result.key not in ended, "each object ends once"
            ended[now.result.key] = now.result

    rules = CopyRules(RetryPolicy(retries + 1, 0.002), force, dry_run)
    return await CopyEngine(source, target, rules, on_overall=look).run(), ended
