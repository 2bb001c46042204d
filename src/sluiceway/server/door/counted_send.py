"""A `send` that adds headers, counts what it sends, and gives the client a deadline.

Knows ASGI messages; it must not know what they carry.
"""

from __future__ import annotations

from starlette.types import Message, Scope, Send

from sluiceway.server.door.urls import SAFE_HEADERS
from sluiceway.server.http1.peer_gone import PROTOCOL
from sluiceway.server.http1.sendfile import ZEROCOPY, reader_deadline
from sluiceway.wire.request_trace import RequestTrace

__all__ = ["MORE_HEADERS", "CountedSend"]

# In a request's scope: headers that its response gets, whichever it is
MORE_HEADERS = "sluiceway.more_headers"


class CountedSend:
    """A `send` that knows the status and the bytes sent so far, with a deadline for the client.

    It adds `more` to each response, and those safe headers and ids of the request that the response
    has not set itself.
    """

    def __init__(
        self, scope: Scope, send: Send, more: list[tuple[bytes, bytes]], trace: RequestTrace
    ) -> None:
        self.status: int = 0
        self.sent: int = 0
        self._scope, self._send, self._more = scope, send, more
        self._defaults = (
            *SAFE_HEADERS,
            (b"x-request-id", trace.request_id.encode()),
            (b"traceparent", trace.parent.encode()),
        )
        # Our own protocol drops clients that take nothing.
        self._has_deadline = PROTOCOL in scope

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = list(message.get("headers", ()))
            names = {bytes(name).lower() for name, _ in own}
            safe = (field for field in self._defaults if field[0] not in names)
            said = self._scope.get(MORE_HEADERS, ())
            message = {**message, "headers": [*own, *safe, *self._more, *said]}
        else:  # `count`: bytes of a file that the server sends by itself
            self.sent += message.get("count") or len(message.get("body", b""))
        if self._has_deadline or message["type"] == ZEROCOPY:
            await self._send(message)
        else:
            async with reader_deadline():
                await self._send(message)
