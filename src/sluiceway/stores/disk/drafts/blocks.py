"""Blocks on their way to a file: filled in the event loop or in bursts, written around the cache.

The memory is the budget's and goes back to it after each write. Which bytes come this way, `draft`
decides.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor, Future
from functools import partial

from sluiceway.errors import SluiceError
from sluiceway.pipe.budget import BLOCK, Block, Budget
from sluiceway.pipe.cancellation import finish_all
from sluiceway.pipe.lending import LentConnection, Update
from sluiceway.pipe.source import Buffer
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.stores.disk.drafts.bursts import Burst
from sluiceway.stores.disk.drafts.file import ALIGN, DraftFile
from sluiceway.stores.disk.errors import map_error

__all__ = ["BlockWriter"]


class BlockWriter:
    """At most one block that is being filled, and those that are being written.

    A failed write shows in `failure` and in the next call that may wait.
    """

    __slots__ = ("_block", "_budget", "_file", "_filled", "_in_flight", "_writers", "failure")

    def __init__(self, file: DraftFile, budget: Budget, writers: Executor) -> None:
        self._file, self._budget, self._writers = file, budget, writers
        self._block: Block | None = None
        self._filled = 0
        # The oldest first; the futures are the event loop's and the thread's.
        self._in_flight: dict[asyncio.Future[None], tuple[Future[None], Block]] = {}
        self.failure: SluiceError | None = None

    @property
    def filling(self) -> bool:
        return self._block is not None

    async def acquire(self) -> bool:
        """Get a block to fill, first come, first served; False when the budget is used up.

        Raises the failure of an earlier write.
        """
        while self._block is None:
            if len(self._in_flight) < self._budget.share:
                self._block, self._filled = await self._budget.wait_for_block(), 0
                if self._block is not None:
                    break
            if not self._in_flight:
                return False
            await self._wait_for_one()
        return True

    async def write(self, data: Buffer) -> None:
        """Write `data` in full blocks; what is left of it waits in one. Raises OSError, NoSpace.

        Without a block it goes through the page cache.
        """
        rest = memoryview(data)
        if self._block is None and self._file.position % ALIGN:
            # O_DIRECT starts at a boundary: the bytes before it go through the cache
            head = rest[: ALIGN - self._file.position % ALIGN]
            rest = rest[len(head) :]
            await in_thread(partial(self._file.append, head), self._writers)
        while len(rest):
            if self._block is None and not await self.acquire():
                await in_thread(partial(self._file.append, rest), self._writers)
                return
            rest = rest[self._fill(rest) :]
            if self._filled == BLOCK:
                end = self._file.position + BLOCK
                if self._file.wants_room(end):
                    await in_thread(partial(self._file.allocate, end), self._writers)
                self._submit()

    def _fill(self, data: memoryview) -> int:
        """Copy what fits into the block; returns the number of bytes."""
        if self._block is None:
            return 0
        size = min(len(data), BLOCK - self._filled)
        self._block[self._filled : self._filled + size] = data[:size]
        self._filled += size
        return size

    def _submit(self) -> None:
        """Have the full block written at the file's position, which moves on at once."""
        if self._block is None:
            return
        self._watch(
            self._writers.submit(self._file.write_direct, self._block, self._file.position),
            self._block,
        )
        self._block, self._filled = None, 0
        self._file.position += BLOCK

    async def reserve(self, lent: LentConnection) -> bool:
        """Have a block for the next burst, before it takes a thread: first come, first served.

        A thread may wait for a write of its own, unless others wait for the thread or for a block.
        False when the budget is used up. Raises the failure of an earlier write.
        """
        thread_may_wait = not lent.crowded and not self._budget.waiting
        return bool(self._in_flight and thread_may_wait) or await self.acquire()

    async def draw(self, lent: LentConnection, update: Update) -> bool:
        """Let a thread fill and submit blocks for one burst. False when the budget is used up."""
        held = len(self._in_flight) + self.filling
        spare: list[Block] = []
        while held + len(spare) < self._budget.share:
            if (block := self._budget.acquire_block()) is None:
                break
            spare.append(block)
        if not held and not spare:
            return False
        burst = Burst(
            self._file,
            self._writers,
            self._block,
            self._filled,
            spare,
            self._in_flight.values(),
            lambda: bool(self._budget.waiting),
        )
        # The thread's until the end of the burst.
        self._block, self._filled = None, 0
        self._in_flight.clear()
        try:
            await lent.in_thread(lambda: burst.run(lent, update))
        finally:
            for block in burst.spare:
                self._budget.release_block(block)
            for writing, block in burst.in_flight:
                self._watch(writing, block)
            self._block, self._filled = burst.block, burst.filled
            if not self._filled:
                self.release()
        return True

    async def finish(self) -> None:
        """Wait for every write.

        A cancelled caller waits too: the memory is the writers' until then.
        """
        while self._in_flight:
            await finish_all(self._in_flight)
            await asyncio.sleep(0)  # `_written` may be due for one that was done already

    def write_filled(self) -> int:
        """Write what the block holds, and keep it: once it is full, it is written whole again.

        The aligned part goes around the page cache, the rest through it. Returns its bytes, by
        which the file's position has not moved yet. Blocking.
        """
        aligned = self._filled - self._filled % ALIGN
        with memoryview(self._block or b"") as view:
            if aligned:
                with view[:aligned] as part:
                    self._file.write_direct(part, self._file.position)
            with view[aligned : self._filled] as tail:
                self._file.write(tail, self._file.position + aligned)
        return self._filled

    def release(self) -> None:
        """Give the block back. Call `write_filled` before: the next byte follows it in the file."""
        if self._block is not None:
            self._file.position += self._filled
            self._budget.release_block(self._block)
            self._block, self._filled = None, 0

    async def _wait_for_one(self) -> None:
        await asyncio.wait(self._in_flight, return_when=asyncio.FIRST_COMPLETED)
        if self.failure is not None:
            raise self.failure

    def _watch(self, writing: Future[None], block: Block) -> None:
        # A future of a thread and no task: the thread starts now, and nothing can cancel it.
        done = asyncio.wrap_future(writing)
        self._in_flight[done] = writing, block
        done.add_done_callback(self._written)

    def _written(self, done: asyncio.Future[None]) -> None:
        error = None if done.cancelled() else done.exception()
        if done not in self._in_flight:
            return  # a burst has the block, and sees the error
        _, block = self._in_flight.pop(done)
        self._budget.release_block(block)
        if error is not None and self.failure is None:
            self.failure = map_error(error, "the upload")
