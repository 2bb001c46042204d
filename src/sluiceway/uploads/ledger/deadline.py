"""How long one call may wait for a ledger on another machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sluiceway.errors import Unavailable

__all__ = ["within_deadline"]

CALL_TIMEOUT = 10.0  # seconds


@asynccontextmanager
async def within_deadline(seconds: float = CALL_TIMEOUT) -> AsyncIterator[None]:
    """Raises Unavailable when the block takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Unavailable(
            "The place where uploads are written down does not answer; try again later"
        ) from None
