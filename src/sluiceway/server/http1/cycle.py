"""One request and its response on uvicorn: the body as it comes, the response at the reader's pace.

The app always hears that a body was cut, whatever the server read; what is sent to a client that
left is dropped without an error.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from sluiceway.errors import SluiceError
from sluiceway.server.http1.flow import FlowControl, SmallEvent
from sluiceway.server.http1.peer_gone import PROTOCOL, WHY, reset
from sluiceway.server.http1.response_head import ResponseHead, interim_head
from sluiceway.server.http1.sendfile import ZEROCOPY
from sluiceway.server.http1.stopping import STOPPING

__all__ = ["SluiceCycle"]

log: logging.Logger = logging.getLogger("uvicorn.error")

_FAILED = (
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", b"21"),
    (b"connection", b"close"),
)

# Uploads of which 256 KiB are read while the app has as much in hand. For all uploads it would be
# memory that no budget counts.
MOST_AHEAD = 16
# Of a body: they may wait for the app while its connection is read on.
WAITING_BYTES, WAITING_PIECES = 8 << 10, 8
# Bytes of a chunk that is given to the app by itself; to join it would copy it once more.
LARGE_CHUNK = 64 << 10


class SluiceCycle:
    """One request and its response: what uvicorn's protocol asks of a cycle, and what ours does."""

    ahead: ClassVar[set[object]] = set()  # cycles that read although the app does not wait

    __slots__ = (
        "_default_headers",
        "_flow",
        "_on_response",
        "_transport",
        "body_delivered",
        "chunked_encoding",
        "cut_delivered",
        "disconnected",
        "expected_content_length",
        "input_ended",
        "keep_alive",
        "message_event",
        "more_body",
        "queue",
        "response_complete",
        "response_started",
        "scope",
        "trailers",
        "waiting_for_100_continue",
        "why_ended",
    )

    def __init__(self, scope: dict[str, Any], protocol: Any, *, keep_alive: bool) -> None:
        """`protocol` is the SluiceProtocol of its connection."""
        self.scope: dict[str, Any] = scope
        self._transport: Any = protocol.transport
        self._flow: FlowControl = protocol.flow
        self._default_headers = protocol.server_state.default_headers
        self._on_response: Callable[[], None] = protocol.on_response_complete
        self.message_event: SmallEvent = SmallEvent()
        stopping, version = scope["state"].get(STOPPING), scope["http_version"]
        may_stay = version != "1.0" and (stopping is None or not stopping.begun)
        self.keep_alive: bool = keep_alive and may_stay
        # RFC 9110 10.1.1: an HTTP/1.0 client would take the 100 for the response
        expect: bytes = dict(scope["headers"]).get(b"expect", b"")
        self.waiting_for_100_continue: bool = version != "1.0" and expect.lower() == b"100-continue"
        self.queue: list[bytes] = []  # body bytes in the chunks they came in
        self.more_body: bool = True
        self.disconnected: bool = False
        self.input_ended: bool = False  # no more bytes can come: the client closed its half
        self.why_ended: SluiceError | None = None  # what was wrong with the body, if that ended it
        self.body_delivered: bool = False  # the app has the last message of the body
        self.cut_delivered: bool = False  # the app knows that the body ended too early
        # behind the body, names in lower case
        self.trailers: list[tuple[bytes, bytes]] = []
        self.response_started: bool = False
        self.response_complete: bool = False
        self.chunked_encoding: bool | None = None
        self.expected_content_length: int = 0

    async def run(self, app: Any) -> None:
        """Let the app answer. An answer that it does not finish ends the connection."""
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException as error:
            log.error("Exception in ASGI application", exc_info=error)
            await self._give_up()
        else:
            if not self.response_complete and not self.disconnected:
                await self._end_unfinished()

    async def _end_unfinished(self) -> None:
        if not self.response_started:
            log.error("The app returned without a response")
            await self._give_up()
        elif self._transport.is_closing():
            self._leave()
        elif self._flow.write_paused:
            # The app gave up a reader that takes nothing; a close would wait for that reader.
            reset(self._transport)
            self._leave()
        elif self.cut_delivered:
            self._leave()  # it left a request that is not complete, as a GET with half a body
        else:
            log.error("The app returned without the end of its response")
            self._transport.close()

    async def _give_up(self) -> None:
        if self.response_started:
            self._transport.close()
        else:
            await self.respond(500, _FAILED, b"Internal Server Error")

    def _leave(self) -> None:
        """Send nothing any more, and wake what waits for the client's end."""
        self.disconnected = True
        self.message_event.set()
        self._transport.close()

    async def receive(self) -> Any:
        self.ahead.discard(self)
        if self.waiting_for_100_continue and not self._transport.is_closing():
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        while (
            not self.queue
            and self.more_body
            and not (self.disconnected or self.input_ended or self.response_complete)
        ):
            self.message_event.clear()
            self._flow.resume_reading()
            await self.message_event.wait()
        if self.response_complete:
            return {"type": "http.disconnect"}
        if self.queue:
            body = self._next_chunk()
            self.body_delivered = not (self.more_body or self.queue)
            if self.body_delivered:
                self._flow.resume_reading()  # to hear of a hang-up
            elif self._flow.reads_ahead and len(self.ahead) < MOST_AHEAD:
                self.ahead.add(self)
                self._flow.resume_reading()
            return {"type": "http.request", "body": body, "more_body": not self.body_delivered}
        if not self.more_body and not self.body_delivered:
            self.body_delivered = True
            return {"type": "http.request", "body": b"", "more_body": False}
        if self.more_body:  # cut: the peer is gone, or will send no more
            self.cut_delivered = True
            return {"type": "http.disconnect", WHY: self.why_ended}
        # The app has the whole body: the next message is the end.
        while not (self.disconnected or self.response_complete):
            self.message_event.clear()
            await self.message_event.wait()
        return {"type": "http.disconnect"}

    def send_interim(self, status: int, phrase: str, headers: Mapping[str, str]) -> bool:
        """Write an interim response; threads that read the body meanwhile are not disturbed.

        False where that cannot be: HTTP/1.0 knows none (RFC 9110 15.2), the response has begun, or
        the client is gone or does not read what it got.
        """
        if self.scope["http_version"] != "1.1" or self.response_started or self.disconnected:
            return False
        if self._transport.is_closing() or self._flow.write_paused:
            return False
        self._transport.write(interim_head(status, phrase, headers))
        return True

    @property
    def has_enough(self) -> bool:
        """Whether the app has to take of the body before more is read. To pause costs as much as
        to read the next piece of a slow sender, so a little may wait."""
        return len(self.queue) > WAITING_PIECES or sum(map(len, self.queue)) > WAITING_BYTES

    @property
    def has_whole_body(self) -> bool:
        """Whether the app gets all of the body without waiting."""
        return not (self.more_body or self.waiting_for_100_continue or self.body_delivered)

    def take_body(self) -> bytes:
        """The whole body; `receive` gives none of it any more."""
        body = self.queue[0] if len(self.queue) == 1 else b"".join(self.queue)
        self.queue.clear()
        self.body_delivered = True
        self.ahead.discard(self)
        self._flow.resume_reading()  # to hear of a hang-up
        return body

    def _next_chunk(self) -> bytes:
        """A large chunk as it came; small ones joined, because each costs the app a round."""
        if len(self.queue) == 1 or len(self.queue[0]) >= LARGE_CHUNK:
            return self.queue.pop(0)
        body = b"".join(self.queue)
        self.queue.clear()
        return body

    async def send(self, message: Any) -> None:
        """As uvicorn's, with less work and fewer writes: a small upload spent an eighth of its time
        there."""
        if self._transport.is_closing():
            self._leave()
            return
        if message["type"] == ZEROCOPY:
            await self._send_file(message)
            more_body = message.get("more_body", False)
            message = {"type": "http.response.body", "body": b"", "more_body": more_body}
        if self._flow.write_paused and not self.disconnected:
            await self._flow.drain()
        if self.disconnected:
            return
        if self.response_complete:
            raise SluiceError("A response goes on behind its end")
        expected = "http.response.body" if self.response_started else "http.response.start"
        if message["type"] != expected:
            raise SluiceError(f"{message['type']} was sent instead of {expected}")
        if self.response_started:
            self._write_body(message.get("body", b""), message.get("more_body", False))
        else:
            head = self._begin_response(message["status"], message.get("headers", ()))
            self._transport.write(head)

    async def respond(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes
    ) -> None:
        """Send a whole response, which nothing was sent of yet, in one write."""
        if self._transport.is_closing():
            self._leave()
            return
        if self._flow.write_paused and not self.disconnected:
            await self._flow.drain()
        if self.disconnected:
            return
        if self.response_started:
            raise SluiceError("A second response was sent behind the beginning of the first")
        self._write_body(body, more=False, head=self._begin_response(status, headers))

    def _begin_response(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The head of the response."""
        self.response_started, self.waiting_for_100_continue = True, False
        headers = [*self._default_headers, *headers]
        if self.more_body:
            # Otherwise a client would send the rest of a terabyte to keep its connection.
            headers = [item for item in headers if item[0].lower() != b"connection"]
            self.keep_alive = False
        head = ResponseHead(status, headers, self.keep_alive, self.scope)
        self.keep_alive = head.keep_alive
        self.chunked_encoding, self.expected_content_length = head.chunked, head.length
        return head.written

    def _write_body(self, body: bytes, more: bool, head: bytes = b"") -> None:
        if self.scope["method"] == "HEAD":
            body, self.expected_content_length = b"", 0
        elif self.chunked_encoding:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body += b"" if more else b"0\r\n\r\n"
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0 or (self.expected_content_length and not more):
                raise SluiceError("A response has not as many bytes as its Content-Length says")
        if head or body:
            self._transport.write(head + body if head else body)
        if not more:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive and not self.more_body:  # else the protocol drains first
                self._transport.close()
            self._on_response()

    async def _send_file(self, message: Any) -> None:
        """ASGI's Zero Copy Send, for responses of a known length."""
        scope: Any = self.scope
        file = message["file"].fileno()
        at = message["offset"] if "offset" in message else os.lseek(file, 0, os.SEEK_CUR)
        count = message["count"] if "count" in message else os.fstat(file).st_size - at
        if count > self.expected_content_length:
            raise SluiceError("A file has more bytes than the response's Content-Length says")
        try:
            await scope[PROTOCOL].send_file(file, at, count)
        except (ConnectionError, TimeoutError):
            self.disconnected = True
        self.expected_content_length -= count
