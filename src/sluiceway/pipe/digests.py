"""Taps see the bytes that flow past: digests here. They never change, withhold or reorder a byte.

Hashing runs in a worker thread while the next bytes arrive. Small chunks are hashed on the event
loop, because switching to a thread costs more than they do. Knows nothing of headers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, runtime_checkable

from sluiceway.pipe.budget import Budget
from sluiceway.pipe.hashes import ALGORITHMS, SHA256, new_hash
from sluiceway.pipe.source import Buffer

__all__ = ["Digests", "RunningDigests", "Tap", "ThreadTap"]

BATCH = 512 << 10  # bytes gathered before they go to the hashing thread
BEHIND = 2 << 20  # bytes that the hashing may lag behind; more gained nothing

_hashing = ThreadPoolExecutor(max_workers=4, thread_name_prefix="sluiceway-hash")


class Tap(Protocol):
    """An object that sees every byte once, in order."""

    async def take(self, data: Buffer) -> None: ...


@runtime_checkable
class ThreadTap(Protocol):
    """A tap that can be fed by a thread."""

    async def settle(self) -> None:
        """Wait until all that was taken is worked in: `update` may follow it in any thread."""

    def update(self, data: Buffer) -> None:
        """Work in `data` before this returns. Blocking, by one thread at a time."""


class Digests:
    """Running digests of a stream. At most `BEHIND` bytes wait for the thread; the budget counts
    them.

    Raises BadDigest for an unknown algorithm, BadRequest for one whose library is not installed.
    """

    __slots__ = (
        "_batch",
        "_behind",
        "_budget",
        "_failure",
        "_gathered",
        "_hashes",
        "_inline",
        "_moved",
        "_queue",
        "_running",
        "counts",
    )

    def __init__(self, algorithms: Iterable[str] = (SHA256,), budget: Budget | None = None) -> None:
        names = tuple(algorithms)
        self._hashes = tuple((name, new_hash(name)) for name in names)
        self.counts: bool = bool(names)
        self._inline = min((ALGORITHMS[name].inline for name in names), default=0)
        self._budget = budget
        self._batch: list[Buffer] = []
        self._gathered = 0  # bytes in the batch
        # Batches on their way to the thread, at most five.
        self._queue: list[tuple[list[Buffer], int]] = []
        self._behind = 0  # bytes in the queue, the one being hashed included
        self._running: asyncio.Future[None] | None = None
        self._moved: asyncio.Future[None] | None = None  # done when a batch was hashed
        self._failure: Exception | None = None  # of the thread: the digests are wrong from then on

    async def take(self, data: Buffer) -> None:
        """Hash `data` now or soon; before this returns when the budget is used up."""
        if not self._hashes:
            return
        if len(data) <= self._inline and not self._behind and not self._batch:
            self._update([data])
            return
        if self._budget is not None and not self._budget.acquire(len(data), within=0.5):
            await self._drain()
            await asyncio.get_running_loop().run_in_executor(_hashing, self._update, [data])
            return
        self._batch.append(data)
        self._gathered += len(data)
        # An idle thread starts at once: a batch that waits to grow would wait for a slow sender.
        if self._gathered >= BATCH or not self._behind:
            self._send()
        while self._behind > BEHIND:
            await self._wait()

    async def settle(self) -> None:
        await self._drain()

    def update(self, data: Buffer) -> None:
        self._update([data])

    async def finish(self) -> dict[str, bytes]:
        """Return the digests of everything taken, by algorithm. More may be taken afterwards."""
        await self._drain()
        return {name: running.digest() for name, running in self._hashes}

    async def aclose(self) -> None:
        """Stop early: drop the batches that wait, release their memory, and wait for the thread."""
        self._release(self._gathered)
        self._batch, self._gathered = [], 0
        while self._queue:
            try:
                _, size = self._queue.pop()
            except IndexError:
                break  # the thread took the last one meanwhile, and releases its memory itself
            self._behind -= size
            self._release(size)
        if self._running is not None:
            await asyncio.wait([self._running])

    async def _drain(self) -> None:
        if self._batch:
            self._send()
        while self._behind:
            await self._wait()
        if self._failure is not None:
            raise self._failure

    async def _wait(self) -> None:
        self._moved = asyncio.get_running_loop().create_future()
        await self._moved

    def _send(self) -> None:
        self._queue.append((self._batch, self._gathered))
        self._behind += self._gathered
        self._batch, self._gathered = [], 0
        if self._running is None:
            self._start()

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        self._running = loop.run_in_executor(_hashing, self._work, loop)
        self._running.add_done_callback(self._thread_ended)

    def _thread_ended(self, _: asyncio.Future[None]) -> None:
        self._running = None
        if self._queue:  # a batch arrived while the thread was ending
            self._start()

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """In the thread. Asking the event loop for each batch would cost a tenth of the speed."""
        while self._queue:
            try:
                batch, size = self._queue.pop(0)
            except IndexError:
                return  # closed meanwhile
            try:
                self._update(batch)
            except Exception as error:  # no memory, say: `_drain` raises it
                self._failure = error
            del batch
            loop.call_soon_threadsafe(self._hashed, size)

    def _hashed(self, size: int) -> None:
        self._behind -= size
        self._release(size)
        if self._moved is not None and not self._moved.done():
            self._moved.set_result(None)

    def _release(self, size: int) -> None:
        if self._budget is not None:
            self._budget.release(size)

    def _update(self, batch: list[Buffer]) -> None:
        for _, running in self._hashes:
            for data in batch:
                running.update(data)


class RunningDigests:
    """Digests of the first `position` bytes of a stream that comes in several requests.

    Each byte counts once, in order. A cut request is sent again from the offset that is kept, which
    lies before what was hashed: those bytes are skipped.
    """

    position: int

    def __init__(self, algorithms: Iterable[str], budget: Budget | None = None) -> None:
        self._algorithms, self._budget = tuple(algorithms), budget
        self._digests = Digests(self._algorithms, budget)
        self.position = self._at = 0  # `_at`: of the next byte that is seen

    @property
    def algorithms(self) -> frozenset[str]:
        return frozenset(self._algorithms)

    def goes_on(self, offset: int) -> bool:
        """The next bytes come from `offset` on. Returns whether none is missing before them."""
        self._at = offset
        return offset <= self.position

    async def take(self, data: Buffer) -> None:
        # Before the wait: a request that is cut within it has hashed the bytes, or will.
        if new := self._unseen(data):
            await self._digests.take(new)

    async def settle(self) -> None:
        await self._digests.settle()

    def update(self, data: Buffer) -> None:
        if new := self._unseen(data):
            self._digests.update(new)

    async def catch_up(self, chunks: AsyncIterator[Buffer]) -> None:
        """Count bytes that come from `position` on. Raises what `chunks` raise."""
        self.goes_on(self.position)
        async for data in chunks:
            await self.take(data)

    async def begin(self, algorithms: Iterable[str]) -> None:
        """Forget all bytes, and count these digests from now on."""
        await self._digests.aclose()
        self._algorithms, self.position = tuple(algorithms), 0
        self._digests = Digests(self._algorithms, self._budget)

    async def forget(self, offset: int) -> None:
        """Bytes behind `offset` do not count. A hash cannot go back: it begins anew."""
        if self.position > offset:
            await self.begin(self._algorithms)

    async def finish(self) -> dict[str, bytes]:
        """Return the digests of the first `position` bytes."""
        return await self._digests.finish()

    async def aclose(self) -> None:
        await self._digests.aclose()

    def _unseen(self, data: Buffer) -> Buffer:
        skip = min(max(0, self.position - self._at), len(data))
        self._at += len(data)
        self.position = max(self.position, self._at)
        return memoryview(data)[skip:] if skip else data
