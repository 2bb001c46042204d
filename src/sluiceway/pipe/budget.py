"""The byte budget: one number bounds what all transfers of a process hold together, and lends the blocks they fill.

Nobody ever waits here: whoever gets no block writes smaller pieces, whoever has its share waits for its own writes. So a
budget cannot deadlock and slow senders cannot starve fast ones (who must have all or nothing has a claim: `claims`).
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

from sluiceway.errors import SluiceError

if TYPE_CHECKING:
    from sluiceway.pipe.claims import Claim

__all__ = ["BLOCK", "DEPTH", "MINIMUM", "Block", "Budget"]

Block = mmap.mmap  # anonymous memory: page-aligned, as O_DIRECT wants it

BLOCK = (
    2 << 20
)  # bytes; with 1 MiB blocks the same disk took 1.57 GB/s, with 2 MiB 1.94 (1 GiB over loopback)
DEPTH = 4  # blocks one transfer may hold: one filling, three being written; more gained nothing
MINIMUM = 2 * BLOCK  # a smaller budget could not keep even one transfer streaming


class Budget:
    """Counts bytes held and lends page-aligned blocks of `BLOCK` bytes. Used from one event loop only."""

    def __init__(self, limit: int) -> None:
        if limit < MINIMUM:
            raise SluiceError(
                f"The memory budget must be at least {MINIMUM} bytes ({MINIMUM >> 20} MiB)"
            )
        self.limit = limit
        self.used: int = 0
        self._free: list[Block] = []  # warm: a fresh block costs 512 page faults
        self._pouring = 0
        self.claims: set[Claim] = (
            set()
        )  # of holders that need more before they can give anything back
        self.coming: int = 0  # bytes of `used` that come back whatever their holders' senders do

    @property
    def share(self) -> int:
        """Blocks one transfer may hold now, so that the fast ones divide the budget evenly."""
        return max(1, min(DEPTH, self.limit // BLOCK // max(1, self._pouring)))

    @property
    def warm(self) -> int:
        """Bytes of blocks that lie ready to be lent again."""
        return len(self._free) * BLOCK

    def start_pouring(self) -> None:
        """A transfer became fast enough for blocks; pair with `stop_pouring`."""
        self._pouring += 1

    def stop_pouring(self) -> None:
        self._pouring -= 1

    def lend(self, size: int, within: float = 1.0, to: Claim | None = None) -> bool:
        """Count `size` bytes as held; False when that would go over the limit (then hold less, or wait for your own).

        `within`: the part of the limit that may be in use afterwards. Who can do without leaves the rest to uploads.
        """
        if self.used + size > self.limit * within:
            return False
        room = (
            self.limit - self.used + self.coming + sum(claim.held for claim in self.claims)
        )  # what others than claims leave
        self.used += size
        if to is not None:
            to.held += size
        if not self._meets_claims(room):
            self.used -= size
            if to is not None:
                to.held -= size
            return False
        # What lies warm counts too, or many small holdings could double the memory. Blocks are forgotten, not closed:
        # a failed write's traceback may still look at one, and close() would raise.
        while self.used + self.warm > self.limit:
            self._free.pop()
        return True

    def settle(self, size: int) -> None:
        """Give back what was lent."""
        self.used -= size

    def lend_block(self) -> Block | None:
        """A block, or None when the budget is used up."""
        warm = self._free.pop() if self._free else None
        if self.lend(BLOCK):
            return warm or mmap.mmap(-1, BLOCK)
        if warm is not None:
            self._free.append(warm)
        return None

    def settle_block(self, block: Block) -> None:
        self.settle(BLOCK)
        self._free.append(block)

    def _meets_claims(self, room: int) -> bool:
        """Whether all claims can be met that `room` bytes are enough for, the least needy first: what it held serves the next."""
        free = self.limit - self.used + self.coming
        if free >= max((claim.need for claim in self.claims), default=0):
            return True
        for claim in sorted(self.claims, key=lambda claim: claim.need):
            if claim.whole <= room:  # else no claim could help it: others must give back first
                if claim.need > free:
                    return False
                free += claim.held
        return True
