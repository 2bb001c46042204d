"""A request's body as a source: what arrives from an ASGI server, with a deadline on every wait and no silent end.

A body that stops before its end raises BodyCut, whatever the server says about it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.types import Receive

from sluiceway.errors import BadRequest, BodyCut, ExpectationFailed, TooSlow, Unsupported
from sluiceway.pipe.source import PassingSource
from sluiceway.wire.numbers import ascii_uint

__all__ = ["IDLE", "body_chunks", "body_source", "check_body", "content_length", "wait_until_gone"]

IDLE = 60.0  # seconds without a byte from the client; tusd and nginx wait as long


def check_body(request: Request) -> None:
    """Refuse, before the first byte, what this server could only store wrongly."""
    expect = request.headers.get("expect", "100-continue").lower()
    if expect != "100-continue":
        raise ExpectationFailed(f"This server knows only Expect: 100-continue, not {expect!r}; leave the header out")
    coding = request.headers.get("content-encoding", "identity").lower()
    if coding != "identity":
        raise Unsupported(
            f"The body is coded as {coding!r}. Send the file as it is, without Content-Encoding: what is stored is "
            "what arrives, byte for byte"
        )


def content_length(request: Request) -> int | None:
    """Bytes of the body, None when it is chunked. Raises BadRequest for anything but plain digits."""
    values = request.headers.getlist("content-length")
    if not values:
        chunked = "transfer-encoding" in request.headers
        return None if chunked or request.scope.get("http_version", "1.1").startswith("2") else 0
    if len(values) > 1:
        raise BadRequest("Content-Length was sent more than once")
    return ascii_uint(values[0], "Content-Length")


def body_source(request: Request, idle: float = IDLE) -> PassingSource:
    """The raw body as a source of known or unknown length."""
    return PassingSource(body_chunks(request, idle), content_length(request))


async def body_chunks(request: Request, idle: float = IDLE) -> AsyncIterator[bytes]:
    """The body's bytes as they arrive. Raises BodyCut and TooSlow."""
    receive = request.receive
    while True:
        try:
            async with asyncio.timeout(idle):
                message = await receive()
        except TimeoutError:
            raise TooSlow(f"No byte arrived for {idle:g} seconds; nothing was stored. Send it again") from None
        if message["type"] == "http.disconnect":
            raise BodyCut("The connection ended before the body did; nothing was stored. Send it again")
        body = message.get("body", b"")
        if body:
            yield body
        if not message.get("more_body", False):
            return


async def wait_until_gone(receive: Receive) -> None:
    """Returns when the client of a request without a body has left. No server tells it by failing a `send`."""
    while (await receive())["type"] != "http.disconnect":
        pass
