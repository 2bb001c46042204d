"""A `send` that adds headers, counts what it sends, and gives the client a deadline.

Knows ASGI messages; it must not know what they carry.
"""

from __future__ import annotations

from collections.abc import Collection, Container
from typing import Any

from starlette.types import Message, Scope, Send

from sluiceway.server.door.urls import SAFE_HEADERS
from sluiceway.server.http1.peer_gone import PROTOCOL
from sluiceway.server.http1.sendfile import ZEROCOPY, reader_deadline
from sluiceway.wire.request_trace import RequestTrace

__all__ = ["MORE_HEADERS", "CountedSend"]

Fields = Collection[tuple[bytes, bytes]]

# In a request's scope: headers that its response gets, whichever it is
MORE_HEADERS = "sluiceway.more_headers"


class CountedSend:
    """A `send` that knows the status and the bytes sent so far, with a deadline for the client.

    It adds `more` to each response, and those safe headers and ids of the request that the response
    has not set itself.
    """

    __slots__ = ("_more", "_protocol", "_scope", "_send", "_trace", "sent", "status")

    def __init__(
        self, scope: Scope, send: Send, more: list[tuple[bytes, bytes]], trace: RequestTrace
    ) -> None:
        self.status: int = 0
        self.sent: int = 0
        self._scope, self._send, self._more, self._trace = scope, send, more, trace
        self._protocol: Any = scope.get(PROTOCOL)

    async def whole(self, status: int, headers: Fields, body: bytes) -> None:
        """A response whose body is there, its names in lower case: our own protocol takes it at
        once, where nothing stands between that wants to see messages."""
        protocol = self._protocol
        if protocol is None or self._send != protocol.cycle.send:
            await self({"type": "http.response.start", "status": status, "headers": headers})
            await self({"type": "http.response.body", "body": body})
            return
        self.status = status
        self.sent += len(body)
        await protocol.cycle.respond(status, self._completed(headers, dict(headers)), body)

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = message.get("headers", ())
            names = {name.lower() for name, _ in own}
            message = {**message, "headers": self._completed(own, names)}
        else:  # `count`: bytes of a file that the server sends by itself
            self.sent += message.get("count") or len(message.get("body", b""))
        # Our own protocol drops clients that take nothing.
        if self._protocol is not None or message["type"] == ZEROCOPY:
            await self._send(message)
        else:
            async with reader_deadline():
                await self._send(message)

    def _completed(self, own: Fields, names: Container[bytes]) -> list[tuple[bytes, bytes]]:
        """`names` are those of its own fields, in lower case."""
        defaults = (  # made now: a slow upload would hold them to its end
            *SAFE_HEADERS,
            (b"x-request-id", self._trace.request_id.encode()),
            (b"traceparent", self._trace.parent.encode()),
        )
        safe = [field for field in defaults if field[0] not in names]
        return [*own, *safe, *self._more, *self._scope.get(MORE_HEADERS, ())]
