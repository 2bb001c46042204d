"""Whether a failed request may be repeated, after how long, how often: one policy for all.

Decides by what an error says, never by its sender. Knows nothing of sockets or of HTTP libraries.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from sluiceway.errors import (
    NoSpace,
    PeerFailed,
    PeerUnreachable,
    SluiceError,
    SourceChanged,
    SourceFailed,
)
from sluiceway.wire.headers.http_dates import parse_http_date
from sluiceway.wire.numbers import clipped_uint

__all__ = [
    "ANSWERED",
    "ATTEMPTS",
    "BUSY",
    "DEFAULT_POLICY",
    "FIRST_WAIT",
    "IDEMPOTENT",
    "MOST_ATTEMPTS",
    "MOST_WAIT",
    "RETRYABLE",
    "UNREACHED",
    "UNREADABLE",
    "RetryPolicy",
    "connection_broke",
    "is_transient",
    "may_ask_again",
    "may_repeat",
    "parse_retry_after",
    "reached",
    "retry_after",
]

T = TypeVar("T")

# Members of an error:
ANSWERED = "answered"  # the status of the server's response: the error arose there, not on the way
ATTEMPTS = "attempts"  # how often it was tried, where that was more than once
UNREADABLE = "unreadable"  # a response came that cannot be read: the next one will not be better
UNREACHED = "unreached"  # the time to connect ran out

MOST_ATTEMPTS = 5  # in a row without one new byte: up to 7.5 seconds with the waits below
FIRST_WAIT = 0.5  # seconds before the second attempt, doubled each time
MOST_WAIT = 60.0  # seconds; a server that asks for a longer wait is reported instead

# For reading again: a request that reads changes nothing at the server.
RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
# For sending again: the server, or a proxy in front of it, could not take the request now.
BUSY = frozenset({408, 429, 502, 503, 504})
# Sending these twice has the effect of sending them once (RFC 9110 9.2.2).
IDEMPOTENT = frozenset({"PUT", "GET", "HEAD", "DELETE", "OPTIONS", "TRACE"})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a request is made in all, and how long to wait between two attempts.

    Waits double from `first_wait` up to `longest_wait` (seconds). A random part of each wait,
    `jitter`, spreads clients that failed together. A Retry-After is never shortened.
    """

    attempts: int = MOST_ATTEMPTS
    first_wait: float = FIRST_WAIT
    longest_wait: float = MOST_WAIT
    jitter: float = 0.5

    def wait(self, error: SluiceError, attempt: int) -> float | None:
        """Return the seconds to wait after attempt `attempt` (the first is 1); None to give up.

        Gives up after `attempts`, and where Retry-After asks for more than `longest_wait`. Whether
        `error` is worth another attempt is the caller's decision.
        """
        requested = retry_after(error) or 0.0
        if attempt >= self.attempts or requested > self.longest_wait:
            return None
        # The exponent is bounded before the power: 2.0 ** 1024 overflows.
        bound = min(self.longest_wait, self.first_wait * 2.0 ** min(attempt - 1, 20))
        return max(random.uniform((1 - self.jitter) * bound, bound), requested)  # noqa: S311 - no secret

    async def run(self, work: Callable[[], Awaitable[T]], met: bool = True) -> T:
        """Return what `work` returns, repeating it after transient errors.

        `met` False: no connection to that side was made before. If the first one cannot be made,
        the address is probably wrong, and nothing is repeated. Raises the error of the last
        attempt.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return await work()
            except SluiceError as error:
                first_contact = not met and attempt == 1 and not reached(error)
                repeats = is_transient(error) and not first_contact
                wait = self.wait(error, attempt) if repeats else None
                if wait is None:
                    raise
            await asyncio.sleep(wait)


DEFAULT_POLICY = RetryPolicy()


def is_transient(error: SluiceError) -> bool:
    """Whether the same work may succeed later: the connection broke, or a side was busy."""
    answered = error.members.get(ANSWERED)
    if isinstance(answered, int):
        # A 2xx before the server had the whole body proves nothing, so it is repeated as well.
        return answered in RETRYABLE or 200 <= answered < 300
    if isinstance(error, NoSpace | SourceChanged):
        return False  # people make room; a changed source has to be opened anew
    if isinstance(error, SourceFailed):
        return isinstance(error.__cause__, SluiceError) and is_transient(error.__cause__)
    return error.retryable or connection_broke(error)


def connection_broke(error: SluiceError) -> bool:
    """Whether the way to the server broke. A response that came stays what it is."""
    return (
        isinstance(error, PeerFailed)
        and ANSWERED not in error.members
        and UNREADABLE not in error.members
    )


def may_ask_again(error: SluiceError, statuses: frozenset[int] = RETRYABLE) -> bool:
    """Whether one request may be made again: the connection broke, or the status says "later"."""
    return error.members.get(ANSWERED) in statuses or connection_broke(error)


def reached(error: SluiceError) -> bool:
    """Whether a connection was made. Without one the URL is probably wrong: retries do not help."""
    return not isinstance(error, PeerUnreachable) and UNREACHED not in error.members


def may_repeat(method: str, complete: bool) -> bool:
    """Whether a request that broke off may be sent again.

    `complete`: its whole body may have reached the server. A POST without its end has changed
    nothing at a server that waits for whole bodies. A complete one may have been carried out, and
    a second one could store the file twice.
    """
    return method in IDEMPOTENT or not complete


def retry_after(error: SluiceError) -> float | None:
    """Seconds that the server asked for, from either form of the header (RFC 9110 10.2.3)."""
    value = error.members.get("retry_after")
    return parse_retry_after(value) if isinstance(value, str) else None


def parse_retry_after(value: str) -> float | None:
    """The same of a header's value; None for one that is neither form."""
    if (seconds := clipped_uint(value)) is not None:
        return float(seconds)
    date: float | None = parse_http_date(value)
    return None if date is None else max(0.0, date - time.time())
