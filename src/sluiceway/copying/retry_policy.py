"""Whether an error may pass by itself, and how long to wait for that. Decides by what the error says, never by who raised it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sluiceway.client.retry import ANSWERED, FIRST_WAIT, MOST_WAIT, retry_after
from sluiceway.client.retry import is_transient as may_pass
from sluiceway.errors import (
    PeerUnreachable,
    SluiceError,
    SourceFailed,
    Unauthorized,
    Unavailable,
)

__all__ = ["RetryPolicy", "hopeless", "may_pass"]

T = TypeVar("T")

LONGEST = 30.0  # seconds of the widest wait this side chooses itself


def hopeless(error: SluiceError) -> bool:
    """Whether what is true of one object is most likely true of the next: a side that could not be reached at all, or that
    knows nobody of this name any more (a token that ended in mid-run)."""
    if error.members.get(ANSWERED) in (401, 403) or isinstance(error, Unauthorized):
        return True
    if isinstance(error, SourceFailed) and isinstance(error.__cause__, SluiceError):
        return hopeless(error.__cause__)
    return isinstance(error, PeerUnreachable | Unavailable) and ANSWERED not in error.members


class RetryPolicy:
    """`retries` more tries for one thing. Waits are chosen at random up to a bound that doubles (full jitter), so that many
    who failed together do not come back together; a Retry-After is kept to and never shortened."""

    retries: int

    def __init__(self, retries: int) -> None:
        self.retries = retries

    def wait(self, error: SluiceError, tries: int) -> float | None:
        """Seconds until try number `tries` + 1; None: give up."""
        if tries > self.retries or not may_pass(error):
            return None
        asked = retry_after(error)
        if asked is not None and asked > MOST_WAIT:
            return None
        widest: float = min(LONGEST, FIRST_WAIT * 2.0 ** min(tries - 1, 20))
        return max(random.uniform(0, widest), asked or 0.0)  # noqa: S311 - spreads clients, no secret

    async def of(self, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` returns at last. Raises what it raised at the end."""
        tries = 0
        while True:
            tries += 1
            try:
                return await work()
            except SluiceError as error:
                wait = self.wait(error, tries)
                if wait is None:
                    raise
            await asyncio.sleep(wait)
