"""Our HTTP/1.1 protocol on uvicorn and httptools: what stock uvicorn loses, swallows for ever or never bounds.

Bytes that came before a hang-up reach the app; a body cut by a half-close is still answered; after an early refusal the rest
of the body is drained for so many bytes and seconds, then the connection closes; heads have a size and a deadline.
Optional: the app runs on any ASGI server. These classes extend uvicorn's internals, so its version is pinned.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

__all__ = ["SluiceProtocol"]

QUEUE = 256 << 10  # bytes of body that may wait for the app before reading pauses: one read of the event loop
DRAIN_BYTES = 4 << 20  # bytes read and dropped after an early refusal; clients that look up before that see it
DRAIN_SECONDS = 2.0  # and for how long at most
HEAD_BYTES = 64 << 10  # request line and header fields; nginx takes 32 KiB, h11 64
HEAD_SECONDS = 20.0  # for a whole head to arrive (Slowloris)


class SluiceCycle(RequestResponseCycle):
    """One request and its answer."""

    queue: deque[bytes]  # body bytes in the pieces they came in, instead of a bytearray copied twice
    queued: int
    input_ended: bool  # no more bytes can come: the client closed its half
    body_told: bool  # the app has had the last message of the body

    def adopt(self) -> None:
        """Take over a cycle made by uvicorn."""
        self.queue, self.queued, self.input_ended, self.body_told = deque(), 0, False, False

    async def receive(self) -> Any:
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        while not self.queue and self.more_body and not (self.disconnected or self.input_ended or self.response_complete):
            self.message_event.clear()
            self.flow.resume_reading()
            await self.message_event.wait()
        if self.response_complete:
            return {"type": "http.disconnect"}
        if self.queue:
            body = self.queue.popleft() if len(self.queue) == 1 else b"".join(self.queue)
            self.queue.clear()
            self.queued = 0
            self.body_told = not self.more_body
            return {"type": "http.request", "body": body, "more_body": self.more_body}
        if not self.more_body and not self.body_told:
            self.body_told = True
            return {"type": "http.request", "body": b"", "more_body": False}
        if self.more_body:  # cut: the peer is gone, or will send no more
            return {"type": "http.disconnect"}
        while not (self.disconnected or self.response_complete):  # the whole body was told: the next news is the end
            self.message_event.clear()
            await self.message_event.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            if self.more_body and message["status"] >= 400:
                # Without this a client would send the rest of a terabyte to have its connection back.
                headers = [item for item in message.get("headers", []) if item[0].lower() != b"connection"]
                message = {**message, "headers": [*headers, (b"connection", b"close")]}
        elif message["type"] == "http.response.body" and not message.get("more_body", False) and self.more_body:
            self.keep_alive = True  # uvicorn would close here; the protocol drains first and closes then
        await super().send(message)


class SluiceProtocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        super().connection_made(transport)
        self._drained = 0
        self._draining: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._head_deadline: asyncio.TimerHandle | None = None
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._draining, self._head_deadline):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._draining is not None:
            self._drain(len(data))
            return
        if self._head_deadline is not None:
            self._head_bytes += len(data)
        elif self.cycle is None or (self.cycle.response_complete and not self.cycle.more_body):
            self._head_bytes = len(data)
            self._await_head()
        super().data_received(data)
        if self._head_deadline is not None and self._head_bytes > HEAD_BYTES:
            self._refuse(b"431 Request Header Fields Too Large", b"The request's header fields are larger than 64 KiB\n")

    def eof_received(self) -> bool:  # type: ignore[override]  # True keeps our half open, as asyncio documents
        """The client closed its half. A body cut by that is answered; a whole request is treated as stock uvicorn does."""
        cycle = cast("SluiceCycle | None", self.cycle)
        if self._draining is not None or cycle is None or cycle.response_complete or not cycle.more_body:
            return False
        cycle.input_ended = True
        cycle.message_event.set()
        self.loop.call_later(DRAIN_SECONDS * 5, self.transport.close)  # should the app never answer
        return True

    # httptools' callbacks

    def on_headers_complete(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None
        super().on_headers_complete()
        if self.cycle is not None and type(self.cycle) is RequestResponseCycle:
            self.cycle.__class__ = SluiceCycle
            cast("SluiceCycle", self.cycle).adopt()

    def on_body(self, body: bytes) -> None:
        cycle = cast("SluiceCycle", self.cycle)
        if cycle.response_complete:
            return
        cycle.queue.append(body)
        cycle.queued += len(body)
        if cycle.queued >= QUEUE:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_response_complete(self) -> None:
        cycle = self.cycle
        if cycle is None or not cycle.more_body or self.transport.is_closing() or self.pipeline:
            super().on_response_complete()
            return
        # The answer is out, the client may still be sending: show it the end of our half and give it time to look.
        self.server_state.total_requests += 1
        self._unset_keepalive_if_required()
        self._draining = self.loop.call_later(DRAIN_SECONDS, self.transport.close)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()

    # Our own

    def _drain(self, size: int) -> None:
        self._drained += size
        if self._drained > DRAIN_BYTES:
            self.flow.pause_reading()  # the timer closes; whoever reads before it sees the answer

    def _await_head(self) -> None:
        self._head_deadline = self.loop.call_later(HEAD_SECONDS, self._head_too_slow)

    def _head_too_slow(self) -> None:
        self._head_deadline = None
        if self._head_bytes:
            self._refuse(b"408 Request Timeout", b"The request's header did not arrive in time\n")
        else:
            self.transport.close()

    def _refuse(self, status: bytes, text: bytes) -> None:
        length = str(len(text)).encode()
        self.transport.write(
            b"HTTP/1.1 " + status + b"\r\ncontent-type: text/plain\r\ncontent-length: " + length
            + b"\r\nconnection: close\r\n\r\n" + text
        )  # fmt: skip
        self.transport.close()
