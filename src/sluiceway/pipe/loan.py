"""Memory that must be held until something has ended, counted by the budget: the fields of a form, the head of a request.

It is lent by and by, as the bytes come. Where others hold all there is, the client waits a while, then is asked to come again.
"""

from __future__ import annotations

import asyncio
import time

from sluiceway.errors import Unavailable
from sluiceway.pipe.budget import Budget

__all__ = ["LARGEST", "Loan"]

LARGEST = 4  # one loan counts up to this part of the limit: else a small budget could never serve what it has to
PATIENCE = 30.0  # seconds a loan waits for memory that others hold
LOOK_EVERY = 0.02  # seconds between two tries


class Loan:
    """Grows, and is settled at its end. The first `free` bytes are not counted: with so little nobody has to wait.

    Without a budget nothing is counted.
    """

    def __init__(self, budget: Budget | None, free: int = 0) -> None:
        self._budget, self._free = budget, free
        self._counted = 0

    async def grow_to(self, size: int) -> None:
        """Hold `size` bytes in all. Raises Unavailable when others hold too much for too long."""
        if self._budget is None:
            return
        more = min(size - self._free, self._budget.limit // LARGEST) - self._counted
        if more <= 0:
            return
        end = time.monotonic() + PATIENCE
        while not self._budget.lend(more):
            if time.monotonic() > end:
                raise Unavailable(
                    f"No {more} bytes could be lent within {PATIENCE:g} seconds: uploads hold all of --memory-budget"
                ).for_operator("Other uploads hold all memory there is; send it again later")
            await asyncio.sleep(LOOK_EVERY)
        self._counted += more

    def settle(self) -> None:
        """Give all of it back. May come twice."""
        if self._budget is not None:
            self._budget.settle(self._counted)
        self._counted = 0
