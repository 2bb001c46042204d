"""The byte budget: one number bounds what all transfers of a process hold together.

`acquire` never waits. Blocks are given first come, first served, for as long as some come back;
without one a transfer writes smaller pieces, with its share in use it waits for its own writes. So
nothing can deadlock, and slow senders cannot starve fast ones. A `Claim` and a `Reservation` wait,
with a deadline. Knows nothing of what the memory is used for.
"""

from __future__ import annotations

import asyncio
import mmap
import time

from sluiceway.errors import SluiceError, Unavailable

__all__ = [
    "BLOCK",
    "DEPTH",
    "MEMORY_TIMEOUT",
    "MINIMUM",
    "RESERVABLE_PART",
    "Block",
    "Budget",
    "Claim",
    "Reservation",
]

Block = mmap.mmap  # anonymous memory: page-aligned, as O_DIRECT wants it

# Bytes; with 1 MiB blocks the same disk took 1.57 GB/s, with 2 MiB 1.94 (1 GiB over loopback).
BLOCK = 2 << 20
DEPTH = 4  # blocks one transfer may hold: one filling, three being written; more gained nothing
MINIMUM = 2 * BLOCK  # a smaller budget could not keep even one transfer streaming
# Seconds to wait for memory that others hold, before the client is asked to come again.
MEMORY_TIMEOUT = 30.0
RETRY_EVERY = 0.02  # seconds between two tries
# Seconds without a block given or come back after which nobody waits for one: what holds them is
# stuck, and the ordinary way needs none.
BLOCK_PAUSE = 0.25
# Up to this part of the limit in use, memory is plentiful.
PLENTIFUL_PART = 4
# One reservation counts up to this part of the limit: a small budget must serve what it has to.
RESERVABLE_PART = 4


class Budget:
    """Counts bytes held and gives out page-aligned blocks of `BLOCK` bytes.

    Used from one event loop only.
    """

    def __init__(self, limit: int) -> None:
        if limit < MINIMUM:
            raise SluiceError(
                f"The memory budget must be at least {MINIMUM} bytes ({MINIMUM >> 20} MiB)"
            )
        self.limit = limit
        self.used: int = 0
        self._free: list[Block] = []  # warm: a fresh block costs 512 page faults
        self._direct = 0  # transfers that write blocks
        self._claims: set[Claim] = set()
        self._returning = 0  # bytes of `used` that come back whatever the clients do
        self._queue: dict[asyncio.Future[Block], None] = {}  # those who wait for a block
        self._moved = 0.0  # when a block was given or came back

    @property
    def share(self) -> int:
        """Blocks one transfer may hold now, so that the fast ones divide the budget evenly."""
        return max(1, min(DEPTH, self.limit // BLOCK // max(1, self._direct)))

    @property
    def warm(self) -> int:
        """Bytes of blocks that lie ready to be used again."""
        return len(self._free) * BLOCK

    def start_direct(self) -> None:
        """A transfer became fast enough for blocks; pair with `stop_direct`."""
        self._direct += 1

    def stop_direct(self) -> None:
        self._direct -= 1

    def acquire(self, size: int, within: float = 1.0) -> bool:
        """Count `size` bytes as held. Returns False where that would go over the limit.

        `within` is the part of the limit that may be in use afterwards: a holder that can do
        without leaves the rest to uploads.
        """
        if self.used + size > self.limit * within:
            return False
        if self._claims or self._free:
            return self._acquire(size, None)
        self.used += size
        return True

    def release(self, size: int) -> None:
        """Give back what was acquired."""
        self.used -= size
        if self._queue:
            self._grant()

    def acquire_block(self) -> Block | None:
        """Return a block, or None when the budget is used up."""
        warm = self._free.pop() if self._free else None
        if self.acquire(BLOCK):
            self._moved = time.monotonic()
            return warm or mmap.mmap(-1, BLOCK)
        if warm is not None:
            self._free.append(warm)
        return None

    def release_block(self, block: Block) -> None:
        self._free.append(block)
        self._moved = time.monotonic()
        self.release(BLOCK)

    @property
    def plentiful(self) -> bool:
        """Whether the holder of a block may fill it all: it is alone, or others hold little."""
        return self.used <= max(BLOCK, self.limit // PLENTIFUL_PART)

    @property
    def waiting(self) -> int:
        """Transfers that wait for a block. May be read from any thread."""
        return len(self._queue)

    async def wait_for_block(self) -> Block | None:
        """Return a block: first come, first served. None when blocks stopped coming back.

        Call it before anything else that others wait for is held, such as a thread.
        """
        if not self._queue and (block := self.acquire_block()) is not None:
            return block
        granted: asyncio.Future[Block] = asyncio.get_running_loop().create_future()
        self._queue[granted] = None
        try:
            while not granted.done():
                left = self._moved + BLOCK_PAUSE - time.monotonic()
                if left <= 0:
                    return None
                await asyncio.wait({granted}, timeout=left)
            return granted.result()
        except asyncio.CancelledError:
            if granted.done():
                self.release_block(granted.result())
            raise
        finally:
            self._queue.pop(granted, None)

    def _grant(self) -> None:
        while self._queue and (block := self.acquire_block()) is not None:
            granted = next(iter(self._queue))
            del self._queue[granted]
            granted.set_result(block)

    async def _wait_for(self, size: int, claim: Claim | None = None) -> None:
        """Acquire, and wait for others to release. Raises Unavailable after MEMORY_TIMEOUT."""
        end = time.monotonic() + MEMORY_TIMEOUT
        while not self._acquire(size, claim):
            if time.monotonic() > end:
                raise Unavailable(
                    f"{size} bytes were not free within {MEMORY_TIMEOUT:g} seconds: other uploads"
                    " hold all of --memory-budget"
                ).for_operator("Other uploads hold all memory there is; send it again later")
            await asyncio.sleep(RETRY_EVERY)

    def _acquire(self, size: int, claim: Claim | None) -> bool:
        if self.used + size > self.limit:
            return False
        if claim is None and not self._claims and not self._free:
            self.used += size
            return True
        # What all holders but the claims leave.
        room = self.limit - self.used + self._returning + sum(each.held for each in self._claims)
        self.used += size
        if claim is not None:
            claim.held += size
        if not self._can_meet_claims(room):
            self.used -= size
            if claim is not None:
                claim.held -= size
            return False
        # Warm blocks count too: else many small holdings could double the memory. Blocks are
        # dropped, not closed: a failed write's traceback may still look at one, and close() would
        # raise.
        while self.used + self.warm > self.limit:
            self._free.pop()
        return True

    def _can_meet_claims(self, room: int) -> bool:
        """Whether all claims that fit into `room` can be met, one after the other.

        The least needy comes first: what it held serves the next one.
        """
        free = self.limit - self.used + self._returning
        if free >= max((claim.need for claim in self._claims), default=0):
            return True
        for claim in sorted(self._claims, key=lambda claim: claim.need):
            # A claim that does not fit is not helped by saving memory: others must release first.
            if claim.whole <= room:
                if claim.need > free:
                    return False
                free += claim.held
        return True


class Claim:
    """Memory of a holder that releases nothing before it has `whole` bytes: a part of a bucket's
    object.

    A claim grows as its sender delivers. The budget grants nothing after which the claims could not
    all be met, one after the other (Dijkstra's banker): else twenty quick uploads would each hold a
    piece of a part and wait for one another. Pair with `release`.
    """

    def __init__(self, budget: Budget, whole: int) -> None:
        self._budget = budget
        self.whole: int = whole
        self.held: int = 0
        budget._claims.add(self)

    @property
    def need(self) -> int:
        return self.whole - self.held

    async def grow(self, size: int) -> None:
        """Hold `size` bytes more. Raises Unavailable where others hold too much for too long."""
        await self._budget._wait_for(size, self)

    def submit(self, whole: int) -> int:
        """Begin anew, towards `whole` bytes. Returns the bytes held so far, for `complete`.

        They are on their way to the destination and come back whatever the other holders wait for.
        """
        submitted, self.held, self.whole = self.held, 0, whole
        self._budget._returning += submitted
        return submitted

    def complete(self, submitted: int) -> None:
        """The bytes of one `submit` have reached the destination, or failed."""
        self._budget._returning -= submitted
        self._budget.release(submitted)

    def release(self) -> None:
        """Give back what is held, and claim no more. May be called twice."""
        self._budget.release(self.held)
        self._budget._claims.discard(self)
        self.held = self.whole = 0


class Reservation:
    """Memory that is held until something has ended: the fields of a form, the head of a request.

    It grows as bytes come. The first `free` bytes are not counted: a holder of so little never
    waits. Without a budget nothing is counted. Pair with `release`.
    """

    def __init__(self, budget: Budget | None, free: int = 0) -> None:
        self._budget, self._free = budget, free
        self._counted = 0

    async def grow_to(self, size: int) -> None:
        """Hold `size` bytes in all. Raises Unavailable when others hold too much for too long."""
        if self._budget is None:
            return
        most = self._budget.limit // RESERVABLE_PART
        more = min(size - self._free, most) - self._counted
        if more > 0:
            await self._budget._wait_for(more)
            self._counted += more

    def release(self) -> None:
        """Give all of it back. May be called twice."""
        if self._budget is not None:
            self._budget.release(self._counted)
        self._counted = 0
