"""How long one call may wait for a ledger on another machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sluiceway.errors import Unavailable

__all__ = ["AWAY_TIMEOUT", "CALL_TIMEOUT", "CallDeadline"]

CALL_TIMEOUT = 10.0  # seconds
# Seconds, once a call waited in vain, until one succeeds: a request makes several, and its client
# would wait for the sum.
AWAY_TIMEOUT = 2.0


class CallDeadline:
    """`async with deadline():` bounds each call of one ledger."""

    def __init__(self) -> None:
        self._is_away = False

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        """Raises Unavailable when the block takes longer."""
        try:
            async with asyncio.timeout(AWAY_TIMEOUT if self._is_away else CALL_TIMEOUT):
                yield
        except TimeoutError:
            self._is_away = True
            raise Unavailable(
                "The place where uploads are written down does not answer; try again later"
            ) from None
        self._is_away = False
