"""Bursts of a lent connection into a part file: a thread receives blocks, hashes and writes them.

Blocks go around the page cache, one at a time and in order, so that a file that was cut off holds
no gap. A block with zeros becomes a hole, as in every other write. Blocking calls only.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from sluiceway.pipe.budget import BLOCK
from sluiceway.pipe.lending import LentConnection, Update

__all__ = ["ZEROS_BLOCK", "PartBlocks"]

ALIGN = 4096  # bytes: where a write around the page cache may begin
DIRECT = os.O_WRONLY | getattr(os, "O_DIRECT", 0) | getattr(os, "O_CLOEXEC", 0)

ZEROS_BLOCK = 64 << 10  # bytes that are searched for zeros at once

_ZEROS = bytes(ZEROS_BLOCK)
_writers = ThreadPoolExecutor(4, thread_name_prefix="sluiceway-part")


class PartBlocks:
    """Two blocks: one is received while the other is written. `close` it with its file."""

    def __init__(
        self,
        fd: int,
        position: Callable[[], int],
        append: Callable[[memoryview], None],
        wrote: Callable[[int], None],
    ) -> None:
        """`append` writes at `position` through the page cache; `wrote` counts what is written
        there otherwise. Both are called in the order of the file."""
        self._position, self._append, self._wrote = position, append, wrote
        self._blocks = [mmap.mmap(-1, BLOCK), mmap.mmap(-1, BLOCK)]
        self._writing: Future[None] | None = None
        try:
            self._fd = os.open(f"/proc/self/fd/{fd}", DIRECT)
        except OSError:  # no such file system, or no Linux: the blocks go through the page cache
            self._fd = -1

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def burst(self, lent: LentConnection, update: Update) -> None:
        """In the thread. Raises OSError. Everything that was taken is written when it returns."""
        try:
            if missing := -self._position() % ALIGN:
                self._take(lent, update, missing)
            while lent.going and not self._position() % ALIGN:
                self._blocks.reverse()
                self._take(lent, update, BLOCK)
        finally:
            self._finish()

    def _take(self, lent: LentConnection, update: Update, most: int) -> None:
        block = self._blocks[0]
        size = lent.fill(block, 0, most)
        with memoryview(block) as whole, whole[:size] as filled:
            self._finish()
            direct = size == BLOCK and self._fd >= 0 and not _has_zeros(filled)
            if direct:
                # Written while it is hashed: both only read it.
                self._writing = _writers.submit(self._write, block, self._position())
            update(filled)
            if not direct:
                self._append(filled)

    def _finish(self) -> None:
        """Wait for the block that is being written; one write takes a millisecond or two."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()
            self._wrote(BLOCK)

    def _write(self, block: mmap.mmap, position: int) -> None:
        with memoryview(block) as whole:
            written = 0
            while written < BLOCK:
                written += os.pwrite(self._fd, whole[written:], position + written)


def _has_zeros(block: memoryview) -> bool:
    """Whether a piece that would become a hole is in it."""
    pieces = range(0, BLOCK, ZEROS_BLOCK)
    return any(not block[at] and block[at : at + ZEROS_BLOCK] == _ZEROS for at in pieces)
