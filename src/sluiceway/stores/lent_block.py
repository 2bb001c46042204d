"""One block of the budget, which a thread fills from a lent connection until it is sent on.

Each piece is hashed where it was received, while it is in the processor's cache. Between bursts the
block is the event loop's; within one it is the thread's. Knows no destination.
"""

from __future__ import annotations

from typing import cast

from sluiceway.pipe.budget import BLOCK, Block, Budget
from sluiceway.pipe.lending import LentConnection, Update

__all__ = ["LentBlock"]


class LentBlock:
    """The block of one draft. Pair `begin` with `release`."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._block: Block | None = None
        self._is_direct = False  # counted as a transfer that writes blocks
        self.filled: int = 0  # bytes

    @property
    def is_full(self) -> bool:
        return self.filled == BLOCK

    @property
    def share(self) -> int:
        """Blocks that the draft may hold, this one and those in flight."""
        return self._budget.share

    def begin(self) -> bool:
        """Have a block to fill. False when the budget is used up."""
        if not self._is_direct:
            self._is_direct = True
            self._budget.start_direct()
        if self._block is None:
            self._block = self._budget.acquire_block()
        return self._block is not None

    async def draw(self, lent: LentConnection, update: Update) -> None:
        """One burst of a thread, until the block is full."""
        async with lent.turn():
            await lent.in_thread(lambda: self._receive(lent, update))

    def _receive(self, lent: LentConnection, update: Update) -> None:
        block = self._block
        while block is not None and lent.going and self.filled < BLOCK:
            start = self.filled
            self.filled += lent.fill(block, start, BLOCK)
            with memoryview(block) as whole, whole[start : self.filled] as view:
                update(view)

    def take(self) -> tuple[Block, memoryview]:
        """The block and the bytes that it holds: some. It is the caller's, who gives it `back`."""
        block, filled = cast("Block", self._block), self.filled
        self._block, self.filled = None, 0
        return block, memoryview(block)[:filled]

    def back(self, block: Block) -> None:
        """The bytes of a block that was taken have reached the destination, or are lost."""
        self._budget.release_block(block)

    def release(self) -> None:
        """Forget the bytes that were received, and give the memory back. May be called twice."""
        if self._block is not None:
            self._budget.release_block(self._block)
        if self._is_direct:
            self._budget.stop_direct()
        self._block, self.filled, self._is_direct = None, 0, False
