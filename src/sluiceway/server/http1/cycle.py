"""One request and its answer on uvicorn: the body as it comes, the answer at the reader's pace, an honest end of both.

A body that was cut is told as such, whatever the server read; what is sent to a client that left is dropped without noise.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from sluiceway.errors import SluiceError
from sluiceway.server.http1.flow import Bell
from sluiceway.server.http1.peer_gone import PROTOCOL, WHY, reset
from sluiceway.server.http1.sendfile import ZEROCOPY

__all__ = ["SluiceCycle"]

MOST_AHEAD = 16  # uploads of which 256 KiB are read while the app has as much in hand; for all it would be uncounted memory
LARGE = (
    64 << 10
)  # bytes of a piece that is worth a round of the app by itself; joining it would copy it once more


class SluiceCycle(RequestResponseCycle):
    """One request and its answer."""

    queue: list[bytes]  # body bytes in the pieces they came in, instead of a bytearray copied twice
    input_ended: bool  # no more bytes can come: the client closed its half
    why_ended: SluiceError | None  # what was wrong with the bytes of the body, where that ended it
    body_told: bool  # the app has had the last message of the body
    cut_told: bool  # the app has been told that the body ends before its end

    ahead: ClassVar[set[object]] = set()  # of all cycles: who reads although the app does not wait

    def adopt(self) -> None:
        """Take over a cycle made by uvicorn."""
        self.message_event: Any = Bell()
        self.queue, self.input_ended, self.body_told, self.cut_told = [], False, False, False
        self.why_ended = None
        if self.scope["http_version"] == "1.0":
            self.waiting_for_100_continue: bool = (
                False  # RFC 9110 10.1.1: an older client would take the 100 for the answer
            )

    async def run_asgi(self, app: Any) -> None:
        async def to_an_end(scope: Any, receive: Any, send: Any) -> None:
            await app(scope, receive, send)
            if not self.response_started or self.response_complete:
                return
            if self.transport.is_closing():
                self._leave()
            elif (
                self.flow.write_paused
            ):  # it gave up a reader that takes nothing; a close would wait for that reader
                reset(self.transport)
                self._leave()
            elif self.cut_told:  # it left a request that is not whole, a GET with half a body; uvicorn would call that an error
                self._leave()

        await super().run_asgi(to_an_end)

    def _leave(self) -> None:
        """Nothing is sent any more; whoever waits for the client's end hears it."""
        self.disconnected: bool = True
        self.message_event.set()
        self.transport.close()

    async def receive(self) -> Any:
        self.ahead.discard(self)
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        while (
            not self.queue
            and self.more_body
            and not (self.disconnected or self.input_ended or self.response_complete)
        ):
            self.message_event.clear()
            self.flow.resume_reading()
            await self.message_event.wait()
        if self.response_complete:
            return {"type": "http.disconnect"}
        if self.queue:
            body = self._next_piece()
            self.body_told = not (self.more_body or self.queue)
            if self.body_told:
                self.flow.resume_reading()  # to hear of a hang-up
            elif len(self.ahead) < MOST_AHEAD:
                self.ahead.add(self)
                self.flow.resume_reading()
            return {"type": "http.request", "body": body, "more_body": not self.body_told}
        if not self.more_body and not self.body_told:
            self.body_told = True
            return {"type": "http.request", "body": b"", "more_body": False}
        if self.more_body:  # cut: the peer is gone, or will send no more
            self.cut_told = True
            return {"type": "http.disconnect", WHY: self.why_ended}
        while not (
            self.disconnected or self.response_complete
        ):  # the whole body was told: the next news is the end
            self.message_event.clear()
            await self.message_event.wait()
        return {"type": "http.disconnect"}

    def _next_piece(self) -> bytes:
        """A large piece as it came; small ones joined, because each costs the app a round."""
        if len(self.queue) == 1 or len(self.queue[0]) >= LARGE:
            return self.queue.pop(0)
        body = b"".join(self.queue)
        self.queue.clear()
        return body

    async def send(self, message: Any) -> None:
        if self.transport.is_closing():
            self._leave()
            return
        if message["type"] == ZEROCOPY:
            await self._send_file(message)
            message = {
                "type": "http.response.body",
                "body": b"",
                "more_body": message.get("more_body", False),
            }
        if message["type"] == "http.response.start":
            if self.more_body:
                # Without this a client would send the rest of a terabyte to have its connection back.
                headers = [
                    item for item in message.get("headers", []) if item[0].lower() != b"connection"
                ]
                message = {**message, "headers": [*headers, (b"connection", b"close")]}
        elif (
            message["type"] == "http.response.body"
            and not message.get("more_body", False)
            and self.more_body
        ):
            self.keep_alive = (
                True  # uvicorn would close here; the protocol drains first and closes then
            )
        await super().send(message)

    async def _send_file(self, message: Any) -> None:
        """ASGI's Zero Copy Send, for answers of a known length."""
        scope: Any = self.scope
        file = message["file"].fileno()
        at = message["offset"] if "offset" in message else os.lseek(file, 0, os.SEEK_CUR)
        count = message["count"] if "count" in message else os.fstat(file).st_size - at
        if count > self.expected_content_length:
            raise SluiceError("A file has more bytes than the answer's Content-Length says")
        try:
            await scope[PROTOCOL].send_file(file, at, count)
        except (ConnectionError, TimeoutError):
            self.disconnected = True
        self.expected_content_length -= count
