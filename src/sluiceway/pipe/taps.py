"""Taps look at the bytes that flow past: digests here. They never change, hold back or reorder a byte.

Hashing runs in a worker thread while the next bytes arrive; small pieces are hashed where they stand, because a thread hop
costs more than they do.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from sluiceway.errors import BadDigest
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.source import Buffer

__all__ = ["ALGORITHMS", "Digests", "Tap"]

ALGORITHMS: Mapping[str, str] = {"sha-256": "sha256", "sha-512": "sha512"}  # RFC 9530 "Active" -> hashlib

INLINE = 32 << 10  # bytes hashed on the event loop: 20 microseconds, about what a thread hop costs
BATCH = 1 << 20  # bytes per hop to the hashing thread

_hashing = ThreadPoolExecutor(max_workers=4, thread_name_prefix="sluiceway-hash")


class Tap(Protocol):
    """Something that sees every byte once, in order."""

    async def take(self, data: Buffer) -> None: ...


class Digests:
    """Running digests of a stream. At most one batch is hashed and one gathered: `2 * BATCH` bytes, lent by the budget."""

    def __init__(self, algorithms: Iterable[str] = ("sha-256",), budget: Budget | None = None) -> None:
        unknown = [name for name in algorithms if name not in ALGORITHMS]
        if unknown:
            raise BadDigest(f"Unknown digest {unknown[0]!r}; use one of {', '.join(ALGORITHMS)}")
        self._hashes = {name: hashlib.new(ALGORITHMS[name]) for name in algorithms}
        self._budget = budget
        self._batch: list[Buffer] = []
        self._gathered = 0
        self._running: asyncio.Future[None] | None = None

    async def take(self, data: Buffer) -> None:
        if not self._hashes:
            return
        idle = self._running is None or self._running.done()
        if idle and not self._batch and len(data) <= INLINE:
            self._update([data])
            return
        may_gather = self._budget is None or self._budget.lend(len(data))
        if not may_gather:  # the budget is used up: hold nothing, hash this piece now
            await self._drain()
            await asyncio.get_running_loop().run_in_executor(_hashing, self._update, [data])
            return
        self._batch.append(data)
        self._gathered += len(data)
        if idle and self._gathered > INLINE:
            self._start()
        elif self._gathered >= BATCH:
            await self._wait()
            self._start()

    async def finish(self) -> dict[str, bytes]:
        """The digests of everything taken, by algorithm name. More may be taken afterwards."""
        await self._drain()
        return {name: running.digest() for name, running in self._hashes.items()}

    async def aclose(self) -> None:
        """Stop early: what is still gathered is dropped, the thread is waited for, the budget settled."""
        self._settle(self._gathered)
        self._batch, self._gathered = [], 0
        if self._running is not None:
            await asyncio.wait([self._running])

    async def _drain(self) -> None:
        await self._wait()
        if self._batch:
            self._start()
            await self._wait()

    async def _wait(self) -> None:
        if self._running is not None:
            await self._running

    def _start(self) -> None:
        batch, size = self._batch, self._gathered
        self._batch, self._gathered = [], 0
        self._running = asyncio.get_running_loop().run_in_executor(_hashing, self._update, batch)
        self._running.add_done_callback(lambda _: self._settle(size))

    def _settle(self, size: int) -> None:
        if self._budget is not None:
            self._budget.settle(size)

    def _update(self, batch: list[Buffer]) -> None:
        for running in self._hashes.values():
            for data in batch:
                running.update(data)
