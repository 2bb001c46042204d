"""One upload, as the tests of the transport send it."""

from __future__ import annotations

from collections.abc import Callable

from sluiceway.client.http.exchange import Deadlines
from sluiceway.client.http.request import EXPECT_WAIT, StreamingRequest
from sluiceway.client.http.transport import Transport
from sluiceway.client.source_body import SourceBody

__all__ = ["BIG", "put"]
BIG = 32 << 20  # bytes: more than all socket buffers on the way hold


async def put(
    url: str,
    body: SourceBody,
    *,
    expect: bool = False,
    on_sent: Callable[[int], None] | None = None,
    deadlines: Deadlines = Deadlines(),
) -> tuple[int, str]:
    async with Transport(deadlines) as transport:
        request = StreamingRequest(
            transport,
            "PUT",
            url,
            {},
            body.length,
            expect=expect,
            expect_timeout=EXPECT_WAIT,
            on_sent=on_sent,
        )
        response = await body.send(request)
        return response.head.status, response.text
