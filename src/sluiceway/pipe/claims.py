"""Claims on the byte budget, of holders that can give nothing back before they have all they need: the parts of a bucket.

A claim grows as its sender delivers. The budget lends nobody anything after which the claims could no longer all be met, one
after the other (Dijkstra's banker): else twenty quick uploads would each hold a piece of a part and wait for one another.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from sluiceway.errors import Unavailable

if TYPE_CHECKING:
    from sluiceway.pipe.budget import Budget

__all__ = ["Claim"]

PATIENCE = 30.0  # seconds a step waits for memory that others hold, before the client is asked to come again
LOOK_EVERY = 0.02  # seconds between two tries


class Claim:
    """`whole` bytes are needed before any of them comes back. Pair with `settle`."""

    def __init__(self, budget: Budget, whole: int) -> None:
        self._budget = budget
        self.whole: int = whole
        self.held: int = 0
        budget.claims.add(self)

    @property
    def need(self) -> int:
        return self.whole - self.held

    async def grow(self, size: int) -> None:
        """Hold `size` bytes more. Raises Unavailable where others hold too much for too long."""
        end = time.monotonic() + PATIENCE
        while not self._budget.lend(size, to=self):
            if time.monotonic() > end:
                raise Unavailable(
                    "Other uploads hold all memory there is (--memory-budget); send it again later"
                ).for_operator("Other uploads hold all memory there is; send it again later")
            await asyncio.sleep(LOOK_EVERY)

    def submit(self, whole: int) -> int:
        """What is held is on its way and comes back by `land`, whoever else waits; the claim begins anew, towards `whole`."""
        shipped, self.held, self.whole = self.held, 0, whole
        self._budget.coming += shipped
        return shipped

    def complete(self, shipped: int) -> None:
        self._budget.coming -= shipped
        self._budget.settle(shipped)

    def settle(self) -> None:
        """Give back what is held, and claim no more. May come twice."""
        self._budget.settle(self.held)
        self._budget.claims.discard(self)
        self.held = self.whole = 0
