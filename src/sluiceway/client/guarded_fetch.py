"""Opening a remote file for somebody else: every hop is allowed or refused first, every wait has an end.

Where the bytes go is the caller's affair. What may be connected to is the transport's guard.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from sluiceway.client.http.exchange import Head
from sluiceway.client.http.redirects import follow_redirects
from sluiceway.errors import PeerFailed, PeerTimeout
from sluiceway.pipe.pump import close_stream
from sluiceway.wire.numbers import clipped_uint
from sluiceway.wire.urls import redact_url

if TYPE_CHECKING:
    from sluiceway.client.http.transport import OpenResponse, Transport

__all__ = ["body_length", "fetched", "paced"]

HEADS = 60.0  # seconds from the first look-up of a name to the head of the last hop
WINDOW = 60.0  # seconds of waiting for the peer after which its pace is looked at
LEAST = (
    16 << 10
)  # bytes it must bring in that time: 273 a second, a tenth of the slowest mobile line


@asynccontextmanager
async def fetched(
    transport: Transport,
    url: str,
    headers: Mapping[str, str],
    allow: Callable[[str], None],
    *,
    method: str = "GET",
    credentials: Mapping[str, str] | None = None,
) -> AsyncIterator[OpenResponse]:
    """The answer at the end of all redirects, its body still coming. `credentials` are for the first URL's origin alone.

    `allow` is shown each URL and raises to refuse it. Raises PeerFailed and its kinds, what `allow` and the transport's
    guard raise, and BadRequest.
    """
    try:
        async with (
            asyncio.timeout(HEADS) as clock,
            follow_redirects(
                transport, url, credentials or {}, headers, method=method, allow=allow
            ) as answer,
        ):
            clock.reschedule(None)
            yield answer
    except TimeoutError:
        if not clock.expired():
            raise
        raise PeerTimeout(
            f"{redact_url(url)} did not begin to answer within {HEADS:.0f} seconds; try again later"
        ) from None


async def paced(answer: OpenResponse) -> AsyncIterator[bytes]:
    """The answer's body. Raises PeerTimeout also for a peer that drips: bytes enough never to stall, too few to end."""
    chunks = answer.chunks()
    waited, brought = 0.0, 0
    try:
        while True:
            began = time.monotonic()
            chunk = await anext(chunks, b"")
            if not chunk:
                return
            waited, brought = waited + time.monotonic() - began, brought + len(chunk)
            if waited >= WINDOW:
                if brought < LEAST:
                    raise PeerTimeout(
                        f"{redact_url(answer.head.url)} sent {brought} bytes in {waited:.0f} seconds; try again later"
                    )
                waited, brought = 0.0, 0
            yield chunk
    finally:
        await close_stream(chunks)


def body_length(head: Head) -> int | None:
    """Bytes of the answer's body, None when it comes in chunks. Raises PeerFailed when only its connection's end would tell."""
    if "chunked" in head.headers.get("transfer-encoding", "").lower():
        return None
    length = clipped_uint(head.headers.get("content-length", ""))
    if (
        length is None
    ):  # RFC 9112 6.3: such a body ends with the connection, and one that broke off looks the same
        raise PeerFailed(
            f"{redact_url(head.url)} tells neither length nor end of the file; a part of it could pass for the whole"
        )
    return length
