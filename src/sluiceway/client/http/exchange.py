"""The plain values of one request and its response: how long a peer may take, what it answered.

Knows nothing of sockets or of the HTTP library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sluiceway.errors import PeerFailed

__all__ = ["Deadlines", "Head", "Response"]


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a peer may take, in seconds."""

    # for name, TCP and TLS; a connection still succeeds after three lost SYNs (1+2+4 s)
    connect: float = 10.0
    # without one byte, either way; proxies give up after 60 as well (nginx, AWS ALB)
    idle: float = 60.0
    # from the last byte sent to the response: fsync and assembling terabytes take minutes
    answer: float = 600.0


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a response.

    Header names are in lower case, values are ISO-8859-1 text; repeated headers are joined by a
    comma.
    """

    status: int
    headers: Mapping[str, str]
    url: str  # of the request that it answers
    cookies: tuple[str, ...] = ()  # each Set-Cookie by itself: they hold commas of their own


@dataclass(frozen=True, slots=True)
class Response:
    """A response whose body was read, at most to a given number of bytes."""

    head: Head
    body: bytes
    cut: bool = False  # the body has more bytes
    error: PeerFailed | None = None  # why the body broke off

    @property
    def text(self) -> str:
        """As much of the body as came."""
        return self.body.decode("utf-8", "replace")
