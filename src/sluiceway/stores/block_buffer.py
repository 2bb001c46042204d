"""Bytes of a draft gather into a block, whose size follows the pace of the sender.

A fast sender gets larger blocks, as far as the budget allows; a slow one holds little. Knows
nothing of where blocks go.
"""

from __future__ import annotations

import time

from sluiceway.pipe.budget import Budget
from sluiceway.pipe.source import Buffer

__all__ = ["SMALLEST_BLOCK", "BlockBuffer"]

SMALLEST_BLOCK = 32 << 10  # bytes that a slow upload holds, which the budget does not count
FAST_BLOCK = 0.5  # seconds to fill a block, below which the next one is larger


class BlockBuffer:
    """A draft holds `blocks` blocks of up to `most` bytes at once: this one, and those in flight.

    Pair with `release`.
    """

    def __init__(self, budget: Budget, most: int, blocks: int) -> None:
        self._budget, self._most, self._blocks = budget, most, blocks
        self._chunks: list[Buffer] = []
        self.size: int = 0  # bytes that have gathered
        self._wanted = SMALLEST_BLOCK  # bytes of a full block
        self._memory = 0  # bytes of the budget, for all blocks
        self._began = time.monotonic()

    @property
    def is_full(self) -> bool:
        return self.size >= self._wanted

    @property
    def memory(self) -> int:
        """Bytes of the budget, for all blocks."""
        return self._memory

    @property
    def age(self) -> float:
        """Seconds since this block began."""
        return time.monotonic() - self._began

    def append(self, data: Buffer) -> None:
        self._chunks.append(data)
        self.size += len(data)

    def take(self, keep: int = 0) -> memoryview:
        """Begin the next block with the last `keep` bytes. Returns the bytes before them."""
        data = b"".join(self._chunks)
        end = max(0, len(data) - keep)
        self._chunks, self.size = [data[end:]], len(data) - end
        fast, self._began = self.age < FAST_BLOCK, time.monotonic()
        wanted = min(self._most, self._wanted * 2) if fast else self._wanted // 4
        self.release()
        if wanted > SMALLEST_BLOCK and self._budget.acquire(self._blocks * wanted):
            self._wanted, self._memory = wanted, self._blocks * wanted
        return memoryview(data)[:end]

    def release(self) -> None:
        """Give the memory back; blocks are small again. May be called twice."""
        self._budget.release(self._memory)
        self._memory, self._wanted = 0, SMALLEST_BLOCK

    def clear(self) -> None:
        """Forget the bytes that have gathered, and give the memory back."""
        self._chunks, self.size = [], 0
        self.release()
