"""One burst of a lent connection: a thread fills blocks, hashes them and has them written.

Received and hashed in the same thread, a block is still in its processor's cache: a hash of cold
bytes takes half as long again. The blocks belong to the thread until the burst has ended. Blocking
calls only; memory is acquired and released by `blocks`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, wait

from sluiceway.pipe.budget import BLOCK, Block
from sluiceway.pipe.lending import LentConnection, Update
from sluiceway.stores.disk.drafts.file import ALIGN, DraftFile

__all__ = ["Burst"]


class Burst:
    """`block` holds `filled` bytes already, `spare` are empty, `in_flight` are being written.

    After `run` they say what is left of each. `crowded` says whether others wait for a block.
    """

    __slots__ = (
        "_crowded",
        "_file",
        "_filled_one",
        "_writers",
        "block",
        "filled",
        "in_flight",
        "spare",
    )

    def __init__(
        self,
        file: DraftFile,
        writers: Executor,
        block: Block | None,
        filled: int,
        spare: list[Block],
        in_flight: Iterable[tuple[Future[None], Block]],
        crowded: Callable[[], bool],
    ) -> None:
        self._file, self._writers, self._crowded = file, writers, crowded
        self._filled_one = False
        self.block: Block | None = block
        self.filled: int = filled
        self.spare: list[Block] = spare
        self.in_flight: deque[tuple[Future[None], Block]] = deque(in_flight)  # the oldest first

    def run(self, lent: LentConnection, update: Update) -> None:
        """In the thread. Raises OSError, NoSpace."""
        if not self.filled and not self._align(lent, update):
            return
        while lent.going:
            block = self.block or self._next_block(lent)
            if block is None:
                return
            self._fill(block, lent, update)

    def _align(self, lent: LentConnection, update: Update) -> bool:
        """O_DIRECT starts at a boundary: the bytes before it go through the cache."""
        missing = -self._file.position % ALIGN
        if missing:
            head = bytearray(missing)
            size = lent.fill(head, 0, missing)
            with memoryview(head) as view:
                update(view[:size])
                began = time.monotonic()
                self._file.append(view[:size])
                lent.destination_wait += time.monotonic() - began
            return size == missing
        return True

    def _next_block(self, lent: LentConnection) -> Block | None:
        """Begin a block; wait for a write where none is free. None: the burst is over.

        Where others wait for a thread or a block, the next block is theirs.
        """
        if self._filled_one and not self.spare and (lent.crowded or self._crowded()):
            return None
        while self.in_flight and self.in_flight[0][0].done():
            self._take_back()
        if not self.spare and self.in_flight:
            began = time.monotonic()
            wait([self.in_flight[0][0]], lent.seconds_left)
            lent.destination_wait += time.monotonic() - began
            if not self.in_flight[0][0].done():
                return None
            self._take_back()
        if not self.spare:
            return None
        self.block, self.filled = self.spare.pop(), 0
        return self.block

    def _take_back(self) -> None:
        writing, block = self.in_flight[0]
        writing.result()
        self.in_flight.popleft()
        self.spare.append(block)

    def _fill(self, block: Block, lent: LentConnection, update: Update) -> None:
        start = self.filled
        self.filled += lent.fill(block, start, BLOCK)
        with memoryview(block) as whole, whole[start : self.filled] as view:
            if self.filled == BLOCK:
                began = time.monotonic()
                self._submit(block)
                lent.destination_wait += time.monotonic() - began
            update(view)

    def _submit(self, block: Block) -> None:
        """Have the block written while it is hashed: both only read it."""
        end = self._file.position + BLOCK
        if self._file.wants_room(end):
            self._file.allocate(end)
        writing = self._writers.submit(self._file.write_direct, block, self._file.position)
        self.in_flight.append((writing, block))
        self.block, self.filled, self._file.position = None, 0, end
        self._filled_one = True
