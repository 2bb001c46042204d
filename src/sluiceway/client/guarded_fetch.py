"""Opening a remote file for a client of the server: every hop is allowed or refused first.

Every wait has an end. The transport's guard decides which addresses may be connected to; the caller
decides where the bytes go. The client named the URL, so it may read what failed there.
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

if TYPE_CHECKING:  # the transport loads the HTTP library, which most servers do not need
    from sluiceway.client.http.transport import OpenResponse, Transport

__all__ = ["body_length", "fetch", "paced"]

HEAD_TIMEOUT = 60.0  # seconds from the first look-up of a name to the head of the last hop
PACE_WINDOW = 60.0  # seconds of waiting for the peer after which its pace is checked
# Bytes it must send in that time: 273 a second, a tenth of the slowest mobile connection.
LEAST_BYTES = 16 << 10


@asynccontextmanager
async def fetch(
    transport: Transport,
    url: str,
    headers: Mapping[str, str],
    allow: Callable[[str], None],
    *,
    method: str = "GET",
    credentials: Mapping[str, str] | None = None,
) -> AsyncIterator[OpenResponse]:
    """Yield the response at the end of all redirects, its body still coming.

    `credentials` are for the first URL's origin alone. `allow` gets each URL and raises to refuse
    it. Raises PeerFailed and its kinds, what `allow` and the transport's guard raise, BadRequest.
    """
    opened = False
    try:
        async with (
            asyncio.timeout(HEAD_TIMEOUT) as clock,
            follow_redirects(
                transport, url, credentials or {}, headers, method=method, allow=allow
            ) as response,
        ):
            clock.reschedule(None)
            opened = True
            yield response
    except PeerFailed as error:
        if not opened:  # else it may be of the place that the file goes to
            error.for_everyone()
        raise
    except TimeoutError:
        if not clock.expired():
            raise
        raise PeerTimeout(
            f"{redact_url(url)} did not begin to answer within {HEAD_TIMEOUT:.0f} seconds; "
            "try again later"
        ).for_everyone() from None


async def paced(response: OpenResponse) -> AsyncIterator[bytes]:
    """Yield the response's body.

    Raises PeerTimeout also for a peer that sends a few bytes at a time: enough never to stall, too
    few to end.
    """
    chunks = response.chunks()
    waited, came = 0.0, 0
    try:
        while True:
            began = time.monotonic()
            chunk = await anext(chunks, b"")
            if not chunk:
                return
            waited, came = waited + time.monotonic() - began, came + len(chunk)
            if waited >= PACE_WINDOW:
                if came < LEAST_BYTES:
                    raise PeerTimeout(
                        f"{redact_url(response.head.url)} sent {came} bytes "
                        f"in {waited:.0f} seconds; try again later"
                    )
                waited, came = 0.0, 0
            yield chunk
    except PeerFailed as error:
        error.for_everyone()
        raise
    finally:
        await close_stream(chunks)


def body_length(head: Head) -> int | None:
    """Return the bytes of the response's body; None when it comes in chunks.

    Raises PeerFailed when only the end of its connection would show the end of the body.
    """
    if "chunked" in head.headers.get("transfer-encoding", "").lower():
        return None
    length = clipped_uint(head.headers.get("content-length", ""))
    if length is None:
        # Such a body ends with the connection, and a broken connection looks the same
        # (RFC 9112 6.3).
        raise PeerFailed(
            f"{redact_url(head.url)} names neither length nor end of the file; "
            "a part of it could pass for the whole"
        ).for_everyone()
    return length
